// What a device does in a second, on random models of known shapes: one JSON object a line. Run by
// scripts/gpu-check: cai-device-bench DEVICE SHAPE JOB [SEQUENCES].
#include <ATen/ATen.h>
#include <ATen/DeviceAccelerator.h>
#include <c10/core/GradMode.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <iostream>
#include <map>

#include "cai/base/error.hpp"
#include "cai/base/log.hpp"
#include "cai/base/random.hpp"
#include "cai/engine/devices.hpp"
#include "cai/engine/engine.hpp"
#include "cai/engine/threads.hpp"
#include "cai/io/json.hpp"
#include "cai/model/layer_tensors.hpp"
#include "cai/model/reward_model.hpp"
#include "cai/model/tensors.hpp"
#include "cai/train/ppo.hpp"
#include "cai/train/train.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;

ModelConfig shape_of(const std::string& name) {
  ModelConfig c;
  c.architecture = "LlamaForCausalLM";
  c.context = 2048, c.tied_head = true;
  if (name == "tiny")
    c.layers = 2, c.width = 64, c.heads = 4, c.kv_heads = 2, c.head_width = 16, c.ffn_width = 128,
    c.vocabulary = 512;
  else if (name == "smollm2-135m")
    c.layers = 30, c.width = 576, c.heads = 9, c.kv_heads = 3, c.head_width = 64, c.ffn_width = 1536,
    c.vocabulary = 49152;
  else if (name == "llama-3.2-1b")
    c.layers = 16, c.width = 2048, c.heads = 32, c.kv_heads = 8, c.head_width = 64, c.ffn_width = 8192,
    c.vocabulary = 128256;
  else if (name == "llama-3.1-8b")
    c.layers = 32, c.width = 4096, c.heads = 32, c.kv_heads = 8, c.head_width = 128, c.ffn_width = 14336,
    c.vocabulary = 128256, c.tied_head = false;
  else
    throw UsageError("no such shape: " + name);
  return c;
}

double parameters(const ModelConfig& c) {
  const double attention = static_cast<double>(c.width * c.head_width * (2 * c.heads + 2 * c.kv_heads));
  return static_cast<double>(c.layers) * (attention + 3.0 * static_cast<double>(c.width * c.ffn_width)) +
         static_cast<double>(c.vocabulary * c.width) * (c.tied_head ? 1 : 2);
}

// Made where it will be, a layer at a time; on a CUDA device in bfloat16, as a model is that comes so.
Llama random_model(const ModelConfig& c, const Place& place) {
  const at::NoGradGuard no_gradients;
  const auto options = at::TensorOptions(at::kFloat).device(device_of(place));
  const auto normal = [&](const std::vector<std::int64_t>& shape) {
    return at::randn(shape, options).mul_(0.02);
  };
  at::manual_seed(1);
  Llama m;
  m.config = c, m.place = place;
  m.embedding = normal({c.vocabulary, c.width});
  for (std::int64_t i = 0; i < c.layers; ++i) {
    LlamaLayer l;
    for (const LayerTensor& t : layer_tensors(c))
      l.*t.tensor = is_norm(t.hf) ? at::ones(t.shape, options) : normal(t.shape);
    m.layers.push_back(l);
    if (place.bfloat16 && !place.is_cpu()) round_matrices(m.layers.back());
  }
  m.norm = at::ones({c.width}, options);
  m.head = c.tied_head ? m.embedding : normal({c.vocabulary, c.width});
  return m;
}

std::vector<int> tokens_of(std::uint64_t seed, int n, const ModelConfig& c) {
  Random random(seed);
  std::vector<int> tokens(static_cast<std::size_t>(n));
  for (int& t : tokens)
    t = static_cast<int>(random.below(static_cast<std::uint64_t>(c.vocabulary)));
  return tokens;
}

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void wait_for(const Place& place) {
  if (!place.is_cpu()) at::accelerator::synchronizeDevice(static_cast<c10::DeviceIndex>(place.cuda));
}

