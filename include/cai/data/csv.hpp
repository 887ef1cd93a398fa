// Tables as text: CSV as RFC 4180 has it, and TSV.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace cai {

struct TableRow {
  std::vector<std::string> cells;
  long line = 0;        // the row begins on it
  std::string problem;  // why it is not read, or ""
};

/// Rows of CSV: cells in double quotes hold separators, line breaks and doubled quotes; rows end with LF or
/// CRLF. Blank lines are passed over. A quote that is never closed, or is followed by other characters, is
/// that row's problem; reading goes on behind it.
std::vector<TableRow> read_csv(std::string_view text, char separator);

/// Rows of TSV: no quotes, no line breaks within a row; white space at both ends of a cell is cut.
std::vector<TableRow> read_tsv(std::string_view text);

}  // namespace cai
