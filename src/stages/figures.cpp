#include "cai/stages/figures.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"

namespace cai {
namespace {

// A measure by model, wherever it stands. Throws InputError naming the nearest one.
Json measured(const Json& figures, const std::string& name) {
  std::vector<const Json*> tables;
  if (figures.contains("measures")) tables.push_back(&figures["measures"]);
  if (figures.contains("suites"))
    for (const auto& [suite, inner] : figures["suites"].items())
      if (inner.contains("measures")) tables.push_back(&inner["measures"]);
  std::vector<std::string> names;
  for (const Json* table : tables) {
    if (table->contains(name)) return (*table)[name];
    for (const auto& [other, by_model] : table->items()) names.push_back(other);
  }
  const std::string near = nearest(name, names);
  throw InputError("eval.gates: no measure " + in_quotes(name) + (near.empty() ? "" : "; did you mean \"" + near + "\"?"));
}

}  // namespace

Json interval_json(const Interval& i) { return {{"value", i.value}, {"low", i.low}, {"high", i.high}, {"n", i.n}}; }

Json paired_json(const Groups& a, const Groups& b, bool yes_no, long samples, std::uint64_t seed) {
  if (a.size() != b.size()) throw Bug("paired difference of other groups");
  Groups differences = a;
  long gained = 0, lost = 0, n = 0;
  for (std::size_t g = 0; g < a.size(); ++g) {
    if (a[g].size() != b[g].size()) throw Bug("paired difference of " + std::to_string(a[g].size()) + " and " + std::to_string(b[g].size()) + " values");
    for (std::size_t i = 0; i < a[g].size(); ++i) differences[g][i] -= b[g][i], gained += a[g][i] > b[g][i], lost += a[g][i] < b[g][i], ++n;
  }
  Json difference = interval_json(bootstrap_balanced(differences, samples, seed));
  if (yes_no) {
    difference["mcnemar_p"] = mcnemar(gained, lost);
    // What a paired comparison of this size can show: 2.8 standard errors of the share of changed verdicts.
    const double share = std::max(0.05, static_cast<double>(gained + lost) / static_cast<double>(n));
    difference["smallest_detectable"] = 2.8 * std::sqrt(share / static_cast<double>(n));
  }
  return difference;
}

std::vector<std::string> failed_gates(const std::vector<std::string>& gates, const Json& figures) {
  std::vector<std::string> failed;
  for (const std::string& gate : gates) {
    const auto bad = [&] { return InputError("eval.gates: " + in_quotes(gate) + "; accepted: <measure> <= or >= <number>[%|pt], or base [+|- <number>pt], e.g. over_refusal <= base + 5pt"); };
    std::vector<std::string> words;
    for (const std::string& w : split(gate, ' '))
      if (!w.empty()) words.push_back(w);
    const bool absolute = words.size() == 3, relative = words.size() == 5 && words[2] == "base" && (words[3] == "+" || words[3] == "-");
    if ((!absolute && !relative) || (words[1] != "<=" && words[1] != ">=")) throw bad();
    const auto number = [&](std::string w) {
      double scale = 1;
      if (w.ends_with("%")) w.pop_back(), scale = 0.01;
      else if (w.ends_with("pt")) w.resize(w.size() - 2), scale = 0.01;
      double v = 0;
      const auto [end, error] = std::from_chars(w.data(), w.data() + w.size(), v);
      if (error != std::errc() || end != w.data() + w.size() || !std::isfinite(v)) throw bad();
      return v * scale;
    };
    const Json by_model = measured(figures, words[0]);
    const std::string last = figures["models"].back().get<std::string>(), first = figures["models"].front().get<std::string>();
    if (!by_model.contains(last) || !by_model.contains(first)) throw InputError("eval.gates: " + words[0] + " was not measured: no such prompts");
    const double value = by_model[last]["value"].get<double>(), base = by_model[first]["value"].get<double>();
    double limit = words[2] == "base" ? base : number(words[2]);
    if (relative) limit += (words[3] == "+" ? 1 : -1) * number(words[4]);
    if (words[1] == "<=" ? value <= limit + 1e-12 : value >= limit - 1e-12) continue;
    char text[128];
    std::snprintf(text, sizeof text, ": %.4g against %.4g", value, limit);
    failed.push_back(gate + text);
  }
  return failed;
}

void check_gate(const std::string& gate, const std::vector<std::string>& measures) {
  Json figures = {{"models", {"base"}}, {"measures", Json::object()}};
  for (const std::string& name : measures) figures["measures"][name] = {{"base", {{"value", 0.0}}}};
  failed_gates({gate}, figures);
}

}  // namespace cai
