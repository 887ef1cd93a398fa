#include "cai/data/rows.hpp"

#include <algorithm>
#include <charconv>
#include <set>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"
#include "cai/data/csv.hpp"
#include "cai/io/file.hpp"
#include "cai/io/parquet.hpp"
#include "cai/io/unpack.hpp"

namespace cai {
namespace fs = std::filesystem;
namespace {

constexpr const char* kAccepted =
    ".jsonl, .json, .csv, .tsv, .txt and .parquet, also with .gz or .zst behind";

std::string ending_of(fs::path path) {
  std::string ending = lower_ascii(path.extension().string());
  if (ending == ".gz" || ending == ".zst") ending = lower_ascii(path.stem().extension().string());
  return ending;
}

// What a value at the top of a JSON file is when it is no record.
std::string kind_of_value(const Json& value) {
  return value.is_array()    ? "a list"
         : value.is_string() ? "a text"
         : value.is_object() ? "an object"
                             : "no object";
}

void add_value(Rows& rows, Json value, long line) {
  if (value.is_string()) value = Json{{"prompt", std::move(value)}};
  if (value.is_object())
    rows.rows.push_back({std::move(value), line});
  else
    rows.problems.push_back(rows.place(line) + ": found " + kind_of_value(value) +
                            "; accepted: a JSON object");
}

void read_lines(Rows& rows, std::string_view text) {
  long line = 0;
  for (const std::string& one : split(text, '\n')) {
    ++line;
    if (trim(one).empty()) continue;
    try {
      Json value = parse_json(one, rows.file, line);
      if (value.is_object())
        rows.rows.push_back({std::move(value), line});
      else
        rows.problems.push_back(rows.place(line) + ": not a JSON object");
    } catch (const InputError& e) {
      rows.problems.push_back(e.what());
    }
  }
}

// The lines on which the values of a JSON list begin; the text is known to be one.
std::vector<long> lines_of_values(std::string_view text) {
  std::vector<long> lines;
  long line = 1, depth = 0;
  bool in_string = false, is_value_next = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    line += c == '\n';
    if (in_string) {
      if (c == '\\')
        ++i;
      else
        in_string = c != '"';
      continue;
    }
    const bool is_space = c == ' ' || c == '\n' || c == '\r' || c == '\t';
    if (is_value_next && !is_space && c != ']') lines.push_back(line), is_value_next = false;
    in_string = c == '"';
    if (c == '[' || c == '{') is_value_next = ++depth == 1;
    if (c == ']' || c == '}') --depth;
    if (c == ',' && depth == 1) is_value_next = true;
  }
  return lines;
}

// An object of a JSON file: a record, or what holds the list of them ({"data": [...]}).
void add_object(Rows& rows, Json object) {
  const auto is_list = [](const Json& value) {
    return value.is_array() && !value.empty() &&
           std::all_of(value.begin(), value.end(), [](const Json& v) { return v.is_object(); });
  };
  const bool is_record = object.contains("prompt") || object.contains("messages") ||
                         object.contains("conversations") || object.contains("chosen") ||
                         object.contains("a");
  if (is_record || object.size() != 1 || !is_list(object.begin().value()))
    return add_value(rows, std::move(object), 1);
  for (Json& value : object.begin().value())
    add_value(rows, std::move(value), 1);
}

bool is_json(std::string_view text) {
  try {
    parse_json(text, "");
    return true;
  } catch (const InputError&) {
    return false;
  }
}

// A list of records; or an object a line; or one object, on one line or several.
void read_json(Rows& rows, std::string_view text, const std::string& ending) {
  const std::size_t begin = std::min(text.find_first_not_of(" \t\r\n"), text.size());
  if (text.substr(begin).starts_with('[') && text.find_first_of("{\"", begin) != text.npos) {
    Json list = parse_json(text, rows.file);
    const std::vector<long> lines = lines_of_values(text);
    for (std::size_t i = 0; i < list.size(); ++i)
      add_value(rows, std::move(list[i]), lines.at(i));
    return;
  }
  const std::size_t end = std::min(text.find('\n', begin), text.size());
  const std::string first = trim(text.substr(begin, end - begin));
  const bool goes_on = first.starts_with('{') && (first == "{" || (ending == ".json" && !is_json(first)));
  const bool is_only = first.starts_with('{') && trim(text.substr(end)).empty() && is_json(first);
  if (goes_on || is_only)
    add_object(rows, parse_json(text, rows.file));
  else
    read_lines(rows, text);
}

// Whether a text file holds JSON by mistake: its lines would all become prompts.
bool holds_json(std::string_view text) {
  const std::size_t begin = std::min(text.find_first_not_of(" \t\r\n"), text.size());
  const std::string_view all = text.substr(begin), first = all.substr(0, all.find('\n'));
  return (all.starts_with('{') || all.starts_with('[')) && (is_json(first) || is_json(all));
}

void read_text(Rows& rows, std::string_view text) {
  if (holds_json(text))
    throw InputError(rows.file, 0, "holds JSON; give the file a name that ends in .jsonl or .json");
  long line = 0;
  for (const std::string& one : split(text, '\n')) {
    ++line;
    std::string words = trim(one);
    if (words.empty()) continue;
    if (is_utf8(words))
      rows.rows.push_back({Json{{"prompt", std::move(words)}}, line});
    else
      rows.problems.push_back(rows.place(line) + ": not valid UTF-8");
  }
}

// A cell as the column's field: texts, but for lists and numbers.
Json cell_value(const std::string& column, const std::string& cell) {
  static const std::set<std::string> conversations = {"prompt", "messages", "conversations", "chosen",
                                                      "rejected"};
  if (column == "human") {
    double number = 0;
    const auto [end, error] = std::from_chars(cell.data(), cell.data() + cell.size(), number);
    if (error == std::errc() && end == cell.data() + cell.size()) return number;
  }
  if (column == "tags") {
    Json tags = Json::array();
    for (const std::string& tag : split(cell, ','))
      if (!trim(tag).empty()) tags.push_back(trim(tag));
    return tags;
  }
  const std::string start = trim(cell).substr(0, 3);
  if (!conversations.contains(column) || !start.starts_with("[{")) return cell;
  if (start == "[{'")
    throw InputError("column " + in_quotes(column) +
                     " holds a Python list as text; write the table as JSON Lines or Parquet");
  return parse_json(cell, "column " + in_quotes(column), 0);
}

// The header's names; a column without one (the row numbers that pandas writes) is passed over.
bool take_header(Rows& rows, const TableRow& header) {
  for (const std::string& cell : header.cells)
    rows.columns.push_back(trim(cell));
  for (const std::string& name : rows.columns) {
    const bool is_twice = !name.empty() && std::count(rows.columns.begin(), rows.columns.end(), name) > 1;
    std::string problem = header.problem;
    if (!is_utf8(name))
      problem = "not valid UTF-8";
    else if (is_twice)
      problem = "duplicate column " + in_quotes(name) + " in the header";
    if (problem.empty()) continue;
    rows.problems.push_back(rows.place(header.line) + ": " + problem);
    return false;
  }
  return true;
}

std::string problem_of(const Rows& rows, const TableRow& row) {
  if (!row.problem.empty()) return row.problem;
  if (row.cells.size() != rows.columns.size())
    return std::to_string(row.cells.size()) + " columns; the header has " +
           std::to_string(rows.columns.size());
  return std::all_of(row.cells.begin(), row.cells.end(), is_utf8) ? "" : "not valid UTF-8";
}

void take_table(Rows& rows, const std::vector<TableRow>& table) {
  if (table.empty() || !take_header(rows, table.front())) return;
  for (std::size_t i = 1; i < table.size(); ++i) {
    const TableRow& row = table[i];
    std::string problem = problem_of(rows, row);
    Json record = Json::object();
    try {
      for (std::size_t k = 0; problem.empty() && k < row.cells.size(); ++k)
        if (!row.cells[k].empty() && !rows.columns[k].empty())
          record[rows.columns[k]] = cell_value(rows.columns[k], row.cells[k]);
    } catch (const InputError& e) {
      problem = e.what();
    }
    if (problem.empty())
      rows.rows.push_back({std::move(record), row.line});
    else
      rows.problems.push_back(rows.place(row.line) + ": " + problem);
  }
}

// European spreadsheets part the cells of a .csv file with semicolons, others with tabs: the header tells.
char separator_of(std::string_view text) {
  const std::string_view header = text.substr(0, text.find('\n'));
  for (const char separator : {',', ';', '\t'})
    if (header.find(separator) != header.npos) return separator;
  return ',';
}

// Unpacked, as UTF-8 without a byte order mark.
std::string text_of_bytes(std::string bytes, const std::string& file) {
  std::string text = unpack(std::move(bytes), file);
  if (text.starts_with("\xff\xfe") || text.starts_with("\xfe\xff"))
    throw InputError(file, 0, "is UTF-16; save it as UTF-8");
  if (text.starts_with("\xef\xbb\xbf")) text.erase(0, 3);  // the byte order mark that some editors write
  return text;
}

void take_parquet(Rows& rows, const fs::path& path) {
  rows.are_lines = false;
  long number = 0;
  for (Json& record : read_parquet(path)) {
    if (rows.columns.empty())
      for (const auto& [name, value] : record.items())
        rows.columns.push_back(name);
    rows.rows.push_back({std::move(record), ++number});
  }
}

}  // namespace

