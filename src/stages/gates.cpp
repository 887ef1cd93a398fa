#include "cai/stages/gates.hpp"

#include <algorithm>
#include <cstdio>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"
#include "cai/stages/eval.hpp"

namespace cai {
namespace {

// Why the gate fails, or "".
std::string failure(const Gate& gate, const Json& figures) {
  const GateVerdict verdict = judge_gate(gate, figures);
  if (verdict.passed) return "";
  if (!verdict.missing.empty()) return gate.text + ": " + verdict.missing;
  char text[128];
  std::snprintf(text, sizeof text, ": %.4g against %.4g", verdict.used, verdict.limit);
  if (gate.bound == GateBound::kValue) return gate.text + text;
  char value[64];
  std::snprintf(value, sizeof value, "; the value is %.4g)", verdict.value);
  return gate.text + text + " (" + bound_name(gate, verdict) + value;
}

}  // namespace

std::vector<std::string> failed_gates(const std::vector<std::string>& gates, const Json& figures) {
  std::vector<std::string> failed;
  for (const std::string& text : gates)
    if (const std::string line = failure(read_gate(text), figures); !line.empty()) failed.push_back(line);
  return failed;
}

std::vector<std::string> doubtful_gates(const std::vector<std::string>& gates, const Json& figures) {
  std::vector<std::string> doubtful;
  for (const std::string& text : gates) {
    const GateVerdict verdict = judge_gate(read_gate(text), figures);
    if (!verdict.crosses) continue;
    char interval[128];
    std::snprintf(interval, sizeof interval, ": the value %.4g holds, its interval [%.4g, %.4g] crosses %.4g",
                  verdict.value, verdict.low, verdict.high, verdict.limit);
    doubtful.push_back(text + interval);
  }
  return doubtful;
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
