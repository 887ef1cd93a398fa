// Commands for people who read a run: explain RUN ID, review.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <iostream>

#include "cai/base/error.hpp"
#include "cai/base/stop.hpp"
#include "cai/base/text.hpp"
#include "cai/cli/commands.hpp"
#include "cai/cli/review_page.hpp"
#include "cai/cli/web_server.hpp"
#include "cai/data/constitution.hpp"
#include "cai/data/decisions.hpp"
#include "cai/data/explain.hpp"
#include "cai/data/mixed.hpp"
#include "cai/data/review.hpp"
#include "cai/data/run_folder.hpp"
#include "cai/pipeline/home.hpp"

namespace cai {
namespace fs = std::filesystem;
namespace {

std::string text_of(const Json& record, const char* field) {
  const auto value = record.find(field);
  return value != record.end() && value->is_string() ? value->get<std::string>() : "";
}

/// What the AI said, for those who ask.
std::string ai_view(const Json& label) {
  char p[64];
  std::snprintf(p, sizeof p, "P(A better) %.2f, by %s\n", label.at("p").get<double>(),
                text_of(label, "method").c_str());
  std::string text = p + text_of(label, "reason");
  if (label.contains("log_odds"))
    for (const auto& [id, odds] : label["log_odds"].items())
      if (odds.is_number()) {
        char one[32];
        std::snprintf(one, sizeof one, "%+.2f", odds.get<double>());
        text += "\n" + std::string(one) + "  " + id + (odds.get<double>() > 0 ? " (for A)" : " (for B)");
      }
  return text;
}

/// The queue with the decisions so far, and the file that takes new ones.
class Review {
 public:
  explicit Review(const Arguments& a) : file_(decisions_file(a.run)), decisions_(file_) {
    const fs::path run = a.run;
    queue_ = review_queue(read_constitution(run / "constitution.yaml"), read_labels(run),
                          a.scores.empty() ? Margins() : read_margins(a.scores), a.all);
    if (queue_.empty() && !a.all) {  // labels by contrast are never doubtful
      queue_ = review_queue(read_constitution(run / "constitution.yaml"), read_labels(run), Margins(), true);
      std::cerr << "no label of this run is doubtful; all " << queue_.size() << " are shown\n";
    }
    std::map<std::string, std::string> decided;
    std::map<std::string, std::string> edited;
    for (const Json& d : read_decisions(file_))
      decided[text_of(d, "id")] = text_of(d, "verdict"), edited[text_of(d, "id")] = text_of(d, "edited");
    for (const ReviewItem& item : queue_) {
      const std::string id = text_of(decision_on(item.label, "skip"), "id");
      verdicts_.push_back(decided[id]), edited_.push_back(edited[id]);
    }
  }

  std::size_t size() const { return queue_.size(); }
  const ReviewItem& item(std::size_t i) const { return queue_[i]; }
  const std::string& verdict(std::size_t i) const { return verdicts_[i]; }
  long decided() const {
    return std::count_if(verdicts_.begin(), verdicts_.end(), [](const std::string& v) { return !v.empty(); });
  }

  /// On disk when it returns.
  void decide(std::size_t i, const std::string& verdict, const std::string& edited = "") {
    decisions_.add(decision_on(queue_[i].label, verdict, edited));
    verdicts_[i] = verdict, edited_[i] = edited;
  }

  Json as_json() const {
    Json list = Json::array();
    for (std::size_t i = 0; i < queue_.size(); ++i) {
      const Json& label = queue_[i].label;
      list.push_back({{"number", i},
                      {"id", text_of(label, "id")},
                      {"prompt", text_of(label, "prompt")},
                      {"a", text_of(label, "a")},
                      {"b", text_of(label, "b")},
                      {"why", queue_[i].why},
                      {"details", ai_view(label)},
                      {"verdict", verdicts_[i]},
                      {"edited", edited_[i]}});
    }
    return list;
  }

  const fs::path& file() const { return file_; }

