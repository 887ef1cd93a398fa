// cai report: the page of a run, a page about two, event files for TensorBoard.
#include <optional>
#include <sstream>

#include "cai/base/error.hpp"
#include "cai/base/hash.hpp"
#include "cai/base/log.hpp"
#include "cai/cli/commands.hpp"
#include "cai/data/run_folder.hpp"
#include "cai/io/file.hpp"
#include "cai/io/records.hpp"
#include "cai/pipeline/home.hpp"
#include "cai/pipeline/plan.hpp"
#include "cai/stages/other_rules.hpp"
#include "cai/stages/report.hpp"
#include "cai/stages/report_compare.hpp"
#include "cai/stages/tensorboard.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;

void need_run(const std::string& run) {
  if (!fs::exists(fs::path(run) / "run.json")) throw InputError(run + ": not a run folder (no run.json)");
}

// The run's held-out answers by its own checks, and by those of each constitution that --also names.
Json scored_also(const Arguments& a, const Config& config) {
  Json all = Json::array();
  if (a.constitution.empty()) return all;
  const std::vector<fs::path> rounds = iterations_of(a.run);
  const fs::path eval = rounds.empty() ? fs::path() : rounds.back() / "eval";
  if (!fs::exists(eval / "manifest.json"))
    throw InputError(a.run + ": --also needs a finished run; this one has no evaluation yet");
  const std::vector<Json> records = read_records(eval);
  const Constitution own = read_constitution(fs::path(a.run) / "constitution.yaml");
  const auto add = [&](const Constitution& constitution) {
    all.push_back(followed_under(constitution, records, config.eval.bootstrap_samples, config.seed));
  };
  add(own);
  std::istringstream names(a.constitution);
  for (std::string name; std::getline(names, name);)
    add(name == "shuffled" ? shuffled(own) : read_constitution(find_shipped(name)));
  return all;
}

// The page in the run's folder, whose hash run.json notes.
fs::path write_report(const fs::path& run, const Json& also, const ReportConfig& config) {
  std::optional<FolderLock> lock;
  try {
    lock.emplace(run);
  } catch (const EnvironmentError& held) {  // a run in progress: its run.json is its own
    log_info(std::string(held.what()) + "; the report shows finished stages only");
  }
  Json facts = read_run_json(run);
  if (!also.empty()) facts["also"] = also;
  const std::string page = report_html(run, facts, config);
  write_file(run / "report.html", page);
  if (!lock) return run / "report.html";
  facts["report_sha256"] = sha256(page);
  write_sealed(run / "run.json", facts);
  return run / "report.html";
}

// The page elsewhere: nothing in the run's folder changes.
fs::path write_report_to(const fs::path& file, const fs::path& run, const Json& also,
                         const ReportConfig& config) {
  if (fs::is_directory(file)) throw InputError(file.string() + ": is a folder; --out names the page's file");
  Json facts = read_run_json(run);
  if (!also.empty()) facts["also"] = also;
  write_file(file, report_html(run, facts, config));
  return file;
}

fs::path write_comparison(const Arguments& a, const Config& config) {
  need_run(a.other);
  if (a.out.empty()) throw UsageError("cai report: a page about two runs needs --out FILE");
  if (!a.tensorboard.empty()) throw UsageError("cai report: --tensorboard takes one run");
  if (!a.constitution.empty()) throw UsageError("cai report: --also takes one run");
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
    const Json also = scored_also(a, config);
    const fs::path page = a.out.empty() ? write_report(a.run, also, config.report)
                                        : write_report_to(a.out, a.run, also, config.report);
    made["report"] = page.string();
    for (const Json& one : also)
      made["followed"][one["constitution"].get<std::string>()] = one["mean"];
    if (a.json && !also.empty()) made["also"] = also;
  }
  if (!a.tensorboard.empty()) {
    write_event_files(a.run, a.tensorboard);
    made["tensorboard"] = a.tensorboard;
  }
  print_figures(made, a.json);
  return kDone;
}

}  // namespace cai
