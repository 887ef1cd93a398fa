// Training on tiny random models: gradients, resumption, and that PPO reaches a known optimum.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <functional>

#include "cai/base/error.hpp"
#include "cai/base/log.hpp"
#include "cai/base/random.hpp"
#include "cai/base/stop.hpp"
#include "cai/engine/engine.hpp"
#include "cai/io/file.hpp"
#include "cai/model/layer_tensors.hpp"
#include "cai/model/reward_model.hpp"
#include "cai/train/answers.hpp"
#include "cai/train/loss.hpp"
#include "cai/train/ppo.hpp"
#include "cai/train/rollouts.hpp"
#include "cai/train/train.hpp"
#include "cai/train/trainer.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;

ModelConfig tiny() {
  ModelConfig c;
  c.architecture = "LlamaForCausalLM";
  c.layers = 3, c.width = 32, c.heads = 4, c.kv_heads = 2, c.head_width = 8, c.ffn_width = 48,
  c.vocabulary = 40, c.context = 64;
  c.tied_head = true;
  return c;
}

struct Folder {
  fs::path path =
      fs::temp_directory_path() / ("cai-train-" + std::to_string(getpid()) + "-" + std::to_string(next()++));
  ~Folder() { fs::remove_all(path); }
  static int& next() {
    static int n = 0;
    return n;
  }
};

// Each tensor of a layer counts: a reward model that differs in one alone is not scored on the policy's
// states, and each learns.
TEST(Layers, AreSharedAndTrainedTensorByTensor) {
  ModelConfig config = tiny();
  config.qkv_bias = config.output_bias = config.qk_norm = true;
  Llama model = random_llama(config, 1);
  EXPECT_EQ(shared_layers(model, model.clone()), 3);
  for (const LayerTensor& t : layer_tensors(config)) {
    const Llama other = model.clone();
    (other.layers[1].*t.tensor).add_(1);
    EXPECT_EQ(shared_layers(model, other), 1) << t.hf;
  }
  EXPECT_EQ(make_trainable(model, 2).size(), 2 * layer_tensors(config).size() + 1);
  for (const LayerTensor& t : layer_tensors(config))
    EXPECT_TRUE((model.layers[1].*t.tensor).requires_grad() && !(model.layers[0].*t.tensor).requires_grad())
        << t.hf;
}

std::vector<TrainExample> examples(int n) {
  std::vector<TrainExample> all;
  for (int i = 0; i < n; ++i) {
    Random random = Random(7).derive(static_cast<std::uint64_t>(i));
    TrainExample e{"e" + std::to_string(i), {}, 3, 1};
    for (int t = 0; t < 8 + i % 5; ++t)
      e.tokens.push_back(static_cast<int>(random.below(40)));
    all.push_back(e);
  }
  return all;
}

bool same_weights(const Llama& a, const Llama& b) {
  const auto x = a.named_weights(), y = b.named_weights();
  for (std::size_t i = 0; i < x.size(); ++i)
    if (!at::equal(x[i].second, y[i].second)) return false;
  return true;
}

TEST(AdamW, AStepIsSeenByRoundedWeights) {
  at::Tensor w = at::ones({4, 4}).requires_grad_(true);
  AdamW optimiser({{"w", w}}, 1e-8, 0);
  RoundedWeights rounded;
  EXPECT_EQ(rounded.of({w})[0][0].item<float>(), 1);
  w.mutable_grad() = at::ones({4, 4});
  optimiser.step(0.5, 0);
  EXPECT_NEAR(rounded.of({w})[0][0].item<float>(), 0.5, 1e-2);
}

TEST(AdamW, NormsAndBiasesDoNotDecay) {
  at::Tensor norm = at::ones({4}).requires_grad_(true), matrix = at::ones({4, 4}).requires_grad_(true);
  AdamW optimiser({{"norm", norm}, {"matrix", matrix}}, 1e-8, 0.1);
  for (int step = 0; step < 3; ++step)
    optimiser.step(0.1, 1);
  EXPECT_EQ(norm[0].item<float>(), 1);
  EXPECT_NEAR(matrix[0][0].item<double>(), 0.99 * 0.99 * 0.99, 1e-5);
}

TEST(AdamW, TwoModelsThatLearnInTurnHaveOneGradient) {
  const at::Tensor a = at::ones({4, 4}).requires_grad_(true), b = at::ones({4, 4}).requires_grad_(true),
                   c = at::ones({3, 4}).requires_grad_(true);
  AdamW first({{"w", a}, {"v", a.detach().clone().requires_grad_(true)}}, 1e-8, 0),
      second({{"w", b}, {"v", c}}, 1e-8, 0, 0.999, &first);
  EXPECT_TRUE(b.grad().is_same(a.grad()));
  EXPECT_EQ(c.grad().sizes(), c.sizes());  // another shape: its own
  for (int step = 0; step < 3; ++step) {
    (a * 2).sum().backward();
    EXPECT_NEAR(first.step(0.1, 0), 8, 1e-5);
    (b * -1).sum().backward();
    EXPECT_NEAR(second.step(0.1, 0), 4, 1e-5);
  }
  EXPECT_NEAR(a[0][0].item<float>(), 0.7, 1e-4);
  EXPECT_NEAR(b[0][0].item<float>(), 1.3, 1e-4);
}

