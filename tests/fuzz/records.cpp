#include "cai/io/records.hpp"

#include "fuzz.hpp"

// The first byte says plain or compressed.
FUZZ_TARGET(records) {
  using namespace cai;
  const bool is_compressed = !data.empty() && data[0] == 'z';
  const std::string file =
      fuzz::file_of(is_compressed ? "r.jsonl.zst" : "r.jsonl", data.substr(data.empty() ? 0 : 1)).string();
  fuzz::refuses_or_works(
      [&] {
        for (const Json& record : read_records(file)) {
          const std::string line = to_line(record);
          fuzz::hold(printable(line) == line, "a record's line shows nothing hidden");
          fuzz::hold(parse_json(line, "again") == record, "a record's line reads back the same");
        }
      },
      file);
}
