#include "cai/pipeline/fine_tuning.hpp"

#include "cai/base/error.hpp"
#include "cai/io/records.hpp"
#include "cai/pipeline/hybrid.hpp"
#include "cai/pipeline/run.hpp"
#include "cai/stages/sft.hpp"

namespace cai {
namespace fs = std::filesystem;

FineTuning fine_tuning_of(const fs::path& run) {
  const fs::path iteration = run / "iter-01", stage = iteration / "sft";
  if (!fs::exists(stage / "manifest.json"))
    throw InputError(run.string() + ": fine-tuning has not finished (no iter-01/sft/manifest.json)");
  const Config config = load_config(run / "config.yaml", {});
  const fs::path from =
      iteration / (config.revise.rounds > 0 ? "revise-" + std::to_string(config.revise.rounds) : "generate");
  FineTuning tuned{.config = config.sft,
                   .engine = config.engine,
                   .records = with_edits(read_records(from), people_of(config.hybrid)),
                   .trained = {},
                   .before = find_model(config.model),
                   .after = find_model(stage.string())};
  for (const Json& use : read_records(stage / "examples.jsonl"))
    if (use.value("use", "") == "train") tuned.trained.insert(use.value("id", ""));
  return tuned;
}

}  // namespace cai