double peak_gigabytes(const Place& place) {
  if (place.is_cpu()) return 0;
  const auto stats = at::accelerator::getDeviceStats(static_cast<c10::DeviceIndex>(place.cuda));
  return static_cast<double>(stats.allocated_bytes[0].peak) / 1e9;
}

// Sizes of the work: small ones on the CPU, where this only shows that all of it runs.
struct Sizes {
  int prompt = 128, written = 128, length = 512, examples = 64, steps = 4;
};

Json generate(const Llama& model, int sequences, const Sizes& sizes) {
  Engine engine(model, {.max_sequences = sequences, .place = model.place});
  std::vector<Request> requests;
  for (int i = 0; i < sequences; ++i)
    requests.push_back({.prompt = tokens_of(static_cast<std::uint64_t>(i), sizes.prompt, model.config),
                        .max_new_tokens = sizes.written,
                        .random = Random(7).derive(static_cast<std::uint64_t>(i))});
  std::vector<Request> few(requests.begin(), requests.end());
  for (Request& r : few)
    r.max_new_tokens = 4;
  engine.generate(few, [](std::size_t, const Completion&) {});  // kernels are loaded, memory is taken
  wait_for(model.place);
  const double start = now();
  double tokens = 0;
  engine.generate(requests,
                  [&](std::size_t, const Completion& c) { tokens += static_cast<double>(c.tokens.size()); });
  const double seconds = now() - start;
  return {{"sequences", sequences}, {"tokens_per_second", tokens / seconds}, {"seconds", seconds}};
}

// Seconds from the end of the first step to the end of the last, and how many steps that is.
struct Clock {
  double first = 0, last = 0;
  long steps = 0;
  StepObserver observer() {
    return [this](long, long, const Json&) {
      last = now();
      if (steps++ == 0) first = last;
    };
  }
  double seconds() const { return (last - first) / static_cast<double>(std::max(1L, steps - 1)); }
};

// Products of a step on `tokens`, of which each learning weight takes 6 operations a token (2 forwards, 4
// back) and each frozen one 2.
double operations(const ModelConfig& c, double tokens, long learning_layers) {
  const double head = static_cast<double>(c.vocabulary * c.width),
               layer = (parameters(c) - head * (c.tied_head ? 1 : 2)) / static_cast<double>(c.layers),
               learns =
                   learning_layers > 0 ? static_cast<double>(learning_layers) : static_cast<double>(c.layers);
  return tokens * (6 * learns * layer + 2 * (static_cast<double>(c.layers) - learns) * layer +
                   (learning_layers > 0 ? 4 : 6) * head);
}

Json fine_tune(Llama& model, long layers, const Sizes& sizes, const fs::path& folder) {
  std::vector<TrainExample> examples;
  for (int i = 0; i < sizes.examples * sizes.steps; ++i)
    examples.push_back({"e" + std::to_string(i),
                        tokens_of(static_cast<std::uint64_t>(i), sizes.length + 1, model.config), 1});
  SftConfig config;
  config.batch_size = sizes.examples, config.epochs = 1, config.decision_weight = 0;
  config.optimiser.trainable_layers = layers, config.optimiser.checkpoint_seconds = 1e9;
  Clock clock;
  train_sft(model, examples, {}, config, 1, folder, clock.observer());
  const double tokens = static_cast<double>(sizes.examples) * sizes.length;
  return {{"trainable_layers", layers},
          {"tokens_per_second", tokens / clock.seconds()},
          {"teraflops", operations(model.config, tokens, layers) / clock.seconds() / 1e12},
          {"seconds", clock.seconds()}};
}

