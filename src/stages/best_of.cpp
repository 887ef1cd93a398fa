#include "cai/stages/best_of.hpp"

#include <algorithm>

#include "cai/engine/devices.hpp"
#include "cai/model/checkpoint.hpp"
#include "cai/model/config.hpp"
#include "cai/stages/sentences.hpp"
#include "cai/stages/training.hpp"
#include "cai/train/train.hpp"

namespace cai {
namespace {

class BestOf : public Speaker {
 public:
  BestOf(const std::filesystem::path& policy, const std::filesystem::path& reward_model, int n,
         const EngineConfig& engine)
      : policy_(local_speaker(policy, engine)),
        reward_(load_reward_model(reward_model, place_of(engine))),
        chat_(load_chat(reward_model, read_model_config(reward_model).vocabulary)),
        n_(static_cast<std::size_t>(n)) {}

  void say(std::span<const Ask> asks, const std::function<void(std::size_t, Reply)>& done) override {
    constexpr std::size_t kWindow = 32;  // asks whose samples are held at once
    for (std::size_t from = 0; from < asks.size(); from += kWindow) {
      const std::size_t count = std::min(kWindow, asks.size() - from);
      std::vector<Ask> samples;
      for (std::size_t k = 0; k < count * n_; ++k) {
        Ask ask = asks[from + k / n_];
        ask.temperature = 1;
        ask.random = ask.random.derive("best of").derive(static_cast<std::uint64_t>(k % n_));
        samples.push_back(std::move(ask));
      }
      std::vector<Reply> replies(samples.size());
      policy_->say(samples, [&](std::size_t k, Reply reply) { replies[k] = std::move(reply); });
      std::vector<std::vector<int>> sequences;
      for (std::size_t k = 0; k < replies.size(); ++k) {
        // As the reward model was taught: whole sentences that end.
        const std::string answer = whole_part(replies[k].text, replies[k].finish);
        sequences.push_back(answered_tokens(chat_, chat_.encode(samples[k].messages, true), answer, true));
      }
      const std::vector<double> scores = score_rewards(*reward_, sequences);
      for (std::size_t i = 0; i < count; ++i) {
        const auto begin = scores.begin() + static_cast<std::ptrdiff_t>(i * n_);
        const std::ptrdiff_t best =
            std::max_element(begin, begin + static_cast<std::ptrdiff_t>(n_)) - scores.begin();
        done(from + i, std::move(replies[static_cast<std::size_t>(best)]));
      }
    }
  }

  std::vector<std::vector<double>> choose(std::span<const Choice> choices) override {
    return policy_->choose(choices);
  }
  std::vector<LogProbability> score(std::span<const Scored> scored) override {
    return policy_->score(scored);
  }
  Usage usage() const override { return policy_->usage(); }

 private:
  std::unique_ptr<Speaker> policy_;
  std::shared_ptr<RewardModel> reward_;
  ChatTemplate chat_;
  std::size_t n_;
};

}  // namespace

std::unique_ptr<Speaker> best_of_speaker(const std::filesystem::path& policy,
                                         const std::filesystem::path& reward_model, int n,
                                         const EngineConfig& engine) {
  return std::make_unique<BestOf>(policy, reward_model, n, engine);
}

}  // namespace cai