TEST(Sft, AnswersThatStayAsBeforeHoldTheModel) {
  // Alone they have nothing to teach; beside others they keep the model nearer to what it was.
  std::vector<TrainExample> kept = examples(8), others = examples(12);
  others.erase(others.begin(), others.begin() + 8);
  const auto divergence_after = [&](bool as_before, long trainable_layers) {
    std::vector<TrainExample> all = others;
    for (TrainExample e : kept)
      e.as_before = as_before, all.push_back(e);
    Llama model = random_llama(tiny(), 1);
    const Llama before = model.clone();
    const Folder folder;
    train_sft(model, all, {},
              {.optimiser = {.learning_rate = 5e-3, .trainable_layers = trainable_layers},
               .epochs = 8,
               .batch_size = 4},
              1, folder.path, {});
    const c10::NoGradGuard no_gradients;
    std::vector<const TrainExample*> which;
    for (const TrainExample& e : kept)
      which.push_back(&e);
    const AnswerBatch batch = answer_batch(which, at::kCPU);
    const auto logs = [&](const Llama& m) {
      return at::log_softmax(at::mm(answer_states(m, batch, 0), m.head.t()), -1);
    };
    const at::Tensor then = logs(before);
    return (then.exp() * (then - logs(model))).sum(-1).mean().item<double>();
  };
  for (const long layers : {0L, 3L})
    EXPECT_LT(divergence_after(true, layers), 0.7 * divergence_after(false, layers))
        << layers;  // the head learns, and all but the head

  for (TrainExample& e : kept)
    e.as_before = true;
  // The states before training are kept where several epochs use them, and computed again in each step of a
  // single one: the same losses.
  std::vector<TrainExample> all = others;
  all.insert(all.end(), kept.begin(), kept.end());
  std::vector<Json> once, kept_states;
  for (auto* figures : {&once, &kept_states}) {
    Llama model = random_llama(tiny(), 1);
    const Folder folder;
    const SftConfig config{.optimiser = {.learning_rate = 5e-3, .warmup_ratio = 0, .schedule = "constant"},
                           .epochs = figures == &once ? 1 : 2,
                           .batch_size = 4};
    train_sft(model, all, {}, config, 1, folder.path,
              [&](long, long, const Json& f) { figures->push_back(f); });
  }
  ASSERT_EQ(once.size(), 3U);
  for (std::size_t i = 0; i < once.size(); ++i) {
    EXPECT_NEAR(once[i]["divergence"].get<double>(), kept_states[i]["divergence"].get<double>(), 1e-6);
    EXPECT_NEAR(once[i]["loss"].get<double>(), kept_states[i]["loss"].get<double>(), 1e-5);
  }
  EXPECT_GT(once[2]["divergence"].get<double>(), 1e-4);

  Llama model = random_llama(tiny(), 1);
  const Folder folder;
  std::vector<double> norms;
  train_sft(model, kept, {},
            {.optimiser = {.learning_rate = 1e-9, .trainable_layers = 2}, .epochs = 2, .batch_size = 4}, 1,
            folder.path, [&](long, long, const Json& figures) {
              EXPECT_EQ(figures["loss"].get<double>(), 0);
              EXPECT_NEAR(figures["divergence"].get<double>(), 0, 1e-6);
              norms.push_back(figures["gradient_norm"].get<double>());
            });
  for (const double norm : norms)
    EXPECT_LT(norm, 1e-4);
}

TEST(Sft, LowersTheLossAndLeavesFrozenLayersAlone) {
  Llama model = random_llama(tiny(), 1);
  const Llama before = model.clone();
  SftConfig config{.optimiser = {.learning_rate = 5e-3, .trainable_layers = 1}, .epochs = 6, .batch_size = 4};
  const Folder folder;
  const Json figures = train_sft(model, examples(12), examples(3), config, 1, folder.path, {});
  EXPECT_LT(figures["train_loss"].get<double>(), figures["first_loss"].get<double>());
  EXPECT_LT(figures["held_out_loss"].get<double>(), figures["held_out_loss_before"].get<double>());
  EXPECT_TRUE(at::equal(model.layers[0].q, before.layers[0].q));
  EXPECT_TRUE(at::equal(model.embedding, before.embedding));
  EXPECT_FALSE(at::equal(model.layers[2].q, before.layers[2].q));
}

