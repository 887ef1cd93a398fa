// Commands on whole runs, and which file has the others.
#include "cai/cli/commands.hpp"

#include <cmath>
#include <cstdio>
#include <iostream>
#include <memory>

#include "cai/base/error.hpp"
#include "cai/base/log.hpp"
#include "cai/base/text.hpp"
#include "cai/cli/progress_line.hpp"
#include "cai/io/interval.hpp"
#include "cai/pipeline/home.hpp"
#include "cai/pipeline/plan.hpp"
#include "cai/pipeline/run.hpp"
#include "cai/stages/verdict.hpp"

namespace cai {
namespace fs = std::filesystem;

namespace {

constexpr std::size_t kFiguresThatMatter = 3;

void print_verdict(const Json& figures, std::size_t most) {
  const std::vector<std::string> lines = verdict(figures, most);
  if (lines.empty()) return;
  std::printf("%s to %s, with 95 %% intervals of the change in points:\n",
              printable(figures["models"].front().get<std::string>()).c_str(),
              printable(figures["models"].back().get<std::string>()).c_str());
  for (const std::string& line : lines)
    std::printf("  %s\n", printable(line).c_str());
  std::fflush(stdout);
}

}  // namespace

void print_measures(const Json& figures) {
  if (!figures.is_object() || !figures.contains("measures") || !figures.contains("models")) return;
  std::printf("%-28s", "");
  for (const Json& model : figures["models"])
    std::printf("%-26s", printable(model.get<std::string>()).c_str());
  std::printf("\n");
  for (const auto& [measure, by_model] : figures["measures"].items()) {
    if (by_model.empty()) continue;  // not measured
    std::printf("%-28s", printable(measure).c_str());
    for (const Json& model : figures["models"]) {
      const auto found = by_model.find(model.get<std::string>());
      std::printf("%-26s", found == by_model.end() ? "-" : interval_text(*found).c_str());
    }
    std::printf("\n");
  }
  std::printf("\n");
  print_verdict(figures, 99);
}

namespace {

void print_next_steps(const fs::path& run) {
  const std::string name = program_name(), folder = printable(run.string());
  std::printf(
      "\nreport  %s\nnext    open the report in a browser; talk to the model: %s chat --model %s; write it "
      "for other programs: %s export --model %s --format gguf --out exported\n",
      printable((run / "report.html").string()).c_str(), name.c_str(), folder.c_str(), name.c_str(),
      folder.c_str());
  std::fflush(stdout);
}

int run_train(const Arguments& a) {
  Config config = config_of(a);
  ProgressStyle style = progress_style(a.json, a.quiet);
  const auto stages = std::make_shared<std::vector<std::string>>();
  const TrainOptions options{a.force, [&](const std::vector<std::string>& folders) { *stages = folders; }};
  const RunResult result =
      train(config, {a.reuse.begin(), a.reuse.end()}, progress_line(style, stages), options);
  end_progress_line(style);
  if (result.exit_code == kStopped) {
    if (a.json) print_figures({{"run", result.folder.string()}, {"state", "stopped"}}, true);
    return kStopped;
  }
  if (!a.json) {
    print_verdict(result.figures, kFiguresThatMatter);
    print_next_steps(result.folder);
    return result.exit_code;
  }
  print_figures({{"run", result.folder.string()},
                 {"report", (result.folder / "report.html").string()},
                 {"eval", result.figures},
                 {"verdict", verdict(result.figures)}},
                true);
  return result.exit_code;
}

int run_plan(const Arguments& a) {
  const Plan plan = cai::plan(config_of(a));
  double tokens = 0, seconds = 0;
  Json list = Json::array();
  for (const PlanStep& step : plan.steps) {
    tokens += step.tokens, seconds += step.seconds;
    list.push_back({{"stage", step.stage},
                    {"folder", step.folder},
                    {"state", step.state},
                    {"why", step.why},
                    {"records", step.records},
                    {"tokens", std::round(step.tokens)},
                    {"seconds", std::round(step.seconds)}});
  }
  if (a.json) {
    std::cout << to_lines({{"steps", list},
                           {"tokens", std::round(tokens)},
                           {"seconds", std::round(seconds)},
                           {"disk_bytes", std::round(plan.disk_bytes)},
                           {"memory_bytes", std::round(plan.memory_bytes)},
                           {"device_bytes", std::round(plan.device_bytes)}});
    return kDone;
  }
  std::printf("%-24s %-8s %8s %10s %12s  %s\n", "stage", "state", "records", "tokens", "about", "why");
  for (const PlanStep& step : plan.steps) {
    bool runs = step.state != "done";
    std::printf("%-24s %-8s %8s %10s %12s  %s\n", step.folder.c_str(), step.state.c_str(),
                runs ? std::to_string(step.records).c_str() : "",
                runs ? std::to_string(std::lround(step.tokens)).c_str() : "",
                runs ? duration_text(step.seconds).c_str() : "", printable(step.why).c_str());
  }
  std::printf("total (estimate): %.2g million tokens, %s, up to %.1f GB of disk, %.1f GB of memory",
              tokens / 1e6, duration_text(seconds).c_str(), plan.disk_bytes / 1e9, plan.memory_bytes / 1e9);
  if (plan.device_bytes > 0) std::printf(", %.1f GB of GPU memory", plan.device_bytes / 1e9);
  std::printf("\n");
  std::fflush(stdout);
  return kDone;
}

int run_verify(const Arguments& a) {
  std::vector<std::string> lines = verify(a.run, a.other);
  if (a.json)
    std::cout << to_lines(Json(lines));
  else
    for (const std::string& line : lines)
      std::cout << printable(line) << "\n";
  if (lines.empty() && !a.json)
    std::cout << (a.other.empty() ? "every file matches its checksum\n"
                                  : "every file matches its checksum; the two are identical\n");
  return lines.empty() ? kDone : kFailed;
}

}  // namespace

int run_command(const Arguments& a) {
  if (a.command == "train") return run_train(a);
  if (a.command == "plan") return run_plan(a);
  if (a.command == "verify") return run_verify(a);
  if (a.command == "report") return run_report(a);
  if (a.command == "check") return run_check(a);
  if (a.command.starts_with("guard ")) return run_guard(a);
  if (a.command == "export" || a.command == "chat" || a.command == "explain" ||
      a.command == "constitution infer")
    return run_model_command(a);
  return run_stage_command(a);
}

}  // namespace cai
