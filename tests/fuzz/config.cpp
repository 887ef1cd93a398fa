#include "cai/config/config.hpp"

#include "fuzz.hpp"

FUZZ_TARGET(config) {
  using namespace cai;
  const std::string file = fuzz::file_of("c.yaml", data).string();
  fuzz::refuses_or_works(
      [&] {
        const Config config = load_config(file, {});
        // What is shown loads again to the same.
        const std::string shown = to_yaml(config, true);
        fuzz::hold(
            to_yaml(load_config(fuzz::file_of("again.yaml", shown), {}), false) == to_yaml(config, false),
            "a shown config loads again");
      },
      (fuzz::folder() / "").string());
  if (data.size() < 1000) fuzz::refuses_or_works([&] { load_config({}, {std::string(data)}); });
}
