// Whole trainings of tiny models on a device against the same on the CPU by its own code.
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <functional>

#include "cai/base/error.hpp"
#include "cai/base/random.hpp"
#include "cai/engine/engine.hpp"
#include "cai/io/json.hpp"
#include "cai/model/reward_model.hpp"
#include "cai/train/ppo.hpp"
#include "cai/train/train.hpp"
#include "cai/train/trainer.hpp"
#include "device.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;

struct Folder {
  fs::path path =
      fs::temp_directory_path() / ("cai-device-" + std::to_string(getpid()) + "-" + std::to_string(next()++));
  ~Folder() { fs::remove_all(path); }
  static int& next() {
    static int n = 0;
    return n;
  }
};

ModelConfig tiny() {
  ModelConfig c;
  c.architecture = "LlamaForCausalLM";
  c.layers = 3, c.width = 32, c.heads = 4, c.kv_heads = 2, c.head_width = 8, c.ffn_width = 48,
  c.vocabulary = 40, c.context = 64, c.tied_head = true;
  return c;
}

std::vector<TrainExample> examples(int n) {
  std::vector<TrainExample> all;
  for (int i = 0; i < n; ++i) {
    Random random = Random(7).derive(static_cast<std::uint64_t>(i));
    TrainExample e{"e" + std::to_string(i), {}, 3, 1};
    for (int t = 0; t < 8 + i % 5; ++t)
      e.tokens.push_back(static_cast<int>(random.below(40)));
    if (i % 3 == 1) e.as_before = true;
    if (i % 3 == 2) e.decisions = {{0, i % 2 == 0, {3, 4}}, {1, true, {5}}};
    all.push_back(e);
  }
  return all;
}

std::vector<PreferencePair> pairs(int n) {
  std::vector<PreferencePair> all;
  for (int i = 0; i < n; ++i) {
    Random random = Random(11).derive(static_cast<std::uint64_t>(i));
    PreferencePair p{"p" + std::to_string(i), {1, 2, 3}, {1, 2, 3}, 3, i % 2 ? 0.9 : 0.2, 1, "ordinary"};
    for (int t = 0; t < 6 + i % 4; ++t)
      p.a.push_back(static_cast<int>(random.below(40))), p.b.push_back(static_cast<int>(random.below(40)));
    all.push_back(p);
  }
  return all;
}

// Runs `train` on a model on the CPU by its own code, then on the device; the weights and the figures of
// each.
struct Trained {
  std::vector<std::pair<std::string, at::Tensor>> weights;
  Json figures;
};
using Training = std::function<Json(Llama& model, const fs::path& folder)>;

Trained trained(const ModelConfig& config, const Place& place, const Training& train) {
  Llama model = random_llama(config, 1);
  for (auto& [name, t] : model.named_weights())
    if (name.find("norm") == std::string::npos) t.mul_(5);
  move_to(model, place);
  const Folder folder;
  Trained t{{}, train(model, folder.path)};
  for (auto& [name, w] : model.named_weights())
    t.weights.emplace_back(name, w.detach().cpu().clone());
  return t;
}

void expect_near(const Trained& found, const Trained& expected, const char* figure, double most) {
  const Llama start = [] {
    Llama model = random_llama(tiny(), 1);
    for (auto& [name, t] : model.named_weights())
      if (name.find("norm") == std::string::npos) t.mul_(5);
    return model;
  }();
  const auto before = start.named_weights();
  for (std::size_t i = 0; i < expected.weights.size(); ++i) {
    const at::Tensor learned = expected.weights[i].second - before[i].second;
    if (learned.abs().max().item<double>() == 0) {
      EXPECT_EQ((found.weights[i].second - before[i].second).abs().max().item<double>(), 0)
          << before[i].first;
      continue;
    }
    EXPECT_LT(distance(found.weights[i].second - before[i].second, learned), most) << before[i].first;
  }
  if (*figure != '\0') {
    EXPECT_NEAR(found.figures.at(figure).get<double>(), expected.figures.at(figure).get<double>(),
                0.1 * most + 1e-4);
  }
}

