// A gate: a condition on a measured figure.
#pragma once

#include <string>

#include "cai/io/json.hpp"

namespace cai {

/// Which number of a figure a gate looks at.
enum class GateBound { kValue, kLow, kHigh };

/// A condition on the last model's measure: "attack_success <= 30%", "over_refusal <= base + 5pt",
/// "attack_success.high <= 30%", "attack_success <= 0.3 with 95%" (the end of the interval that is nearer to
/// failing). Spaces are optional.
struct Gate {
  std::string text;
  std::string measure;
  bool at_most = true;       // <=, else >=
  bool is_relative = false;  // `limit` is added to the first model's value
  double limit = 0;
  GateBound bound = GateBound::kValue;
};

/// Throws InputError saying what is accepted, after `where` ("eval.gates").
Gate read_gate(const std::string& text, const std::string& where = "eval.gates");

/// What a gate says of figures. A gate against the first model that looks at a bound is judged by the paired
/// difference: then `value`, `low` and `high` are those of the difference.
struct GateVerdict {
  bool passed = false;
  std::string missing;                  // why there is no figure, else ""
  double value = 0, low = 0, high = 0;  // infinite where a bound is not known
  double used = 0, limit = 0;           // what was compared
  bool is_difference = false;
  bool crosses = false;  // the gate looks at the value, and the interval reaches the other side of the limit
};

/// `figures`: those of eval ("models", "measures", "differences", "suites"). A measure that is not there
/// fails.
GateVerdict judge_gate(const Gate& gate, const Json& figures);

/// "lower end of the interval", "upper end of the interval of the change", "value"
std::string bound_name(const Gate& gate, const GateVerdict& verdict);

}  // namespace cai
