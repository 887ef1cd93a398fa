// cai report: the page of a run, a page about two, event files for TensorBoard.
#include <optional>

#include "cai/base/error.hpp"
#include "cai/base/hash.hpp"
#include "cai/base/log.hpp"
#include "cai/cli/commands.hpp"
#include "cai/io/file.hpp"
#include "cai/pipeline/plan.hpp"
#include "cai/stages/report.hpp"
#include "cai/stages/report_compare.hpp"
#include "cai/stages/tensorboard.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;

void need_run(const std::string& run) {
  if (!fs::exists(fs::path(run) / "run.json")) throw InputError(run + ": not a run folder (no run.json)");
}

// The page in the run's folder, whose hash run.json notes.
fs::path write_report(const fs::path& run, const ReportConfig& config) {
  std::optional<FolderLock> lock;
  try {
    lock.emplace(run);
  } catch (const EnvironmentError& held) {  // a run in progress: its run.json is its own
    log_info(std::string(held.what()) + "; the report shows finished stages only");
  }
  Json facts = read_run_json(run);
  const std::string page = report_html(run, facts, config);
  write_file(run / "report.html", page);
  if (!lock) return run / "report.html";
  facts["report_sha256"] = sha256(page);
  write_sealed(run / "run.json", facts);
  return run / "report.html";
}

// The page elsewhere: nothing in the run's folder changes.
fs::path write_report_to(const fs::path& file, const fs::path& run, const ReportConfig& config) {
  if (fs::is_directory(file)) throw InputError(file.string() + ": is a folder; --out names the page's file");
  write_file(file, report_html(run, read_run_json(run), config));
  return file;
}

fs::path write_comparison(const Arguments& a, const Config& config) {
  need_run(a.other);
  if (a.out.empty()) throw UsageError("cai report: a page about two runs needs --out FILE");
  if (!a.tensorboard.empty()) throw UsageError("cai report: --tensorboard takes one run");
  if (fs::is_directory(a.out)) throw InputError(a.out + ": is a folder; --out names the page's file");
  write_file(a.out, compare_html(a.run, a.other, config.eval, config.report));
  return a.out;
}

}  // namespace

int run_report(const Arguments& a) {
  need_run(a.run);
  const Config config = config_of(a);
  Json made = Json::object();
  if (!a.other.empty()) {
    made["report"] = write_comparison(a, config).string();
  } else {
    made["report"] =
        (a.out.empty() ? write_report(a.run, config.report) : write_report_to(a.out, a.run, config.report))
            .string();
  }
  if (!a.tensorboard.empty()) {
    write_event_files(a.run, a.tensorboard);
    made["tensorboard"] = a.tensorboard;
  }
  print_figures(made, a.json);
  return kDone;
}

}  // namespace cai