TEST(Sft, GoesBackByTheShareOfTheWeightsBefore) {
  for (const long layers : {0, 1}) {
    const Llama before = random_llama(tiny(), 1);
    Llama learned = before.clone(), between = before.clone();
    SftConfig config{
        .optimiser = {.learning_rate = 5e-3, .trainable_layers = layers}, .epochs = 3, .batch_size = 4};
    const Folder one, other;
    train_sft(learned, examples(12), examples(3), config, 1, one.path, {});
    config.before_share = 0.25;
    const Json figures = train_sft(between, examples(12), examples(3), config, 1, other.path, {});
    const auto a = before.named_weights(), b = learned.named_weights(), c = between.named_weights();
    ASSERT_FALSE(at::equal(a.back().second, b.back().second));
    for (std::size_t i = 0; i < a.size(); ++i)
      EXPECT_TRUE(at::allclose(c[i].second, 0.25 * a[i].second + 0.75 * b[i].second, 1e-5, 1e-7))
          << a[i].first;
    const std::vector<double> losses = example_log_probabilities(
        between, examples(3));  // the held-out loss is that of the weights that come out
    double sum = 0, tokens = 0;
    for (std::size_t i = 0; i < losses.size(); ++i) {
      const double n = static_cast<double>(examples(3)[i].tokens.size()) - examples(3)[i].prompt_tokens;
      sum -= losses[i] * n, tokens += n;
    }
    EXPECT_NEAR(figures["held_out_loss"].get<double>(), sum / tokens, 1e-5);
  }
}

TEST(Sft, ABatchHasTheGradientOfItsMicroBatches) {
  // One long pack against examples one by one: the token mean over the step is the same loss.
  Llama model = random_llama(tiny(), 2);
  const std::vector<TrainExample> all = examples(5);
  const std::vector<double> together = example_log_probabilities(model, all);
  for (std::size_t i = 0; i < all.size(); ++i)
    EXPECT_NEAR(together[i], example_log_probabilities(model, {all[i]})[0], 1e-5);
}

TEST(Sft, TheDecisionLossIsTheMassOfDecliningOpenings) {
  // Against the whole distribution where each decision is made, computed the plain way.
  std::vector<TrainExample> all = examples(4);
  all[0].decisions = {{0, true, {3, 7}}, {1, true, {5}}};
  all[1].decisions = {{0, false, {3, 7}}};
  all[2].decisions = {{1, false, {4, 5, 6}}};
  Llama model = random_llama(tiny(), 2);
  double expected = 0;
  for (const TrainExample& e : all)
    for (const Decision& d : e.decisions) {
      const at::Tensor p = logits(model, pack({e.tokens}))[e.prompt_tokens - 1 + d.at].softmax(-1);
      double declines = 0;
      for (int token : d.openings)
        declines += p[token].item<double>();
      expected -= (d.declines ? std::log(declines) : (d.at == 0 ? 3 : 1) * std::log(1 - declines)) / 4;
    }
  const Folder folder;
  double before = 0, after = 0;
  const SftConfig config = {.optimiser = {.learning_rate = 1e-2, .warmup_ratio = 0},
                            .epochs = 20,
                            .batch_size = 4,
                            .decision_weight = 2,
                            .answering_weight = 3};
  train_sft(model, all, {}, config, 1, folder.path, [&](long step, long, const Json& figures) {
    (step == 1 ? before : after) = figures["decision_loss"].get<double>();
  });
  EXPECT_NEAR(before, expected, 1e-5);
  EXPECT_LT(after, 0.5 * before);
}

TEST(Reward, MayKeepTheLowerLayersAlone) {
  const Llama model = random_llama(tiny(), 2);
  ASSERT_GT(model.config.layers, 1);
  const auto reward = new_reward_model(model, 3, 1);
  EXPECT_EQ(reward->trunk.config.layers, 1);
  const std::vector<int> sequence = {3, 1, 4, 1, 5};
  const Packed packed = pack({sequence});
  const at::Tensor last = final_norm(model, run_layers(model, embed(model, packed.tokens), packed, 0, 1))[4];
  EXPECT_NEAR(score_rewards(*reward, {sequence})[0], (last * reward->score[0]).sum().item<double>(), 1e-5);
}

