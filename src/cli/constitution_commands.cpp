// cai constitution show | lint | diff | conflicts: what needs no model.
#include <algorithm>
#include <cstdio>
#include <iostream>

#include "cai/base/error.hpp"
#include "cai/base/statistics.hpp"
#include "cai/base/text.hpp"
#include "cai/cli/commands.hpp"
#include "cai/data/constitution.hpp"
#include "cai/data/constitution_diff.hpp"
#include "cai/data/coverage.hpp"
#include "cai/data/lint.hpp"
#include "cai/data/preference.hpp"
#include "cai/data/run_folder.hpp"
#include "cai/pipeline/home.hpp"

namespace cai {
namespace fs = std::filesystem;
namespace {

void print_json(const Json& value) {
  std::cout << to_lines(value);
}

int show(const Arguments& a) {
  Constitution constitution = read_constitution(find_shipped(a.run));
  if (a.json) return print_json(to_json(constitution)), kDone;
  std::cout << printable(constitution.name) << " " << printable(constitution.version) << ", "
            << constitution.principles.size() << " principles, sha256 " << constitution.sha256.substr(0, 12)
            << "\n";
  for (const Principle& p : constitution.principles) {
    std::string tags;
    for (const std::string& tag : p.applies_to)
      tags += (tags.empty() ? "" : ", ") + tag;
    std::cout << "\n"
              << printable(p.id) << " (priority " << p.priority << ", weight " << p.weight
              << (p.hard ? ", hard" : "") << (tags.empty() ? "" : ", for " + printable(tags))
              << ")\n  text      " << printable(p.text) << "\n  critique  " << printable(p.critique)
              << "\n  revision  " << printable(p.revision) << "\n  compare   " << printable(p.compare)
              << "\n  opposite  " << printable(p.opposite) << "\n";
    if (!p.check.empty()) std::cout << "  check     " << printable(p.check.source) << "\n";
    std::cout << "  tests     " << p.tests.size() << "\n";
  }
  return kDone;
}

// The prompts of these files, each with the split that a run would give it.
std::vector<Prompt> prompts_in(const std::vector<std::string>& files) {
  std::vector<Prompt> all;
  for (const std::string& file : files)
    for (Prompt& prompt : read_prompts(find_shipped(file)))
      all.push_back(std::move(prompt));
  draw_splits(all);
  return all;
}

// What the prompts cannot train or show.
void add_coverage_remarks(std::vector<Remark>& remarks, const std::vector<Coverage>& principles) {
  constexpr long kFew = 12;  // held-out prompts: 6 must change before a change is beyond chance
  for (const Coverage& one : principles) {
    const Principle& p = *one.principle;
    if (one.train == 0)
      remarks.push_back({p.line, p.id, "no-prompts", true,
                         "is met by no training prompt; see applies_to, and the prompts' tags"});
    else if (one.held_out < kFew)
      remarks.push_back(
          {p.line, p.id, "few-prompts", false,
           "is met by " + std::to_string(one.held_out) +
               " held-out prompts: a change of its answers will hardly be beyond chance. Give it " +
               std::to_string(kFew) + " or more"});
  }
}

void print_coverage(const std::vector<Coverage>& principles, const std::vector<Prompt>& prompts) {
  std::size_t width = std::string("principle").size();
  for (const Coverage& one : principles)
    width = std::max(width, one.principle->id.size());
  std::printf("\n%-*s  decided by   train  held out\n", static_cast<int>(width), "principle");
  for (const Coverage& one : principles)
    std::printf("%-*s  %-10s  %6ld  %8ld\n", static_cast<int>(width), printable(one.principle->id).c_str(),
                one.decided_by().c_str(), one.train, one.held_out);
  const long train = std::count_if(prompts.begin(), prompts.end(),
                                   [](const Prompt& prompt) { return prompt.split != "held-out"; });
  std::printf("%-*s  %-10s  %6ld  %8ld\n", static_cast<int>(width), "all prompts", "", train,
              static_cast<long>(prompts.size()) - train);
  std::fflush(stdout);
}

Json coverage_json(const Coverage& one) {
  return {{"principle", one.principle->id},
          {"decided_by", one.decided_by()},
          {"train", one.train},
          {"held_out", one.held_out}};
}

/// A file that cannot be loaded is an error (exit 2); what can be better is told, one line each, and exits 0.
int lint_constitution(const Arguments& a) {
  fs::path file = find_shipped(a.run);
  Constitution constitution = read_constitution(file);
  std::vector<Remark> remarks = lint(constitution);
  const std::vector<Prompt> prompts = prompts_in(a.prompts);
  const std::vector<Coverage> covered =
      prompts.empty() ? std::vector<Coverage>() : coverage(constitution, prompts);
  add_coverage_remarks(remarks, covered);
  long problems = 0;
  Json list = Json::array();
  for (const Remark& r : remarks) {
    problems += r.is_problem;
    list.push_back({{"file", file.string()},
                    {"line", r.line},
                    {"principle", r.principle},
                    {"kind", r.kind},
                    {"level", r.is_problem ? "problem" : "note"},
                    {"remark", r.text}});
  }
  if (a.json && prompts.empty()) return print_json(list), kDone;
  if (a.json) {
    Json principles = Json::array();
    for (const Coverage& one : covered)
      principles.push_back(coverage_json(one));
    return print_json({{"remarks", list}, {"principles", principles}}), kDone;
  }
  for (const Remark& r : remarks)
    std::cout << printable(file.string()) << ":" << r.line << ": " << (r.is_problem ? "problem" : "note")
              << " [" << r.kind << "] "
              << printable(r.principle.empty() ? r.text : r.principle + " " + r.text) << "\n";
  std::cout << constitution.principles.size() << " principles, " << problems
            << (problems == 1 ? " problem, " : " problems, ") << static_cast<long>(remarks.size()) - problems
            << " notes\n";
  if (!covered.empty()) print_coverage(covered, prompts);
  return kDone;
}

int diff_constitutions(const Arguments& a) {
  const ConstitutionDiff d =
      diff(read_constitution(find_shipped(a.run)), read_constitution(find_shipped(a.other)));
  if (a.json) return print_json(to_json(d)), kDone;
  for (const PrincipleChange& c : d.principles) {
    std::cout << c.kind << " " << printable(c.id) << " (" << c.level << ")\n";
    for (const std::string& field : c.fields)
      std::cout << "    " << printable(field) << "\n";
    if (!c.words.empty()) std::cout << "    " << printable(c.words) << "\n";
  }
  for (const std::string& line : d.rest)
    std::cout << printable(line) << "\n";
  if (d.level == "none") std::cout << "no difference in meaning\n";
  if (d.suggested.empty())
    std::cout << "version \"" << printable(d.from) << "\" is not MAJOR.MINOR.PATCH: no suggestion\n";
  else
    std::cout << "version " << printable(d.from) << " -> " << printable(d.to) << "; the changes ask for "
              << d.suggested << " (" << d.level << ")" << (d.is_followed ? "" : ": NOT followed") << "\n";
  return kDone;
}

int show_conflicts(const Arguments& a) {
  const fs::path run = a.run;
  const bool is_run = fs::exists(run / "run.json");
  if (a.constitution.empty() && !is_run)
    throw UsageError("cai constitution conflicts: " + a.run +
                     " is not a run; name its constitution with --constitution FILE");
  const Constitution constitution =
      read_constitution(a.constitution.empty() ? run / "constitution.yaml" : find_shipped(a.constitution));
  const std::vector<Json> labels = read_labels(run);
  const std::vector<Conflict> list = conflicts(constitution, labels);
  long comparable = 0;
  for (const Json& label : labels)
    comparable += views_of(constitution, label).size() > 1;
  const auto winner = [](const Conflict& c) { return c.rank > 0 ? c.x : c.rank < 0 ? c.y : ""; };
  if (a.json) {
    Json pairs = Json::array();
    for (const Conflict& c : list) {
      const Interval share = wilson(c.apart, c.together);
      pairs.push_back(
          {{"principles", {c.x, c.y}},
           {"together", c.together},
           {"apart", c.apart},
           {"share", {{"value", share.value}, {"low", share.low}, {"high", share.high}, {"n", share.n}}},
           {"goes_first", winner(c)},
           {"won", {{c.x, c.won_x}, {c.y, c.won_y}}},
           {"ids", c.ids}});
    }
    print_json({{"labels", labels.size()}, {"labels_with_two_views", comparable}, {"conflicts", pairs}});
    return kDone;
  }
  for (const Conflict& c : list) {
    const Interval share = wilson(c.apart, c.together);
    std::printf("%s against %s: disagree on %ld of %ld labels (%.0f %%, 95 %% interval %.0f to %.0f %%)\n",
                printable(c.x).c_str(), printable(c.y).c_str(), c.apart, c.together, 100 * share.value,
                100 * share.low, 100 * share.high);
    const std::string first = winner(c);
    const Principle &x = constitution.principle(c.x), &y = constitution.principle(c.y);
    const char* reason = x.hard != y.hard ? "it is hard" : x.priority != y.priority ? "priority" : "weight";
    std::printf(
        "    by rank %s; the labels took %s's side %ld times, %s's %ld times, neither %ld times\n",
        first.empty() ? "neither goes first" : (printable(first) + " goes first (" + reason + ")").c_str(),
        printable(c.x).c_str(), c.won_x, printable(c.y).c_str(), c.won_y, c.apart - c.won_x - c.won_y);
    std::string ids;
    for (std::size_t i = 0; i < c.ids.size() && i < 8; ++i)
      ids += (i ? " " : "") + c.ids[i];
    std::printf("    %s%s\n", printable(ids).c_str(),
                c.ids.size() > 8
                    ? (" and " + std::to_string(c.ids.size() - 8) + " more (--json lists all)").c_str()
                    : "");
  }
  std::printf(
      "%zu labels, %ld with the views of two principles or more, %zu pairs of principles in conflict\n",
      labels.size(), comparable, list.size());
  if (comparable == 0)
    std::printf(
        "labels by contrast are made under one principle each; to ask several of each pair: cai label "
        "--pairs %s --set label.method=choice --set label.principles=4 --out labels\n",
        is_run ? "RUN/iter-01/candidates" : "PAIRS");
  std::fflush(stdout);
  return kDone;
}

}  // namespace

int run_constitution(const Arguments& a) {
  if (a.command == "constitution show") return show(a);
  if (a.command == "constitution lint") return lint_constitution(a);
  if (a.command == "constitution diff") return diff_constitutions(a);
  if (a.command == "constitution conflicts") return show_conflicts(a);
  throw Bug("not a light command: " + a.command);
}

}  // namespace cai
