// The curves of each training stage.
#include <cmath>
#include <map>

#include "cai/stages/metrics.hpp"
#include "cai/stages/report_curves.hpp"
#include "cai/stages/report_run.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;

struct Wanted {
  const char *metric, *title, *unit;
};

const std::vector<Wanted>& wanted(const std::string& stage) {
  static const std::map<std::string, std::vector<Wanted>> all = {
      {"sft",
       {{"loss", "loss", "nats a token"},
        {"decision_loss", "loss of the decision to decline or answer", "nats"},
        {"divergence", "divergence from the first model", "nats a token"},
        {"gradient_norm", "gradient norm", ""}}},
      {"reward",
       {{"loss", "loss", "nats a pair"},
        {"accuracy", "accuracy on the batch", ""},
        {"gradient_norm", "gradient norm", ""}}},
      {"ppo",
       {{"score", "score of the reward model", ""},
        {"kl", "KL to the reference", "nats a sequence"},
        {"policy_loss", "policy loss", ""},
        {"entropy", "entropy", "nats a token"},
        {"length", "length", "tokens"},
        {"stop_rate", "share of answers that end", ""},
        {"explained_variance", "explained variance of the value model", ""}}},
      {"dpo",
       {{"loss", "loss", "nats a pair"},
        {"accuracy", "accuracy on the batch", ""},
        {"preferred_log_ratio", "log-ratio of preferred answers", "nats"},
        {"other_log_ratio", "log-ratio of the others", "nats"}}}};
  return all.at(stage);
}

double value_of(const Json& line, const std::string& name) {
  return line.contains(name) && line[name].is_number() ? line[name].get<double>() : NAN;
}

std::vector<double> column(const std::vector<Json>& lines, const std::string& name) {
  std::vector<double> values;
  bool any = false;
  for (const Json& line : lines) {
    values.push_back(value_of(line, name));
    any = any || std::isfinite(values.back());
  }
  return any ? values : std::vector<double>();
}

// Metrics that are objects of numbers: {"followed": {"short": 0.5, ...}} is a curve with one line a
// principle.
std::vector<Curve> grouped_curves(const std::string& stage, const std::vector<Json>& lines) {
  std::map<std::string, std::map<std::string, std::vector<double>>> groups;
  for (std::size_t i = 0; i < lines.size(); ++i)
    for (const auto& [metric, values] : lines[i].items()) {
      if (!values.is_object()) continue;
      for (const auto& [name, value] : values.items()) {
        if (!value.is_number()) continue;
        std::vector<double>& line = groups[metric][name];
        line.resize(lines.size(), NAN);
        line[i] = value.get<double>();
      }
    }
  std::vector<Curve> curves;
  for (auto& [metric, series] : groups) {
    Curve curve{stage + ": " + metric, "", "step", {}};
    curve.series.assign(series.begin(), series.end());
    curves.push_back(std::move(curve));
  }
  return curves;
}

std::string figures(const fs::path& iteration, const std::string& stage) {
  const std::vector<Json> lines = read_metrics(iteration / stage);
  const char* step = stage == "ppo" ? "update" : "step";
  std::string text;
  for (const auto& [metric, title, unit] : wanted(stage)) {
    const std::vector<double> values = column(lines, metric);
    if (!values.empty()) text += curve_figure({stage + ": " + title, unit, step, {{title, values}}});
  }
  for (Curve& curve : grouped_curves(stage, lines)) {
    curve.step = step;
    text += curve_figure(curve);
  }
  return text;
}

}  // namespace

void report_curves(Page& page, const ReportRun& run) {
  bool is_begun = false;
  for (const fs::path& round : run.rounds) {
    std::string all;
    for (const std::string& stage : stages_with_metrics(round))
      all += figures(round, stage);
    if (all.empty()) continue;
    if (!is_begun) page.section("curves", "Training curves");
    is_begun = true;
    if (const std::string name = run.round_name(round); !name.empty()) page.heading(name);
    page.add("<div class=\"curves\">" + all + "</div>");
  }
}

}  // namespace cai
