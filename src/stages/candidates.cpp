#include "cai/stages/candidates.hpp"

#include <algorithm>
#include <map>

#include "cai/base/error.hpp"
#include "cai/stages/asking.hpp"
#include "cai/stages/clean.hpp"
#include "cai/stages/sentences.hpp"
#include "cai/stages/principles.hpp"
#include "cai/data/refusal.hpp"

namespace cai {
namespace {

// At most `most` of the given records, of each kind in proportion (largest remainders), drawn by seed.
std::vector<std::size_t> draw_in_proportion(const std::vector<Json>& prompts,
                                            const std::vector<std::size_t>& usable, long most,
                                            Random random) {
  if (static_cast<long>(usable.size()) <= most) return usable;
  std::map<std::string, std::vector<std::size_t>> kinds;
  for (std::size_t i : usable)
    kinds[kind_of(prompts[i])].push_back(i);
  std::map<std::string, long> share;
  std::vector<std::pair<double, std::string>> remainders;
  long given = 0;
  for (const auto& [kind, members] : kinds) {
    const double exact =
        static_cast<double>(most) * static_cast<double>(members.size()) / static_cast<double>(usable.size());
    given += share[kind] = static_cast<long>(exact);
    remainders.emplace_back(static_cast<double>(share[kind]) - exact, kind);
  }
  std::sort(remainders.begin(), remainders.end());
  for (std::size_t k = 0; given < most; ++k, ++given)
    ++share[remainders[k % remainders.size()].second];
  std::vector<std::size_t> drawn;
  for (auto& [kind, members] : kinds) {
    const std::vector<std::size_t> order =
        random.derive(kind.empty() ? "untagged" : kind).permutation(members.size());
    for (long k = 0; k < std::min(share[kind], static_cast<long>(members.size())); ++k)
      drawn.push_back(members[order[static_cast<std::size_t>(k)]]);
  }
  return drawn;
}

// As many requests that should be declined as not, as far as there are enough: where declining is mostly
// wrong (or mostly right), that is what a reward model learns, and nothing of the request. In the order of
// the input.
std::vector<std::size_t> draw_balanced(const std::vector<Json>& prompts, const std::vector<Decline>& declines,
                                       const std::vector<std::size_t>& usable, long most, Random random) {
  std::vector<std::size_t> harmful, harmless;
  for (std::size_t i : usable)
    (declines[i].should ? harmful : harmless).push_back(i);
  const long first = std::min(static_cast<long>(harmful.size()), most / 2),
             others = std::min(static_cast<long>(harmless.size()), most - first);
  std::vector<std::size_t> drawn = draw_in_proportion(prompts, harmful, most - others, random);
  const std::vector<std::size_t> rest = draw_in_proportion(prompts, harmless, others, random);
  drawn.insert(drawn.end(), rest.begin(), rest.end());
  std::sort(drawn.begin(), drawn.end());
  return drawn;
}

// What a candidate is asked with.
struct Side {
  std::string name, principle, instruction, opening;
};

}  // namespace

Json candidates(const CandidatesConfig& config, const Constitution& constitution, bool contrast,
                const std::vector<Json>& prompts, RecordWriter& out, Speaker& model, Speaker* initial,
                Random random, const ProgressFn& progress) {
  for (std::size_t i = 0; i < prompts.size(); ++i)
    text_field(prompts[i], "prompt", i);
  const std::vector<Decline> declines =
      contrast ? decide_declines(prompts, model) : std::vector<Decline>(prompts.size());
  std::vector<std::size_t> usable;
  long undecided = 0, without_principle = 0;
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    // A red-team prompt that does not look harmful, or an untagged one: neither side of the contrast is known
    // to be right.
    const std::string kind = kind_of(prompts[i]);
    const bool is_decided = !contrast || declines[i].should || kind == "ordinary" || kind == "borderline";
    const bool has_principle = !contrast || !principles_for(constitution, prompts[i], false).empty();
    undecided += !is_decided, without_principle += is_decided && !has_principle;
    if (is_decided && has_principle) usable.push_back(i);
  }
  const std::vector<std::size_t> drawn =
      draw_balanced(prompts, declines, usable, config.prompts, random.derive("prompts"));

