#include "cai/stages/reward.hpp"

#include <map>
#include <set>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"
#include "cai/engine/engine.hpp"
#include "cai/model/checkpoint.hpp"
#include "cai/model/config.hpp"
#include "cai/stages/asking.hpp"
#include "cai/stages/training.hpp"

namespace cai {

Json reward(const RewardConfig& config, const EngineConfig& engine, const std::vector<Json>& labels, const std::filesystem::path& model,
            const std::filesystem::path& folder, std::uint64_t seed, const ProgressFn& progress) {
  const ChatTemplate chat = load_chat(model, read_model_config(model).vocabulary);
  std::map<std::string, long> left_out, kinds;
  std::vector<PreferencePair> pairs;
  std::vector<std::string> prompts;
  long by_people = 0;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const Json& label = labels[i];
    const std::string &prompt = text_field(label, "prompt", i), &a = text_field(label, "a", i), &b = text_field(label, "b", i);
    const std::string problem = optional_text(label, "problem");
    const bool has_human = label.contains("human") && label["human"].is_number();  // a person's decision stands over the AI's
    if (!has_human && !problem.empty()) {
      ++left_out[problem];
      continue;
    }
    if (!has_human && optional_flag(label, "tie")) {
      ++left_out["tie"];
      continue;
    }
    if (!has_human && (!label.contains("p") || !label["p"].is_number())) throw InputError("record " + in_quotes(record_id(label, i)) + ": no number in the field \"p\"");
    if (a == b) {
      ++left_out["both answers the same"];
      continue;
    }
    PreferencePair pair{.id = record_id(label, i), .p = label[has_human ? "human" : "p"].get<double>(), .tag = kind_of(label)};
    if (!(pair.p >= 0 && pair.p <= 1)) throw InputError("record " + in_quotes(pair.id) + ": p is not within 0 and 1");
    const std::vector<int> start = prompt_tokens(chat, prompt);
    pair.prompt_tokens = static_cast<int>(start.size());
    pair.a = answered_tokens(chat, start, a, true);
    pair.b = answered_tokens(chat, start, b, true);
    by_people += has_human;
    ++kinds[pair.tag.empty() ? "untagged" : pair.tag];
    pairs.push_back(std::move(pair));
    prompts.push_back(prompt);
  }
  if (pairs.size() < 2) throw InputError("reward: " + std::to_string(pairs.size()) + " of " + std::to_string(labels.size()) + " labels can be trained on; at least 2 are needed");

  // Held out by prompt: pairs of one prompt share answers.
  std::map<std::string, std::size_t> number_of;
  for (const std::string& prompt : prompts) number_of.emplace(prompt, number_of.size());
  const std::vector<bool> is_held_out = draw_held_out(number_of.size(), config.held_out, seed);
  std::vector<PreferencePair> train, held_out;
  std::vector<std::vector<int>> samples;
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    if (samples.size() < 64) samples.push_back(pairs[i].a), samples.push_back(pairs[i].b);
    (is_held_out[number_of.at(prompts[i])] ? held_out : train).push_back(std::move(pairs[i]));
  }
  std::shared_ptr<RewardModel> reward_model = new_reward_model(*load_llama(model, uses_bfloat16(engine.dtype)), seed);
  const Json trained = train_reward(*reward_model, train, held_out, config, seed, folder, step_progress("reward", progress));
  normalise_rewards(*reward_model, samples);
  const std::filesystem::path checkpoint = fresh_checkpoint(folder);
  const std::string weights = save_reward_model(*reward_model, checkpoint);
  chat.tokenizer().save(checkpoint);

  Json figures = {{"labels", labels.size()}, {"train", train.size()}, {"held_out", held_out.size()}, {"kinds", kinds}, {"by_people", by_people},
                  {"left_out", left_out}, {"weights_sha256", weights}};
  figures.update(trained);
  return figures;
}

}  // namespace cai
