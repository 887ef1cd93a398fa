// Files that people bring, as records: JSON, JSON Lines, CSV, TSV, plain text and Parquet, also compressed
// (docs/reference/data-files.md).
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "cai/io/json.hpp"

namespace cai {

struct DataRow {
  Json record;      // an object
  long number = 0;  // the line that it begins on; in a Parquet file the row
};

struct Rows {
  std::string file;
  std::vector<DataRow> rows;
  std::vector<std::string> columns;  // of CSV, TSV and Parquet
  std::vector<std::string>
      problems;           // each with its place: rows that cannot be read; the others stand in `rows`
  bool are_lines = true;  // DataRow::number counts lines

  /// "prompts.csv:3" or "prompts.parquet: row 3".
  std::string place(long number) const;
};

/// Reads by the name's ending, after .gz or .zst: .jsonl, .ndjson and .json (an object a line, a list of
/// objects, or one object), .csv (RFC 4180), .tsv, .parquet, .txt or no ending (one text a line, as
/// {"prompt": text}). A table's cell is a text; in `tags` a list by commas, in `human` a number, and a list
/// of messages where it is written as JSON. Empty cells are left out. Throws InputError for a file that
/// cannot be read at all: no such file, another ending, UTF-16, damaged compression.
Rows read_rows(const std::filesystem::path& path);

/// The same of bytes that came another way: `ending` is the file's, `file` stands in messages. Not Parquet.
Rows rows_of_bytes(std::string bytes, const std::string& file, const std::string& ending);

/// The names in double quotes, with commas; at most twelve of them.
std::string name_list(const std::vector<std::string>& names);

/// The problems of one file, where many rows have the same one: told once, with how many more there are.
class RowProblems {
 public:
  explicit RowProblems(const Rows& rows) : rows_(rows) {}
  void add(long number, const std::string& what);
  void throw_if_any() const;  ///< with those of reading; one InputError

 private:
  struct Problem {
    std::string what;
    long first = 0, count = 0;
  };
  const Rows& rows_;
  std::vector<Problem> problems_;
  std::map<std::string, std::size_t> places_;  // in problems_, by what is wrong
};

}  // namespace cai
