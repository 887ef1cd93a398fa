// cai-bench WORK.json: does one job of scripts/bench with this program's own parts and prints one line of
// JSON. bench/peers.py does the same jobs with the peers. What a job reads is described in bench/work.py,
// which writes those files.
#include <ATen/core/Tensor.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <limits>
#include <memory>
#include <utility>

#include "cai/base/error.hpp"
#include "cai/base/hash.hpp"
#include "cai/engine/devices.hpp"
#include "cai/engine/engine.hpp"
#include "cai/engine/threads.hpp"
#include "cai/io/file.hpp"
#include "cai/io/json.hpp"
#include "cai/io/records.hpp"
#include "cai/model/checkpoint.hpp"
#include "cai/model/llama.hpp"
#include "cai/model/reward_model.hpp"
#include "cai/train/ppo.hpp"
#include "cai/train/train.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

double peak_megabytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

// What a job did: so many units of work.
struct Done {
  double units = 0;
  Json more = Json::object();
};

std::vector<Request> requests_of(const Json& work, int new_tokens_at_most) {
  std::vector<Request> requests;
  const Random random(work.value("seed", 1));
  for (const Json& p : work.at("prompts")) {
    Request r;
    r.prompt = p.at("tokens").get<std::vector<int>>();
    r.max_new_tokens = std::min(new_tokens_at_most, p.at("max_new_tokens").get<int>());
    r.temperature = work.value("temperature", 1.0);
    r.stops = work.at("stops").get<std::vector<int>>();
    r.random = random.derive(requests.size());
    requests.push_back(std::move(r));
  }
  return requests;
}

Done generate(Engine& engine, const Json& work) {
  Done d;
  double first = 0;
  const auto begin = std::chrono::steady_clock::now();
  engine.generate(requests_of(work, std::numeric_limits<int>::max()), [&](std::size_t, Completion c) {
    if (first == 0) first = seconds_since(begin);
    d.units += static_cast<double>(c.tokens.size());
  });
  d.more["first_answer_seconds"] = first;
  return d;
}

Done labels(Engine& engine, const Json& work) {
  std::vector<ChoiceRequest> asked;
  for (const Json& p : work.at("prompts"))
    asked.push_back({p.at("tokens").get<std::vector<int>>(), work.at("options").get<std::vector<int>>()});
  Json first = Json::array();
  for (const auto& answer : engine.choose(asked))
    first.push_back(answer.at(0) - answer.at(1));
  return {static_cast<double>(asked.size()), {{"log_odds", first}}};
}

std::vector<TrainExample> examples_of(const Json& work) {
  std::vector<TrainExample> all;
  for (const Json& e : work.at("examples"))
    all.push_back({std::to_string(all.size()), e.at("tokens").get<std::vector<int>>(),
                   e.at("prompt_tokens").get<int>(), 1.0});
  return all;
}

Done sft(Llama& model, const Json& work, const fs::path& folder) {
  SftConfig config;
  config.optimiser.checkpoint_seconds = 1e9;
  config.batch_size = work.at("batch_size").get<long>();
  const Json figures = train_sft(model, examples_of(work), {}, config, 1, folder, {});
  double tokens = 0;
  for (const Json& e : work.at("examples"))
    tokens += static_cast<double>(e.at("tokens").size());
  return {tokens, {{"loss", figures.at("train_loss")}}};
}

Done reward(RewardModel& model, const Json& work, const fs::path& folder) {
  RewardConfig config;
  config.optimiser.checkpoint_seconds = 1e9;
  config.batch_size = work.at("batch_size").get<long>();
  std::vector<PreferencePair> pairs;
  for (const Json& p : work.at("pairs"))
    pairs.push_back({std::to_string(pairs.size()), p.at("a").get<std::vector<int>>(),
                     p.at("b").get<std::vector<int>>(), p.at("prompt_tokens").get<int>(), 1.0, 1.0, ""});
  train_reward(model, pairs, {}, config, 1, folder, {});
  return {static_cast<double>(pairs.size()), Json::object()};
}

