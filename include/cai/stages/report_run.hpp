// The sections of a run's report, in the page's order.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "cai/config/config.hpp"
#include "cai/io/json.hpp"
#include "cai/stages/report_page.hpp"

namespace cai {

struct ReportRun {
  std::filesystem::path folder;
  Json facts;                                 // of run.json
  std::vector<std::filesystem::path> rounds;  // folders of the iterations
  ReportConfig config;

  /// The heading of an iteration's part where there is more than one; else "".
  std::string round_name(const std::filesystem::path& round) const;
};

/// Figures of a stage's folder; null where the stage is not finished.
Json figures_of(const std::filesystem::path& stage);

/// critique-1, critique-2, ...: the finished rounds of a stage.
std::vector<std::filesystem::path> rounds_of(const std::filesystem::path& iteration,
                                             const std::string& stage);

/// Whether prompts of this iteration say that they are to be declined (red-team) or look as if (borderline).
bool has_kinds(const std::filesystem::path& iteration);

void report_verdict(Page& page, const ReportRun& run);
void report_decisions(Page& page, const ReportRun& run);
void report_principles(Page& page, const ReportRun& run);
void report_answers(Page& page, const ReportRun& run);
void report_curves(Page& page, const ReportRun& run);
void report_exam(Page& page, const ReportRun& run);
void report_stages(Page& page, const ReportRun& run);
void report_provenance(Page& page, const ReportRun& run);

}  // namespace cai
