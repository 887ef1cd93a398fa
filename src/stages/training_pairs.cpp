#include "cai/stages/training_pairs.hpp"

#include <cmath>
#include <map>
#include <optional>
#include <set>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"
#include "cai/io/file.hpp"
#include "cai/model/checkpoint.hpp"
#include "cai/model/config.hpp"
#include "cai/stages/asking.hpp"
#include "cai/stages/pairs.hpp"
#include "cai/stages/training.hpp"

namespace cai {

namespace {

// Pairs of requests to decline are to count as much as all others together, where there are both: what is
// commoner, declining or answering, would be learned of the answers alone, and nothing of the request.
// Returns what one of them weighs beside one of the others, 1 where there is nothing to balance. What people
// decided keeps its weight and is not counted: they did not decide by a rule.
double balance(std::vector<PreferencePair>& pairs, const std::vector<bool>& declined,
               const std::vector<bool>& by_people) {
  double to_decline = 0, others = 0;
  for (std::size_t i = 0; i < pairs.size(); ++i)
    if (!by_people[i]) (declined[i] ? to_decline : others) += pairs[i].weight;
  if (to_decline == 0 || others == 0) return 1;
  const double mean = (to_decline + others) / 2;
  for (std::size_t i = 0; i < pairs.size(); ++i)
    if (!by_people[i]) pairs[i].weight *= mean / (declined[i] ? to_decline : others);
  return others / to_decline;
}

}  // namespace

TrainingPairs training_pairs(const std::string& stage, const std::vector<Json>& labels,
                             const HybridConfig& hybrid, const std::vector<Json>& human_pairs,
                             const People& people, const std::filesystem::path& model, double held_out_share,
                             const std::filesystem::path& folder, std::uint64_t seed) {
  const ChatTemplate chat = load_chat(model, read_model_config(model).vocabulary);
  TrainingPairs result;
  std::map<std::string, long> left_out, kinds;
  std::vector<PreferencePair> pairs;
  std::vector<std::string> prompts;
  std::vector<Json> uses;  // what became of each pair, for examples.jsonl
  std::vector<bool>
      declined;  // of each pair: whether its request is one to decline, of those labelled by that rule
  std::vector<bool> decided;  // of each pair: whether a person decided it
  long by_people = 0;
  const auto leave_out = [&](const std::string& id, const std::string& why) {
    ++left_out[why];
    uses.push_back({{"id", id}, {"use", "left-out"}, {"why", why}});
  };
  const auto add = [&](const std::string& id, const std::string& prompt, const std::string& a,
                       const std::string& b, double p, std::string tag, bool is_human, bool is_declined) {
    if (!(p >= 0 && p <= 1)) throw InputError("record " + in_quotes(id) + ": p is not within 0 and 1");
    PreferencePair pair{.id = id, .p = p, .weight = is_human ? hybrid.weight : 1, .tag = std::move(tag)};
    const std::vector<int> start = prompt_tokens(chat, prompt);
    pair.prompt_tokens = static_cast<int>(start.size());
    pair.a = answered_tokens(chat, start, a, true);
    pair.b = answered_tokens(chat, start, b, true);
    by_people += is_human;
    ++kinds[pair.tag.empty() ? "untagged" : pair.tag];
    pairs.push_back(std::move(pair));
    prompts.push_back(prompt);
    declined.push_back(is_declined);
    decided.push_back(is_human);
    uses.push_back({{"id", id}, {"use", "train"}, {"why", ""}, {"by", is_human ? "people" : "ai"}});
  };
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const Json& label = labels[i];
    const std::string &prompt = text_field(label, "prompt", i), &a = text_field(label, "a", i),
                      &b = text_field(label, "b", i);
    const std::string problem = optional_text(label, "problem"), id = record_id(label, i);
    std::optional<double> human = people.on(prompt, a, b);  // a person's decision stands over the AI's
    if (!human && label.contains("human") && label["human"].is_number()) human = label["human"].get<double>();
    if (!human && !problem.empty())
      leave_out(id, problem);
    else if (!human && optional_flag(label, "tie"))
      leave_out(id, "tie");
    else if (!human && (!label.contains("p") || !label["p"].is_number()))
      throw InputError("record " + in_quotes(id) + ": no number in the field \"p\"");
    else if (a == b)
      leave_out(id, "both answers the same");
    else
      add(id, prompt, a, b, human ? *human : label["p"].get<double>(), kind_of(label), human.has_value(),
          optional_flag(label, "decline"));
  }
  // Pairs that people brought: as many as make up hybrid.share of all, drawn by seed.
  std::vector<Pair> brought;
  for (std::size_t i = 0; i < human_pairs.size(); ++i)
    for (Pair& pair : pairs_of(human_pairs[i], i, false, Random(seed).derive("human pairs"))) {
      if (pair.human && pair.a != pair.b)
        brought.push_back(std::move(pair));
      else
        leave_out(pair.record.at("id").get<std::string>(),
                  pair.human ? "both answers the same" : "human pair without a preference");
    }
  const double most = hybrid.share >= 1 || pairs.empty()
                          ? static_cast<double>(brought.size())
                          : std::floor(static_cast<double>(pairs.size()) * hybrid.share / (1 - hybrid.share));
  const std::vector<std::size_t> drawn = Random(seed).derive("hybrid").permutation(brought.size());
  long joined = 0;
  for (const std::size_t i : drawn) {
    const Pair& pair = brought[i];
    const std::string kind = kind_of(pair.record);
    if (static_cast<double>(joined) >= most)
      leave_out(pair.record.at("id").get<std::string>(), "more than hybrid.share");
    else
      add(pair.record.at("id").get<std::string>(), pair.record.at("prompt").get<std::string>(), pair.a,
          pair.b, *pair.human, kind.empty() ? "human" : kind, true, false),
          ++joined;
  }
  // An answer of a person's own is better than those that it was written against.
  std::map<std::string, bool> is_to_decline;  // by prompt, as its labels say
  for (const Json& label : labels)
    is_to_decline[label.at("prompt").get<std::string>()] = optional_flag(label, "decline");
  long edited = 0;
  for (const Json& edit : people.edits()) {
    const std::string id = edit.at("id").get<std::string>(), prompt = edit.at("prompt").get<std::string>(),
                      answer = edit.at("edited").get<std::string>();
    for (const char* side : {"a", "b"}) {
      const std::string other = optional_text(edit, side);
      if (other.empty() || other == answer || (side[0] == 'b' && other == optional_text(edit, "a"))) continue;
      add("edit:" + id + "#" + side, prompt, answer, other, 1, kind_of(edit), true, is_to_decline[prompt]),
          ++edited;
    }
  }
  if (pairs.size() < 2) {
    std::string reasons;
    for (const auto& [why, n] : left_out)
      reasons += "; " + why + ": " + std::to_string(n);
    throw InputError(stage + ": " + std::to_string(pairs.size()) + " of " +
                     std::to_string(labels.size() + brought.size()) +
                     " labels can be trained on; at least 2 are needed" + reasons);
  }

  const double declining_weight = balance(pairs, declined, decided);

  // Held out by prompt: pairs of one prompt share answers.
  std::map<std::string, std::size_t> number_of;
  for (const std::string& prompt : prompts)
    number_of.emplace(prompt, number_of.size());
  const std::vector<bool> is_held_out = draw_held_out(number_of.size(), held_out_share, seed);
  std::set<std::string> measured;  // ids held out
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    if (is_held_out[number_of.at(prompts[i])]) measured.insert(pairs[i].id);
    (is_held_out[number_of.at(prompts[i])] ? result.held_out : result.train).push_back(std::move(pairs[i]));
  }
  std::string lines;
  for (Json& use : uses) {
    if (use["use"] == "train" && measured.contains(use["id"].get<std::string>())) use["use"] = "held-out";
    lines += to_line(use) + "\n";
  }
  write_file(folder / "examples.jsonl", lines);
  result.figures = {{"labels", labels.size()},
                    {"train", result.train.size()},
                    {"held_out", result.held_out.size()},
                    {"kinds", kinds},
                    {"by_people", by_people},
                    {"human_pairs", joined},
                    {"edits", edited},
                    {"declining_weight", declining_weight},
                    {"left_out", left_out}};
  return result;
}

}  // namespace cai
