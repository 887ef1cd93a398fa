// report: one self-contained HTML page of a run.
#pragma once

#include <filesystem>
#include <string>

#include "cai/config/config.hpp"
#include "cai/io/json.hpp"

namespace cai {

/// Builds the page from what the run folder holds and `facts`, the content of its run.json (a run that is not
/// finished gives a shorter page). No script, no outside resource; text from models and prompts enters
/// escaped only. Deterministic: no time of day, wall times marked as such.
std::string report_html(const std::filesystem::path& run, const Json& facts, const ReportConfig& config);

}  // namespace cai
