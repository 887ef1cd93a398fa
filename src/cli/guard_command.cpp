// guard: train, show and measure.
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "cai/base/calibration.hpp"
#include "cai/base/error.hpp"
#include "cai/base/log.hpp"
#include "cai/base/text.hpp"
#include "cai/cli/commands.hpp"
#include "cai/cli/progress_line.hpp"
#include "cai/data/exchange.hpp"
#include "cai/engine/threads.hpp"
#include "cai/feedback/guard.hpp"
#include "cai/io/interval.hpp"
#include "cai/pipeline/folder.hpp"
#include "cai/pipeline/home.hpp"
#include "cai/pipeline/run.hpp"
#include "cai/stages/guard_exam.hpp"
#include "cai/stages/guard_train.hpp"

namespace cai {
namespace fs = std::filesystem;
namespace {

double share_of(const std::string& text) {
  if (text.empty()) return GuardSettings{}.false_positives;
  char* end = nullptr;
  const double share = std::strtod(text.c_str(), &end);
  if (*end != '\0' || !(share > 0 && share < 1))
    throw UsageError("invalid value " + in_quotes(text) +
                     " for --false-positives (expected a share above 0 and below 1, e.g. 0.02)");
  return share;
}

std::string share_text(double share) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2g %%", 100 * share);
  return text;
}

// What a person has to know before trusting it.
std::string promise_of(const Json& violates) {
  const std::string n = std::to_string(violates.at("harmless_prompts").get<long>());
  if (violates.at("is_promised").get<bool>())
    return "At most " + share_text(violates.at("bound").get<double>()) +
           " of harmless prompts like this run's are flagged (95 % confidence, " + n +
           " prompts, each scored by heads that had not seen its topic).";
  return "No promise about false positives: " + n + " harmless prompts can only show that at most " +
         share_text(violates.at("bound").get<double>()) + " are flagged, not " +
         share_text(violates.at("asked").get<double>()) + "; " +
         std::to_string(violates.at("missing").get<long>()) + " more are needed.";
}

void print_head(const std::string& name, const Json& figures) {
  std::printf("  %-26s %6ld %9ld  %s\n", printable(name).c_str(), figures.at("n").get<long>(),
              figures.at("positives").get<long>(), interval_text(figures.at("auc")).c_str());
}

void print_guard(const GuardParts& parts) {
  const Json& figures = parts.facts.at("figures");
  if (figures.contains("violates")) {
    const Json& violates = figures["violates"];
    std::printf("%s\n", promise_of(violates).c_str());
    std::printf("Flagged, of exchanges of this run (95 %% intervals):\n");
    for (const auto& [kind, share] : violates["by_kind"].items())
      std::printf("  %-26s %s\n", kind.c_str(), interval_text(share).c_str());
    if (figures["attribution"]["n"] != 0)
      std::printf("The principle it names is the right one: %s\n",
                  interval_text(figures["attribution"]).c_str());
  }
  std::printf("\n  %-26s %6s %9s  %s\n", "head", "texts", "positives", "AUC, 95 %");
  for (const GuardHead& head : parts.requests)
    print_head("request: " + head.name, head.figures);
  for (const GuardHead& head : parts.exchanges)
    print_head("answer: " + head.name, head.figures);
  if (!figures["too_few"].empty()) std::printf("No head, too few examples (30 of each class are needed):\n");
  for (const auto& [name, n] : figures["too_few"].items())
    std::printf("  %-26s %ld\n", printable(name).c_str(), n.get<long>());
  std::printf("\ntrunk %s, layers %s, constitution %s %s\n", printable(parts.trunk).c_str(),
              parts.facts["identity"]["layers"].dump().c_str(), printable(parts.constitution.name).c_str(),
              printable(parts.constitution.version).c_str());
  std::fflush(stdout);
}

Json summary_of(const GuardParts& parts) {
  Json heads = Json::array();
  for (const auto& [of, list] : {std::pair("request", &parts.requests), {"answer", &parts.exchanges}})
    for (const GuardHead& head : *list) {
      Json one = {{"of", of}, {"name", head.name}};
      one.update(head.figures);
      heads.push_back(std::move(one));
    }
  Json summary = {{"trunk", parts.trunk}, {"threshold", parts.threshold}, {"doubtful", parts.doubtful}};
  summary.update(parts.facts);
  summary["heads"] = std::move(heads);
  return summary;
}

int show(const Arguments& a, const GuardParts& parts) {
  if (a.json)
    print_figures(summary_of(parts), true);
  else
    print_guard(parts);
  return kDone;
}

int train(const Arguments& a) {
  const GuardSettings settings{.false_positives = share_of(a.false_positives)};
  const fs::path run = a.run, out = a.out;
  if (fs::exists(out) && (!fs::is_directory(out) || !fs::is_empty(out)))
    throw UsageError("--out " + out.string() + ": exists and is not empty; give a new name");
  if (!fs::exists(run / "run.json") || !fs::exists(run / "constitution.yaml"))
    throw InputError(run.string(), 0, "is no run: it holds no run.json or no constitution.yaml");
  const Config config = config_of(a);
  const std::string trunk_name = a.trunk.empty() ? a.run : a.trunk;
  const fs::path trunk_path = find_model(trunk_name);
  set_threads(config.engine.threads);
  const ProgressStyle style = progress_style(a.json, a.quiet);
  const ProgressFn progress = progress_line(style);

  Constitution constitution = read_constitution(run / "constitution.yaml");
  const std::vector<GuardExample> examples = guard_examples(run, constitution);
  if (examples.empty())
    throw InputError(run.string(), 0,
                     "has no finished stage whose records teach a guard (prompts, revise, label)");
  GuardTrunk trunk(trunk_path, config.engine.dtype);
  long too_long = 0;
  std::vector<GuardRow> rows = read_examples(trunk, examples, progress, too_long);
  GuardParts parts =
      train_guard(std::move(rows), static_cast<std::size_t>(trunk.width()), constitution, settings, progress);
  end_progress_line(style);
  parts.trunk = trunk_name;
  parts.facts["identity"] = trunk.identity();
  parts.facts["constitution"] = {
      {"name", constitution.name}, {"version", constitution.version}, {"sha256", constitution.sha256}};
  parts.facts["records"] = example_counts(examples);
  parts.facts["records"]["too_long"] = too_long;
  parts.constitution = std::move(constitution);
  write_guard(out, parts);
  const int code = show(a, parts);
  if (!a.json) std::printf("wrote %s\n", printable(a.out).c_str());
  return code;
}

void print_exam(const Json& exam) {
  const auto rows = [](const char* title, const Json& figures) {
    if (figures.empty()) return;
    std::printf("%s\n", title);
    for (const auto& [name, value] : figures.items())
      std::printf("  %-34s %-24s n %ld\n", printable(name).c_str(), interval_text(value).c_str(),
                  value["n"].get<long>());
  };
  const Json &requests = exam["requests"], &exchanges = exam["exchanges"];
  if (!requests.empty()) {
    rows("requests, AUC of \"decline\"", requests["auc"]);
    if (requests.contains("found_at_5"))
      rows("requests above the score of 5 % of the borderline ones", {{"red-team", requests["found_at_5"]}});
    rows("requests that look to be declined (p at least 0.5)", requests["declined"]);
  }
  if (!exchanges.empty()) {
    rows("answers, AUC of \"violates\"", {{"violates against clear", exchanges["auc"]}});
    rows("answers flagged", exchanges["flagged"]);
    Json by_principle = Json::object();
    for (const auto& [id, one] : exchanges["principles"].items())
      by_principle[id] = one["auc"];
    rows("answers, AUC by principle", by_principle);
  }
  if (exam["unread"] != 0)
    std::printf("%ld texts are longer than the guard's model can read\n", exam["unread"].get<long>());
  std::fflush(stdout);
}

int exam(const Arguments& a) {
  GuardParts parts = read_guard(a.guard);
  const Exchanges labelled = read_exchanges(a.exchanges, {}, false);
  throw_problems(labelled.problems);  // a measurement is of all of a file or of nothing
  const Config config = config_of(a);
  const fs::path trunk = find_model(a.trunk.empty() ? parts.trunk : a.trunk);
  set_threads(config.engine.threads);
  Guard guard(std::move(parts), trunk, config.engine.dtype);
  const Json figures = guard_exam(guard, labelled.list);
  if (a.json)
    print_figures(figures, true);
  else
    print_exam(figures);
  return kDone;
}

}  // namespace

int run_guard(const Arguments& a) {
  try {
    if (a.command == "guard train") return train(a);
    if (a.command == "guard exam") return exam(a);
    return show(a, read_guard(a.guard));
  } catch (const Stopped& stopped) {
    log_warning(std::string(stopped.what()) + "; nothing was written");
    return kStopped;
  }
}

}  // namespace cai
