// The mechanics that SFT, reward training and PPO share: which weights learn, AdamW, schedules, clipping,
// durable state, metrics.
#pragma once

#include <ATen/core/Tensor.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cai/config/config.hpp"
#include "cai/io/file.hpp"
#include "cai/io/json.hpp"
#include "cai/model/llama.hpp"

namespace cai {

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

/// First layer that learns: layers - trainable_layers, 0 when trainable_layers is 0 or more than there are.
std::int64_t first_trainable_layer(const ModelConfig& config, long trainable_layers);

/// Makes the weights of layers [first, layers) and the final norm, or everything when first is 0 by request,
/// independent copies that require gradients. Other tensors stay shared with whoever holds them. Returns the
/// learning ones by HF name. with_head: whether an untied LM head is among everything; the trunk of a reward
/// or value model has no use for it.
NamedTensors make_trainable(Llama& model, long trainable_layers, bool with_head = true);

/// Learning rate of a step (from 0) of `steps`: linear warm-up, then the schedule down to 0 (constant: none).
double scheduled_rate(const OptimiserConfig& config, double peak, long step, long steps);

/// AdamW with decoupled weight decay (Loshchilov & Hutter 2019) on one group of weights; norms and biases do
/// not decay. Their gradients live as long as it does: made anew for each step they would lie between
/// activations, and holes in the heap took 110 MB more of the default model's 3.1 GB.
class AdamW {
 public:
  /// `lender`: its weights' gradients are those of the weights of the same name and shape here, too, for two
  /// models that learn in turn: neither may have a backward pass between the other's first one and its step.
  AdamW(NamedTensors weights, double epsilon, double weight_decay, double beta2 = 0.999,
        const AdamW* lender = nullptr);

  /// Scales the gradients to max_norm when they exceed it (0: never), steps, sets them to 0. Returns the norm
  /// before. With a norm that is not finite nothing is changed.
  double step(double rate, double max_norm);

  /// The gradients' norm; sets them to 0 without a step.
  double take_norm();

  const NamedTensors& weights() const { return weights_; }

  /// Weights, both moments and the step count, for checkpoints; `prefix` names the group.
  void collect(const std::string& prefix, NamedTensors& into) const;
  void restore(const std::string& prefix, const std::vector<std::pair<std::string, at::Tensor>>& from);

 private:
  double norm() const;

  NamedTensors weights_;
  std::vector<at::Tensor> first_, second_, steps_;
  double epsilon_, weight_decay_, beta2_;
};

/// folder/metrics.jsonl and folder/state/: what makes training resumable bit for bit.
class TrainingState {
 public:
  TrainingState(std::filesystem::path folder, double checkpoint_seconds);

  /// The saved position (an object that the trainer gave to save()), null when there is none. Restores the
  /// groups' tensors; metrics.jsonl is cut back to that position. A state without the hash that was noted for
  /// it is told and counts as none.
  Json restore(const std::vector<std::pair<std::string, AdamW*>>& groups);

  void log(const Json& metrics);

  /// Saves when checkpoint_seconds have passed or a stop was requested, and then throws Stopped.
  void maybe_save(const Json& position, const std::vector<std::pair<std::string, AdamW*>>& groups);

  /// All lines logged so far, earlier processes' included.
  std::vector<Json> history() const;

  /// Training is over: metrics are durable, the state is no longer needed.
  void finish();

 private:
  std::filesystem::path folder_;
  std::chrono::duration<double> interval_;
  std::chrono::steady_clock::time_point saved_ = std::chrono::steady_clock::now();
  std::unique_ptr<AppendFile> metrics_;
  std::string file_;  // of the two in state/, the one that position.json names
};

/// Cuts [0, n) into runs of whole sequences whose lengths sum to at most `tokens` (a longer sequence goes
/// alone): micro-batches, which bound the memory of activations.
std::vector<std::pair<std::size_t, std::size_t>> micro_batches(const std::vector<std::int64_t>& lengths,
                                                               std::int64_t tokens);

constexpr std::int64_t kMicroBatchTokens = 1024;

/// Tokens of a micro-batch: kMicroBatchTokens, or enough to keep a device at work.
std::int64_t micro_batch_tokens(const at::Device& device);

/// Hidden states below layer `first`, one [length, width] a sequence, when that layer and those above learn
/// and training passes over the sequences more than once: computed once, in the order given. Empty when
/// nothing is frozen, epochs is 1, or they would take over 1 GiB.
std::vector<at::Tensor> frozen_states(const Llama& model, const std::vector<std::vector<int>>& sequences,
                                      std::int64_t first, long epochs);

}  // namespace cai
