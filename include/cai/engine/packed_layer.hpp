// A layer's weights in the engine's order. No torch here.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <vector>

#include "cai/engine/products.hpp"
#include "cai/model/config.hpp"

namespace at {
class Tensor;
}

namespace cai {

struct LlamaLayer;

/// A tensor's values; none of an undefined one.
std::vector<float> floats_of(const at::Tensor& t);

/// Matrices [out_i, in], one below the other.
PackedMatrix packed_matrix(std::initializer_list<at::Tensor> parts, Precision precision);

/// Norms and biases that the model does not have are empty.
struct PackedLayer {
  PackedLayer(const LlamaLayer& from, const ModelConfig& config, Precision precision);

  std::vector<float> attention_norm, attention_post_norm, ffn_norm, ffn_post_norm, qkv_bias, o_bias, q_norm,
      k_norm;
  PackedMatrix qkv, o, gate_up, down;  // gate_up: gated, or of a model with GELU both one below the other
};

/// How heads are rotated in one kind of layers.
struct Turning {
  Turning(const ModelConfig& config, std::int64_t layer);
  std::int64_t half() const { return static_cast<std::int64_t>(frequencies.size()); }

  /// Row r's angles become those of a position; there is room for them.
  void turn_to(std::int64_t position, std::int64_t r);

  std::vector<float> frequencies;     // of each rotary pair; none where these layers do not rotate
  float scale;                        // of cosines and sines
  std::vector<float> cosines, sines;  // [rows, half()] of a pass
};

/// Norms and rotates (half-split) the queries and keys of row r, [heads + kv_heads, head_width] at `row`.
void turn_heads(const PackedLayer& layer, const Turning& turning, const ModelConfig& config, std::int64_t r,
                float* row);

}  // namespace cai
