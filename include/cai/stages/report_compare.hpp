// One page about two runs.
#pragma once

#include <filesystem>
#include <string>

#include "cai/config/config.hpp"

namespace cai {

/// What the last models of two finished runs answered to the prompts that both were asked: differences with
/// their intervals, paired by prompt, settings that differ, and answers side by side. Checks are those of the
/// second run's constitution for both. Throws InputError where a run has no evaluation, or the two no prompt
/// in common.
std::string compare_html(const std::filesystem::path& first, const std::filesystem::path& second,
                         const EvalConfig& eval, const ReportConfig& config);

}  // namespace cai
