// The default model against transformers (tests/golden/smollm2.py).
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "cai/io/file.hpp"
#include "cai/io/json.hpp"
#include "cai/model/checkpoint.hpp"
#include "cai/model/llama.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;
const fs::path kModel = fs::path(CAI_SOURCE_DIR) / ".deps/models/SmolLM2-135M-Instruct.Q4_1.gguf";
const fs::path kGolden = fs::path(CAI_SOURCE_DIR) / "tests/model/golden";

std::shared_ptr<Llama> model() {
  static const std::shared_ptr<Llama> loaded = load_llama(kModel);
  return loaded;
}

TEST(SmolLM2, LogitsAgreeWithTransformersOn2000Positions) {
  ASSERT_TRUE(fs::exists(kModel)) << "the default model is not there; scripts/test fetches it";
  const at::NoGradGuard no_gradients;
  const Json golden = parse_json(read_file(kGolden / "smollm2.json"), "smollm2.json");
  const std::string bytes = read_file(kGolden / "smollm2_logits.bin");
  const char* next = bytes.data();
  const auto number = [&] {
    float v;
    std::memcpy(&v, next, 4);
    next += 4;
    return v;
  };
  double largest = 0;
  long positions = 0, other_top = 0;
  for (const Json& text : golden["texts"]) {
    const std::vector<int> ids = text.get<std::vector<int>>();
    const at::Tensor all = logits(*model(), pack({ids})).contiguous();
    const at::Tensor top = std::get<1>(all.topk(10, -1)), total = all.logsumexp(-1);
    for (std::int64_t p = 0; p < all.size(0); ++p, ++positions) {
      std::vector<std::int32_t> expected(10);
      const float* row = all.data_ptr<float>() + p * all.size(1);
      std::vector<float> values(10);
      for (int k = 0; k < 10; ++k) {
        std::memcpy(&expected[static_cast<std::size_t>(k)], next, 4);
        next += 4;
        values[static_cast<std::size_t>(k)] = number();
        largest = std::max(largest, std::abs(static_cast<double>(row[expected[static_cast<std::size_t>(k)]]) -
                                             values[static_cast<std::size_t>(k)]));
      }
      std::vector<std::int32_t> got(10);
      for (int k = 0; k < 10; ++k)
        got[static_cast<std::size_t>(k)] = static_cast<std::int32_t>(top[p][k].item<std::int64_t>());
      for (std::size_t k = 0; k < 10;
           ++k)  // another order only where the reference itself hardly tells them apart
        if (got[k] != expected[k]) {
          const auto at = std::find(expected.begin(), expected.end(), got[k]);
          const bool near =
              at != expected.end()
                  ? std::abs(values[static_cast<std::size_t>(at - expected.begin())] - values[k]) < 1e-3
                  : std::abs(row[got[k]] - values[9]) < 1e-3;
          other_top += !near;
        }
      for (const Json& id : golden["fixed"])
        largest = std::max(largest, std::abs(static_cast<double>(row[id.get<int>()]) - number()));
      largest = std::max(largest, std::abs(total[p].item<double>() - number()));
    }
  }
  EXPECT_EQ(positions, 2000);
  EXPECT_EQ(next, bytes.data() + bytes.size());
  EXPECT_LT(largest, 2e-3);
  EXPECT_EQ(other_top, 0);
  RecordProperty("largest_difference", std::to_string(largest));
}

TEST(SmolLM2, WhatIsSavedLoadsWithTheSameWeights) {
  const fs::path folder = fs::temp_directory_path() / ("cai-saved-" + std::to_string(getpid()));
  save_llama(*model(), folder);
  const auto again = load_llama(folder);
  const auto a = model()->named_weights(), b = again->named_weights();
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i)
    EXPECT_TRUE(at::equal(a[i].second, b[i].second)) << a[i].first;
  fs::remove_all(folder);
}

}  // namespace
}  // namespace cai
