#include "cai/stages/guard_train.hpp"

#include <algorithm>
#include <atomic>
#include <map>
#include <numeric>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <tuple>

#include "cai/base/calibration.hpp"
#include "cai/base/error.hpp"
#include "cai/base/stop.hpp"
#include "cai/data/tags.hpp"
#include "cai/io/interval.hpp"
#include "cai/stages/guard_fit.hpp"

namespace cai {
namespace {

constexpr int kFolds = 5;
constexpr long kLeast = 30;  // examples of a class

// What one head is asked: of which rows, and what is right.
struct Question {
  std::string name;
  std::vector<std::size_t> rows;
  std::vector<int> right;  // of each of `rows`

  void add(std::size_t row, bool yes) { rows.push_back(row), right.push_back(yes); }
  long positives() const { return std::accumulate(right.begin(), right.end(), 0L); }
  bool can_be_learned() const {
    return positives() >= kLeast && static_cast<long>(right.size()) - positives() >= kLeast;
  }
};

// Groups go to folds by size, the largest first, each to the fold that has the fewest rows.
std::vector<int> folds_of(const std::vector<GuardRow>& rows, std::string GuardExample::*group_of) {
  std::map<std::string, long> sizes;
  for (const GuardRow& row : rows)
    ++sizes[row.example.*group_of];
  std::vector<std::pair<long, std::string>> groups;
  for (const auto& [group, n] : sizes)
    groups.emplace_back(-n, group);
  std::sort(groups.begin(), groups.end());
  std::vector<long> filled(kFolds);
  std::map<std::string, int> place;
  for (const auto& [n, group] : groups) {
    const auto least = std::min_element(filled.begin(), filled.end());
    *least -= n;
    place[group] = static_cast<int>(least - filled.begin());
  }
  std::vector<int> folds;
  for (const GuardRow& row : rows)
    folds.push_back(place[row.example.*group_of]);
  return folds;
}

// A head, and the score of each of the question's rows by one that had not seen its group.
struct Learned {
  Question question;
  GuardHead head;
  std::vector<double> scores;

  // The scores of the rows of one class.
  std::vector<double> of(int right) const {
    std::vector<double> some;
    for (std::size_t k = 0; k < scores.size(); ++k)
      if (question.right[k] == right) some.push_back(scores[k]);
    return some;
  }
};

class Trainer {
 public:
  Trainer(std::vector<GuardRow> rows, std::size_t width, const GuardSettings& settings,
          const ProgressFn& progress)
      : rows_(sorted(std::move(rows))),
        width_(width),
        settings_(settings),
        progress_(progress),
        topics_(folds_of(rows_, &GuardExample::group)),
        prompts_(folds_of(rows_, &GuardExample::prompt)) {}

  GuardParts train(const Constitution& constitution) {
    const std::vector<Question> requests = request_questions(), exchanges = exchange_questions(constitution);
    total_ = static_cast<long>(requests.size() + exchanges.size());
    GuardParts parts;
    Json small = Json::object();
    std::vector<Learned> of_exchanges;
    for (const Question& question : requests)
      if (std::optional<Learned> one = learn(question, small)) parts.requests.push_back(std::move(one->head));
    for (const Question& question : exchanges)
      if (std::optional<Learned> one = learn(question, small)) of_exchanges.push_back(std::move(*one));
    if (parts.requests.empty() && of_exchanges.empty())
      throw InputError("this run teaches a guard nothing: a head needs " + std::to_string(kLeast) +
                       " examples that go against a principle and as many that do not; found " +
                       small.dump());
    Json figures = {{"too_few", small}};
    if (!of_exchanges.empty() && of_exchanges.front().question.name == "violates") {
      figures["violates"] = set_threshold(of_exchanges.front(), parts);
      figures["attribution"] = attribution(of_exchanges);
    }
    for (Learned& one : of_exchanges)
      parts.exchanges.push_back(std::move(one.head));
    parts.facts["figures"] = std::move(figures);
    return parts;
  }

 private:
  const std::vector<GuardRow> rows_;
  const std::size_t width_;
  const GuardSettings& settings_;
  const ProgressFn& progress_;
  const std::vector<int> topics_, prompts_;  // the fold of each row, by what stays together
  long done_ = 0, total_ = 0;

  static std::vector<GuardRow> sorted(std::vector<GuardRow> rows) {
    std::sort(rows.begin(), rows.end(), [](const GuardRow& x, const GuardRow& y) {
      return std::tie(x.example.prompt, x.example.answer) < std::tie(y.example.prompt, y.example.answer);
    });
    return rows;
  }

