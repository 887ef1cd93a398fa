// The model that reads for a guard: requests and exchanges in, means of residual states out.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "cai/io/json.hpp"

namespace cai {

/// A request, or an exchange where `answer` is not empty.
struct GuardText {
  std::string prompt, answer;
};

/// Means of the states over windows of 16 positions that begin 8 apart, the last one ending with the text:
/// [windows, width]. A text of up to 16 positions is one window. A head's score of a text is its highest on
/// any window: one word makes no score, and a long text does not thin one out.
inline constexpr std::int64_t kGuardWindow = 16, kGuardStride = 8;
std::vector<float> window_means(std::span<const float> states, std::int64_t width);

class GuardTrunk {
 public:
  /// `path`: a model as for load_llama. `layers`: numbers from 1; empty: about one half and two thirds up.
  GuardTrunk(const std::filesystem::path& path, const std::string& dtype,
             std::vector<std::int64_t> layers = {});
  ~GuardTrunk();

  /// What was made of a text; `windows` are of the request where the text has no answer, else of the answer,
  /// which the model reads behind its request.
  struct Windows {
    std::vector<float> request, answer;  // [windows, width()]
    std::string problem;                 // why the text was not read, or ""
  };

  /// Reads the texts; done(index, windows) is called once for each, in order. Bits depend on the text alone.
  void read(std::span<const GuardText> texts, const std::function<void(std::size_t, Windows)>& done);

  std::int64_t width() const;  ///< floats of a window
  const std::vector<std::int64_t>& layers() const;

  /// {model, tokenizer, arithmetic, layers}: hashes of what decides the states.
  Json identity() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace cai
