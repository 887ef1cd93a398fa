#include "cai/pipeline/resources.hpp"

#include <sys/resource.h>
#include <sys/sysinfo.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <functional>
#include <vector>

#include "cai/engine/devices.hpp"
#include "cai/engine/engine.hpp"
#include "cai/engine/packed_model.hpp"
#include "cai/pipeline/workload.hpp"
#include "cai/train/trainable.hpp"
#include "cai/train/trainer.hpp"

namespace cai {
namespace fs = std::filesystem;
namespace {

std::string gigabytes(double bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f GB", bytes / 1e9);
  return text;
}

double folder_bytes(const fs::path& folder) {
  double bytes = 0;
  std::error_code gone;
  for (auto entry = fs::recursive_directory_iterator(folder, gone);
       !gone && entry != fs::recursive_directory_iterator(); entry.increment(gone)) {
    std::error_code ignored;
    const bool is_aside = entry->path().string().find(".stale-") != std::string::npos;
    if (!is_aside && entry->is_regular_file(ignored)) bytes += static_cast<double>(entry->file_size(ignored));
  }
  return bytes;
}

/// The first number in a file, or `otherwise` when there is none ("max").
double number_in(const char* file, double otherwise) {
  std::ifstream in(file);
  double value = 0;
  return in >> value ? value : otherwise;
}

/// Positions of the longest text that an engine is asked for, about.
std::int64_t longest_text(const Config& c) {
  return std::max({c.generate.max_new_tokens, c.critique.max_new_tokens, c.revise.max_new_tokens,
                   c.candidates.max_new_tokens, c.eval.max_new_tokens}) +
         512;
}

/// Keys and values of all sequences at once.
double cache_memory(const Config& c, const ModelConfig& m) {
  const std::int64_t longest = longest_text(c);
  return 2 * static_cast<double>(m.layers) *
         static_cast<double>(m.kv_heads * cache_bytes(cached_of(m, c.engine.dtype), longest, m.head_width)) *
         static_cast<double>(c.engine.max_sequences);
}

/// An engine's weights in its own order (two bytes each at most where products are bfloat16), and the
/// embedding in float32.
double engine_memory(const Config& c, const ModelConfig& m, double parameters) {
  const double each = trains_in_bfloat16(c.engine.dtype) ? 2 : 4;
  return each * parameters + 4 * static_cast<double>(m.vocabulary * m.width);
}

/// Of the stages that generate or judge: two engines stay loaded (the policy before and after it learned, the
/// policy and a model that gives feedback, or two such), and one of them works.
double speaking_memory(const RunInputs& inputs) {
  const Config& c = inputs.config;
  const double policy = engine_memory(c, inputs.architecture, inputs.parameters);
  std::vector<double> engines{policy, policy};
  double kept = cache_memory(c, inputs.architecture);
  for (const auto& [name, model] : inputs.feedback_models) {
    engines.push_back(engine_memory(c, model.architecture, model.parameters));
    kept = std::max(kept, cache_memory(c, model.architecture));
  }
  std::partial_sort(engines.begin(), engines.begin() + 2, engines.end(), std::greater<>());
  return engines[0] + engines[1] + kept;
}

}  // namespace

double disk_estimate(const RunInputs& inputs) {
  // Three checkpoints an iteration in float32. While a stage trains, two states beside them: weights and two
  // moments of what learns.
  const double checkpoint = 4 * inputs.parameters;
  const double records = 8e3 * static_cast<double>(prompt_count(inputs)) *
                         static_cast<double>(4 + 2 * inputs.config.revise.rounds);
  const Config& c = inputs.config;
  double learns = learning_weights(inputs, c.sft.optimiser);
  const std::string policy = policy_stage(c);
  if (policy == "ppo")
    learns = std::max({learns, learning_weights(inputs, c.reward.optimiser),
                       (c.ppo.advantage == "gae" ? 2 : 1) * learning_weights(inputs, c.ppo.optimiser)});
  if (policy == "dpo") learns = std::max(learns, learning_weights(inputs, c.dpo.optimiser));
  return static_cast<double>(c.iterations) * ((policy == "ppo"   ? 3
                                               : policy == "dpo" ? 2
                                                                 : 1) *
                                                  checkpoint +
                                              records) +
         2 * 3 * 4 * learns + 50e6;
}

namespace {

// Of a run on a device: one copy of all weights in float32 while a checkpoint is written, and torch with
// CUDA.
double host_estimate(const RunInputs& inputs) {
  return 4 * inputs.parameters + 3e9;
}

}  // namespace

double device_estimate(const RunInputs& inputs) {
  const Config& c = inputs.config;
  const ModelConfig& m = inputs.architecture;
  const Place place = place_of(c.engine);
  if (place.is_cpu()) return 0;
  const double width = static_cast<double>(m.width), vocabulary = static_cast<double>(m.vocabulary),
               layers = static_cast<double>(m.layers), bytes = place.bfloat16 ? 2 : 4;
  // The embedding and the head are in float32, the head in bfloat16 too; the other weights as they come.
  const double weights = bytes * inputs.parameters + vocabulary * width * (m.tied_head ? 6 : 12);
  const double slots = static_cast<double>(c.engine.max_sequences + 16);
  const double kept = 2 * layers * static_cast<double>(m.kv_heads * m.head_width) * bytes *
                      static_cast<double>(longest_text(c)) * slots *
                      1.5;  // half as much again while it grows
  // Of what learns only the states between the layers are kept, and all of one layer.
  const double tokens = static_cast<double>(micro_batch_tokens(at::kCUDA));
  const double activations =
      4 * tokens * (layers * width + 16 * width + 7 * static_cast<double>(m.ffn_width)) +
      3 * 4 * 1024 * vocabulary;
  const auto trains = [&](const OptimiserConfig& o, double models) {
    return (14 * models + 4) * learning_weights(inputs, o) + activations + 1.1e9;
  };
  double most = std::max(weights + kept, weights + trains(c.sft.optimiser, 1));
  if (policy_stage(c) == "dpo") most = std::max(most, weights + trains(c.dpo.optimiser, 1));
  if (policy_stage(c) == "ppo")
    most = std::max({most, weights + trains(c.reward.optimiser, 1),
                     weights + kept + trains(c.ppo.optimiser, c.ppo.advantage == "gae" ? 2 : 1) +
                         4 * learning_weights(inputs, c.reward.optimiser)});
  return most + 1e9;
}

double memory_estimate(const RunInputs& inputs) {
  const Config& c = inputs.config;
  if (!place_of(c.engine).is_cpu()) return host_estimate(inputs);
  const ModelConfig& m = inputs.architecture;
  const double weights = 4 * inputs.parameters, width = static_cast<double>(m.width),
               layers = static_cast<double>(m.layers);
  const double kept = cache_memory(c, m);
  // What one micro-batch keeps for the way back: about 16 rows of width and 3 of the feed-forward's a layer
  // and token; logits of one part.
  const double tokens = static_cast<double>(kMicroBatchTokens);
  const auto activations = [&](const OptimiserConfig& o) {
    const double learning_layers = layers - static_cast<double>(first_trainable_layer(m, o));
    return 4 * tokens * learning_layers * (16 * width + 3 * static_cast<double>(m.ffn_width)) +
           2 * 4 * tokens * static_cast<double>(m.vocabulary);
  };
  const double speaks = speaking_memory(inputs);
  // Copies of what learns: weights, gradients, two moments, weights in bfloat16.
  const auto trains = [&](const OptimiserConfig& o) {
    const double frozen = o.lora.rank > 0 ? 2 * inputs.parameters : 0;  // in bfloat16, under an adapter
    return weights + frozen + 18 * learning_weights(inputs, o) + activations(o) + 1.1e9;
  };  // and states below the learning layers
  double most = std::max(speaks, trains(c.sft.optimiser));
  if (c.sft.unrevised == "distribution")  // the weights from before stay, and the states that they give
    most = std::max(most, trains(c.sft.optimiser) + 4 * learning_weights(inputs, c.sft.optimiser) +
                              std::min(1.1e9, 4 * width * static_cast<double>(prompt_count(inputs)) *
                                                  static_cast<double>(c.generate.max_new_tokens)));
  if (policy_stage(c) == "dpo") most = std::max(most, trains(c.dpo.optimiser));
  if (policy_stage(c) == "ppo") {
    // A policy and a value model that learn have one gradient and take turns; the reference and the reward
    // model are frozen.
    const double models = c.ppo.advantage == "gae" ? 2 : 1,
                 frozen = trains_in_bfloat16(c.engine.dtype) ? 2 * inputs.parameters : weights;
    most = std::max(most, trains(c.reward.optimiser));
    most = std::max(most, weights + 2 * frozen + kept +
                              (models * 14 + 4) * learning_weights(inputs, c.ppo.optimiser) +
                              2 * activations(c.ppo.optimiser));
  }
  return most + 0.4e9;
}

std::string disk_problem(const RunInputs& inputs, const fs::path& out, const fs::path& parent) {
  const double need = std::max(0.0, disk_estimate(inputs) - folder_bytes(out)),
               have = static_cast<double>(fs::space(parent).available);
  return have < need ? out.string() + ": the run needs up to " + gigabytes(need) + " of disk, but only " +
                           gigabytes(have) + " is free"
                     : "";
}

std::string memory_problem(const RunInputs& inputs) {
  struct sysinfo machine {};
  sysinfo(&machine);
  double have = static_cast<double>(machine.totalram) * machine.mem_unit;
  have = std::min(have, number_in("/sys/fs/cgroup/memory.max", have));
  have = std::min(have, number_in("/sys/fs/cgroup/memory/memory.limit_in_bytes", have));
  struct rlimit limit {};
  if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
    have = std::min(have, static_cast<double>(limit.rlim_cur));
  const double need = memory_estimate(inputs), device = device_estimate(inputs),
               free = device > 0 ? device_memory(place_of(inputs.config.engine)).free : 0;
  if (device > free)
    return "the run needs about " + gigabytes(device) + " of GPU memory, but only " + gigabytes(free) +
           " is free; use a smaller model, fewer trainable_layers, a lower engine.max_sequences or "
           "engine.device: cpu";
  return have < need ? "the run needs about " + gigabytes(need) + " of memory, but only " + gigabytes(have) +
                           " is available; use a smaller model, fewer trainable_layers, lora.rank or a "
                           "lower engine.max_sequences"
                     : "";
}

}  // namespace cai