Json rewards(Llama& trunk, long layers, const Sizes& sizes, const fs::path& folder) {
  RewardModel model = *new_reward_model(trunk, 1);
  std::vector<PreferencePair> pairs;
  for (int i = 0; i < sizes.examples / 2 * sizes.steps; ++i)
    pairs.push_back(
        {"p" + std::to_string(i), tokens_of(static_cast<std::uint64_t>(2 * i), sizes.length, trunk.config),
         tokens_of(static_cast<std::uint64_t>(2 * i + 1), sizes.length, trunk.config), 1, 0.8, 1, ""});
  RewardConfig config;
  config.batch_size = sizes.examples / 2, config.epochs = 1;
  config.optimiser.trainable_layers = layers, config.optimiser.checkpoint_seconds = 1e9;
  Clock clock;
  train_reward(model, pairs, {}, config, 1, folder, clock.observer());
  return {{"trainable_layers", layers},
          {"tokens_per_second", static_cast<double>(sizes.examples) * sizes.length / clock.seconds()},
          {"seconds", clock.seconds()}};
}

Json reinforce(Llama& policy, long layers, const Sizes& sizes, const fs::path& folder) {
  const auto reward = new_reward_model(policy, 1);
  std::vector<PpoPrompt> prompts;
  for (int i = 0; i < sizes.examples; ++i)
    prompts.push_back(
        {"q" + std::to_string(i), tokens_of(static_cast<std::uint64_t>(i), sizes.prompt, policy.config)});
  PpoConfig config;
  config.updates = sizes.steps, config.prompts_per_update = sizes.examples,
  config.max_new_tokens = sizes.written;
  config.critic_warmup = 0, config.max_kl = 1e9, config.optimiser.learning_rate = 1e-7,
  config.value_learning_rate = 1e-7, config.optimiser.checkpoint_seconds = 1e9,
  config.optimiser.trainable_layers = layers;
  EngineConfig engine;
  engine.max_sequences = sizes.examples;
  engine.device = policy.place.is_cpu() ? "cpu" : "cuda";
  Clock clock;
  train_ppo(policy, reward, prompts, {}, config, engine, 1, folder, clock.observer());
  return {{"trainable_layers", layers},
          {"answers", sizes.examples},
          {"tokens_per_second",
           static_cast<double>(sizes.examples) * (sizes.prompt + sizes.written) / clock.seconds()},
          {"seconds", clock.seconds()}};
}

int run(const std::vector<std::string>& words) {
  if (words.size() < 3) throw UsageError("cai-device-bench DEVICE SHAPE generate|sft|reward|ppo [SEQUENCES]");
  const Place place = place_of({.device = words[0]});
  set_log_level(LogLevel::kWarning);
  const ModelConfig config = shape_of(words[1]);
  const std::string& job = words[2];
  const Sizes sizes = config.width < 100 ? Sizes{8, 8, 16, 4, 2} : Sizes{};
  const long layers = config.width >= 4096 ? 8 : 0;  // all weights of 8B would not leave room on every card
  const fs::path folder = fs::temp_directory_path() / ("cai-device-bench-" + std::to_string(getpid()));
  Json result;
  {
    Llama model = random_model(config, place);
    if (job == "generate")
      result = generate(model, words.size() > 3 ? std::stoi(words[3]) : 1, sizes);
    else if (job == "sft")
      result = fine_tune(model, layers, sizes, folder);
    else if (job == "reward")
      result = rewards(model, layers, sizes, folder);
    else if (job == "ppo")
      result = reinforce(model, layers, sizes, folder);
    else
      throw UsageError("no such job: " + job);
  }
  fs::remove_all(folder);
  result["job"] = job, result["shape"] = words[1], result["parameters"] = parameters(config);
  result["device"] = place.is_cpu() ? "cpu" : device_name(place),
  result["peak_gigabytes"] = peak_gigabytes(place);
  std::cout << to_line(result) << std::endl;
  return 0;
}

}  // namespace
}  // namespace cai

int main(int argc, char** argv) {
  int code = 1;
  try {
    code = cai::run({argv + 1, argv + argc});
  } catch (const std::exception& e) {
    std::cerr << "cai-device-bench: " << e.what() << "\n";
  }
  std::cout.flush();
  ::_exit(code);
}
