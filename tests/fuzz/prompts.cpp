#include "cai/data/pair_import.hpp"
#include "cai/data/prompt.hpp"

#include "fuzz.hpp"

namespace {

// The first byte chooses the format.
const char* name_of(char format) {
  switch (format) {
    case 't': return "p.tsv";
    case 'x': return "p.txt";
    case 'c': return "p.csv";
    case 'a': return "p.json";
    default: return "p.jsonl";
  }
}

}  // namespace

FUZZ_TARGET(prompts) {
  using namespace cai;
  if (data.empty()) return;
  const std::string file = fuzz::file_of(name_of(data[0]), data.substr(1)).string();
  fuzz::refuses_or_works(
      [&] {
        std::vector<std::string> notes;
        for (const Prompt& prompt : read_prompts(file, &notes)) {
          fuzz::hold(is_utf8(prompt.text) && !trim(prompt.text).empty(), "a prompt is text");
          to_line(to_json(prompt));
        }
        for (const std::string& note : notes)
          fuzz::hold(printable(note) == note && note.find('\n') == note.npos,
                     "a note is one line that shows all");
      },
      file);
  fuzz::refuses_or_works(
      [&] {
        for (const Json& pair : read_pairs(file).records)
          fuzz::hold(pair.at("prompt").is_string() && pair.contains("id"), "a pair has a prompt and an id");
      },
      file);
}
