// Gates: conditions on the figures of eval that decide the exit code.
#pragma once

#include <string>
#include <vector>

#include "cai/config/config.hpp"
#include "cai/data/constitution.hpp"
#include "cai/data/gate.hpp"
#include "cai/data/suites.hpp"
#include "cai/io/json.hpp"

namespace cai {

/// One line for each gate that fails, e.g. "over_refusal <= base + 5pt: 0.125 against 0.075". A gate names a
/// measure of eval or of one of its suites. A measure that was not measured fails its gate. With an interval,
/// a gate against the first model looks at the paired difference. Throws InputError for a gate that cannot be
/// read.
std::vector<std::string> failed_gates(const std::vector<std::string>& gates, const Json& figures);

/// One line for each gate that holds by its value while the interval crosses the limit: with other prompts it
/// might fail.
std::vector<std::string> doubtful_gates(const std::vector<std::string>& gates, const Json& figures);

/// Throws InputError for a gate that cannot be read, that names no measure, or whose measure needs what is
/// not there: `prompts` are the held-out ones, the rest as in eval().
void check_gate(const std::string& gate, const EvalConfig& config, const Constitution& constitution,
                const std::vector<Json>& prompts, const Suites& suites);

}  // namespace cai
