// Which device the settings mean. No torch here.
#pragma once

#include <string>

#include "cai/config/config.hpp"
#include "cai/model/place.hpp"

namespace cai {

/// Where models are, and whether their products are taken in bfloat16, by engine.device and engine.dtype.
/// auto is the first CUDA device where torch has one, else the CPU. The first call that may mean CUDA loads
/// libtorch_cuda: it has to come before any tensor of the process learns. Throws InputError where a CUDA
/// device is asked for that is not there, or eight bits on one.
Place place_of(const EngineConfig& engine);

/// Its name, "NVIDIA H200"; "" of the CPU.
std::string device_name(const Place& place);

/// Bytes of the device's own memory, free ones and all; 0 for the CPU.
struct DeviceMemory {
  double free = 0, total = 0;
};
DeviceMemory device_memory(const Place& place);

}  // namespace cai