// Runs `train` in a child process that is told to stop after `steps` observed steps, then again to the end.
template <class Train>
void stop_after(int steps, Train train) {
  const pid_t child = fork();
  if (child == 0) {
    install_stop_handlers();
    int seen = 0;
    try {
      train([&](long, long, const Json&) {
        if (++seen == steps) raise(SIGTERM);
      });
    } catch (const Stopped&) {
      _exit(kStopped);
    }
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  ASSERT_TRUE(WIFEXITED(status));
  ASSERT_EQ(WEXITSTATUS(status), kStopped);
}

// train_ppo_with in float32, without stop tokens.
Json toy_ppo_run(Llama& model, RewardModel value, const Scorer& score, const std::vector<PpoPrompt>& prompts,
                 const PpoConfig& config, const std::filesystem::path& folder, const StepObserver& observe) {
  Engine engine(model, {.dtype = "float32"});
  return train_ppo_with(model, std::move(value), score, prompts, {}, config, engine, 1, folder, observe);
}

PpoConfig toy_ppo() {
  PpoConfig c;
  c.optimiser.learning_rate = 1e-2;
  c.optimiser.trainable_layers = 2;
  c.value_learning_rate = 1e-2;
  c.updates = 6, c.prompts_per_update = 6, c.max_new_tokens = 8, c.critic_warmup = 1, c.kl_coefficient = 0.01;
  return c;
}

std::vector<PpoPrompt> prompts() {
  return {{"a", {1, 2, 3}}, {"b", {4, 5}}, {"c", {6, 7, 8, 9}}};
}

// Counts the tokens from 20 on, half of all, among the answer's eight, from -1 to 1: a task whose best
// answers keep an entropy of ln 20.
Scorer count_tokens() {
  return [](const std::vector<std::vector<int>>& sequences, const std::vector<at::Tensor>&, std::int64_t) {
    std::vector<double> scores;
    for (const auto& s : sequences) {
      double n = 0;
      for (std::size_t i = s.size() - 8; i < s.size(); ++i)
        n += s[i] >= 20;
      scores.push_back(n / 4 - 1);
    }
    return scores;
  };
}

// A random model whose head can tell tokens apart: with the tied head of width 0.02 no training of the trunk
// could prefer one.
Llama toy_policy(std::uint64_t seed) {
  ModelConfig c = tiny();
  c.tied_head = false;
  Llama m = random_llama(c, seed);
  m.head.mul_(10);
  return m;
}

RewardModel toy_value(const Llama& model) {
  RewardModel v = *new_reward_model(model, 3);
  v.score = at::zeros_like(v.score);
  return v;
}

// One flipped bit anywhere in the saved state of a stopped training: told, and training ends as if there had
// been no stop.
TEST(Training, ADamagedStateIsNeverTrained) {
  at::set_num_threads(1);
  set_log_level(LogLevel::kOff);
  const Llama start = random_llama(tiny(), 4);
  const SftConfig config{
      .optimiser = {.learning_rate = 1e-3, .trainable_layers = 1}, .epochs = 1, .batch_size = 4};
  const auto train = [&](const fs::path& folder, const StepObserver& observe) {
    Llama model = start.clone();
    train_sft(model, examples(16), {}, config, 1, folder, observe);
    return model;
  };
  const Folder whole, stopped, folder;
  const Llama expected = train(whole.path, {});
  const std::string metrics = read_file(whole.path / "metrics.jsonl");
  stop_after(2, [&](const StepObserver& observe) { train(stopped.path, observe); });
  const char* given = std::getenv("CAI_FLIPS");
  const int flips = given ? std::atoi(given) / 4 : 25;  // of each of four files
  for (const char* name :
       {"metrics.jsonl", "state/position.json", "state/a.safetensors", "state/b.safetensors"}) {
    if (!fs::exists(stopped.path / name)) continue;
    const std::string good = read_file(stopped.path / name);
    Random random = Random(1).derive(name);
    for (int i = 0; i < flips; ++i) {
      std::string bad = good;
      const std::size_t at = random.below(good.size());
      bad[at] = static_cast<char>(bad[at] ^ (1 << random.below(8)));
      fs::remove_all(folder.path);
      fs::copy(stopped.path, folder.path, fs::copy_options::recursive);
      write_file(folder.path / name, bad);
      EXPECT_TRUE(same_weights(train(folder.path, {}), expected)) << name << ", byte " << at;
      EXPECT_EQ(read_file(folder.path / "metrics.jsonl"), metrics) << name << ", byte " << at;
      if (testing::Test::HasFailure()) return;
    }
  }
  set_log_level(LogLevel::kInfo);
}

TEST(Training, AStopAnywhereChangesNothing) {
  at::set_num_threads(1);  // a child process cannot use the parent's threads
  const Llama start = random_llama(tiny(), 4);
  SftConfig sft{.optimiser = {.learning_rate = 1e-3}, .epochs = 2, .batch_size = 4};
  RewardConfig reward;
  reward.batch_size = 4, reward.epochs = 2;
  std::vector<PreferencePair> pairs;
  for (const TrainExample& e : examples(12)) {
    PreferencePair p{e.id, e.tokens, e.tokens, 3, 0.8, 1, "x"};
    p.b.back() = 11;
    pairs.push_back(p);
  }
  const auto run_sft = [&](const fs::path& folder, const StepObserver& observe) {
    Llama model = start.clone();
    std::vector<TrainExample> all = examples(16);
    for (std::size_t i = 0; i < all.size(); i += 3)
      all[i].as_before = true;
    train_sft(model, all, examples(2), sft, 1, folder, observe);
    return model;
  };
  const auto run_reward = [&](const fs::path& folder, const StepObserver& observe) {
    const auto model = new_reward_model(start, 5);
    train_reward(*model, pairs, {}, reward, 1, folder, observe);
    return model->trunk;
  };
  const auto run_ppo = [&](const fs::path& folder, const StepObserver& observe) {
    Llama model = start.clone();
    PpoConfig ppo = toy_ppo();
    ppo.divergence_weight = 0.5;
    toy_ppo_run(model, toy_value(start), count_tokens(), prompts(), ppo, folder, observe);
    return model;
  };
  const auto run_dpo = [&](const fs::path& folder, const StepObserver& observe) {
    Llama model = start.clone();
    DpoConfig dpo{.optimiser = {.learning_rate = 1e-3, .trainable_layers = 1}, .epochs = 2, .batch_size = 4};
    train_dpo(model, pairs, {}, dpo, 1, folder, observe);
    return model;
  };
  const auto check = [&](auto run, int steps) {
    const Folder whole, broken;
    const Llama expected = run(whole.path, StepObserver());
    stop_after(steps, [&](const StepObserver& observe) { run(broken.path, observe); });
    const Llama resumed = run(broken.path, StepObserver());
    EXPECT_TRUE(same_weights(expected, resumed)) << "stopped after " << steps;
    EXPECT_EQ(read_file(whole.path / "metrics.jsonl"), read_file(broken.path / "metrics.jsonl"));
  };
  for (int steps : {1, 3, 7})
    check(run_sft, steps);
  for (int steps : {1, 4})
    check(run_reward, steps);
  for (int steps : {1, 4})
    check(run_dpo, steps);
  for (int steps : {1, 4})
    check(run_ppo, steps);
  at::set_num_threads(2);
}

TEST(Reward, LearnsWhichTokenIsBetter) {
  const Llama start = random_llama(tiny(), 6);
  const auto model = new_reward_model(start, 1);
  std::vector<PreferencePair> train, held_out;
  for (int i = 0; i < 80; ++i) {
    Random random = Random(9).derive(static_cast<std::uint64_t>(i));
    PreferencePair p{"p" + std::to_string(i),
                     {1, 13 + i % 20, static_cast<int>(random.below(40)), 11},
                     {1, 13 + i % 20, static_cast<int>(random.below(40)), 12},
                     2,
                     0.9,
                     1,
                     i % 2 ? "x" : "y"};
    if (i % 3 == 0) std::swap(p.a, p.b), p.p = 0.1;
    (i < 60 ? train : held_out).push_back(p);
  }
  RewardConfig config;
  config.optimiser.learning_rate = 3e-3;
  config.head_learning_rate = 1e-2;
  config.epochs = 4, config.batch_size = 10;
  const Folder folder;
  const Json figures = train_reward(*model, train, held_out, config, 1, folder.path, {});
  EXPECT_GT(figures["held_out"]["accuracy"]["low"].get<double>(), 0.5);
  EXPECT_LT(figures["held_out"]["excess_loss"].get<double>(), 0.3);
  normalise_rewards(*model, {{1, 2, 5, 11}, {1, 2, 5, 12}, {1, 2, 6, 11}});
  const std::vector<double> scores = score_rewards(*model, {{1, 2, 5, 11}, {1, 2, 5, 12}, {1, 2, 6, 11}});
  EXPECT_NEAR(scores[0] + scores[1] + scores[2], 0, 1e-4);
  EXPECT_GT(scores[0], scores[1]);
}

TEST(Reward, AMarginOfZeroIsNotRight) {
  const Llama start = random_llama(tiny(), 6);
  std::vector<PreferencePair> pairs;
  for (double p : {0.9, 0.1, 0.9, 0.1})
    pairs.push_back({"p", {1, 2, 5, 11}, {1, 2, 6, 12}, 2, p, 1, "x"});
  const auto model = new_reward_model(start, 1);
  model->score = at::zeros_like(model->score);
  RewardConfig reward{.optimiser = {.learning_rate = 0}};
  reward.head_learning_rate = 0;
  const Folder one, other;
  const Json rewarded = train_reward(*model, pairs, pairs, reward, 1, one.path,
                                     [](long, long, const Json& f) { EXPECT_EQ(f["accuracy"], 0.0); });
  EXPECT_EQ(rewarded["held_out"]["accuracy"]["value"], 0.0);
  EXPECT_EQ(rewarded["held_out"]["accuracy_by_kind"]["x"]["value"], 0.0);
  Llama policy = start.clone();
  const DpoConfig dpo{.optimiser = {.learning_rate = 0}};
  const Json moved = train_dpo(policy, pairs, pairs, dpo, 1, other.path,
                               [](long, long, const Json& f) { EXPECT_EQ(f["accuracy"], 0.0); });
  EXPECT_EQ(moved["held_out"]["accuracy"]["value"], 0.0);
}

TEST(Reward, AnUntiedHeadIsNotLearned) {
  ModelConfig c = tiny();
  c.tied_head = false;
  const auto model = new_reward_model(random_llama(c, 6), 1);
  const at::Tensor head = model->trunk.head;
  Llama copy = model->trunk;
  for (const auto& [name, w] : make_trainable(copy, 0, false))
    EXPECT_NE(name, "lm_head.weight");
  const Folder folder;
  train_reward(*model, {{"p", {1, 2, 5, 11}, {1, 2, 6, 12}, 2, 0.9, 1, "x"}}, {}, RewardConfig(), 1,
               folder.path, {});
  EXPECT_TRUE(model->trunk.head.is_same(head));
  EXPECT_FALSE(model->trunk.head.requires_grad());
  EXPECT_TRUE(model->trunk.embedding.requires_grad());
}

TEST(Dpo, MovesTowardsThePreferredSideAndLeavesFrozenLayersAlone) {
  const Llama start = random_llama(tiny(), 6);
  std::vector<PreferencePair> train, held_out;
  for (int i = 0; i < 60; ++i) {
    Random random = Random(9).derive(static_cast<std::uint64_t>(i));
    PreferencePair p{"p" + std::to_string(i),
                     {1, 13 + i % 20, static_cast<int>(random.below(40)), 11},
                     {1, 13 + i % 20, static_cast<int>(random.below(40)), 12},
                     2,
                     0.9,
                     1,
                     ""};
    if (i % 3 == 0) std::swap(p.a, p.b), p.p = 0.1;
    (i < 40 ? train : held_out).push_back(p);
  }
  DpoConfig config{
      .optimiser = {.learning_rate = 3e-3, .trainable_layers = 1}, .epochs = 4, .batch_size = 10};
  const Folder folder;
  Llama model = start.clone();
  const Json figures = train_dpo(model, train, held_out, config, 1, folder.path, {});
  EXPECT_GT(figures["held_out"]["accuracy"]["low"].get<double>(), 0.5);
  EXPECT_LT(figures["held_out"]["loss"].get<double>(), std::log(2.0));
  EXPECT_TRUE(at::equal(model.embedding, start.embedding));
  EXPECT_TRUE(at::equal(model.layers[0].q, start.layers[0].q));
  EXPECT_FALSE(at::equal(model.layers.back().q, start.layers.back().q));
}

TEST(Ppo, BeforeTheFirstStepPolicyAndReferenceAgreeExactly) {
  Llama model = random_llama(tiny(), 7);
  PpoConfig config = toy_ppo();
  config.updates = 1, config.critic_warmup = 0;
  const Folder folder;
  Json first;
  toy_ppo_run(model, toy_value(model), count_tokens(), prompts(), config, folder.path,
              [&](long, long, const Json& f) { first = f; });
  EXPECT_EQ(first["kl"].get<double>(), 0);
  EXPECT_EQ(first["kl_k3"].get<double>(), 0);
  EXPECT_EQ(first["first_log_ratio"].get<double>(), 0);
  EXPECT_LT(first["sampler_k3"].get<double>(), 1e-8);
}

TEST(Ppo, ReachesAKnownOptimumWithBoundedDivergence) {
  Llama model = toy_policy(8);
  PpoConfig config = toy_ppo();
  config.updates = 80, config.prompts_per_update = 48, config.kl_coefficient = 0.03,
  config.optimiser.learning_rate = 2e-3, config.optimiser.schedule = "constant",
  config.missing_stop_penalty = 0;
  config.stop_epochs_at_kl = 0.2;
  const Folder folder;
  Json last;
  try {
    toy_ppo_run(model, toy_value(model), count_tokens(), prompts(), config, folder.path,
                [&](long, long, const Json& f) {
                  last = f;
                  if (f["score"].get<double>() > 0.9) throw Stopped();  // reached: the best possible is 1
                });
  } catch (const Stopped&) {
  }
  EXPECT_GT(last["score"].get<double>(), 0.9);
  EXPECT_LT(last["kl"].get<double>(), config.max_kl);
}

TEST(Ppo, StaysAtTheReferenceUnderAHeavyPenalty) {
  Llama model = random_llama(tiny(), 9);
  PpoConfig config = toy_ppo();
  config.updates = 12, config.kl_coefficient = 10, config.optimiser.learning_rate = 1e-3;
  const Folder folder;
  Json last;
  toy_ppo_run(model, toy_value(model), count_tokens(), prompts(), config, folder.path,
              [&](long, long, const Json& f) { last = f; });
  EXPECT_LT(std::abs(last["kl"].get<double>()), 0.5);
}

TEST(Ppo, ADivergenceInTheLossHoldsThePolicy) {
  const auto after = [](double weight, double harmless_weight, bool are_harmless) {
    Llama model = toy_policy(8);
    std::vector<PpoPrompt> asked = prompts();
    for (PpoPrompt& p : asked)
      p.is_harmless = are_harmless;
    PpoConfig config = toy_ppo();
    config.updates = 20, config.prompts_per_update = 24, config.kl_coefficient = 0,
    config.optimiser.learning_rate = 2e-3, config.missing_stop_penalty = 0;
    config.divergence_weight = weight, config.harmless_divergence_weight = harmless_weight;
    const Folder folder;
    Json last;
    toy_ppo_run(model, toy_value(model), count_tokens(), asked, config, folder.path,
                [&](long step, long, const Json& f) {
                  if (step == 1 && weight + harmless_weight > 0) {
                    EXPECT_LT(f["divergence"].get<double>(), 0.1);
                  }
                  last = f;
                });
    return std::pair(last["kl_k3"].get<double>(), last["score"].get<double>());
  };
  const auto [free, free_score] = after(0, 0, false);
  const auto [held, held_score] = after(2, 0, false);
  EXPECT_LT(held, 0.5 * free);
  EXPECT_LT(held_score, free_score);
  EXPECT_EQ(after(0, 2, true), after(2, 0, false));
  EXPECT_EQ(after(0, 2, false).second, free_score);  // nobody asks what this weight is for
}

// What a score reads ends with a whole sentence; what is learned from does not change by that.
TEST(Ppo, AsksTheRewardModelAboutWholeSentences) {
  const AnswerText text = {.stops = {39, 38}, .whole = [](std::span<const int> answer) {
                             std::size_t n = answer.size();
                             while (n > 0 && answer[n - 1] % 3 != 0)
                               --n;
                             return n;
                           }};
  for (const long layers : {1L, 0L}) {
    Llama model = toy_policy(8);
    PpoConfig config = toy_ppo();
    config.optimiser.trainable_layers = layers, config.updates = 2, config.max_new_tokens = 12;
    long cut = 0;
    const Scorer score = [&](const std::vector<std::vector<int>>& sequences,
                             const std::vector<at::Tensor>& states, std::int64_t known) {
      std::vector<double> scores;
      for (std::size_t i = 0; i < sequences.size(); ++i) {
        const std::vector<int>& s = sequences[i];
        EXPECT_EQ(s.back(), 39);
        if (s.size() > 12 && s[s.size() - 2] % 3 == 0) ++cut;
        if (known > 0) {  // the states are those of this very sequence
          const at::NoGradGuard no_gradients;
          const Packed packed = pack({s});
          EXPECT_TRUE(at::allclose(
              states[i], run_layers(model, embed(model, packed.tokens), packed, 0, known), 1e-4, 1e-5));
        }
        scores.push_back(static_cast<double>(s.size()));
      }
      return scores;
    };
    const Folder folder;
    Engine engine(model, {.dtype = "float32"});
    train_ppo_with(model, toy_value(model), score, prompts(), text, config, engine, 1, folder.path, {});
    EXPECT_GT(cut, 0);
  }
}

// With one step an update the first one has no gradient of the divergence: the second starts from the same
// weights whatever it weighs.
TEST(Ppo, SaysWhatShareOfTheGradientTheRewardHas) {
  const auto share = [](double weight, const char* direction) {
    Llama model = toy_policy(8);
    PpoConfig config = toy_ppo();
    config.advantage = "rloo", config.samples_per_prompt = 4, config.updates = 2, config.epochs = 1,
    config.kl_coefficient = 0;
    config.divergence_weight = weight, config.divergence_direction = direction;
    const Folder folder;
    std::vector<Json> lines;
    toy_ppo_run(model, toy_value(model), count_tokens(), prompts(), config, folder.path,
                [&](long, long, const Json& f) { lines.push_back(f); });
    EXPECT_FALSE(lines[0].contains("reward_share"));
    return lines[1]["reward_share"].get<double>();
  };
  EXPECT_EQ(share(0, "forward"), 1);
  for (const char* direction : {"forward", "reverse"}) {
    const double little = share(0.5, direction), much = share(5, direction);
    EXPECT_GT(little, much);
    EXPECT_GT(much, 0);
    EXPECT_NEAR((1 / much - 1) / (1 / little - 1), 10, 0.05);
  }
}

TEST(Ppo, ARuleStandsInForTheRewardModel) {
  Llama model = toy_policy(8);
  PpoConfig config = toy_ppo();
  config.reward = "rule", config.updates = 12, config.prompts_per_update = 48, config.kl_coefficient = 0,
  config.optimiser.learning_rate = 2e-3;
  config.missing_stop_penalty = 0;
  std::vector<PpoPrompt> asked = prompts();
  asked[1].is_harmless = true;
  const AnswerText text = {.declines = [](std::span<const int> answer) { return answer.front() >= 20; }};
  const Scorer never = [](const std::vector<std::vector<int>>&, const std::vector<at::Tensor>&,
                          std::int64_t) -> std::vector<double> { throw Bug("asked"); };
  const Folder folder;
  Engine engine(model, {.dtype = "float32"});
  std::vector<double> scores;
  train_ppo_with(model, toy_value(model), never, asked, text, config, engine, 1, folder.path,
                 [&](long, long, const Json& f) { scores.push_back(f["score"].get<double>()); });
  EXPECT_GT(scores.back(), scores.front() + 0.2);
}

TEST(Ppo, RewardsAreNotWhitenedWithoutAValueModel) {
  Llama model = toy_policy(8);
  PpoConfig config = toy_ppo();
  config.advantage = "rloo", config.samples_per_prompt = 2, config.whiten_rewards = true;
  const Folder folder;
  EXPECT_THROW(toy_ppo_run(model, toy_value(model), count_tokens(), prompts(), config, folder.path, {}),
               InputError);
}

// A reward model that shares fewer layers with the policy changes what its scorer is handed, not what is
// learned.
TEST(Ppo, LearnsTheSameWhereverTheRewardModelParts) {
  const Llama start = toy_policy(8);
  const auto run = [&](std::int64_t alike) {
    Llama model = start;
    RewardModel value = toy_value(start);
    if (alike < 3)
      value.trunk.layers[static_cast<std::size_t>(alike)].down =
          value.trunk.layers[static_cast<std::size_t>(alike)].down * 2;
    PpoConfig config = toy_ppo();
    config.advantage = "rloo", config.samples_per_prompt = 2, config.optimiser.trainable_layers = 1,
    config.updates = 3;
    const Scorer score = [&](const std::vector<std::vector<int>>& sequences,
                             const std::vector<at::Tensor>& states, std::int64_t layers) {
      EXPECT_EQ(layers, std::min<std::int64_t>(alike, 2));
      EXPECT_EQ(states.size(), alike > 0 ? sequences.size() : 0);
      if (alike > 0) {
        EXPECT_EQ(states[0].size(0), static_cast<std::int64_t>(sequences[0].size()));
      }
      return count_tokens()(sequences, states, layers);
    };
    const Folder folder;
    const Json figures = toy_ppo_run(model, value, score, prompts(), config, folder.path, {});
    EXPECT_EQ(figures["shared_layers"], 2);
    return model;
  };
  const Llama expected = run(3);
  EXPECT_FALSE(same_weights(expected, start));
  for (std::int64_t alike : {0, 1, 2})
    EXPECT_TRUE(same_weights(run(alike), expected)) << alike;
}

// Rewards that a policy can hack, learned in earnest without a penalty: the guards stop it, and the line says
// why.
TEST(Ppo, AHackedRewardIsStopped) {
  struct Case {
    const char* name;
    std::function<double(const std::vector<int>&)> reward;
  };
  const std::vector<Case> cases = {
      {"one token",
       [](const std::vector<int>& s) { return static_cast<double>(std::count(s.end() - 8, s.end(), 21)); }},
      {"the same token again", [](const std::vector<int>& s) {
         double same = 0;
         for (auto i = s.end() - 7; i != s.end(); ++i)
           same += *i == *(i - 1);
         return same;
       }}};
  for (const Case& one : cases) {
    Llama model = toy_policy(8);
    PpoConfig config = toy_ppo();
    config.updates = 120, config.prompts_per_update = 48, config.kl_coefficient = 0,
    config.optimiser.learning_rate = 5e-3, config.optimiser.schedule = "constant";
    config.missing_stop_penalty = 0, config.stop_epochs_at_kl = 0.2, config.max_kl = 1000;
    const Folder folder;
    const Scorer score = [&](const std::vector<std::vector<int>>& sequences, const std::vector<at::Tensor>&,
                             std::int64_t) {
      std::vector<double> scores;
      for (const auto& s : sequences)
        scores.push_back(one.reward(s));
      return scores;
    };
    std::string line;
    try {
      toy_ppo_run(model, toy_value(model), score, prompts(), config, folder.path, {});
    } catch (const TrainingError& stopped) {
      line = stopped.what();
    }
    EXPECT_NE(line.find("; try "), std::string::npos) << one.name << ": \"" << line << "\"";
    EXPECT_EQ(line.find('\n'), std::string::npos);
  }
}

TEST(PpoLosses, AgreeWithTheWorkedExample) {
  const auto t = [](std::vector<float> v) { return at::tensor(v, at::kFloat); };
  const at::Tensor log_new = t({-0.9f, -0.9f, -1.6f, -0.6f}).requires_grad_(true),
                   value_new = t({0.15f, 0.50f, 0.45f, 0.65f}).requires_grad_(true);
  const PpoLosses l = ppo_losses(
      log_new, t({-1.2f, -0.7f, -2.0f, -0.3f}), t({0.987126f, 0.415759f, -0.042397f, -1.360488f}), value_new,
      t({0.10f, 0.25f, 0.40f, 0.70f}), t({0.907401f, 0.931475f, 0.980500f, 0.990000f}), 0.2, 0.2);
  EXPECT_NEAR(l.policy.item<double>() / 4, -0.093327, 1e-6);
  EXPECT_NEAR(l.value.item<double>() / 4, 0.150313, 1e-6);
  EXPECT_NEAR(l.approximate_kl / 4, 0.047500, 1e-6);
  EXPECT_EQ(l.clipped, 2);        // t0 and t3: t2 is above the range, but its advantage is negative
  EXPECT_EQ(l.value_clipped, 1);  // t1
  (l.policy / 4 + l.value / 4).backward();
  const float expected[] = {0, -0.085099f, 0.015812f, 0},
              expected_value[] = {-0.189350f, 0, -0.132625f, -0.085000f};
  for (int i = 0; i < 4; ++i) {
    EXPECT_NEAR(log_new.grad()[i].item<float>(), expected[i], 1e-6);
    EXPECT_NEAR(value_new.grad()[i].item<float>(), expected_value[i], 1e-6);
  }
}

}  // namespace
}  // namespace cai
