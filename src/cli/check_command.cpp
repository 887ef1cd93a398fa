// check: one exchange, or a log of them, under a constitution.
#include <cstdio>
#include <functional>
#include <iostream>
#include <memory>
#include <optional>

#include "cai/base/error.hpp"
#include "cai/base/hash.hpp"
#include "cai/base/log.hpp"
#include "cai/base/stop.hpp"
#include "cai/base/text.hpp"
#include "cai/cli/single_stage.hpp"
#include "cai/engine/engine.hpp"
#include "cai/engine/threads.hpp"
#include "cai/feedback/guard.hpp"
#include "cai/io/file.hpp"
#include "cai/io/interval.hpp"
#include "cai/model/checkpoint.hpp"
#include "cai/pipeline/folder.hpp"
#include "cai/pipeline/home.hpp"
#include "cai/pipeline/inputs.hpp"
#include "cai/pipeline/run.hpp"
#include "cai/stages/check.hpp"

namespace cai {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t kProblemsShown = 100;

void check_flags(const Arguments& a) {
  const bool is_one = !a.prompt.empty() || !a.answer.empty();
  if (is_one == !a.exchanges.empty())
    throw UsageError("cai check: give either --prompt and --answer, or --exchanges");
  if (is_one && (a.prompt.empty() || a.answer.empty()))
    throw UsageError("--prompt and --answer: give both or neither");
  if (!is_utf8(a.prompt) || !is_utf8(a.answer)) throw UsageError("--prompt, --answer: not valid UTF-8");
  if (is_one && !a.out.empty()) throw UsageError("--out needs --exchanges");
  if (is_one && !a.maps.empty()) throw UsageError("--map needs --exchanges");
  if (a.reasons && a.judge.empty()) throw UsageError("--reasons needs --judge");
  if (!a.trunk.empty() && a.guard.empty()) throw UsageError("--trunk needs --guard");
}

// What one call of check works with.
class Checker {
 public:
  explicit Checker(const Arguments& a)
      : arguments_(a),
        config_(config_of(a)),
        speakers_(config_, a.out.empty() ? fs::path() : fs::path(a.out) / "endpoint.answers") {
    check_flags(a);
    map_ = read_field_map(a.maps);
    if (!a.guard.empty()) parts_ = read_guard(a.guard);
    constitution_ = parts_ && a.constitution.empty() ? parts_->constitution
                                                     : read_constitution(find_shipped(config_.constitution));
    for (const std::string& gate : a.gates)
      check_log_gate(gate, constitution_);
    if (is_endpoint(a.judge))
      check_endpoint(endpoint_at(config_, a.judge));
    else if (!a.judge.empty())
      judge_ = find_model(a.judge);
    refuse_without_judges();
    if (!a.out.empty()) check_out(a.out);
    set_threads(config_.engine.threads);
  }

  int run() {
    if (arguments_.exchanges.empty()) return run_one();
    Exchanges log = read_exchanges(arguments_.exchanges, map_);
    tell_problems(log);
    const Json figures = arguments_.out.empty() ? checked_to_stdout(log) : checked_to_folder(log);
    return finish(figures);
  }

 private:
  const Arguments& arguments_;
  Config config_;
  Speakers speakers_;
  FieldMap map_;
  Constitution constitution_;
  fs::path judge_;
  std::optional<GuardParts> parts_;
  std::unique_ptr<Guard> guard_;

  void refuse_without_judges() const {
    if (!arguments_.judge.empty() || parts_) return;
    for (const Principle& principle : constitution_.principles)
      if (!principle.check.empty()) return;
    throw UsageError(
        config_.constitution + ": none of its " + std::to_string(constitution_.principles.size()) +
        " principles has a check that a program can verify; give --guard DIR, --judge MODEL or --judge URL");
  }

