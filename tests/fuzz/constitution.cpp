#include "cai/data/constitution.hpp"

#include "fuzz.hpp"

FUZZ_TARGET(constitution) {
  using namespace cai;
  const std::string file = fuzz::file_of("rules.yaml", data).string();
  fuzz::refuses_or_works([&] { to_line(to_json(read_constitution(file))); }, file);
}
