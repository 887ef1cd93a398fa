#include "cai/data/review.hpp"

#include <algorithm>
#include <cmath>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"
#include "cai/data/preference.hpp"
#include "cai/io/records.hpp"

namespace cai {
namespace {

constexpr double kLowMargin = 0.1;

std::string text_of(const Json& record, const char* field) {
  const auto value = record.find(field);
  return value != record.end() && value->is_string() ? value->get<std::string>() : "";
}

std::tuple<std::string, std::string, std::string> pair_of(const Json& record) {
  return {text_of(record, "prompt"), text_of(record, "a"), text_of(record, "b")};
}

bool flag(const Json& record, const char* field, bool otherwise) {
  const auto value = record.find(field);
  return value != record.end() && value->is_boolean() ? value->get<bool>() : otherwise;
}

bool in_conflict(const std::vector<View>& views) {
  const auto clear = [&](double sign) {
    return std::any_of(views.begin(), views.end(),
                       [&](const View& v) { return sign * v.log_odds >= kClear; });
  };
  return clear(1) && clear(-1);
}

}  // namespace

Margins read_margins(const std::filesystem::path& scores) {
  Margins margins;
  for (const Json& r : read_records(scores)) {
    // score keeps the order of the input's answers: a, then b.
    if (!r.contains("margin") || !r["margin"].is_number())
      throw InputError(scores.string() + ": holds no scores; accepted: what cai score --pairs LABELS wrote");
    margins[pair_of(r)] = r["margin"].get<double>();
  }
  return margins;
}

std::vector<ReviewItem> review_queue(const Constitution& constitution, const std::vector<Json>& labels,
                                     const Margins& margins, bool all) {
  std::vector<ReviewItem> queue;
  for (const Json& label : labels) {
    if (text_of(label, "a") == text_of(label, "b")) continue;
    ReviewItem item{.label = label};
    const auto add = [&](double worth, const std::string& why) {
      item.worth += worth, item.why.push_back(why);
    };
    const double p = label.at("p").get<double>();
    const std::string problem = text_of(label, "problem"), method = text_of(label, "method");
    if (!problem.empty()) {
      add(0.5, "no label: " + problem);
    } else {
      if (in_conflict(views_of(constitution, label))) add(3, "principles in conflict");
      const auto margin = margins.find(pair_of(label));
      if (margin != margins.end() && p != 0.5 && (margin->second > 0) != (p > 0.5))
        add(3, "the reward model disagrees");
      if (method == "choice" && !flag(label, "orders_agree", true)) add(2, "changes with the order");
      if (std::abs(p - 0.5) < kLowMargin) add(2 * (1 - std::abs(p - 0.5) / kLowMargin), "low margin");
      const auto nats = label.find("contrast_nats");
      if (nats != label.end() && nats->is_number() && nats->get<double>() != 0 &&
          (nats->get<double>() > 0) != (p > 0.5))
        add(1, "against its instruction");
    }
    if (!item.why.empty() || all) queue.push_back(std::move(item));
  }
  std::stable_sort(queue.begin(), queue.end(),
                   [](const ReviewItem& x, const ReviewItem& y) { return x.worth > y.worth; });
  return queue;
}

Json decision_on(const Json& label, const std::string& verdict, const std::string& edited) {
  const std::string iteration = text_of(label, "iteration");  // ids repeat from one iteration to the next
  Json d = {{"id", (iteration.empty() ? "" : iteration + "/") + text_of(label, "id")}};
  for (const char* field : {"iteration", "prompt", "tags", "a", "b"})
    if (label.contains(field)) d[field] = label[field];
  d["verdict"] = verdict;
  if (verdict == "a")
    d["human"] = 1.0;
  else if (verdict == "b")
    d["human"] = 0.0;
  else if (verdict == "equal")
    d["human"] = 0.5;
  else if (verdict == "edit")
    d["edited"] = trim(edited);
  else if (verdict != "skip")
    throw InputError("verdict " + in_quotes(verdict) + "; accepted: a, b, equal, skip, edit");
  if (verdict == "edit" &&
      (d["edited"] == "" || d["edited"] == text_of(label, "a") || d["edited"] == text_of(label, "b")))
    throw InputError("an answer of your own is needed, other than the two");
  d["ai"] = label.at("p");
  return d;
}

}  // namespace cai
