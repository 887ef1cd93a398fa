#include "cai/data/csv.hpp"

#include <algorithm>

#include "cai/base/text.hpp"

namespace cai {
namespace {

class CsvReader {
 public:
  CsvReader(std::string_view text, char separator) : text_(text), separator_(separator) {}

  std::vector<TableRow> rows() {
    std::vector<TableRow> all;
    while (at_ < text_.size()) {
      TableRow row{.line = line_};
      while (read_cell(row)) {
      }
      const bool is_blank = row.problem.empty() && row.cells.size() == 1 && trim(row.cells[0]).empty();
      if (!is_blank) all.push_back(std::move(row));
    }
    return all;
  }

 private:
  bool is_at_end_of_row() const {
    return at_ >= text_.size() || text_[at_] == '\n' || text_.substr(at_).starts_with("\r\n");
  }

  // Takes one cell and what ends it. True when the row goes on.
  bool read_cell(TableRow& row) {
    row.cells.push_back(at_ < text_.size() && text_[at_] == '"' ? quoted(row) : plain());
    if (at_ < text_.size() && text_[at_] == separator_) return ++at_, true;
    at_ += at_ < text_.size() && text_[at_] == '\r' ? 2 : 1;
    ++line_;
    return false;
  }

  std::string plain() {
    const std::size_t from = at_;
    while (!is_at_end_of_row() && text_[at_] != separator_)
      ++at_;
    return std::string(text_.substr(from, at_ - from));
  }

  std::string quoted(TableRow& row) {
    std::string cell;
    const long opened = line_;
    for (++at_; at_ < text_.size(); ++at_) {
      const bool is_doubled = text_.substr(at_).starts_with("\"\"");
      if (text_[at_] == '"' && !is_doubled) break;
      if (is_doubled) ++at_;
      line_ += text_[at_] == '\n';
      cell += text_[at_];
    }
    if (at_ >= text_.size()) {
      row.problem = "the quote that opens on line " + std::to_string(opened) + " is never closed";
      return cell;
    }
    ++at_;
    if (is_at_end_of_row() || text_[at_] == separator_) return cell;
    row.problem = "characters behind a closing quote; write a quote within a cell twice";
    return plain(), cell;
  }

  std::string_view text_;
  char separator_;
  std::size_t at_ = 0;
  long line_ = 1;
};

// Whether a program wrote the cell as in CSV: its quotes would be read as part of the text.
bool is_quoted(const std::string& cell) {
  return cell.size() > 3 && cell.starts_with('"') && cell.ends_with('"') &&
         cell.substr(1, cell.size() - 2).find("\"\"") != cell.npos;
}

}  // namespace

std::vector<TableRow> read_csv(std::string_view text, char separator) {
  return CsvReader(text, separator).rows();
}

std::vector<TableRow> read_tsv(std::string_view text) {
  std::vector<TableRow> rows;
  long line = 0;
  for (const std::string& one : split(text, '\n')) {
    ++line;
    if (trim(one).empty()) continue;
    TableRow row{.line = line};
    for (const std::string& cell : split(one, '\t'))
      row.cells.push_back(trim(cell));
    if (std::any_of(row.cells.begin(), row.cells.end(), is_quoted))
      row.problem = "a cell is quoted as in CSV, and TSV has no quotes; save the table as .csv";
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace cai
