#include "cai/stages/ppo.hpp"

#include <map>

#include "cai/base/error.hpp"
#include "cai/engine/engine.hpp"
#include "cai/model/checkpoint.hpp"
#include "cai/model/config.hpp"
#include "cai/stages/asking.hpp"
#include "cai/stages/pairs.hpp"
#include "cai/stages/training.hpp"

namespace cai {

Json ppo(const PpoConfig& config, const EngineConfig& engine, const std::vector<Json>& prompts,
         const std::filesystem::path& model, const std::filesystem::path& reward_model,
         const std::filesystem::path& folder, std::uint64_t seed, const ProgressFn& progress) {
  if (prompts.empty()) throw InputError("ppo: no prompts");
  const ChatTemplate chat = load_chat(model, read_model_config(model).vocabulary);
  const ChatTemplate judge_chat = load_chat(reward_model, read_model_config(reward_model).vocabulary);
  std::map<std::string, long> kinds;
  std::vector<PpoPrompt> list;
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    const std::string kind = kind_of(prompts[i]);
    list.push_back({record_id(prompts[i], i), prompt_tokens(chat, text_field(prompts[i], "prompt", i)),
                    !should_decline(prompts[i])});
    if (i < 20 && prompt_tokens(judge_chat, text_field(prompts[i], "prompt", i)) != list.back().tokens)
      throw InputError("ppo: the reward model " + reward_model.string() +
                       " reads text by other tokens than the policy " + model.string());
    ++kinds[kind.empty() ? "untagged" : kind];
  }
  const std::shared_ptr<Llama> policy = load_llama(model, trains_in_bfloat16(engine.dtype));
  const Json trained =
      train_ppo(*policy, load_reward_model(reward_model, trains_in_bfloat16(engine.dtype)), list,
                answer_text(chat), config, engine, seed, folder, step_progress("ppo", progress));
  const std::filesystem::path checkpoint = fresh_checkpoint(folder);
  const std::string weights = save_llama(*policy, checkpoint);
  chat.save(checkpoint);

  Json figures = {{"prompts", prompts.size()}, {"kinds", kinds}, {"weights_sha256", weights}};
  figures.update(trained);
  return figures;
}

}  // namespace cai
