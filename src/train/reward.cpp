#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "cai/base/error.hpp"
#include "cai/base/random.hpp"
#include "cai/base/statistics.hpp"
#include "cai/io/interval.hpp"
#include "cai/model/tensors.hpp"
#include "cai/model/reward_model.hpp"
#include "cai/train/ppo.hpp"
#include "cai/train/preference.hpp"
#include "cai/train/train.hpp"
#include "cai/train/trainable.hpp"
#include "cai/train/trainer.hpp"

namespace cai {
namespace {

// Raw scores at the last token; layers below `first` run without gradients, or not at all when `frozen` holds
// their states.
at::Tensor end_scores(const RewardModel& model, const std::vector<std::vector<int>>& sequences,
                      std::int64_t first, const std::vector<at::Tensor>& frozen = {}) {
  const Packed packed = pack(sequences, model.trunk.device());
  at::Tensor hidden;
  if (!frozen.empty()) {
    hidden = packed_states(packed, frozen);
  } else if (first > 0) {
    const at::NoGradGuard no_gradients;
    hidden = run_layers(model.trunk, embed(model.trunk, packed.tokens), packed, 0, first);
  }
  if (first == 0) hidden = embed(model.trunk, packed.tokens);
  hidden = run_layers(model.trunk, hidden, packed, first, model.trunk.config.layers);
  std::vector<std::int64_t> last;
  for (std::size_t s = 0; s < sequences.size(); ++s)
    last.push_back(rows_of(packed, s).back());
  return at::linear(final_norm(model.trunk, hidden.index_select(0, on(model.trunk.device(), last))),
                    model.score)
      .squeeze(-1);
}

std::vector<double> raw_scores_of(const RewardModel& model, const std::vector<std::vector<int>>& sequences,
                                  const std::vector<at::Tensor>& states = {}, std::int64_t layers = 0) {
  const at::NoGradGuard no_gradients;
  std::vector<std::int64_t> lengths;
  for (const auto& s : sequences)
    lengths.push_back(static_cast<std::int64_t>(s.size()));
  std::vector<double> scores;
  for (const auto& [from, to] : micro_batches(lengths, micro_batch_tokens(model.trunk.device()))) {
    const auto b = static_cast<std::ptrdiff_t>(from), e = static_cast<std::ptrdiff_t>(to);
    const std::vector<at::Tensor> below =
        states.empty() ? states : std::vector<at::Tensor>(states.begin() + b, states.begin() + e);
    const at::Tensor part =
        end_scores(model, {sequences.begin() + b, sequences.begin() + e}, layers, below).cpu().contiguous();
    for (std::int64_t i = 0; i < part.numel(); ++i)
      scores.push_back(part.data_ptr<float>()[i]);
  }
  return scores;
}

double entropy(double p) {
  const auto term = [](double x) { return x > 0 ? -x * std::log(x) : 0; };
  return term(p) + term(1 - p);
}

// What held-out pairs say about the model. A pair's outcome is the side that its label favours.
Json measure(const RewardModel& model, const std::vector<PreferencePair>& pairs) {
  std::vector<std::vector<int>> sequences;
  for (const PreferencePair& p : pairs)
    sequences.push_back(p.a), sequences.push_back(p.b);
  const std::vector<double> scores = raw_scores_of(model, sequences);
  ClusteredShare right, longer_right;
  std::map<std::string, ClusteredShare> by_tag;
  std::vector<double> predicted, soft, lengths;
  double loss = 0, floor = 0;
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    const PreferencePair& p = pairs[i];
    const double margin = scores[2 * i] - scores[2 * i + 1], probability = 1 / (1 + std::exp(-margin));
    loss += p.p * std::log1p(std::exp(-margin)) + (1 - p.p) * std::log1p(std::exp(margin));
    floor += entropy(p.p);
    predicted.push_back(probability), soft.push_back(p.p);
    lengths.push_back(static_cast<double>(p.a.size())), lengths.push_back(static_cast<double>(p.b.size()));
    if (p.p == 0.5) continue;
    const bool a_wins = p.p > 0.5, hit = margin != 0 && (margin > 0) == a_wins;  // a margin of 0 says nothing
    const std::string prompt = prompt_of(p);
    right.add(prompt, hit);
    longer_right.add(prompt, (p.a.size() > p.b.size()) == a_wins && p.a.size() != p.b.size());
    by_tag[p.tag].add(prompt, hit);
  }
  const double n = static_cast<double>(std::max<std::size_t>(1, pairs.size()));
  Json tags = Json::object();
  for (const auto& [tag, share] : by_tag)
    tags[tag.empty() ? "untagged" : tag] = interval_json(share.interval());
  return {{"pairs", pairs.size()},
          {"accuracy", interval_json(right.interval())},
          {"accuracy_by_kind", tags},
          {"length_baseline", interval_json(longer_right.interval())},
          {"loss", loss / n},
          {"label_entropy", floor / n},
          {"excess_loss", (loss - floor) / n},
          {"calibration_error", calibration_error(predicted, soft)},
          {"length_correlation", pearson(scores, lengths)}};
}

}  // namespace

