#include "cai/stages/report_page.hpp"

#include <cmath>
#include <cstdio>

#include "cai/base/text.hpp"
#include "cai/io/interval.hpp"
#include "cai/stages/measure_words.hpp"
#include "cai/web/files.hpp"
#include "cai/web/page.hpp"

namespace cai {

void Page::title(const std::string& text) {
  title_ = text;
  add("<h1>" + escape(text) + "</h1>");
}

void Page::section(const std::string& id, const std::string& title) {
  add("<h2 id=\"" + escape(id) + "\">" + escape(title) + "</h2>");
  contents_ += "<li><a href=\"#" + escape(id) + "\">" + escape(title) + "</a></li>";
}

void Page::heading(const std::string& text) {
  add("<h3>" + escape(text) + "</h3>");
}

void Page::paragraph(const std::string& text) {
  add("<p>" + escape(text) + "</p>");
}

void Page::note(const std::string& text) {
  add("<p class=\"soft\">" + escape(text) + "</p>");
}

void Page::list(const std::vector<std::string>& lines) {
  std::string items;
  for (const std::string& line : lines)
    items += "<li>" + escape(line) + "</li>";
  if (!items.empty()) add("<ul>" + items + "</ul>");
}

void Page::box(const std::string& kind, const std::string& heading, const std::vector<std::string>& lines) {
  if (lines.empty()) return;
  add("<div class=\"box " + kind + "\"><h3>" + escape(heading) + "</h3>");
  list(lines);
  add("</div>");
}

std::string Page::html() const {
  return fill_page(kReportHtml, {{"title", escape(title_)},
                                 {"style", std::string(kReportCss)},
                                 {"style_hash", policy_hash(kReportCss)},
                                 {"script", std::string(kReportJs)},
                                 {"script_hash", policy_hash(kReportJs)},
                                 {"contents", "<ol>" + contents_ + "</ol>"},
                                 {"body", body_}});
}

std::string escape(std::string_view text) {
  std::string out;
  for (const char c : printable(text)) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      case '\'': out += "&#39;"; break;
      default: out += c;
    }
  }
  return out;
}

std::string number(double v, int digits) {
  char text[48];
  if (v == std::round(v) && std::abs(v) < 1e15)
    std::snprintf(text, sizeof text, "%.0f", v == 0 ? 0 : v);
  else
    std::snprintf(text, sizeof text, "%.*g", digits, v);
  return text;
}

std::string percent(double v) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f %%", 100 * v);
  return text;
}

std::string points(double v) {
  char text[32];
  std::snprintf(text, sizeof text, "%+.0f points", 100 * v == 0 ? 0 : 100 * v);
  return text;
}

double field(const Json& j, const char* name) {
  return j.is_object() && j.contains(name) && j[name].is_number() ? j[name].get<double>() : 0;
}

Json inner(const Json& table, const std::string& name, const std::string& model) {
  if (!table.is_object() || !table.contains(name) || !table[name].is_object() || !table[name].contains(model))
    return {};
  return table[name][model];
}

Cell text_cell(std::string_view text) {
  return {escape(text), std::nullopt, false, false};
}

Cell count_cell(double count) {
  return {number(count, 7), count, true, false};
}

Cell long_cell(std::string_view text) {
  return {escape(text), std::nullopt, false, true};
}

Cell interval_cell(const Json& i, bool share) {
  if (!i.is_object() || (i.contains("n") && field(i, "n") == 0)) return text_cell("not measured");
  const auto show = [&](double v) { return share ? percent(v) : number(v, 4); };
  const Interval interval = interval_of(i);
  std::string text = show(interval.value) + "<span class=\"ci\">";
  text += interval.is_known() ? show(interval.low) + " to " + show(interval.high) : "all the same";
  text += ", n " + number(field(i, "n"), 6);
  if (interval.prompts > 0) text += " of " + std::to_string(interval.prompts) + " prompts";
  if (i.contains("mcnemar_p")) text += ", p " + number(field(i, "mcnemar_p"), 2);
  return {text + "</span>", interval.value, true, false};
}

Cell change_cell(const Json& difference, bool share, bool detectable) {
  if (!difference.is_object()) return {};
  const auto show = [&](double v) {
    return (v > 0 ? "+" : "") + (share ? number(100 * v, 3) + " pt" : number(v, 3));
  };
  const Interval d = interval_of(difference);
  std::string text = show(d.value) + "<span class=\"ci\">";
  text += d.is_known() ? show(d.low) + " to " + show(d.high) : "all the same";
  if (difference.contains("mcnemar_p")) text += ", p " + number(field(difference, "mcnemar_p"), 2);
  if (difference.contains("holm_p")) text += " (Holm " + number(field(difference, "holm_p"), 2) + ")";
  if (detectable && difference.contains("smallest_detectable"))
    text += "; detectable from " + number(100 * field(difference, "smallest_detectable"), 2) + " pt";
  text += "</span>";
  return {is_beyond_chance(difference) ? "<b>" + text + "</b>" : text, d.value, true, false};
}

std::string Table::html() const {
  std::string text = "<div class=\"scroll\"><table class=\"sortable stacked\"><thead><tr>";
  for (const std::string& column : columns)
    text += "<th scope=\"col\">" + escape(column) + "</th>";
  text += "</tr></thead><tbody>";
  for (const std::vector<Cell>& row : rows) {
    text += "<tr>";
    for (std::size_t i = 0; i < row.size(); ++i) {
      const Cell& cell = row[i];
      text += cell.is_number ? "<td class=\"n\"" : cell.is_long ? "<td class=\"long\"" : "<td";
      if (cell.sort && std::isfinite(*cell.sort)) text += " data-v=\"" + number(*cell.sort, 9) + "\"";
      if (i > 0 && i < columns.size()) text += " data-label=\"" + escape(columns[i]) + "\"";
      text += ">" + cell.markup + "</td>";
    }
    text += "</tr>";
  }
  return text + "</tbody></table></div>";
}

}  // namespace cai