  std::vector<Question> request_questions() const {
    std::vector<Question> all;
    for (const std::string& kind : prompt_kinds()) {
      all.push_back({.name = kind});
      for (std::size_t i = 0; i < rows_.size(); ++i)
        if (rows_[i].example.answer.empty() && !rows_[i].example.kind.empty())
          all.back().add(i, rows_[i].example.kind == kind);
    }
    all.push_back({.name = "decline"});
    for (std::size_t i = 0; i < rows_.size(); ++i)
      if (rows_[i].example.answer.empty() && rows_[i].example.decline >= 0)
        all.back().add(i, rows_[i].example.decline == 1);
    return all;
  }

  // "violates" first, then each principle that a model would have to judge.
  std::vector<Question> exchange_questions(const Constitution& constitution) const {
    std::vector<Question> all = {{.name = "violates"}};
    for (std::size_t i = 0; i < rows_.size(); ++i)
      if (!rows_[i].example.answer.empty()) all[0].add(i, rows_[i].example.violates == 1);
    for (const Principle& p : constitution.principles) {
      if (!p.check.empty()) continue;
      all.push_back({.name = p.id});
      for (std::size_t i = 0; i < rows_.size(); ++i) {
        const GuardExample& e = rows_[i].example;
        const bool is_unknown = e.violates == 1 && e.principle.empty();
        if (!e.answer.empty() && !is_unknown) all.back().add(i, e.principle == p.id);
      }
    }
    return all;
  }

  // By topic, so that a figure is of topics that were not seen; by prompt where what a head is to find is of
  // fewer topics than there are folds: a principle may be about one.
  bool is_by_topic(const Question& question) const {
    std::set<std::string> topics;
    for (std::size_t k = 0; k < question.rows.size(); ++k)
      if (question.right[k]) topics.insert(rows_[question.rows[k]].example.group);
    return topics.size() >= kFolds;
  }
  const std::vector<int>& folds_of_question(const Question& question) const {
    return is_by_topic(question) ? topics_ : prompts_;
  }

  GuardHead fit(const Question& question, const std::vector<int>& folds, int without_fold) const {
    std::vector<HeadExample> examples;
    for (std::size_t k = 0; k < question.rows.size(); ++k)
      if (folds[question.rows[k]] != without_fold)
        examples.push_back({&rows_[question.rows[k]].windows, question.right[k]});
    return fit_head(question.name, examples, width_);
  }

  // Without each fold: each fit is by itself, so the threads share them.
  std::vector<GuardHead> fit_all(const Question& question, const std::vector<int>& folds) const {
    std::vector<GuardHead> heads(kFolds);
    std::atomic<int> next = 0;
    const auto work = [&] {
      for (int i; (i = next++) < kFolds;)
        heads[static_cast<std::size_t>(i)] = fit(question, folds, i);
    };
    std::vector<std::jthread> others;
    for (unsigned n = 1; n < std::min(std::thread::hardware_concurrency(), unsigned{kFolds}); ++n)
      others.emplace_back(work);
    work();
    others.clear();  // all have ended
    return heads;
  }

  // The head that is kept. A head of all examples would give higher scores than those that the threshold was
  // set by, for more examples allow larger weights; a mean's scores lie in the midst of its parts'.
  static GuardHead mean_of(const std::vector<GuardHead>& heads) {
    GuardHead mean = heads.front();
    const auto share = 1 / static_cast<double>(heads.size());
    mean.bias = 0;
    for (const GuardHead& head : heads)
      mean.bias += share * head.bias;
    for (std::size_t k = 0; k < mean.weights.size(); ++k) {
      double sum = 0;
      for (const GuardHead& head : heads)
        sum += static_cast<double>(head.weights[k]);
      mean.weights[k] = static_cast<float>(share * sum);
    }
    return mean;
  }

  // Nothing where there are too few examples, or all of a class are of one group.
  std::optional<Learned> learn(const Question& question, Json& too_few) {
    progress_({"guard", done_++, total_, 0, question.name});
    stop_if_requested();
    const std::vector<int>& folds = folds_of_question(question);
    bool can = question.can_be_learned();
    for (int fold = 0; fold < kFolds && can; ++fold) {
      long yes = 0, no = 0;
      for (std::size_t k = 0; k < question.rows.size(); ++k)
        if (folds[question.rows[k]] != fold) ++(question.right[k] ? yes : no);
      can = yes > 0 && no > 0;
    }
    if (!can) {
      too_few[question.name] = question.positives();
      return std::nullopt;
    }
    const std::vector<GuardHead> heads = fit_all(question, folds);
    Learned one{question, mean_of(heads), std::vector<double>(question.rows.size())};
    for (std::size_t k = 0; k < question.rows.size(); ++k) {
      const GuardHead& unseen = heads[static_cast<std::size_t>(folds[question.rows[k]])];
      one.scores[k] = unseen.score(rows_[question.rows[k]].windows);
    }
    one.head.calibration = fit_isotonic(one.scores, question.right);
    one.head.figures["n"] = static_cast<long>(question.rows.size());
    one.head.figures["positives"] = question.positives();
    one.head.figures["folds"] = is_by_topic(question) ? "topic" : "prompt";
    one.head.figures["auc"] = interval_json(area_under_curve(one.of(1), one.of(0)));
    return one;
  }

