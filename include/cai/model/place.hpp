// Where a model's tensors lie, and what its products are taken in. No torch here.
#pragma once

namespace cai {

struct Place {
  int cuda = -1;          // number of the CUDA device; -1: the CPU
  bool bfloat16 = false;  // products are taken in bfloat16; what learns keeps float32 masters either way

  bool is_cpu() const { return cuda < 0; }
};

}  // namespace cai
