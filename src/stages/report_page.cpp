#include "cai/stages/report_page.hpp"

#include <algorithm>
#include <cstdio>

#include "cai/base/text.hpp"
#include "cai/io/interval.hpp"

namespace cai {

const char* const kReportStyle = R"(
:root{color-scheme:light dark;--ink:#1c1e21;--soft:#5d6470;--line:#d9dde3;--page:#fff;--card:#f6f7f9;--a:#1f6feb;--good:#1a7f37;--bad:#b3261e}
@media(prefers-color-scheme:dark){:root{--ink:#e6e8eb;--soft:#a2a9b4;--line:#3a3f47;--page:#15171a;--card:#1e2126;--a:#6ea8ff;--good:#5fc77a;--bad:#ff8a80}}
*{box-sizing:border-box}body{margin:0 auto;max-width:72rem;padding:1.2rem;font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--page)}
h1{font-size:1.7rem;margin:.2rem 0}h2{font-size:1.2rem;margin:2.2rem 0 .6rem;border-bottom:1px solid var(--line);padding-bottom:.2rem}h3{font-size:1rem;margin:1rem 0 .3rem}
p{margin:.4rem 0}.soft{color:var(--soft);font-size:.9rem}.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.92rem}th,td{text-align:left;padding:.35rem .6rem;border-bottom:1px solid var(--line);vertical-align:top}th{color:var(--soft);font-weight:600}
td.n{white-space:nowrap;font-variant-numeric:tabular-nums}.ci{color:var(--soft);font-size:.82rem;display:block}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(15rem,1fr));gap:.8rem}.card{background:var(--card);border:1px solid var(--line);border-radius:.5rem;padding:.7rem .9rem;overflow-wrap:anywhere;white-space:pre-wrap}
.card b{display:block;color:var(--soft);font-size:.8rem;font-weight:600;margin-bottom:.2rem}details{margin:.5rem 0;border:1px solid var(--line);border-radius:.5rem;padding:.5rem .8rem}summary{cursor:pointer;overflow-wrap:anywhere}
svg{width:100%;height:auto;background:var(--card);border:1px solid var(--line);border-radius:.5rem}svg text{fill:var(--soft);font:11px system-ui,sans-serif}svg path{fill:none;stroke:var(--a);stroke-width:2}svg line{stroke:var(--line)}
@media(max-width:600px){body{padding:.8rem}table{font-size:.78rem}th,td{padding:.3rem .25rem}td.n{white-space:normal}.ci{font-size:.68rem}}
.bar{background:var(--a);height:.6rem;border-radius:.3rem;min-width:2px}code{font-size:.85rem;overflow-wrap:anywhere}
)";

void Page::heading(const std::string& text) {
  add("<h2>" + escape(text) + "</h2>");
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
  std::snprintf(text, sizeof text, "%.*g", digits, v);
  return text;
}

std::string percent(double v) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f %%", 100 * v);
  return text;
}

double field(const Json& j, const char* name) {
  return j.contains(name) && j[name].is_number() ? j[name].get<double>() : 0;
}

std::string interval_cell(const Json& i, bool share, const std::string& more) {
  if (i.is_object() && i.contains("n") && field(i, "n") == 0) return "<td>not measured" + more + "</td>";
  const auto show = [&](double v) { return share ? percent(v) : number(v, 4); };
  const Interval interval = interval_of(i);
  const std::string p = i.contains("mcnemar_p") ? ", p " + number(field(i, "mcnemar_p"), 2) : "";
  const std::string bounds =
      interval.is_known() ? show(interval.low) + " to " + show(interval.high) : "all the same";
  const std::string prompts =
      interval.prompts > 0 ? " of " + std::to_string(interval.prompts) + " prompts" : "";
  return "<td class=n>" + show(interval.value) + "<span class=ci>" + bounds + ", n " +
         number(field(i, "n"), 6) + prompts + p + "</span>" + more + "</td>";
}

std::string curve(const std::string& title, const std::vector<double>& values) {
  if (values.size() < 2) return "";
  const double low = *std::min_element(values.begin(), values.end()),
               high = *std::max_element(values.begin(), values.end()), span = high > low ? high - low : 1;
  std::string path;
  for (std::size_t i = 0; i < values.size(); ++i) {
    char point[64];
    std::snprintf(point, sizeof point, "%s%.1f %.1f", i ? "L" : "M",
                  44 + 240.0 * static_cast<double>(i) / static_cast<double>(values.size() - 1),
                  112 - 84 * (values[i] - low) / span);
    path += point;
  }
  return "<svg viewBox=\"0 0 300 130\" role=img aria-label=\"" + escape(title) + "\"><text x=8 y=16>" +
         escape(title) + "</text><line x1=44 y1=112 x2=284 y2=112 /><text x=4 y=32>" + number(high) +
         "</text><text x=4 y=114>" + number(low) + "</text><text x=44 y=126>1</text><text x=262 y=126>" +
         std::to_string(values.size()) + "</text><path d=\"" + path + "\" /></svg>";
}

}  // namespace cai
