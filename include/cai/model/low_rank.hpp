// What an adapter adds to a layer's products: low-rank matrices beside frozen weights (LoRA, Hu et al. 2021).
#pragma once

#include <ATen/core/Tensor.h>

namespace cai {

/// Adds scale (x A^T) B^T to the product x W^T of a weight W [out, in].
struct LowRank {
  at::Tensor a;      // [rank, in] float32; undefined: nothing is added
  at::Tensor b;      // [out, rank] float32
  double scale = 1;  // alpha / rank
};

/// Of each matrix of a layer (LlamaLayer).
struct LayerAdapter {
  LowRank q, k, v, o, gate, up, down;
};

/// Calls body(low_rank) for each matrix of a layer.
template <class Adapter, class Body>
void for_each_low_rank(Adapter& layer, const Body& body) {
  for (LowRank LayerAdapter::*const matrix :
       {&LayerAdapter::q, &LayerAdapter::k, &LayerAdapter::v, &LayerAdapter::o, &LayerAdapter::gate,
        &LayerAdapter::up, &LayerAdapter::down})
    body(layer.*matrix);
}

}  // namespace cai
