#include "cai/stages/ppo.hpp"

#include <map>
#include <span>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"
#include "cai/engine/devices.hpp"
#include "cai/model/adapter.hpp"
#include "cai/model/checkpoint.hpp"
#include "cai/model/config.hpp"
#include "cai/stages/asking.hpp"
#include "cai/stages/checking.hpp"
#include "cai/stages/pairs.hpp"
#include "cai/stages/trained_adapter.hpp"
#include "cai/stages/training.hpp"

namespace cai {
namespace {

// The part of a prompt's reward that checks give: the weight of the principles with one among all that apply.
double checked_part(const PpoConfig& config, const Constitution& constitution, const Json& record) {
  if (config.reward != "auto" && config.reward != "checks") return 0;
  const std::vector<std::string> tags = tags_of(record);
  double checked = 0, all = 0;
  for (const Principle& p : constitution.principles) {
    const bool applies = tags.empty() ? p.check.empty() || p.applies(tags) : p.applies(tags);
    if (!applies) continue;
    all += principle_weight(p);
    if (!p.check.empty()) checked += principle_weight(p);
  }
  if (checked == 0) return 0;
  return config.reward == "checks" ? 1 : checked / all;
}

// Applies the checks to an answer's tokens.
class Follower {
 public:
  Follower(const Constitution& constitution, const std::vector<Json>& prompts, const ChatTemplate& chat)
      : constitution_(constitution), prompts_(prompts), chat_(chat) {}

  Followed operator()(std::size_t prompt, std::span<const int> answer) const {
    const Json& record = prompts_[prompt];
    const std::string text = trim(chat_.tokenizer().decode(answer));
    const std::vector<Checked> checked =
        follow_principles(constitution_, tags_of(record), optional_text(record, "prompt"), text);
    Followed followed{.score = check_score(checked)};
    for (const Checked& one : checked)
      followed.by_principle.emplace_back(one.principle->id, one.share);
    return followed;
  }

 private:
  const Constitution& constitution_;
  const std::vector<Json>& prompts_;
  const ChatTemplate& chat_;
};

// A reward model that is an adapter on this policy shares its weights: they are in memory once.
std::shared_ptr<RewardModel> reward_model_for(const Llama& policy, const std::filesystem::path& model,
                                              const std::filesystem::path& reward_model, const Place& place) {
  const std::filesystem::path adapter = reward_model.parent_path() / "adapter";
  const bool shares = std::filesystem::exists(adapter / "adapter_config.json") &&
                      std::filesystem::weakly_canonical(adapter / read_adapter_base(adapter).model) ==
                          std::filesystem::weakly_canonical(model);
  std::shared_ptr<RewardModel> shared = shares ? reward_model_on(policy, reward_model) : nullptr;
  return shared ? shared : load_reward_model(reward_model, place);
}

}  // namespace

Json ppo(const PpoConfig& config, const EngineConfig& engine, const Constitution& constitution,
         const std::vector<Json>& prompts, const std::filesystem::path& model,
         const std::filesystem::path& reward_model, const std::filesystem::path& folder, std::uint64_t seed,
         const ProgressFn& progress) {
  if (prompts.empty()) throw InputError("ppo: no prompts");
  const ChatTemplate chat = load_chat(model, read_model_config(model).vocabulary);
  const ChatTemplate judge_chat = load_chat(reward_model, read_model_config(reward_model).vocabulary);
  std::map<std::string, long> kinds;
  std::vector<PpoPrompt> list;
  double checked = 0;
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    const std::string kind = kind_of(prompts[i]);
    list.push_back({record_id(prompts[i], i), prompt_tokens(chat, text_field(prompts[i], "prompt", i)),
                    !should_decline(prompts[i]), checked_part(config, constitution, prompts[i])});
    checked += list.back().checked;
    if (i < 20 && prompt_tokens(judge_chat, text_field(prompts[i], "prompt", i)) != list.back().tokens)
      throw InputError("ppo: the reward model " + reward_model.string() +
                       " reads text by other tokens than the policy " + model.string());
    ++kinds[kind.empty() ? "untagged" : kind];
  }
  const Place place = place_of(engine);
  const std::shared_ptr<Llama> policy = load_llama(model, place);
  AnswerText text = answer_text(chat);
  text.follows = Follower(constitution, prompts, chat);
  const Json trained = train_ppo(*policy, reward_model_for(*policy, model, reward_model, place), list, text,
                                 config, engine, seed, folder, step_progress("ppo", progress));
  const std::filesystem::path checkpoint = fresh_checkpoint(folder);
  const std::string weights = save_llama(*policy, checkpoint);
  const Json adapter = keep_adapter(*policy, model, folder);
  chat.save(checkpoint);

  Json figures = {{"prompts", prompts.size()},
                  {"kinds", kinds},
                  {"reward_by_checks", checked / static_cast<double>(prompts.size())},
                  {"weights_sha256", weights}};
  if (!adapter.is_null()) figures["adapter"] = adapter;
  figures.update(trained);
  return figures;
}

}  // namespace cai
