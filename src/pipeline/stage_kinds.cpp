#include "cai/pipeline/stage_kinds.hpp"

#include <algorithm>

#include "cai/base/error.hpp"
#include "cai/engine/devices.hpp"
#include "cai/engine/engine.hpp"
#include "cai/pipeline/plan.hpp"

namespace cai {
namespace {

/// {"config": lines of the sections, ...}: what all keys say of the settings.
void add_config(Json& ingredients, const StageKind& kind, const Config& config) {
  Json lines = Json::array();
  for (const std::string& section : kind.sections(config))
    for (const std::string& line : key_lines(config, section))
      lines.push_back(line);
  ingredients["config"] = lines;
}

// On a device products have as many rows as there are sequences at once, and round by that.
std::string arithmetic_of(const EngineConfig& engine) {
  const Place place = place_of(engine);
  const std::string arithmetic = engine_arithmetic(engine.dtype, place);
  return place.is_cpu() ? arithmetic
                        : arithmetic + ", " + std::to_string(engine.max_sequences) + " sequences";
}

void add_arithmetic(Json& ingredients, const StageKind& kind, const Config& config) {
  const std::vector<std::string> sections = kind.sections(config);
  if (std::find(sections.begin(), sections.end(), "engine") != sections.end())
    ingredients["arithmetic"] = arithmetic_of(config.engine);
}

}  // namespace

const std::vector<StageKind>& stage_kinds() {
  static const std::vector<StageKind> kinds = [] {
    std::vector<StageKind> all = supervised_stages();
    for (StageKind& kind : feedback_stages())
      all.push_back(std::move(kind));
    return all;
  }();
  return kinds;
}

const StageKind& stage_kind(const std::string& name) {
  for (const StageKind& kind : stage_kinds())
    if (kind.name == name) return kind;
  throw Bug("no such stage: " + name);
}

Json ingredients_in_run(const StageKind& kind, const Config& config, int iteration, const Json& inputs,
                        const Json& facts) {
  Json ingredients = {
      {"stage", kind.name}, {"format", kind.format}, {"iteration", iteration}, {"seed", config.seed}};
  add_config(ingredients, kind, config);
  ingredients["inputs"] = inputs;
  add_arithmetic(ingredients, kind, config);
  if (kind.trains) ingredients["threads"] = thread_count(config);
  ingredients.update(facts);
  return ingredients;
}

Json ingredients_alone(const StageKind& kind, const Config& config, Json facts) {
  Json ingredients = {{"stage", kind.name}, {"format", kind.format}, {"seed", config.seed}};
  add_config(ingredients, kind, config);
  add_arithmetic(ingredients, kind, config);
  if (kind.trains) facts["threads"] = thread_count(config);
  ingredients["facts"] = facts;
  return ingredients;
}

Random random_of_stage(const Config& config, const std::string& stage, int iteration, int round) {
  return Random(static_cast<std::uint64_t>(config.seed))
      .derive(static_cast<std::uint64_t>(iteration))
      .derive(stage)
      .derive(static_cast<std::uint64_t>(round));
}

StageResult run_stage(const StageKind& kind, StageJob& job, const std::string& key, double spent) {
  const auto run = [&] {
    if (kind.trains || kind.loads_models) job.speakers.release();
    return kind.run(job);
  };
  if (kind.trains) return run_training_stage(job.folder, kind.name, key, spent, run);
  return run_record_stage(job.folder, kind.name, key, spent, kind.files, [&](RecordWriter& out) {
    job.out = &out;
    return run();
  });
}

}  // namespace cai