  const std::vector<std::string> openings = decline_openings(constitution);
  const auto sides_of = [&](std::size_t i) {
    const Json& record = prompts[i];
    const Random mine = random.derive(record_id(record, i));
    std::vector<Side> sides;
    if (!contrast)
      return std::vector<Side>(static_cast<std::size_t>(config.per_prompt), Side{"plain", "", "", ""});
    for (long k = 0; k < config.per_prompt; ++k) {
      // Both sides of a pair share its principle; refusals of harmful and of harmless requests draw from one
      // list of openings, so that the words alone do not tell the better answer.
      const Random pair = mine.derive("pair").derive(static_cast<std::uint64_t>(k / 2));
      std::vector<const Principle*> known =
          principles_for(constitution, record, true);  // those made for this kind first
      if (known.empty()) known = principles_for(constitution, record, false);
      known = most_specific(known, record);
      const Principle& principle = *draw_principle(known, pair.derive("principle"));
      const Contrast words = contrast_of(constitution, principle, declines[i].should);
      Random opening = pair.derive("opening");
      const bool is_wanted = k % 2 == 0, is_refusal = is_wanted == declines[i].should;
      sides.push_back({is_wanted ? "principle" : "opposite", principle.id,
                       is_wanted ? words.wanted : words.opposite,
                       is_refusal ? openings[opening.below(openings.size())] : ""});
    }
    for (long k = 0; k < config.plain; ++k)
      sides.push_back({"plain", "", "", ""});
    return sides;
  };
  const auto asks_of = [&](std::size_t n) {
    const Json& record = prompts[drawn[n]];
    const Random mine = random.derive(record_id(record, drawn[n]));
    std::vector<Ask> asks;
    const std::vector<Side> sides = sides_of(drawn[n]);
    for (std::size_t k = 0; k < sides.size(); ++k) {
      Ask ask{.opening = sides[k].opening,
              .max_new_tokens = static_cast<int>(config.max_new_tokens),
              .temperature = config.temperature,
              .random = mine.derive(static_cast<std::uint64_t>(k)),
              .to_initial = sides[k].name == "opposite" && declines[drawn[n]].should};
      if (!sides[k].instruction.empty()) ask.messages.push_back({"system", sides[k].instruction});
      ask.messages.push_back({"user", text_field(record, "prompt", drawn[n])});
      asks.push_back(std::move(ask));
    }
    return asks;
  };
  const auto finish = [&](std::size_t n, std::vector<Reply> replies) {
    const std::size_t i = drawn[n];
    Json record = prompts[i];
    if (!record.contains("id")) record["id"] = record_id(record, i);
    if (contrast) record["decline"] = declines[i].should;
    record["candidates"] = Json::array();
    const std::vector<Side> sides = sides_of(i);
    for (std::size_t k = 0; k < replies.size(); ++k) {
      const std::string text = whole_part(strip_meta(replies[k].text), replies[k].finish);
      record["candidates"].push_back({{"text", text},
                                      {"finish", replies[k].finish},
                                      {"side", sides[k].name},
                                      {"principle", sides[k].principle},
                                      {"opening", sides[k].opening},
                                      {"tokens", replies[k].tokens}});
    }
    return record;
  };
  const std::vector<Json> records =
      ask_records("candidates", drawn.size(), out, model, progress, asks_of, finish, initial);

  std::map<std::string, long> kinds, problems, principles;
  long tokens = 0, count = 0, refusals = 0;
  for (const Json& record : records) {
    const std::string kind = kind_of(record);
    ++kinds[kind.empty() ? "untagged" : kind];
    for (const Json& candidate : record.at("candidates")) {
      const std::string text = optional_text(candidate, "text"),
                        problem = answer_problem(text, optional_text(candidate, "finish"));
      ++problems[problem], ++count;
      refusals += is_refusal(text);
      tokens += static_cast<long>(optional_number(candidate, "tokens"));
      if (const std::string id = optional_text(candidate, "principle"); !id.empty()) ++principles[id];
    }
  }
  return {{"records", records.size()},
          {"candidates", count},
          {"method", contrast ? "contrast" : "plain"},
          {"kinds", kinds},
          {"problems", problems},
          {"refusals", refusals},
          {"principles", principles},
          {"left_out",
           {{"undecided", undecided},
            {"no principle applies", without_principle},
            {"over the limit", usable.size() - drawn.size()}}},
          {"tokens", tokens},
          {"mean_tokens", count > 0 ? static_cast<double>(tokens) / static_cast<double>(count) : 0.0}};
}

}  // namespace cai
