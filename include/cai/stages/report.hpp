// report: one self-contained HTML page of a run.
#pragma once

#include <filesystem>
#include <string>

#include "cai/config/config.hpp"

namespace cai {

/// Builds the page from what the run folder holds (a run that is not finished gives a shorter page). No script, no outside resource;
/// text from models and prompts enters escaped only. Deterministic: no time of day, wall times marked as such.
std::string report_html(const std::filesystem::path& run, const ReportConfig& config);

}  // namespace cai
