#include "cai/stages/gates.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"
#include "cai/io/interval.hpp"
#include "cai/stages/eval.hpp"

namespace cai {
namespace {

InputError unreadable(const std::string& gate) {
  return InputError("eval.gates: " + in_quotes(gate) +
                    "; accepted: MEASURE <= or >= NUMBER[%|pt], or base [+|- NUMBER[%|pt]], then optionally "
                    "\"with 95%\", e.g. over_refusal <= base + 5pt");
}

double number_of(std::string text, const std::string& gate) {
  double scale = 1, value = 0;
  text = trim(text);
  if (text.ends_with("%")) {
    text.pop_back();
    scale = 0.01;
  } else if (text.ends_with("pt")) {
    text.resize(text.size() - 2);
    scale = 0.01;
  }
  text = trim(text);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value))
    throw unreadable(gate);
  return value * scale;
}

// Cuts "with 95%" off the end.
bool takes_interval(std::string& limit, const std::string& gate) {
  const std::size_t with = limit.find("with");
  if (with == limit.npos) return false;
  std::string level;
  for (const char c : limit.substr(with + 4))
    if (c != ' ') level += c;
  if (level != "95%") throw unreadable(gate);  // the intervals of eval are 95 % intervals
  limit = trim(limit.substr(0, with));
  return true;
}

// Of a measure, its values by model and its differences to the first model, wherever they stand; nullptr: not
// there.
struct Measured {
  const Json* by_model = nullptr;
  const Json* differences = nullptr;
};

Measured find_measure(const Json& figures, const std::string& name) {
  std::vector<const Json*> tables = {&figures};
  if (figures.contains("suites"))
    for (const Json& suite : figures["suites"])
      tables.push_back(&suite);
  for (const Json* table : tables) {
    if (!table->contains("measures") || !(*table)["measures"].contains(name)) continue;
    Measured found{&(*table)["measures"][name]};
    if (table->contains("differences") && (*table)["differences"].contains(name))
      found.differences = &(*table)["differences"][name];
    return found;
  }
  return {};
}

bool holds(const Gate& gate, double value, double limit) {
  return gate.at_most ? value <= limit + 1e-12 : value >= limit - 1e-12;
}

std::string against(const Gate& gate, double value, double limit) {
  char text[128];
  std::snprintf(text, sizeof text, ": %.4g against %.4g", value, limit);
  return gate.text + text;
}

// The end of the interval that is nearer to failing the gate.
double worse_end(const Gate& gate, const Json& interval) {
  const Interval i = interval_of(interval);
  return gate.at_most ? i.high : i.low;
}

// Why the gate fails, or "".
std::string failure(const Gate& gate, const Json& figures) {
  const std::string first = figures["models"].front().get<std::string>(),
                    last = figures["models"].back().get<std::string>();
  const Measured measured = find_measure(figures, gate.measure);
  const std::string missing = gate.text + ": " + gate.measure + " was not measured";
  if (measured.by_model == nullptr || !measured.by_model->contains(last) ||
      (gate.is_relative && !measured.by_model->contains(first)))
    return missing;
  const Json& mine = (*measured.by_model)[last];
  if (interval_of(mine).n == 0) return missing;
  if (gate.is_relative && gate.with_interval) {
    if (last == first) return "";  // no difference to itself
    if (measured.differences == nullptr || !measured.differences->contains(last))
      return missing + " against " + first;
    const double change = worse_end(gate, (*measured.differences)[last]);
    return holds(gate, change, gate.limit)
               ? ""
               : against(gate, change, gate.limit) + (gate.at_most ? " (upper" : " (lower") +
                     " end of the interval of the change)";
  }
  const double limit = gate.limit + (gate.is_relative ? interval_of((*measured.by_model)[first]).value : 0);
  const double value = gate.with_interval ? worse_end(gate, mine) : interval_of(mine).value;
  if (holds(gate, value, limit)) return "";
  return against(gate, value, limit) + (!gate.with_interval ? ""
                                        : gate.at_most      ? " (upper end of the interval)"
                                                            : " (lower end of the interval)");
}

}  // namespace

Gate read_gate(const std::string& text) {
  const std::size_t at = std::min(text.find("<="), text.find(">="));
  if (at == text.npos) throw unreadable(text);
  Gate gate{text, trim(text.substr(0, at)), text[at] == '<'};
  std::string limit = trim(text.substr(at + 2));
  gate.with_interval = takes_interval(limit, text);
  if (gate.measure.empty() || gate.measure.find(' ') != gate.measure.npos) throw unreadable(text);
  if (limit.starts_with("base")) {
    gate.is_relative = true;
    limit = trim(limit.substr(4));
    if (limit.empty()) return gate;
    if (limit.front() != '+' && limit.front() != '-') throw unreadable(text);
    gate.limit = (limit.front() == '+' ? 1 : -1) * number_of(limit.substr(1), text);
    return gate;
  }
  gate.limit = number_of(limit, text);
  return gate;
}

std::vector<std::string> failed_gates(const std::vector<std::string>& gates, const Json& figures) {
  std::vector<std::string> failed;
  for (const std::string& text : gates)
    if (const std::string line = failure(read_gate(text), figures); !line.empty()) failed.push_back(line);
  return failed;
}

void check_gate(const std::string& text, const EvalConfig& config, const Constitution& constitution,
                const std::vector<Json>& prompts, const Suites& suites) {
  const Gate gate = read_gate(text);
  const std::vector<std::string> measures = eval_measures(suites);
  if (std::find(measures.begin(), measures.end(), gate.measure) != measures.end()) {
    const std::string why = why_not_measured(gate.measure, config, constitution, prompts, suites);
    if (why.empty()) return;
    throw InputError("eval.gates: " + in_quotes(text) + " could only fail: " + why);
  }
  const std::string near = nearest(gate.measure, measures);
  throw InputError("eval.gates: no measure " + in_quotes(gate.measure) +
                   (near.empty() ? "" : "; did you mean \"" + near + "\"?"));
}

}  // namespace cai
