// What low-rank matrices add to the products of a layer in bfloat16 (layer.cpp), and their way back.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "cai/model/layer.hpp"
#include "cai/model/low_rank.hpp"

namespace cai {

/// Of matrices that read the same x and whose products lie side by side; those without an addition are passed
/// over. Tensors are bfloat16 of half_rows().
class HalfLowRanks {
 public:
  /// `rows`: of each matrix. `adapter` may be nullptr: nothing is added then.
  HalfLowRanks(const LayerAdapter* adapter, const std::vector<LowRank LayerAdapter::*>& matrices,
               const std::vector<std::int64_t>& rows, std::shared_ptr<RoundedWeights> rounded);

  /// products [n, sum of rows] += scale (x A^T) B^T.
  void add(const at::Tensor& products, const at::Tensor& x) const;

  /// From slopes [n, sum of rows] towards the products: A and B learn, where they do, and the slopes towards
  /// x [n, in] grow by what comes through them.
  void learn(const at::Tensor& slopes, const at::Tensor& x, const at::Tensor& to_x) const;

 private:
  struct Part {
    LowRank low_rank;
    std::int64_t from, rows;  // its columns of the products
    std::int64_t thin;        // its first column of x A^T
  };

  at::Tensor thin(const at::Tensor& x) const;  // x A^T of all parts, side by side

  std::vector<Part> parts_;
  std::vector<at::Tensor> downs_;  // A of the parts, each once
  std::shared_ptr<RoundedWeights> rounded_;
};

}  // namespace cai