// Every answer has the full length, as the peer's have: no stop token.
Done ppo(Llama& model, const RewardModel& judge, const Json& work, const EngineConfig& engine,
         const fs::path& folder) {
  PpoConfig config;
  config.optimiser.checkpoint_seconds = 1e9;
  config.optimiser.trainable_layers = work.value("trainable_layers", 0L);
  config.updates = 1;
  config.critic_warmup = 0;
  config.prompts_per_update = static_cast<long>(work.at("prompts").size());
  config.max_new_tokens = work.at("prompts").at(0).at("max_new_tokens").get<long>();
  config.epochs = work.at("epochs").get<long>();
  config.stop_epochs_at_kl = 1e9;
  std::vector<PpoPrompt> prompts;
  for (const Json& p : work.at("prompts"))
    prompts.push_back({std::to_string(prompts.size()), p.at("tokens").get<std::vector<int>>()});
  const auto score = [&](const std::vector<std::vector<int>>& sequences,
                         const std::vector<at::Tensor>& states,
                         std::int64_t layers) { return score_rewards(judge, sequences, states, layers); };
  Engine sampler(model, {.dtype = engine.dtype, .max_sequences = static_cast<int>(engine.max_sequences)});
  train_ppo_with(model, std::move(*new_reward_model(model, 2)), score, prompts, {}, config, sampler, 1,
                 folder, {});
  return {1, Json::object()};
}

// Write, sync, publish with hashes, read back, as a stage does.
Done records(const Json& work, const fs::path& folder) {
  const Json record = work.at("record");
  const auto count = work.at("count").get<std::size_t>();
  RecordWriter writer(folder / "records", "bench", "key");
  for (std::size_t i = 0; i < count; ++i) {
    Json r = record;
    r["id"] = std::to_string(i);
    writer.write(i, std::move(r));
  }
  writer.finish(Json::object(), 0);
  const auto read = read_records(folder / "records");
  double bytes = 0;
  for (const auto& entry : fs::directory_iterator(folder / "records"))
    bytes += static_cast<double>(entry.file_size());
  return {bytes / 1e6, {{"read", read.size()}}};
}

int run(const std::string& file) {
  const auto started = std::chrono::steady_clock::now();
  const Json work = parse_json(read_file(file), file);
  const std::string job = work.at("job").get<std::string>();
  EngineConfig engine_config;
  engine_config.dtype = work.value("dtype", "auto");
  set_threads(work.value("threads", 0));
  keep_freed_memory();
  const fs::path folder = fs::temp_directory_path() / ("cai-bench-" + std::to_string(getpid()));
  Done d;
  double start = 0;
  std::chrono::steady_clock::time_point begin;
  const auto ready = [&] { start = seconds_since(started), begin = std::chrono::steady_clock::now(); };
  if (job == "records") {
    ready();
    d = records(work, folder);
  } else {
    if (job == "generate" || job == "labels") {
      Engine engine(LlamaReader(work.at("gguf").get<std::string>()),
                    {.dtype = engine_config.dtype,
                     .max_sequences = work.value("max_sequences", EngineOptions{}.max_sequences)});
      engine.generate(std::span<const Request>(requests_of(work, 1)).first(1),
                      [](std::size_t, Completion) {});  // pages in
      ready();
      d = job == "generate" ? generate(engine, work) : labels(engine, work);
    } else {
      std::shared_ptr<Llama> model = load_llama(work.at("model").get<std::string>(), place_of(engine_config));
      const auto judge = job == "ppo" ? new_reward_model(model->clone(), 1)
                                      : nullptr;  // the peer's models are loaded before its clock starts
      if (judge) round_matrices(judge->trunk);    // as train_ppo does
      ready();
      if (job == "sft")
        d = sft(*model, work, folder);
      else if (job == "reward") {
        RewardModel trained = *new_reward_model(*model, 1);
        model.reset();  // as in a run nobody else holds the weights while it trains
        d = reward(trained, work, folder);
      } else if (job == "ppo")
        d = ppo(*model, *judge, work, engine_config, folder);
      else
        throw UsageError("no such job: " + job);
    }
  }
  const double seconds = seconds_since(begin);
  fs::remove_all(folder);
  d.more["job"] = job, d.more["units"] = d.units, d.more["seconds"] = seconds,
  d.more["start_seconds"] = start, d.more["peak_megabytes"] = peak_megabytes();
  std::cout << to_line(d.more) << "\n";
  return 0;
}

}  // namespace
}  // namespace cai

int main(int argc, char** argv) {
  try {
    if (argc != 2) throw cai::UsageError("cai-bench WORK.json");
    return cai::run(argv[1]);
  } catch (const std::exception& e) {
    std::cerr << "cai-bench: " << e.what() << "\n";
    return 1;
  }
}