std::shared_ptr<RewardModel> new_reward_model(const Llama& trunk, std::uint64_t seed, long layers) {
  auto model = std::make_shared<RewardModel>();
  model->trunk = trunk;  // weights are shared until training takes its own copies
  if (layers > 0 && layers < trunk.config.layers) {
    model->trunk.config.layers = layers;
    model->trunk.layers.resize(static_cast<std::size_t>(layers));
    model->trunk.rounded = std::make_shared<RoundedWeights>();
  }
  model->score = at::empty({1, trunk.config.width}, at::kFloat);
  Random random = Random(seed).derive("reward head");
  for (std::int64_t i = 0; i < model->score.numel(); ++i)
    model->score.data_ptr<float>()[i] =
        static_cast<float>(random.normal() / std::sqrt(static_cast<double>(trunk.config.width) + 1));
  model->score = model->score.to(trunk.device());
  return model;
}

std::vector<double> score_rewards(const RewardModel& model, const std::vector<std::vector<int>>& sequences) {
  return score_rewards(model, sequences, {}, 0);
}

std::vector<double> score_rewards(const RewardModel& model, const std::vector<std::vector<int>>& sequences,
                                  const std::vector<at::Tensor>& states, std::int64_t layers) {
  std::vector<double> scores = raw_scores_of(model, sequences, states, layers);
  for (double& s : scores)
    s = (s - model.mean) / model.std;
  return scores;
}

std::vector<double> normalise_rewards(RewardModel& model, const std::vector<std::vector<int>>& sequences) {
  if (sequences.size() < 2) throw Bug("reward normalisation needs two sequences at least");
  std::vector<double> scores = raw_scores_of(model, sequences);
  double mean = 0, squares = 0;
  for (double s : scores)
    mean += s / static_cast<double>(scores.size());
  for (double s : scores)
    squares += (s - mean) * (s - mean);
  model.mean = mean;
  model.std = std::max(1e-6, std::sqrt(squares / static_cast<double>(scores.size() - 1)));
  for (double& s : scores)
    s = (s - model.mean) / model.std;
  return scores;
}

