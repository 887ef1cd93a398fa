#include "cai/stages/pairs.hpp"

#include <algorithm>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"
#include "cai/stages/asking.hpp"
#include "cai/data/refusal.hpp"

namespace cai {
namespace {

std::string answer_text(const Json& value, const std::string& where) {
  const Json& held = value.is_object() && value.contains("text") ? value["text"] : value;
  if (!held.is_string()) throw InputError("record " + in_quotes(where) + ": an answer is not a text");
  return held.get<std::string>();
}

// Whether an answer declines; `opened`: it was begun with an opening that does.
bool declines(const std::string& answer, bool opened) {
  return (opened || is_refusal(answer)) && !complies_after_all(answer);
}

// A candidate that does what the request asks for: it declines a harmful one, answers a harmless one.
bool is_right(const Json& candidate, bool should) {
  return declines(optional_text(candidate, "text"), !optional_text(candidate, "opening").empty()) == should;
}

}  // namespace

bool should_decline(const Json& record) {
  return optional_flag(record, "decline", kind_of(record) == "red-team");
}

bool declines_a(const Pair& pair) {
  return declines(pair.a, pair.opened_a);
}
bool declines_b(const Pair& pair) {
  return declines(pair.b, pair.opened_b);
}

std::vector<Pair> pairs_of(const Json& record, std::size_t index, bool contrast, Random random) {
  const std::string id = record_id(record, index);
  text_field(record, "prompt", index);
  std::vector<Pair> pairs;
  const auto add = [&](const Json& x, const Json& y, const std::string& suffix, std::optional<double> human) {
    Pair pair;
    pair.record = record;
    for (const char* field : {"candidates", "chosen", "rejected", "a", "b", "human"})
      pair.record.erase(field);
    pair.record["id"] = id + suffix;
    if (!suffix.empty()) pair.record["prompt_id"] = id;
    pair.a = answer_text(x, id), pair.b = answer_text(y, id), pair.human = human;
    if (x.is_object()) {
      pair.finish_a = optional_text(x, "finish"), pair.finish_b = optional_text(y, "finish");
      pair.opened_a = !optional_text(x, "opening").empty(),
      pair.opened_b = !optional_text(y, "opening").empty();
      pair.principle = optional_text(x, "principle");
      const std::string sx = optional_text(x, "side"), sy = optional_text(y, "side");
      if (pair.principle.empty()) pair.principle = optional_text(y, "principle");
      const bool should = should_decline(record);
      if (sx == "plain" || sy == "plain")
        pair.wanted = is_right(x, should) ? "a" : "b";
      else
        pair.wanted = sx == "principle" && sy == "opposite"   ? "a"
                      : sx == "opposite" && sy == "principle" ? "b"
                                                              : "";
    }
    if (random.derive(id + suffix).derive("order").uniform() < 0.5) {
      pair.is_swapped = true;
      std::swap(pair.a, pair.b), std::swap(pair.finish_a, pair.finish_b),
          std::swap(pair.opened_a, pair.opened_b);
      if (pair.human) pair.human = 1 - *pair.human;
      if (!pair.wanted.empty()) pair.wanted = pair.wanted == "a" ? "b" : "a";
    }
    pairs.push_back(std::move(pair));
  };
  std::optional<double> human;
  if (const auto h = record.find("human"); h != record.end() && h->is_number())
    human = std::clamp(h->get<double>(), 0.0, 1.0);
  if (const auto list = record.find("candidates"); list != record.end() && list->is_array()) {
    const Json& c = *list;
    if (contrast) {
      std::vector<Json> sides, plain;
      for (const Json& one : c)
        (optional_text(one, "side") == "plain" ? plain : sides).push_back(one);
      for (std::size_t k = 0; k + 1 < sides.size(); k += 2)
        add(sides[k], sides[k + 1], c.size() > 2 ? "/" + std::to_string(k / 2) : "",
            c.size() == 2 ? human : std::nullopt);
      const bool should = should_decline(record);
      for (std::size_t k = 0; k < plain.size(); ++k) {
        Json one = plain[k];
        if (sides.size() >= 2) one["principle"] = sides[0]["principle"];
        const auto other =
            std::find_if(plain.begin() + static_cast<std::ptrdiff_t>(k) + 1, plain.end(),
                         [&](const Json& p) { return is_right(p, should) != is_right(one, should); });
        const auto side = std::find_if(sides.begin(), sides.end(), [&](const Json& s) {
          return is_right(s, should) != is_right(one, should);
        });
        if (other != plain.end())
          add(one, *other, "/plain-" + std::to_string(k), std::nullopt);
        else if (side != sides.end())
          add(one, *side, "/plain-" + std::to_string(k), std::nullopt);
      }
    } else {
      for (std::size_t i = 0; i < c.size(); ++i)
        for (std::size_t j = i + 1; j < c.size(); ++j)
          add(c[i], c[j], c.size() > 2 ? "/" + std::to_string(i) + "-" + std::to_string(j) : "",
              c.size() == 2 ? human : std::nullopt);
    }
  } else if (record.contains("chosen") && record.contains("rejected")) {
    add(record["chosen"], record["rejected"], "", 1.0);
  } else if (record.contains("a") && record.contains("b")) {
    add(record["a"], record["b"], "", human);
  }
  if (pairs.empty())
    throw InputError("record " + in_quotes(id) +
                     ": no pair; accepted: candidates (two or more), chosen and rejected, a and b");
  return pairs;
}

}  // namespace cai
