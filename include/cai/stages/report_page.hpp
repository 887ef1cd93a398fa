// What the report's page is put together from.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cai/io/json.hpp"

namespace cai {

struct Page {
  std::string html;
  void add(const std::string& text) { html += text + "\n"; }
  void heading(const std::string& text);  ///< escaped
};

extern const char* const kReportStyle;

/// Everything that came from a model, a prompt or a file goes through here: control and bidi characters are
/// spelled out, markup is inert.
std::string escape(std::string_view text);

std::string number(double v, int digits = 3);
std::string percent(double v);
double field(const Json& j, const char* name);  ///< 0 where it is no number

/// A cell of {value, low, high, n} and, where it is there, mcnemar_p; `more` is markup.
std::string interval_cell(const Json& interval, bool share, const std::string& more = "");

/// A line through the values, as SVG; "" for fewer than two.
std::string curve(const std::string& title, const std::vector<double>& values);

}  // namespace cai