 private:
  fs::path file_;
  DecisionFile decisions_;
  std::vector<ReviewItem> queue_;
  std::vector<std::string> verdicts_, edited_;  // "": not decided; no answer of their own
};

void review_on_web(Review& review, int port) {
  WebServer server(port);
  std::cout << "open " << server.url() << "\n" << std::flush;
  std::cerr << "Press Ctrl-C to stop. Every decision shown as saved is on disk.\n";
  server.serve(
      [&](const WebRequest& request) -> WebReply {
        if (request.method == "GET" && request.path == "/") return {200, "text/html", review_page()};
        if (request.method == "GET" && request.path == "/queue")
          return {200, "application/json", to_line(review.as_json())};
        if (request.method == "POST" && request.path == "/decide") {
          const Json asked = parse_json(request.body, "decision");
          const bool is_sound = asked.is_object() && asked.contains("number") &&
                                asked["number"].is_number_unsigned() && asked["number"] < review.size() &&
                                asked.contains("verdict") && asked["verdict"].is_string();
          if (!is_sound)
            throw InputError(
                "accepted: {\"number\": a pair's number, \"verdict\": \"a\", \"b\", \"equal\", \"skip\", or "
                "\"edit\" with \"edited\"}");
          review.decide(asked["number"].get<std::size_t>(), asked["verdict"].get<std::string>(),
                        text_of(asked, "edited"));
          return {200, "application/json", "{\"saved\":true}"};
        }
        return {404, "text/plain", "nothing here\n"};
      },
      [] { return stop_requested(); });
}

void review_in_terminal(Review& review) {
  const bool is_terminal = ::isatty(STDIN_FILENO);
  std::size_t at = 0;
  while (at < review.size() && !stop_requested()) {
    if (!review.verdict(at).empty()) {
      ++at;
      continue;
    }
    for (bool again = true; again && at < review.size();) {
      const ReviewItem& item = review.item(at);
      std::string why;
      for (const std::string& w : item.why)
        why += (why.empty() ? "" : ", ") + w;
      std::cout << "\n[" << at + 1 << " of " << review.size() << "] "
                << printable(text_of(item.label, "prompt")) << "\n"
                << (why.empty() ? "" : "(" + printable(why) + ")\n")
                << "\nA: " << printable(text_of(item.label, "a"))
                << "\n\nB: " << printable(text_of(item.label, "b")) << "\n"
                << std::flush;
      std::string word;
      if (is_terminal)
        std::cerr << "a, b, e(qual), s(kip), w(rite a better one), u (back), d (the AI's view), q(uit)> ";
      if (!std::getline(std::cin, word)) return;
      word = lower_ascii(trim(word));
      if (word == "q") return;
      if (word == "u")
        at -= at > 0;
      else if (word == "d")
        std::cout << printable(ai_view(item.label)) << "\n";
      else if (word == "a" || word == "b" || word == "e" || word == "s") {
        review.decide(at, word == "e" ? "equal" : word == "s" ? "skip" : word);
        std::cout << "saved\n" << std::flush;
        ++at, again = false;
      } else if (word == "w") {
        std::string answer;
        if (is_terminal) std::cerr << "your answer, on one line> ";
        if (!std::getline(std::cin, answer)) return;
        try {
          review.decide(at, "edit", answer);
        } catch (const InputError& problem) {
          std::cerr << problem.what() << "\n";
          continue;
        }
        std::cout << "saved\n" << std::flush;
        ++at, again = false;
      } else
        std::cerr << "unknown key \"" << printable(word) << "\" (expected a, b, e, s, w, u, d or q)\n";
    }
  }
}

int run_review(const Arguments& a) {
  if (!fs::exists(fs::path(a.run) / "run.json")) throw InputError(a.run + ": not a run folder (no run.json)");
  int port = 0;
  if (!a.port.empty() && (port = static_cast<int>(positive_integer(a.port, "--port"))) > 65535)
    throw UsageError("invalid value \"" + a.port + "\" for --port (expected 1 to 65535)");
  if (a.json) {  // the queue, for other tools; nothing is written
    Json list = Json::array();
    for (const ReviewItem& item :
         review_queue(read_constitution(fs::path(a.run) / "constitution.yaml"), read_labels(a.run),
                      a.scores.empty() ? Margins() : read_margins(a.scores), a.all)) {
      Json one = item.label;
      one["why"] = item.why, one["worth"] = item.worth;
      list.push_back(one);
    }
    std::cout << to_lines(list);
    return kDone;
  }
  install_stop_handlers();
  Review review(a);
  if (review.size() == 0)
    std::cerr << "this run has no labels to review. --scores adds those on which the reward model disagrees "
                 "(cai score --pairs "
              << printable(a.run) << "/iter-01/label)\n";
  if (a.web)
    review_on_web(review, port);
  else
    review_in_terminal(review);
  const std::string run = printable(fs::path(a.run).lexically_normal().string());
  std::cout << review.decided() << " of " << review.size() << " decided, in "
            << printable(review.file().string()) << "\nto train on them: " << program_name()
            << " train --config " << run << "/config.yaml --set hybrid.decisions=" << run << " --reuse "
            << run << " --out " << run << "-reviewed\n";
  return kDone;
}

int explain_run(const Arguments& a) {
  if (a.other.empty())
    throw UsageError(
        "cai explain: give RUN and ID (of a label or a prompt), or RUN and --prompt TEXT, or "
        "--model M --prompt TEXT");
  for (const std::string& line : mixed_stages(a.run))
    std::cerr << "warning: " << printable(line) << "\n";
  const Json explanation = explain_record(a.run, a.other);
  if (a.json)
    std::cout << to_lines(explanation);
  else
    std::cout << explanation_text(explanation);
  return kDone;
}

}  // namespace

int run_records(const Arguments& a) {
  return a.command == "review" ? run_review(a) : explain_run(a);
}

}  // namespace cai
