#include "cai/data/prompt.hpp"

#include "fuzz.hpp"

// The first byte chooses the format.
FUZZ_TARGET(prompts) {
  using namespace cai;
  if (data.empty()) return;
  const char* name = data[0] == 't' ? "p.tsv" : data[0] == 'x' ? "p.txt" : "p.jsonl";
  const std::string file = fuzz::file_of(name, data.substr(1)).string();
  fuzz::refuses_or_works(
      [&] {
        for (const Prompt& prompt : read_prompts(file)) {
          fuzz::hold(is_utf8(prompt.text) && !trim(prompt.text).empty(), "a prompt is text");
          to_line(to_json(prompt));
        }
      },
      file);
}
