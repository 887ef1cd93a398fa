// Each architecture that we read against transformers (tests/golden/models.py).
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "cai/base/error.hpp"
#include "cai/io/file.hpp"
#include "cai/io/json.hpp"
#include "cai/model/checkpoint.hpp"
#include "cai/model/llama.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;
const fs::path kGolden = fs::path(CAI_SOURCE_DIR) / "tests/model/golden";

class Architecture : public testing::TestWithParam<const char*> {};

TEST_P(Architecture, HasTheLogitsOfTransformers) {
  const at::NoGradGuard no_gradients;
  const fs::path folder = kGolden / GetParam();
  const Json golden = parse_json(read_file(folder / "golden.json"), "golden.json");
  const auto model = load_llama(folder);
  const auto sequences = golden["sequences"].get<std::vector<std::vector<int>>>();
  // All sequences in one pass; then each beside a neighbour that differs at the end only, so that most of it
  // is there once.
  std::vector<std::vector<int>> beside;
  for (const auto& sequence : sequences) {
    beside.push_back(sequence);
    std::vector<int> other = sequence;
    other.back() = (other.back() + 1) % 7, other.push_back(3);
    beside.push_back(other);
  }
  for (const auto& [list, step] : {std::pair(sequences, std::size_t{1}), std::pair(beside, std::size_t{2})}) {
    const Packed packed = pack(list);
    const at::Tensor all = logits(*model, packed).contiguous();
    for (std::size_t s = 0; s < sequences.size(); ++s) {
      const Json& rows = golden["last_three_logits"][s];
      const std::vector<std::int64_t> own = rows_of(packed, step * s);
      for (std::size_t r = 0; r < rows.size(); ++r) {
        const at::Tensor ours = all[own[own.size() - rows.size() + r]];
        for (std::size_t v = 0; v < rows[r].size(); ++v)
          EXPECT_NEAR(ours[static_cast<std::int64_t>(v)].item<double>(), rows[r][v].get<double>(), 2e-4)
              << GetParam() << " sequence " << s << " token " << v;
      }
    }
  }
}

TEST_P(Architecture, IsTheSameAfterSaving) {
  const auto model = load_llama(kGolden / GetParam());
  const fs::path folder = fs::temp_directory_path() / ("cai-saved-" + std::to_string(getpid()) + GetParam());
  const std::string hash = save_llama(*model, folder);
  const auto again = load_llama(folder);
  const auto a = model->named_weights(), b = again->named_weights();
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i)
    EXPECT_TRUE(a[i].first == b[i].first && at::equal(a[i].second, b[i].second)) << a[i].first;
  EXPECT_EQ(save_llama(*again, folder), hash);
  fs::remove_all(folder);
}

INSTANTIATE_TEST_SUITE_P(All, Architecture,
                         testing::Values("llama-tied", "llama3-scaled", "llama-bfloat16-sharded",
                                         "mistral-window", "qwen2-bias", "qwen3-norm"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

// A flipped byte in a safetensors header or a cut file is named, never read past.
TEST(Load, NamesWhatIsWrongWithAFile) {
  const fs::path folder = fs::temp_directory_path() / ("cai-broken-" + std::to_string(getpid()));
  fs::create_directories(folder);
  fs::copy(kGolden / "llama-tied/config.json", folder / "config.json");
  const std::string weights = read_file(kGolden / "llama-tied/model.safetensors");
  const auto refused = [&](const std::string& bytes, const std::string& named = "model.safetensors") {
    write_file(folder / "model.safetensors", bytes);
    try {
      load_llama(folder);
    } catch (const InputError& e) {
      return std::string(e.what()).find(named) != std::string::npos &&
             std::string(e.what()).find(folder.string()) != std::string::npos;
    }
    return false;
  };
  for (std::size_t length :
       {std::size_t{0}, std::size_t{7}, std::size_t{8}, std::size_t{100}, weights.size() - 1})
    EXPECT_TRUE(refused(weights.substr(0, length))) << length;
  EXPECT_TRUE(refused(weights + "x"));
  std::string nan = weights;
  for (std::size_t i = nan.size() - 4; i < nan.size(); ++i)
    nan[i] = static_cast<char>(0xff);
  EXPECT_TRUE(refused(nan, "model.norm.weight"));
  std::string renamed = weights;
  renamed.replace(renamed.find("model.norm.weight"), 17, "model.norm.weighz");
  EXPECT_TRUE(refused(renamed, "model.norm.weigh"));
  fs::remove_all(folder);
}

}  // namespace
}  // namespace cai
