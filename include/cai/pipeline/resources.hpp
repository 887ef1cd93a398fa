// What a run needs of the machine, disk and memory, compared with what is there before anything is created.
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

/// The same of the device's own memory, where the run computes on one; 0 on the CPU. Not compared with a run
/// yet.
double device_estimate(const RunInputs& inputs);

/// In one line, what is short: the disk below `parent` against the estimate less what `out` holds already. ""
/// when there is enough.
std::string disk_problem(const RunInputs& inputs, const std::filesystem::path& out,
                         const std::filesystem::path& parent);

/// The same for memory: against the machine's, the control group's and the process's limit (ulimit -v), and
/// for the device's own.
std::string memory_problem(const RunInputs& inputs);

}  // namespace cai
