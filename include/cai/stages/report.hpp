// report: one self-contained HTML page of a run.
#pragma once

#include <filesystem>
#include <string>

#include "cai/config/config.hpp"
#include "cai/io/json.hpp"

namespace cai {

/// Builds the page from what the run folder holds and `facts`, the content of its run.json (a run that is not
/// finished gives a shorter page). No outside resource, and a policy under which no script but the page's own
/// one runs; text from models and prompts enters escaped only. Deterministic but for the wall times, which
/// stand in a section of their own.
std::string report_html(const std::filesystem::path& run, const Json& facts, const ReportConfig& config);

}  // namespace cai
