#include "cai/data/gate.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <vector>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"
#include "cai/io/interval.hpp"

namespace cai {
namespace {

constexpr double kRounding = 1e-12;

// A gate and where it stands, while it is read.
struct Typed {
  const std::string& text;
  const std::string& where;

  [[noreturn]] void refuse() const {
    throw InputError(
        where + ": " + in_quotes(text) +
        "; accepted: MEASURE[.low|.high|.value] <= or >= NUMBER[%|pt], or base [+|- NUMBER[%|pt]], "
        "e.g. attack_success.high <= 30%, over_refusal.high <= base + 5pt; \"with 95%\" at the end "
        "takes the end of the interval that is nearer to failing");
  }
};

double number_of(std::string text, const Typed& gate) {
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
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value)) gate.refuse();
  return value * scale;
}

// Cuts "with 95%" off the end.
bool takes_interval(std::string& limit, const Typed& gate) {
  const std::size_t with = limit.find("with");
  if (with == limit.npos) return false;
  std::string level;
  for (const char c : limit.substr(with + 4))
    if (c != ' ') level += c;
  if (level != "95%") gate.refuse();  // the intervals of eval are 95 % intervals
  limit = trim(limit.substr(0, with));
  return true;
}

// Cuts ".low", ".high" or ".value" off the measure's name; false where there is none.
bool takes_bound(Gate& gate) {
  static const std::pair<const char*, GateBound> kSuffixes[] = {
      {".low", GateBound::kLow}, {".high", GateBound::kHigh}, {".value", GateBound::kValue}};
  for (const auto& [suffix, bound] : kSuffixes) {
    if (!gate.measure.ends_with(suffix)) continue;
    gate.measure.resize(gate.measure.size() - std::string_view(suffix).size());
    gate.bound = bound;
    return true;
  }
  return false;
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

void take(GateVerdict& verdict, const Json& interval) {
  const Interval i = interval_of(interval);
  verdict.value = i.value;
  verdict.low = i.low;
  verdict.high = i.high;
}

bool holds(const Gate& gate, double value, double limit) {
  return gate.at_most ? value <= limit + kRounding : value >= limit - kRounding;
}

void compare(const Gate& gate, GateVerdict& verdict) {
  verdict.used = gate.bound == GateBound::kLow    ? verdict.low
                 : gate.bound == GateBound::kHigh ? verdict.high
                                                  : verdict.value;
  verdict.passed = holds(gate, verdict.used, verdict.limit);
  const double worse = gate.at_most ? verdict.high : verdict.low;
  verdict.crosses = gate.bound == GateBound::kValue && verdict.passed && !holds(gate, worse, verdict.limit);
}

}  // namespace

Gate read_gate(const std::string& text, const std::string& where) {
  const Typed typed{text, where};
  const std::size_t at = std::min(text.find("<="), text.find(">="));
  if (at == text.npos) typed.refuse();
  Gate gate{text, trim(text.substr(0, at)), text[at] == '<'};
  std::string limit = trim(text.substr(at + 2));
  const bool with_interval = takes_interval(limit, typed);
  const bool has_bound = takes_bound(gate);
  if (with_interval && has_bound) typed.refuse();  // the bound is named twice
  if (with_interval) gate.bound = gate.at_most ? GateBound::kHigh : GateBound::kLow;
  if (gate.measure.empty() || gate.measure.find(' ') != gate.measure.npos) typed.refuse();
  if (!limit.starts_with("base")) {
    gate.limit = number_of(limit, typed);
    return gate;
  }
  gate.is_relative = true;
  limit = trim(limit.substr(4));
  if (limit.empty()) return gate;
  if (limit.front() != '+' && limit.front() != '-') typed.refuse();
  gate.limit = (limit.front() == '+' ? 1 : -1) * number_of(limit.substr(1), typed);
  return gate;
}

GateVerdict judge_gate(const Gate& gate, const Json& figures) {
  const std::string first = figures.at("models").front().get<std::string>();
  const std::string last = figures.at("models").back().get<std::string>();
  const Measured measured = find_measure(figures, gate.measure);
  GateVerdict verdict;
  verdict.limit = gate.limit;
  verdict.missing = gate.measure + " was not measured";
  if (measured.by_model == nullptr || !measured.by_model->contains(last) ||
      (gate.is_relative && !measured.by_model->contains(first)))
    return verdict;
  const Json& mine = (*measured.by_model)[last];
  if (interval_of(mine).n == 0) return verdict;
  if (gate.is_relative && gate.bound != GateBound::kValue) {
    verdict.is_difference = true;
    if (last == first) {  // no difference to itself
      verdict.missing.clear();
    } else if (measured.differences == nullptr || !measured.differences->contains(last)) {
      verdict.missing += " against " + first;
      return verdict;
    } else {
      take(verdict, (*measured.differences)[last]);
    }
  } else {
    take(verdict, mine);
    if (gate.is_relative) verdict.limit += interval_of((*measured.by_model)[first]).value;
  }
  verdict.missing.clear();
  compare(gate, verdict);
  if (last == first && verdict.is_difference) verdict.passed = true;
  return verdict;
}

std::string bound_name(const Gate& gate, const GateVerdict& verdict) {
  if (gate.bound == GateBound::kValue) return "value";
  return std::string(gate.bound == GateBound::kHigh ? "upper" : "lower") + " end of the interval" +
         (verdict.is_difference ? " of the change" : "");
}

}  // namespace cai
