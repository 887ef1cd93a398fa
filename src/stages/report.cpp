#include "cai/stages/report.hpp"

#include "cai/base/error.hpp"
#include "cai/data/run_folder.hpp"
#include "cai/io/manifest.hpp"
#include "cai/stages/report_eval.hpp"
#include "cai/stages/report_other_rules.hpp"
#include "cai/stages/report_run.hpp"

namespace cai {

namespace fs = std::filesystem;

std::string ReportRun::round_name(const fs::path& round) const {
  return rounds.size() > 1 ? round.filename().string() : "";
}

Json figures_of(const fs::path& stage) {
  const auto manifest = fs::exists(stage) ? read_manifest(stage) : std::nullopt;
  return manifest ? manifest->figures : Json();
}

std::vector<fs::path> rounds_of(const fs::path& iteration, const std::string& stage) {
  std::vector<fs::path> found;
  for (int round = 1;; ++round) {
    const fs::path folder = iteration / (stage + "-" + std::to_string(round));
    if (!fs::exists(folder / "manifest.json")) return found;
    found.push_back(folder);
  }
}

bool has_kinds(const fs::path& iteration) {
  const Json prompts = figures_of(iteration / "prompts");
  if (field(prompts, "red-team") + field(prompts, "borderline") > 0) return true;
  for (const char* stage : {"candidates", "label", "ppo"}) {
    const Json figures = figures_of(iteration / stage);
    if (figures.is_object() && figures.contains("kinds") &&
        field(figures["kinds"], "red-team") + field(figures["kinds"], "borderline") > 0)
      return true;
  }
  const Json eval = figures_of(iteration / "eval");
  return eval.is_object() && eval.contains("measures") && eval["measures"].contains("attack_success") &&
         !eval["measures"]["attack_success"].empty();
}

static std::string page_of(const ReportRun& run) {
  Page page;
  page.title(run.folder.filename().string());
  report_verdict(page, run);
  report_decisions(page, run);
  report_principles(page, run);
  report_other_rules(page, run);
  report_answers(page, run);
  report_curves(page, run);
  if (!run.rounds.empty()) report_suites(page, figures_of(run.rounds.back() / "eval"));
  report_exam(page, run);
  report_stages(page, run);
  report_provenance(page, run);
  return page.html();
}

std::string report_html(const fs::path& run, const Json& facts, const ReportConfig& config) {
  try {
    return page_of({fs::weakly_canonical(run), facts, iterations_of(run), config});
  } catch (const Json::exception& e) {
    throw InputError(
        run.string(), 0,
        std::string("a manifest or record of this run is not of the expected form (") + e.what() + ")");
  }
}

}  // namespace cai
