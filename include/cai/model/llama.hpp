// The Llama family and its relatives in plain ATen: one implementation for training and for reference. See
// engine/ for fast inference.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cai/model/config.hpp"
#include "cai/model/layer.hpp"
#include "cai/model/place.hpp"

namespace cai {

/// Weights are float32 (master weights), on one device; rotary embedding is HF's half-split layout.
struct Llama {
  ModelConfig config;
  at::Tensor embedding;  // [vocabulary, width]
  std::vector<LlamaLayer> layers;
  at::Tensor norm;  // [width]
  at::Tensor head;  // [vocabulary, width]; the same tensor as embedding when tied
  Place place;      // where they are, and whether run_layers takes its products in bfloat16 (layer.hpp)
  std::shared_ptr<RoundedWeights> rounded =
      std::make_shared<RoundedWeights>();  // for those products; empty until then

  /// All weights under their HF names ("model.layers.0.self_attn.q_proj.weight", ...), head left out when
  /// tied.
  std::vector<std::pair<std::string, at::Tensor>> named_weights() const;

  at::Device device() const { return embedding.device(); }

  /// A deep copy.
  Llama clone() const;
};

/// Each weight of `model` becomes its mean with that of `to`, a model of the same shape, which weighs
/// `share`; in place. What both share stays as it is.
void move_towards(const Llama& model, const Llama& to, double share);

/// round_matrices (layer.hpp) for the layers from `first` on, of a model that takes its products in bfloat16;
/// any other stays as it is. Whoever else holds the weights keeps them.
void round_matrices(Llama& model, std::int64_t first = 0);

/// Several sequences as one pass, without padding. What neighbours begin with alike (a system prompt, a
/// pair's or a group's prompt) is there once: sequences are made of segments, and a segment sees those before
/// it in its sequences.
struct Packed {
  struct Segment {
    std::int64_t begin = 0, length = 0;  // its rows
    std::int64_t start = 0;              // position of its first token in its sequences
    std::int64_t before = -1;            // the segment before it in them; -1: none
    std::size_t owner = 0;               // the first of its sequences
  };
  at::Tensor tokens;               // [rows] int64
  at::Tensor positions;            // [rows] int64, from 0 in each sequence
  std::vector<Segment> segments;   // in the order of their rows; one comes after those before it
  std::vector<std::int64_t> ends;  // [sequences] the segment that each ends in; no other ends there
};

/// With its tensors on `device`. Throws Bug when a sequence is empty.
Packed pack(const std::vector<std::vector<int>>& sequences, const at::Device& device = at::kCPU);

/// The rows of one sequence's tokens, in order.
std::vector<std::int64_t> rows_of(const Packed& packed, std::size_t sequence);

/// [rows, width] from the states of whole sequences, [length or more, width] each.
at::Tensor packed_states(const Packed& packed, const std::vector<at::Tensor>& of_sequences);

/// Hidden states after layers [first_layer, last_layer) of the trunk, without the final norm.
/// `hidden`: [rows, width] float32, the state before first_layer; for first_layer 0 pass embed().
/// Differentiable.
at::Tensor run_layers(const Llama& model, const at::Tensor& hidden, const Packed& packed,
                      std::int64_t first_layer, std::int64_t last_layer);

at::Tensor embed(const Llama& model, const at::Tensor& tokens);       // [n] -> [n, width]
at::Tensor final_norm(const Llama& model, const at::Tensor& hidden);  // [n, width] -> [n, width]

/// What the head is multiplied with: final_norm, by the logits' divisor of a model that has one. [n, width]
/// -> [n, width]
at::Tensor head_states(const Llama& model, const at::Tensor& hidden);

/// Whole forward: logits of every position, [rows, vocabulary] float32. For tests and small inputs; training
/// never builds this tensor.
at::Tensor logits(const Llama& model, const Packed& packed);

/// A model with random weights N(0, 0.02) of this shape (seeded), for tests.
Llama random_llama(const ModelConfig& config, std::uint64_t seed);

}  // namespace cai