  CheckJudges judges() {
    CheckJudges judges{.minimum_mass = config_.label.minimum_mass, .with_reasons = arguments_.reasons};
    if (parts_) {
      const std::string trunk = arguments_.trunk.empty() ? parts_->trunk : arguments_.trunk;
      guard_ = std::make_unique<Guard>(*parts_, find_model(trunk), config_.engine.dtype);
      judges.guard = guard_.get();
    }
    if (arguments_.judge.empty()) return judges;
    if (is_endpoint(arguments_.judge)) look_at_endpoint(endpoint_at(config_, arguments_.judge));
    judges.judge = &speakers_.feedback(arguments_.judge, judge_);
    return judges;
  }

  static void tell_problems(const Exchanges& log) {
    for (std::size_t i = 0; i < std::min(kProblemsShown, log.problems.size()); ++i)
      log_warning(log.problems[i]);
    if (log.problems.size() > kProblemsShown)
      log_warning("and " + std::to_string(log.problems.size() - kProblemsShown) + " more");
    if (!log.problems.empty())
      log_warning(log.file + ": " + std::to_string(log.problems.size()) + " records could not be read, " +
                  std::to_string(log.list.size()) + " could");
    if (log.passed_over > 0)
      log_info(log.file + ": " + std::to_string(log.passed_over) +
               " records hold no exchange and are passed over");
  }

  // Exchanges of a window are judged together, so that a judge's batches are full.
  void in_windows(const Exchanges& log, std::size_t from, Speaker* judge, const CheckJudges& judges,
                  const std::function<void(std::size_t, Json)>& done) {
    const std::size_t window = judge && judge->keeps_answers() ? 1024 : 64;
    const ProgressStyle style = progress_style(arguments_.json, arguments_.quiet);
    const ProgressFn progress = progress_line(style);
    const std::span<const Exchange> all = log.list;
    while (from < all.size()) {
      const std::size_t to = std::min(all.size(), from - from % window + window);
      const std::vector<ExchangeVerdict> verdicts =
          check_exchanges(constitution_, all.subspan(from, to - from), judges);
      for (std::size_t i = from; i < to; ++i)
        done(i, check_record(constitution_, log.file, all[i], verdicts[i - from]));
      progress({"check", static_cast<long>(to), static_cast<long>(all.size()), 0, ""});
      stop_if_requested();
      from = to;
    }
    end_progress_line(style);
  }

  Json checked_to_stdout(const Exchanges& log) {
    const CheckJudges by = judges();
    CheckCounts counts;
    in_windows(log, 0, by.judge, by, [&](std::size_t, Json record) {
      if (arguments_.json) std::cout << to_line(record) << "\n";
      counts.add(record);
    });
    std::cout.flush();
    return counts.figures(static_cast<long>(log.problems.size()));
  }

  Json checked_to_folder(const Exchanges& log) {
    const fs::path folder = fs::absolute(fs::path(arguments_.out)).lexically_normal();
    const std::string key = key_of(ingredients(log));
    StageResult result;
    undone_by_bad_input(folder, [&] {
      create_folders(folder.parent_path());
      const FolderLock lock(folder, true);
      result = run_record_stage(folder, "check", key, 0, {}, [&](RecordWriter& out) {
        const CheckJudges by = judges();
        CheckCounts counts;
        for (const Json& record : out.already_written())
          counts.add(record);
        try {
          in_windows(log, out.already_written().size(), by.judge, by, [&](std::size_t i, Json record) {
            counts.add(record);
            out.write(i, std::move(record));
          });
        } catch (...) {
          out.flush();
          throw;
        }
        return counts.figures(static_cast<long>(log.problems.size()));
      });
    });
    if (result.was_done) log_info(arguments_.out + " holds this already; nothing to do");
    if (arguments_.json) print_figures(result.figures, true);
    return result.figures;
  }

