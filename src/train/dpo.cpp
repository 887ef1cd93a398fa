#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <cmath>

#include "cai/base/error.hpp"
#include "cai/base/random.hpp"
#include "cai/base/statistics.hpp"
#include "cai/io/interval.hpp"
#include "cai/model/tensors.hpp"
#include "cai/train/answers.hpp"
#include "cai/train/loss.hpp"
#include "cai/train/preference.hpp"
#include "cai/train/train.hpp"
#include "cai/train/trainable.hpp"
#include "cai/train/trainer.hpp"

namespace cai {
namespace {

// Both answers of each pair, a before b, as examples whose answers count.
std::vector<TrainExample> sides_of(const std::vector<PreferencePair>& pairs) {
  std::vector<TrainExample> sides;
  for (const PreferencePair& p : pairs) {
    const int longest = static_cast<int>(std::min(p.a.size(), p.b.size()));
    if (p.prompt_tokens < 0 || p.prompt_tokens >= longest)
      throw Bug("pair " + p.id + " has an answer without tokens");
    for (const std::vector<int>* tokens : {&p.a, &p.b})
      sides.push_back({p.id, *tokens, p.prompt_tokens, 1});
  }
  return sides;
}

// Log-probability of each whole answer, [answers], differentiable.
at::Tensor answer_sums(const Llama& model, const LmHead& head,
                       const std::vector<const TrainExample*>& answers, std::int64_t first,
                       const std::vector<at::Tensor>& frozen) {
  const AnswerBatch batch = answer_batch(answers, model.device());
  std::vector<std::int64_t> owners;
  for (std::size_t i = 0; i < answers.size(); ++i)
    owners.insert(
        owners.end(),
        answers[i]->tokens.size() - static_cast<std::size_t>(std::max(1, answers[i]->prompt_tokens)),
        static_cast<std::int64_t>(i));
  return at::zeros({static_cast<std::int64_t>(answers.size())},
                   at::TensorOptions(at::kFloat).device(model.device()))
      .index_add(0, on(model.device(), owners), answer_log_probabilities(model, head, batch, first, frozen));
}

// The same of all answers, without gradients. `states`: of each, below layer `first`, or empty.
std::vector<float> reference_sums(const Llama& model, const std::vector<TrainExample>& sides,
                                  std::int64_t first, const std::vector<at::Tensor>& states) {
  const at::NoGradGuard no_gradients;
  const LmHead head(model.head, model.place.bfloat16, model.config.logit_cap);
  std::vector<const TrainExample*> all;
  for (const TrainExample& side : sides)
    all.push_back(&side);
  std::vector<float> sums;
  for (const auto& [from, to] : micro_batches(lengths_of(all), micro_batch_tokens(model.device()))) {
    const auto b = static_cast<std::ptrdiff_t>(from), e = static_cast<std::ptrdiff_t>(to);
    const std::vector<at::Tensor> below =
        states.empty() ? states : std::vector<at::Tensor>(states.begin() + b, states.begin() + e);
    const at::Tensor part =
        answer_sums(model, head, {all.begin() + b, all.begin() + e}, first, below).cpu().contiguous();
    sums.insert(sums.end(), part.data_ptr<float>(), part.data_ptr<float>() + part.numel());
  }
  return sums;
}

// What held-out pairs say: whether the policy has moved towards the side that each label favours.
Json measure(const std::vector<PreferencePair>& pairs, const std::vector<float>& policy,
             const std::vector<float>& reference, double beta) {
  ClusteredShare right;
  double loss = 0;
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    const double margin =
        beta * ((policy[2 * i] - reference[2 * i]) - (policy[2 * i + 1] - reference[2 * i + 1]));
    loss += (pairs[i].p * std::log1p(std::exp(-margin)) + (1 - pairs[i].p) * std::log1p(std::exp(margin))) /
            static_cast<double>(pairs.size());
    if (pairs[i].p == 0.5) continue;
    right.add(prompt_of(pairs[i]), margin * (pairs[i].p - 0.5) > 0);  // a margin of 0 says nothing
  }
  return {{"pairs", pairs.size()}, {"loss", loss}, {"accuracy", interval_json(right.interval())}};
}

}  // namespace

