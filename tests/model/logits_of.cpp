// logits_of MODEL: reads token ids from stdin, one sequence a line, and writes every position's logits to
// stdout as float32. For
// *_reference.py, which compares them with other programs'.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <cstdio>
#include <iostream>
#include <sstream>

#include "cai/base/error.hpp"
#include "cai/model/checkpoint.hpp"
#include "cai/model/llama.hpp"

int main(int count, char** arguments) {
  const at::NoGradGuard no_gradients;
  try {
    const auto model = cai::load_llama(count > 1 ? arguments[1] : "");
    for (std::string line; std::getline(std::cin, line);) {
      std::istringstream ids(line);
      std::vector<int> tokens;
      for (int id = 0; ids >> id;)
        tokens.push_back(id);
      const at::Tensor rows = cai::logits(*model, cai::pack({tokens})).contiguous();
      std::fwrite(rows.data_ptr<float>(), sizeof(float), static_cast<std::size_t>(rows.numel()), stdout);
    }
  } catch (const cai::Error& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return e.exit_code();
  }
}
