// Fast inference: continuous batching over a slot KV cache; what many prompts of a call begin with is
// computed once. No torch here. A request's tokens depend on the weights, its own prompt and its own random
// stream only: not on its neighbours, the batch size, the thread count or what ran before.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "cai/base/random.hpp"
#include "cai/model/place.hpp"

namespace cai {

struct Llama;
class LlamaReader;
enum class Precision;

struct Request {
  std::vector<int> prompt;
  int max_new_tokens = 256;
  double temperature = 1.0;  // 0: greedy
  double top_p = 1.0;        // nucleus; 1: off
  std::vector<int> stops;    // a token that ends the answer; it is kept as the last of `tokens`
  Random random{};           // one draw a token
};

enum class Finish { kStop, kLength, kContext };  // a stop token, max_new_tokens, the model's context is full

struct Completion {
  std::vector<int> tokens;               // generated ones, the stop token included
  std::vector<float> log_probabilities;  // of each at temperature 1, natural log
  Finish finish = Finish::kLength;
};

/// Log-probabilities of given continuations.
struct ScoreRequest {
  std::vector<int> prompt;
  std::vector<int> continuation;  // at least one token
};

/// The next token's log-probabilities, at a few ids only.
struct ChoiceRequest {
  std::vector<int> prompt;
  std::vector<int> options;
};

struct EngineOptions {
  std::string dtype = "auto";  // of the matrix products: see engine_arithmetic()
  int max_sequences = 128;     // at once
  Place place{};               // where the model is; of the CPU: what dtype means there
};

/// What `dtype` ("auto", "float32", "bfloat16", "int8") means for the engine's products. Throws InputError on
/// another name.
Precision engine_precision(const std::string& dtype);

/// Whether it means products of bfloat16 in training, which knows no eight bits: "auto" and "int8" do where
/// the CPU multiplies it.
bool trains_in_bfloat16(const std::string& dtype);

/// Both in words with the kernels' names, e.g. "bfloat16 (avx512-bf16); training in bfloat16"; on a CUDA
/// device with its name.
std::string engine_arithmetic(const std::string& dtype, const Place& place = {});

class Engine {
 public:
  /// Keeps packed copies of the weights; refresh() after they change. Throws InputError when `model` has
  /// something the engine lacks.
  explicit Engine(const Llama& model, EngineOptions options = {});
  explicit Engine(LlamaReader reader,
                  EngineOptions options = {});  ///< with no more than a layer in float32 at a time
  ~Engine();
  Engine(Engine&&) noexcept;

  /// Calls done(index, completion) once for each request, in order of completion, from this thread.
  /// A prompt that leaves no room in the context finishes with kContext and no tokens.
  /// Checks stop_requested() between steps and throws Stopped.
  void generate(std::span<const Request> requests, const std::function<void(std::size_t, Completion)>& done);

  /// Natural-log probabilities of each continuation token, one vector a request, in order.
  std::vector<std::vector<float>> score(std::span<const ScoreRequest> requests,
                                        const std::function<void(std::size_t)>& progress = {});

  /// Log-probabilities (normalised over the whole vocabulary) of each option, in order.
  std::vector<std::vector<float>> choose(std::span<const ChoiceRequest> requests,
                                         const std::function<void(std::size_t)>& progress = {});

  /// Packs the weights of a model of the same shape anew. Its first `unchanged` layers are as they were, and
  /// with any of them the embedding and the head are.
  void refresh(const Llama& model, std::int64_t unchanged = 0);

  /// Tokens computed since construction: prompts (after prefix sharing) and generated.
  struct Counts {
    std::int64_t prompt_tokens = 0, shared_tokens = 0, generated_tokens = 0;
  };
  Counts counts() const;
  std::string arithmetic() const;  ///< engine_arithmetic of its dtype
  std::int64_t context() const;    ///< tokens that one sequence may have, prompt included

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace cai
