// One fine-tuning batch and one PPO update against torch's own autograd in Python (tests/golden/models.py).
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <map>

#include "cai/io/file.hpp"
#include "cai/io/json.hpp"
#include "cai/model/checkpoint.hpp"
#include "cai/train/loss.hpp"
#include "cai/train/ppo.hpp"
#include "cai/train/ppo_math.hpp"
#include "cai/train/train.hpp"
#include "cai/train/trainer.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;
const fs::path kModel = fs::path(CAI_SOURCE_DIR) / "tests/model/golden/llama-tied",
               kGolden = fs::path(CAI_SOURCE_DIR) / "tests/train/golden";

struct Answers {
  at::Tensor log_probabilities, hidden;  // of the answers' tokens, end to end
};

// All sequences in one packed pass, as training does it.
Answers answers(const Llama& model, const Json& examples) {
  std::vector<std::vector<int>> sequences;
  std::vector<std::int64_t> rows, targets;
  std::int64_t offset = 0;
  for (const Json& e : examples) {
    const auto tokens = e["tokens"].get<std::vector<int>>();
    for (std::size_t i = e["prompt"].get<std::size_t>(); i < tokens.size(); ++i)
      rows.push_back(offset + static_cast<std::int64_t>(i) - 1), targets.push_back(tokens[i]);
    offset += static_cast<std::int64_t>(tokens.size());
    sequences.push_back(tokens);
  }
  const Packed packed = pack(sequences);
  const at::Tensor hidden =
      final_norm(model, run_layers(model, embed(model, packed.tokens), packed, 0, model.config.layers)
                            .index_select(0, at::tensor(rows, at::kLong)));
  return {token_log_probabilities(hidden, model.head, at::tensor(targets, at::kLong)).log_probabilities,
          hidden};
}

TEST(SftGolden, LossAndGradientsAgreeWithTransformers) {
  const Json golden = parse_json(read_file(kGolden / "sft.json"), "sft.json");
  const auto model = load_llama(kModel);
  const NamedTensors weights = make_trainable(*model, 0);
  const Answers a = answers(*model, golden["examples"]);
  const at::Tensor loss = -a.log_probabilities.mean();
  loss.backward();
  EXPECT_NEAR(loss.item<double>(), golden["loss"].get<double>(), 1e-4 * golden["loss"].get<double>());
  ASSERT_EQ(weights.size(), golden["gradients"].size());
  for (const auto& [name, weight] : weights) {
    const at::Tensor expected =
        at::tensor(golden["gradients"].at(name).get<std::vector<float>>(), at::kFloat).view(weight.sizes());
    EXPECT_LT((weight.grad() - expected).norm().item<double>(), 1e-4 * expected.norm().item<double>())
        << name;
  }
  // The trainer's own figure: the mean over all answer tokens.
  std::vector<TrainExample> examples;
  for (const Json& e : golden["examples"])
    examples.push_back({"e", e["tokens"].get<std::vector<int>>(), e["prompt"].get<int>(), 1});
  double sum = 0, tokens = 0;
  const std::vector<double> means = example_log_probabilities(*load_llama(kModel), examples);
  for (std::size_t i = 0; i < examples.size(); ++i) {
    const double n = static_cast<double>(examples[i].tokens.size()) - examples[i].prompt_tokens;
    sum -= means[i] * n, tokens += n;
  }
  EXPECT_NEAR(sum / tokens, golden["loss"].get<double>(), 1e-5);
}

void set_weights(Llama& model, const Json& values) {
  for (auto& [name, weight] : model.named_weights()) {
    at::NoGradGuard no_gradients;
    weight.copy_(at::tensor(values.at(name).get<std::vector<float>>(), at::kFloat).view(weight.sizes()));
  }
}

TEST(DpoGolden, ThreeStepsAgreeWithTrl) {
  const Json golden = parse_json(read_file(kGolden / "dpo.json"), "dpo.json");
  const auto model = load_llama(kModel);
  std::vector<PreferencePair> pairs;
  for (const Json& pair : golden["pairs"]) {
    PreferencePair p{.id = "p" + std::to_string(pairs.size()), .p = 1};
    const auto prompt = pair["prompt"].get<std::vector<int>>(),
               chosen = pair["chosen"].get<std::vector<int>>(),
               rejected = pair["rejected"].get<std::vector<int>>();
    p.a = p.b = prompt;
    p.a.insert(p.a.end(), chosen.begin(), chosen.end()),
        p.b.insert(p.b.end(), rejected.begin(), rejected.end());
    p.prompt_tokens = static_cast<int>(prompt.size());
    if (pairs.size() % 2) std::swap(p.a, p.b), p.p = 1 - p.p;  // which side is named a must not matter
    pairs.push_back(std::move(p));
  }
  DpoConfig config;
  config.optimiser = {
      .learning_rate = golden["learning_rate"].get<double>(), .warmup_ratio = 0, .schedule = "constant"};
  config.beta = golden["beta"].get<double>();
  config.epochs = static_cast<long>(golden["losses"].size()),
  config.batch_size = static_cast<long>(pairs.size());
  const fs::path folder = fs::temp_directory_path() / ("cai-dpo-golden-" + std::to_string(::getpid()));
  fs::create_directories(folder);
  std::vector<double> losses;
  train_dpo(*model, pairs, {}, config, 1, folder,
            [&](long, long, const Json& figures) { losses.push_back(figures["loss"].get<double>()); });
  fs::remove_all(folder);
  ASSERT_EQ(losses.size(), golden["losses"].size());
  for (std::size_t i = 0; i < losses.size(); ++i)
    EXPECT_NEAR(losses[i], golden["losses"][i].get<double>(), 1e-4) << i;
  Llama copy = *model;
  for (const auto& [name, weight] : make_trainable(copy, 0)) {
    const at::Tensor expected =
        at::tensor(golden["weights"].at(name).get<std::vector<float>>(), at::kFloat).view(weight.sizes());
    EXPECT_LT((weight.detach() - expected).abs().max().item<double>(), 2e-4) << name;  // a step is 2e-3
  }
}

