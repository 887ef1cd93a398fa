// What the report's pages are put together from. Everything that came from a model, a prompt or a file is
// escaped on its way into a page; what is called markup is not.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cai/io/json.hpp"

namespace cai {

class Page {
 public:
  void add(const std::string& markup) { body_ += markup + "\n"; }
  void title(const std::string& text);                            ///< the page's only h1
  void section(const std::string& id, const std::string& title);  ///< h2, and a line of the contents
  void heading(const std::string& text);                          ///< h3
  void paragraph(const std::string& text);
  void note(const std::string& text);  ///< a paragraph in soft ink
  void list(const std::vector<std::string>& lines);
  /// A coloured box with a heading and a list; nothing without lines. `kind`: warnings, failed.
  void box(const std::string& kind, const std::string& heading, const std::vector<std::string>& lines);

  /// The whole self-contained page, with a policy under which no script but its own runs and nothing is
  /// loaded from anywhere.
  std::string html() const;

 private:
  std::string title_, body_, contents_;
};

/// Control and bidi characters are spelled out, markup is inert.
std::string escape(std::string_view text);

std::string number(double v, int digits = 3);
std::string percent(double v);                  ///< 0.123: 12.3 %
std::string points(double v);                   ///< 0.123: +12 points
double field(const Json& j, const char* name);  ///< 0 where it is no number
Json inner(const Json& table, const std::string& name, const std::string& model);  ///< null where it is not

/// One cell of a table: markup, and the number that the column is sorted by.
struct Cell {
  std::string markup;
  std::optional<double> sort;
  bool is_number = false, is_long = false;
};

Cell text_cell(std::string_view text);
Cell count_cell(double count);
Cell long_cell(std::string_view text);  ///< may break anywhere, as hashes do
/// {value, low, high, n} and, where it is there, mcnemar_p.
Cell interval_cell(const Json& interval, bool share);
/// A difference with interval and test, bold where it is beyond chance; `detectable` adds what could be seen.
Cell change_cell(const Json& difference, bool share, bool detectable);

struct Table {
  std::vector<std::string> columns;  // plain text
  std::vector<std::vector<Cell>> rows;

  /// As markup; sortable by each column, and a list of labelled values on narrow screens.
  std::string html() const;
};

}  // namespace cai