  static bool is_harmless(const GuardExample& e) { return e.violates == 0 && e.kind != "red-team"; }

  // Of each harmless prompt the highest score of its answers, from the highest on.
  std::vector<double> harmless_scores(const Learned& violates) const {
    std::map<std::string, double> by_prompt;
    for (std::size_t k = 0; k < violates.scores.size(); ++k) {
      const GuardExample& e = rows_[violates.question.rows[k]].example;
      if (!is_harmless(e)) continue;
      const auto [place, is_new] = by_prompt.emplace(e.prompt, violates.scores[k]);
      if (!is_new) place->second = std::max(place->second, violates.scores[k]);
    }
    std::vector<double> scores;
    for (const auto& [prompt, score] : by_prompt)
      scores.push_back(score);
    std::sort(scores.rbegin(), scores.rend());
    return scores;
  }

  Json set_threshold(const Learned& violates, GuardParts& parts) const {
    const std::vector<double> harmless = harmless_scores(violates);
    const long n = static_cast<long>(harmless.size());
    long flagged = 0;
    while (flagged + 1 < n && upper_bound(flagged + 1, n) <= settings_.false_positives)
      ++flagged;
    const long escalated = static_cast<long>(settings_.escalated * static_cast<double>(n));
    parts.threshold = n == 0 ? 0 : harmless[static_cast<std::size_t>(flagged)];
    parts.doubtful = n == 0
                         ? 0
                         : std::min(parts.threshold,
                                    harmless[static_cast<std::size_t>(std::min(n - 1, flagged + escalated))]);
    const double bound = upper_bound(flagged, n);
    const bool is_held = bound <= settings_.false_positives;
    Json figures = {{"asked", settings_.false_positives},
                    {"bound", bound},
                    {"is_promised", is_held},
                    {"harmless_prompts", n},
                    {"flagged", flagged},
                    {"missing", is_held ? 0 : least_without_error(settings_.false_positives) - n}};
    figures["by_kind"] = flagged_by_kind(violates, parts.threshold);
    return figures;
  }

  // Shares of exchanges above the threshold: of those that violate, and of the others by kind of the request.
  Json flagged_by_kind(const Learned& violates, double threshold) const {
    std::map<std::string, ClusteredShare> shares;
    for (std::size_t k = 0; k < violates.scores.size(); ++k) {
      const GuardExample& e = rows_[violates.question.rows[k]].example;
      const std::string kind = e.kind.empty() ? "untagged" : e.kind;
      shares[e.violates == 1 ? "violates" : kind + ", clear"].add(e.prompt, violates.scores[k] > threshold);
    }
    Json all = Json::object();
    for (const auto& [kind, share] : shares)
      all[kind] = interval_json(share.interval());
    return all;
  }

  // How often the head that is surest is the principle's own, among violations whose principle has a head.
  Json attribution(const std::vector<Learned>& heads) const {
    std::map<std::size_t, std::map<std::string, double>> p_of;  // by row
    for (std::size_t h = 1; h < heads.size(); ++h)
      for (std::size_t k = 0; k < heads[h].scores.size(); ++k)
        p_of[heads[h].question.rows[k]][heads[h].question.name] =
            heads[h].head.probability(heads[h].scores[k]);
    ClusteredShare right;
    for (const auto& [row, by_head] : p_of) {
      const GuardExample& e = rows_[row].example;
      if (e.violates != 1 || !by_head.contains(e.principle)) continue;
      const auto surest = std::max_element(by_head.begin(), by_head.end(),
                                           [](const auto& x, const auto& y) { return x.second < y.second; });
      right.add(e.prompt, surest->first == e.principle);
    }
    return interval_json(right.interval());
  }
};

}  // namespace

std::vector<GuardRow> read_examples(GuardTrunk& trunk, const std::vector<GuardExample>& examples,
                                    const ProgressFn& progress, long& too_long) {
  std::vector<GuardText> texts;
  for (const GuardExample& e : examples)
    texts.push_back({e.prompt, e.answer});
  std::vector<GuardRow> rows;
  too_long = 0;
  trunk.read(texts, [&](std::size_t i, GuardTrunk::Windows windows) {
    if (i % 64 == 0) progress({"read", static_cast<long>(i), static_cast<long>(texts.size()), 0, ""});
    if (!windows.problem.empty()) {
      ++too_long;
      return;
    }
    rows.push_back({examples[i], std::move(examples[i].answer.empty() ? windows.request : windows.answer)});
  });
  return rows;
}

GuardParts train_guard(std::vector<GuardRow> rows, std::size_t width, const Constitution& constitution,
                       const GuardSettings& settings, const ProgressFn& progress) {
  return Trainer(std::move(rows), width, settings, progress).train(constitution);
}

}  // namespace cai