TEST(PpoGolden, OneUpdateAgreesWithAnIndependentComputation) {
  const Json golden = parse_json(read_file(kGolden / "ppo.json"), "ppo.json");
  const auto reference = load_llama(kModel), old = load_llama(kModel), fresh = load_llama(kModel);
  set_weights(*old, golden["old"]), set_weights(*fresh, golden["new"]);
  const at::Tensor head_old = at::tensor(golden["head_old"].get<std::vector<float>>(), at::kFloat);
  at::Tensor head_new =
      at::tensor(golden["head_new"].get<std::vector<float>>(), at::kFloat).requires_grad_(true);

  const Json& rollouts = golden["rollouts"];
  at::Tensor lp, ref, values;
  {
    const at::NoGradGuard no_gradients;
    const Answers a = answers(*old, rollouts);
    lp = a.log_probabilities, values = at::mv(a.hidden, head_old),
    ref = answers(*reference, rollouts).log_probabilities;
  }
  std::vector<std::vector<double>> advantages, returns;
  std::int64_t at = 0;
  for (const Json& r : rollouts) {
    Rollout one;
    one.score = r["score"].get<double>();
    const auto n = static_cast<std::int64_t>(r["tokens"].size()) - r["prompt"].get<std::int64_t>();
    for (std::int64_t t = at; t < at + n; ++t) {
      one.log_probabilities.push_back(lp[t].item<double>()), one.reference.push_back(ref[t].item<double>()),
          one.values.push_back(values[t].item<double>());
      EXPECT_NEAR(
          one.log_probabilities.back(),
          golden["log_probabilities"][advantages.size()][static_cast<std::size_t>(t - at)].get<double>(),
          1e-5);
    }
    Advantages a = estimate_advantages(token_rewards(one, golden["beta"].get<double>()), one.values,
                                       golden["gamma"].get<double>(), golden["lambda"].get<double>());
    advantages.push_back(a.advantages), returns.push_back(a.returns);
    at += n;
  }
  whiten(advantages);
  std::vector<float> flat_advantages, flat_returns;
  for (std::size_t i = 0; i < advantages.size(); ++i)
    for (std::size_t t = 0; t < advantages[i].size(); ++t) {
      EXPECT_NEAR(advantages[i][t], golden["advantages"][i][t].get<double>(), 1e-4);
      EXPECT_NEAR(returns[i][t], golden["returns"][i][t].get<double>(), 1e-4);
      flat_advantages.push_back(static_cast<float>(advantages[i][t])),
          flat_returns.push_back(static_cast<float>(returns[i][t]));
    }

  const NamedTensors weights = make_trainable(*fresh, 0);
  const Answers now = answers(*fresh, rollouts);
  const PpoLosses l =
      ppo_losses(now.log_probabilities, lp, at::tensor(flat_advantages, at::kFloat),
                 at::mv(now.hidden.detach(), head_new), values, at::tensor(flat_returns, at::kFloat),
                 golden["clip"].get<double>(), golden["clip_value"].get<double>());
  const double n = static_cast<double>(flat_advantages.size());
  (l.policy / n).backward(), (l.value / n).backward();
  EXPECT_NEAR(l.policy.item<double>() / n, golden["policy_loss"].get<double>(), 1e-5);
  EXPECT_NEAR(l.value.item<double>() / n, golden["value_loss"].get<double>(), 1e-5);
  double squares = 0;
  for (const auto& [name, weight] : weights)
    squares += weight.grad().square().sum().item<double>();
  EXPECT_NEAR(std::sqrt(squares), golden["gradient_norm"].get<double>(),
              1e-4 * golden["gradient_norm"].get<double>());
  for (std::size_t i = 0; i < golden["value_gradient"].size(); ++i)
    EXPECT_NEAR(head_new.grad()[static_cast<std::int64_t>(i)].item<double>(),
                golden["value_gradient"][i].get<double>(), 1e-5);
}

}  // namespace
}  // namespace cai