Json train_reward(RewardModel& model, const std::vector<PreferencePair>& train,
                  const std::vector<PreferencePair>& held_out, const RewardConfig& config, std::uint64_t seed,
                  const std::filesystem::path& folder, const StepObserver& observe) {
  if (train.empty()) throw InputError("reward: no pairs to train on");
  const OptimiserConfig& o = config.optimiser;
  const std::size_t size = static_cast<std::size_t>(config.batch_size);
  const long batches = static_cast<long>((train.size() + size - 1) / size), steps = batches * config.epochs;
  const std::int64_t first = first_trainable_layer(model.trunk.config, o);
  AdamW trunk(make_trainable(model.trunk, o, seed, false), 1e-8, o.weight_decay);
  model.score = model.score.detach().clone().requires_grad_(true);
  AdamW head({{"score.weight", model.score}}, 1e-8, 0);
  TrainingState state(folder, o.checkpoint_seconds);
  const std::vector<std::pair<std::string, AdamW*>> groups = {{"trunk", &trunk}, {"head", &head}};
  const Json position = state.restore(groups);
  long step = position.is_null() ? 0 : position.at("step").get<long>();
  std::vector<std::vector<int>> read;  // a and b of each pair
  for (const PreferencePair& p : train)
    read.push_back(p.a), read.push_back(p.b);
  const std::vector<at::Tensor> states =
      step < steps ? frozen_states(model.trunk, read, first, config.epochs) : std::vector<at::Tensor>();

  for (; step < steps; ++step) {
    state.maybe_save({{"step", step}}, groups);
    const std::vector<std::size_t> order = Random(seed)
                                               .derive("epoch")
                                               .derive(static_cast<std::uint64_t>(step / batches))
                                               .permutation(train.size());
    std::vector<const PreferencePair*> pairs;
    std::vector<std::size_t> numbers;
    double weight = 0;
    for (std::size_t i = static_cast<std::size_t>(step % batches) * size;
         i < std::min(train.size(), (static_cast<std::size_t>(step % batches) + 1) * size); ++i)
      numbers.push_back(order[i]), pairs.push_back(&train[order[i]]), weight += train[order[i]].weight;
    std::vector<std::int64_t> lengths;
    for (const PreferencePair* p : pairs)
      lengths.push_back(static_cast<std::int64_t>(p->a.size() + p->b.size()));
    double loss = 0;
    long right = 0;
    for (const auto& [from, to] : micro_batches(lengths, micro_batch_tokens(model.trunk.device()))) {
      std::vector<std::vector<int>> sequences;
      std::vector<at::Tensor> below;
      std::vector<float> p, w;
      for (std::size_t i = from; i < to; ++i) {
        if (!states.empty())
          below.push_back(states[2 * numbers[i]]), below.push_back(states[2 * numbers[i] + 1]);
        sequences.push_back(pairs[i]->a), sequences.push_back(pairs[i]->b);
        p.push_back(static_cast<float>(pairs[i]->p)), w.push_back(static_cast<float>(pairs[i]->weight));
      }
      const at::Tensor scores = end_scores(model, sequences, first, below).view({-1, 2});  // [pairs, 2]
      const at::Tensor margin = scores.select(1, 0) - scores.select(1, 1), soft = on(model.trunk.device(), p);
      const at::Tensor part = (at::softplus(-margin) * soft + at::softplus(margin) * (1 - soft))
                                  .mul(on(model.trunk.device(), w))
                                  .sum() /
                              weight;
      part.backward();
      loss += part.item<double>();
      right += (margin.detach() * (soft - 0.5)).gt(0).sum().item<long>();
    }
    const double rate = scheduled_rate(o, o.learning_rate, step, steps);
    const double norm = trunk.step(rate, o.max_gradient_norm),
                 head_norm = head.step(scheduled_rate(o, config.head_learning_rate, step, steps),
                                       o.max_gradient_norm);
    if (!std::isfinite(loss) || !std::isfinite(norm) || !std::isfinite(head_norm))
      throw TrainingError("reward: loss or gradient is not finite at step " + std::to_string(step + 1) +
                          "; try a lower reward.learning_rate");
    const Json figures = {{"step", step + 1},
                          {"loss", loss},
                          {"accuracy", static_cast<double>(right) / static_cast<double>(pairs.size())},
                          {"gradient_norm", norm},
                          {"head_gradient_norm", head_norm},
                          {"learning_rate", rate}};
    state.log(figures);
    if (observe) observe(step + 1, steps, figures);
  }
  Json figures = {{"steps", steps}, {"pairs", train.size()}};
  if (!held_out.empty()) figures["held_out"] = measure(model, held_out);
  state.finish();
  return figures;
}

}  // namespace cai
