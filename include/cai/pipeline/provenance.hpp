// What a run says of itself: run.json (inputs, machine, stages), config.yaml and constitution.yaml.
#pragma once

#include <filesystem>
#include <string>

#include "cai/io/json.hpp"
#include "cai/pipeline/inputs.hpp"
#include "cai/pipeline/plan.hpp"

namespace cai {

/// Throws UsageError for a finished run in `out` that these inputs would change: that is another experiment.
void refuse_to_change(const RunInputs& inputs, const std::filesystem::path& out);

/// Logs who verifies and judges the principles.
void tell_who_decides(const RunInputs& inputs);

class Provenance {
 public:
  /// `inputs` must outlive this.
  Provenance(const RunInputs& inputs, std::filesystem::path out);

  /// Writes what the run is made from. Warns of inputs that changed since the run began, because stages will
  /// run again. Copies of an earlier start (config, constitution, prompts) are kept as *.stale-N where they
  /// differ.
  void begin();

  /// State, seconds, tokens, records and ingredients of a stage: those of an earlier attempt where its
  /// ingredients are the same. Valid until the next stage begins.
  Json& begin_stage(const Stage& stage);

  void set(const std::string& name, Json value) { facts_[name] = std::move(value); }
  const Json& facts() const { return facts_; }

  /// Writes run.json.
  void save() const;

 private:
  void read_earlier();
  void warn_of_changes() const;
  std::string fingerprint() const;
  void write_config() const;

  const RunInputs& inputs_;
  std::filesystem::path out_;
  Json facts_ = Json::object();  // of the earlier start until begin() replaces them
  Json model_, constitution_, prompts_;
};

}  // namespace cai
