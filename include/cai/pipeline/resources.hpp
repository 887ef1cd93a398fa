// What a run needs of the machine: disk and memory, compared with what is there before anything is created,
// and time.
#pragma once

#include <filesystem>
#include <string>

#include "cai/pipeline/inputs.hpp"

namespace cai {

/// Bytes that the run's folder needs at most, training states included.
double disk_estimate(const RunInputs& inputs);

/// Bytes of memory that the hungriest stage needs at most; rough, made from the model's shape and the layers
/// that learn.
double memory_estimate(const RunInputs& inputs);

/// In one line, what is short: the disk below `parent` against the estimate less what `out` holds already. ""
/// when there is enough.
std::string disk_problem(const RunInputs& inputs, const std::filesystem::path& out,
                         const std::filesystem::path& parent);

/// The same for memory: against the machine's, the control group's and the process's limit (ulimit -v).
std::string memory_problem(const RunInputs& inputs);

/// Tokens (computed, prompts included) and seconds of one stage on this machine; rough.
struct Cost {
  long records = 0;
  double tokens = 0, seconds = 0;
};
Cost estimate(const RunInputs& inputs, const std::string& stage);

}  // namespace cai