std::string Rows::place(long number) const {
  return number == 0 ? file : file + (are_lines ? ":" : ": row ") + std::to_string(number);
}

Rows rows_of_bytes(std::string bytes, const std::string& file, const std::string& ending) {
  Rows rows{.file = file};
  const std::string text = text_of_bytes(std::move(bytes), file);
  if (ending == ".jsonl" || ending == ".ndjson" || ending == ".json")
    read_json(rows, text, ending);
  else if (ending == ".csv")
    take_table(rows, read_csv(text, separator_of(text)));
  else if (ending == ".tsv" || ending == ".tab")
    take_table(rows, read_tsv(text));
  else if (ending == ".txt" || ending.empty())
    read_text(rows, text);
  else
    throw InputError(file, 0,
                     "files of the kind " + in_quotes(ending) + " are not read; accepted: " + kAccepted);
  return rows;
}

Rows read_rows(const fs::path& path) {
  Rows rows{.file = path.string()};
  if (!fs::exists(path) || fs::is_directory(path)) throw InputError(rows.file, 0, "no such file");
  const std::string ending = ending_of(path);
  if (ending == ".parquet") return take_parquet(rows, path), rows;
  return rows_of_bytes(read_file(path), rows.file, ending);
}

std::string name_list(const std::vector<std::string>& names) {
  constexpr std::size_t kShown = 12;
  std::string list;
  for (std::size_t i = 0; i < std::min(kShown, names.size()); ++i)
    list += (i > 0 ? ", " : "") + in_quotes(names[i]);
  return list + (names.size() > kShown ? ", ..." : "");
}

void RowProblems::add(long number, const std::string& what) {
  const auto [place, is_new] = places_.emplace(what, problems_.size());
  if (is_new)
    problems_.push_back({what, number, 1});
  else
    ++problems_[place->second].count;
}

void RowProblems::throw_if_any() const {
  std::vector<std::string> lines = rows_.problems;
  for (const Problem& p : problems_)
    lines.push_back(rows_.place(p.first) + ": " + p.what +
                    (p.count > 1 ? " (and in " + std::to_string(p.count - 1) + " more)" : ""));
  throw_problems(lines);
}

}  // namespace cai