Json train_dpo(Llama& policy, const std::vector<PreferencePair>& train,
               const std::vector<PreferencePair>& held_out, const DpoConfig& config, std::uint64_t seed,
               const std::filesystem::path& folder, const StepObserver& observe) {
  if (train.empty()) throw InputError("dpo: no pairs to train on");
  const OptimiserConfig& o = config.optimiser;
  const std::size_t size = static_cast<std::size_t>(config.batch_size);
  const long batches = static_cast<long>((train.size() + size - 1) / size), steps = batches * config.epochs;
  const std::int64_t first = first_trainable_layer(policy.config, o);
  const std::vector<TrainExample> sides = sides_of(train), others = sides_of(held_out);

  // The reference is the policy as it comes in: what it says of each answer is computed once, before anything
  // is restored.
  std::vector<std::vector<int>> read;
  for (const TrainExample& side : sides)
    read.emplace_back(side.tokens.begin(), side.tokens.end() - 1);
  const std::vector<at::Tensor> states = frozen_states(policy, read, first, config.epochs);
  const std::vector<float> reference = reference_sums(policy, sides, first, states),
                           other_reference = reference_sums(policy, others, 0, {});

  AdamW optimiser(make_trainable(policy, o, seed), 1e-8, o.weight_decay);
  TrainingState state(folder, o.checkpoint_seconds);
  const Json position = state.restore({{"dpo", &optimiser}});
  long step = position.is_null() ? 0 : position.at("step").get<long>();
  LmHead head(policy.head, policy.place.bfloat16, policy.config.logit_cap);

  for (; step < steps; ++step) {
    state.maybe_save({{"step", step}}, {{"dpo", &optimiser}});
    const std::vector<std::size_t> order = Random(seed)
                                               .derive("epoch")
                                               .derive(static_cast<std::uint64_t>(step / batches))
                                               .permutation(train.size());
    const std::size_t begin = static_cast<std::size_t>(step % batches) * size,
                      end = std::min(train.size(), begin + size);
    std::vector<std::int64_t> lengths;
    double weight = 0;
    for (std::size_t i = begin; i < end; ++i) {
      lengths.push_back(static_cast<std::int64_t>(train[order[i]].a.size() + train[order[i]].b.size()));
      weight += train[order[i]].weight;
    }
    double loss = 0, preferred = 0, other = 0;
    long right = 0;
    for (const auto& [from, to] : micro_batches(lengths, micro_batch_tokens(policy.device()))) {
      std::vector<const TrainExample*> answers;
      std::vector<at::Tensor> below;
      std::vector<float> p, w, before;
      for (std::size_t i = begin + from; i < begin + to; ++i) {
        for (std::size_t side = 2 * order[i]; side < 2 * order[i] + 2; ++side) {
          answers.push_back(&sides[side]), before.push_back(reference[side]);
          if (!states.empty()) below.push_back(states[side]);
        }
        p.push_back(static_cast<float>(train[order[i]].p)),
            w.push_back(static_cast<float>(train[order[i]].weight));
      }
      const at::Tensor ratios =
          (answer_sums(policy, head, answers, first, below) - on(policy.device(), before))
              .view({-1, 2});  // [pairs, 2]
      const at::Tensor margin = config.beta * (ratios.select(1, 0) - ratios.select(1, 1)),
                       soft = on(policy.device(), p);
      const at::Tensor part = (at::softplus(-margin) * soft + at::softplus(margin) * (1 - soft))
                                  .mul(on(policy.device(), w))
                                  .sum() /
                              weight;
      part.backward();
      loss += part.item<double>();
      const at::Tensor a_wins = soft.gt(0.5), seen = ratios.detach();
      right += (margin.detach() * (soft - 0.5)).gt(0).sum().item<long>();
      preferred += at::where(a_wins, seen.select(1, 0), seen.select(1, 1)).sum().item<double>();
      other += at::where(a_wins, seen.select(1, 1), seen.select(1, 0)).sum().item<double>();
    }
    const double rate = scheduled_rate(o, o.learning_rate, step, steps),
                 norm = optimiser.step(rate, o.max_gradient_norm), n = static_cast<double>(end - begin);
    if (policy.head.requires_grad()) head.refresh();
    if (!std::isfinite(loss) || !std::isfinite(norm))
      throw TrainingError("dpo: loss or gradient is not finite at step " + std::to_string(step + 1) +
                          "; try a lower dpo.learning_rate");
    const Json figures = {{"step", step + 1},
                          {"loss", loss},
                          {"accuracy", static_cast<double>(right) / n},
                          {"preferred_log_ratio", preferred / n},
                          {"other_log_ratio", other / n},
                          {"gradient_norm", norm},
                          {"learning_rate", rate}};
    state.log(figures);
    if (observe) observe(step + 1, steps, figures);
  }
  Json figures = {{"steps", steps}, {"pairs", train.size()}};
  if (!held_out.empty())
    figures["held_out"] =
        measure(held_out, reference_sums(policy, others, 0, {}), other_reference, config.beta);
  state.finish();
  return figures;
}

}  // namespace cai
