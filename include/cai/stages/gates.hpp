// Gates: conditions on the figures of eval that decide the exit code.
#pragma once

#include <string>
#include <vector>

#include "cai/config/config.hpp"
#include "cai/data/constitution.hpp"
#include "cai/data/suites.hpp"
#include "cai/io/json.hpp"

namespace cai {

/// A condition on the last model's measure: "attack_success <= 30%", "over_refusal <= base + 5pt",
/// "attack_success <= 0.3 with 95%". Spaces are optional.
struct Gate {
  std::string text;
  std::string measure;
  bool at_most = true;       // <=, else >=
  bool is_relative = false;  // `limit` is added to the first model's value
  double limit = 0;
  bool with_interval =
      false;  // the bound of the 95 % interval counts that is nearer to failing, not the value
};

/// Throws InputError saying what is accepted.
Gate read_gate(const std::string& text);

/// One line for each gate that fails, e.g. "over_refusal <= base + 5pt: 0.125 against 0.075". A gate names a
/// measure of eval or of one of its suites. A measure that was not measured fails its gate. With an interval,
/// a gate against the first model looks at the paired difference. Throws InputError for a gate that cannot be
/// read.
std::vector<std::string> failed_gates(const std::vector<std::string>& gates, const Json& figures);

/// Throws InputError for a gate that cannot be read, that names no measure, or whose measure needs what is
/// not there: `prompts` are the held-out ones, the rest as in eval().
void check_gate(const std::string& gate, const EvalConfig& config, const Constitution& constitution,
                const std::vector<Json>& prompts, const Suites& suites);

}  // namespace cai