  Json ingredients(const Exchanges& log) const {
    Json texts = Json::array();
    for (const Exchange& e : log.list)
      texts.push_back({e.id, e.prompt, e.answer, e.tags, e.extra, e.number});
    Json all = {{"stage", "check"},
                {"format", 1},
                {"constitution", constitution_.sha256},
                {"exchanges", key_of(texts)},
                {"file", log.file},
                {"unreadable", log.problems.size()},
                {"judge", judge_.empty() ? arguments_.judge : model_fingerprint(judge_)},
                {"guard", parts_ ? sha256_file(fs::path(arguments_.guard) / "guard.json") : ""},
                {"reasons", arguments_.reasons},
                {"minimum_mass", config_.label.minimum_mass}};
    if (parts_ || !judge_.empty()) all["arithmetic"] = engine_arithmetic(config_.engine.dtype);
    if (is_endpoint(arguments_.judge)) all["endpoint"] = key_lines(config_, "endpoint");
    return all;
  }

  int run_one() {
    const Exchange exchange{.id = "1", .prompt = arguments_.prompt, .answer = arguments_.answer};
    const ExchangeVerdict verdict = check_exchanges(constitution_, {&exchange, 1}, judges()).front();
    const Json record = check_record(constitution_, "", exchange, verdict);
    if (arguments_.json) {
      std::cout << to_line(record) << std::endl;
    } else {
      std::printf("%-28s %-9s %-6s %-6s %s\n", "principle", "verdict", "by", "p", "reason");
      for (const Json& one : record["principles"]) {
        char p[16] = "";
        if (one.contains("p")) std::snprintf(p, sizeof p, "%.2f", one["p"].get<double>());
        std::printf("%-28s %-9s %-6s %-6s %s\n", printable(one["id"].get<std::string>()).c_str(),
                    one["verdict"].get<std::string>().c_str(), one["by"].get<std::string>().c_str(), p,
                    one_line(one["reason"].get<std::string>()).c_str());
      }
      if (verdict.is_flagged) std::printf("\nthe guard finds that the answer goes against a principle");
      std::printf("\n%s\n", verdict.verdict.c_str());
      std::fflush(stdout);
    }
    CheckCounts counts;
    counts.add(record);
    return gates_hold(counts.figures(0));
  }

  int finish(const Json& figures) const {
    if (!arguments_.json) print_table(figures);
    return gates_hold(figures);
  }

  int gates_hold(const Json& figures) const {
    const std::vector<std::string> failed = failed_log_gates(arguments_.gates, figures);
    for (const std::string& gate : failed)
      log_error("gate failed: " + gate);
    return failed.empty() ? kDone : kGateFailed;
  }

  void print_table(const Json& figures) const {
    const auto row = [](const std::string& name, const Json& counts, const Json& share,
                        const std::string& by) {
      std::printf("%-28s %8ld %8ld %8ld  %-22s %s\n", printable(name).c_str(), counts["clear"].get<long>(),
                  counts["violates"].get<long>(), counts["unjudged"].get<long>(),
                  share["n"] == 0 ? "-" : interval_text(share).c_str(), by.c_str());
    };
    std::printf("%-28s %8s %8s %8s  %-22s %s\n", "principle", "clear", "violates", "unjudged",
                "violates, 95 %", "by");
    for (const auto& [id, mine] : figures["principles"].items()) {
      std::string by;
      for (const auto& [who, n] : mine["by"].items())
        by += (by.empty() ? "" : ", ") + who + " " + std::to_string(n.get<long>());
      row(id, mine, mine["share"], by);
    }
    row("all together", figures["verdicts"], figures["violates"], "");
    std::printf(
        "%ld exchanges%s\n", figures["exchanges"].get<long>(),
        figures["unreadable"] == 0
            ? ""
            : (", " + std::to_string(figures["unreadable"].get<long>()) + " more could not be read").c_str());
    if (!arguments_.out.empty()) std::printf("wrote %s\n", printable(arguments_.out).c_str());
    std::fflush(stdout);
  }
};

}  // namespace

int run_check(const Arguments& a) {
  try {
    return Checker(a).run();
  } catch (const Stopped& stopped) {
    log_warning(std::string(stopped.what()) +
                (a.out.empty()
                     ? ""
                     : "; what was written to " + a.out + " is kept. Run the same command to continue"));
    return kStopped;
  }
}

}  // namespace cai