TEST(DeviceTraining, FineTuningLearnsWhatTheCpuLearns) {
  for (const long layers : {2L, 0L}) {
    const Training train = [&](Llama& model, const fs::path& folder) {
      return train_sft(model, examples(12), examples(4),
                       {.optimiser = {.learning_rate = 1e-3, .trainable_layers = layers},
                        .epochs = 2,
                        .batch_size = 4,
                        .decision_weight = 1},
                       3, folder, {});
    };
    const Trained expected = trained(tiny(), {}, train);
    const OnDevice on_device;
    expect_near(trained(tiny(), test_place(false), train), expected, "held_out_loss", 0.02);
    const Trained once = trained(tiny(), test_place(true), train),
                  again = trained(tiny(), test_place(true), train);
    expect_near(once, expected, "held_out_loss", 0.5);  // Adam's first steps are signs of gradients near zero
    for (std::size_t i = 0; i < once.weights.size(); ++i)
      EXPECT_TRUE(at::equal(once.weights[i].second, again.weights[i].second)) << once.weights[i].first;
  }
}

TEST(DeviceTraining, ARewardModelLearnsWhatItLearnsOnTheCpu) {
  const auto accuracy_of = [](const Place& place) {
    Llama trunk = random_llama(tiny(), 1);
    move_to(trunk, place);
    RewardModel model = *new_reward_model(trunk, 5);
    const Folder folder;
    RewardConfig config;
    config.batch_size = 4, config.epochs = 2, config.optimiser.trainable_layers = 2;
    config.optimiser.learning_rate = 1e-3;
    train_reward(model, pairs(16), pairs(8), config, 3, folder.path, {});
    std::vector<std::vector<int>> sequences;
    for (const PreferencePair& p : pairs(8))
      sequences.push_back(p.a), sequences.push_back(p.b);
    return score_rewards(model, sequences);
  };
  const std::vector<double> expected = accuracy_of({});
  const OnDevice on_device;
  const std::vector<double> found = accuracy_of(test_place(false));
  for (std::size_t i = 0; i < expected.size(); ++i)
    EXPECT_NEAR(found[i], expected[i], 2e-2) << i;
}

TEST(DeviceTraining, DpoLearnsWhatItLearnsOnTheCpu) {
  const Training train = [](Llama& model, const fs::path& folder) {
    DpoConfig config;
    config.batch_size = 4, config.epochs = 1, config.optimiser.trainable_layers = 2;
    config.optimiser.learning_rate = 1e-3;
    return train_dpo(model, pairs(16), {}, config, 3, folder, {});
  };
  const Trained expected = trained(tiny(), {}, train);
  const OnDevice on_device;
  expect_near(trained(tiny(), test_place(false), train), expected, "", 0.02);
}

// The reward counts the tokens from 20 on, half of all, among the answer's eight.
TEST(DeviceTraining, PpoRaisesTheReward) {
  const Scorer score = [](const std::vector<std::vector<int>>& sequences, const std::vector<at::Tensor>&,
                          std::int64_t) {
    std::vector<double> scores;
    for (const auto& s : sequences)
      scores.push_back(
          static_cast<double>(std::count_if(s.end() - 8, s.end(), [](int t) { return t >= 20; })) / 4 - 1);
    return scores;
  };
  ModelConfig untied = tiny();
  untied.tied_head = false;
  const OnDevice on_device;
  for (const char* advantage : {"gae", "grpo"}) {
    Llama model = random_llama(untied, 2);
    model.head.mul_(10);  // tells tokens apart
    move_to(model, test_place(false));
    RewardModel value = *new_reward_model(model, 3);
    value.score = at::zeros_like(value.score);
    PpoConfig config;
    config.optimiser.learning_rate = 2e-3, config.value_learning_rate = 1e-2;
    config.optimiser.trainable_layers = 2, config.optimiser.schedule = "constant";
    config.updates = 30, config.prompts_per_update = 24, config.samples_per_prompt = 2,
    config.max_new_tokens = 8;
    config.critic_warmup = 1, config.kl_coefficient = 0.03, config.advantage = advantage;
    config.missing_stop_penalty = 0, config.stop_epochs_at_kl = 0.2;
    config.divergence_weight = 0.001;
    Engine engine(model, {.max_sequences = 48, .place = test_place(false)});
    const Folder folder;
    std::vector<double> scores;
    try {
      train_ppo_with(model, value, score, {{"a", {1, 2, 3}}, {"b", {4, 5}}, {"c", {6, 7, 8, 9}}}, {}, config,
                     engine, 1, folder.path, [&](long, long, const Json& figures) {
                       scores.push_back(figures.at("score").get<double>());
                       EXPECT_LT(figures.at("first_log_ratio").get<double>(), 1e-3);
                       if (scores.back() > scores.front() + 0.5) throw Stopped();
                     });
    } catch (const Stopped&) {
    }
    EXPECT_GT(scores.back(), scores.front() + 0.5) << advantage;
  }
}

}  // namespace
}  // namespace cai
