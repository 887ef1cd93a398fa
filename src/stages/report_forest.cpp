#include "cai/stages/report_forest.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "cai/io/interval.hpp"
#include "cai/stages/report_eval.hpp"
#include "cai/stages/report_page.hpp"
#include "cai/stages/measure_words.hpp"

namespace cai {
namespace {

// The plot's half width: the smallest of these that holds every interval.
double reach_of(const std::vector<ForestRow>& rows) {
  double widest = 0;
  for (const ForestRow& row : rows)
    for (const ForestRow::Lane& lane : row.lanes) {
      const Interval d = interval_of(lane.difference);
      widest = std::max(widest, std::abs(d.value));
      if (d.is_known()) widest = std::max({widest, std::abs(d.low), std::abs(d.high)});
    }
  for (const double reach : {0.1, 0.2, 0.5})
    if (widest <= reach) return reach;
  return 1;
}

std::string at(double value, double reach) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f%%", 50 + 50 * std::clamp(value / reach, -1.0, 1.0));
  return text;
}

std::string vertical(const std::string& kind, double value, double reach) {
  const std::string x = at(value, reach);
  return "<line class=\"" + kind + "\" x1=\"" + x + "\" x2=\"" + x + "\" y1=\"0\" y2=\"100%\" />";
}

std::string grid(double reach) {
  return vertical("grid", -reach, reach) + vertical("grid", -reach / 2, reach) + vertical("zero", 0, reach) +
         vertical("grid", reach / 2, reach) + vertical("grid", reach, reach);
}

std::string axis(double reach) {
  std::string text = "<div class=\"lane\"><span></span><svg height=\"18\" aria-hidden=\"true\">";
  for (const double tick : {-1.0, -0.5, 0.0, 0.5, 1.0}) {
    char label[16];
    std::snprintf(label, sizeof label, tick == 0 ? "0" : "%+.0f", 100 * tick * reach);
    const std::string anchor = tick == -1 ? "start" : tick == 1 ? "end" : "middle";
    text += "<text y=\"13\" text-anchor=\"" + anchor + "\" x=\"" + at(tick * reach, reach) + "\">" + label +
            "</text>";
  }
  return text + "</svg></div>";
}

std::string change_words(const Json& difference) {
  const Interval d = interval_of(difference);
  char text[96];
  if (d.is_known())
    std::snprintf(text, sizeof text, "%+.0f [%+.0f, %+.0f]", 100 * d.value, 100 * d.low, 100 * d.high);
  else
    std::snprintf(text, sizeof text, "%+.0f, all the same", 100 * d.value);
  return text;
}

std::string lane(const ForestRow::Lane& lane, int direction, double reach) {
  const Interval d = interval_of(lane.difference);
  const bool certain = direction != 0 && is_beyond_chance(lane.difference);
  const std::string kind = !certain ? "unclear" : d.value * direction > 0 ? "better" : "worse";
  const std::string words = lane.name + ", " + change_words(lane.difference) + (certain ? ", " + kind : "");
  std::string text = "<div class=\"lane\"><span>" + escape(words) + "</span><svg height=\"20\" role=\"img\"";
  text += " aria-label=\"" + escape(words) + "\">" + grid(reach);
  if (d.is_known())
    text += "<line class=\"interval " + kind + "\" y1=\"10\" y2=\"10\" x1=\"" + at(d.low, reach) +
            "\" x2=\"" + at(d.high, reach) + "\" />";
  text += "<circle class=\"point " + kind + "\" r=\"5\" cy=\"10\" cx=\"" + at(d.value, reach) + "\" />";
  return text + "</svg></div>";
}

std::string count_of(const Json& interval) {
  const double n = field(interval, "n");
  return number(n, 7) + (n == 1 ? " prompt" : " prompts");
}

ForestRow row_of(const std::string& title, int direction, const Json& values, const Json& differences,
                 const Json& models) {
  ForestRow row{title, "", direction, {}};
  for (const Json& model : models) {
    const std::string name = model.get<std::string>();
    if (!values.contains(name)) continue;
    char share[16];
    std::snprintf(share, sizeof share, ": %.0f %%", 100 * field(values.at(name), "value"));
    if (row.before.empty()) row.before = name + share + " of " + count_of(values.at(name));
    if (differences.is_object() && differences.contains(name))
      row.lanes.push_back({name + share, differences.at(name)});
  }
  return row;
}

}  // namespace

std::string forest_plot(const std::vector<ForestRow>& rows) {
  if (rows.empty()) return "";
  const double reach = reach_of(rows);
  std::string text = "<div class=\"forest\">" + axis(reach);
  for (const ForestRow& row : rows) {
    const char* better = row.direction > 0 ? "; more is better" : row.direction < 0 ? "; less is better" : "";
    text += "<div class=\"measure\"><div>" + escape(row.title) + " <span class=\"soft\">" +
            escape(row.before) + better + "</span></div>";
    for (const ForestRow::Lane& one : row.lanes)
      text += lane(one, row.direction, reach);
    text += "</div>";
  }
  return text + "</div>";
}

std::vector<ForestRow> forest_rows(const Json& eval) {
  std::vector<ForestRow> rows;
  const std::vector<std::string> models = models_of(eval);
  const auto add = [&](const char* values, const char* differences, const std::string& name,
                       const std::string& title, int direction, const char* last_step) {
    if (!eval.contains(values) || !eval[values].contains(name) || !eval[values][name].is_object()) return;
    const Json changes = eval.value(differences, Json::object());
    ForestRow row =
        row_of(title, direction, eval[values][name], changes.value(name, Json::object()), eval.at("models"));
    const Json step = eval.value(last_step, Json::object()).value(name, Json());
    if (step.is_object() && models.size() > 2) row.lanes.push_back({models[1] + " to " + models[2], step});
    if (!row.lanes.empty()) rows.push_back(std::move(row));
  };
  for (const std::string& measure : main_measures())
    if (is_share(measure))
      add("measures", "differences", measure, shown_title(eval, measure), better_direction(measure),
          "last_step");
  if (eval.contains("followed"))
    for (const auto& [principle, by_model] : eval["followed"].items())
      add("followed", "followed_differences", principle, "Follows \"" + principle + "\"", 1,
          "followed_last_step");
  return rows;
}

}  // namespace cai
