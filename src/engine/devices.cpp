#include "cai/engine/devices.hpp"

#include <ATen/Context.h>
#include <ATen/DeviceAccelerator.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <dlfcn.h>
#include <link.h>

#include <cstdlib>
#include <filesystem>
#include <mutex>

#include "cai/base/error.hpp"
#include "cai/engine/engine.hpp"
#include "cai/engine/threads.hpp"

namespace cai {
namespace {

struct Cuda {
  int devices = 0;
  std::string missing;  // why there are none
};

// The program is linked with torch's CPU library alone: the CUDA one is 0.2 s and 400 MB more. It is loaded
// here, before anything asks torch for CUDA, because torch keeps the first answer.
Cuda load_cuda() {
  link_map* torch = nullptr;
  if (void* const loaded = dlopen("libtorch_cpu.so", RTLD_NOLOAD | RTLD_NOW))
    dlinfo(loaded, RTLD_DI_LINKMAP, &torch);
  const std::filesystem::path library =
      std::filesystem::path(torch ? torch->l_name : "").parent_path() / "libtorch_cuda.so";
  if (!std::filesystem::exists(library)) return {0, "this torch is a CPU build"};
  if (dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL) == nullptr) return {0, "there is no NVIDIA driver"};
  // Sums in one order: CUBLAS reads this when it starts.
  setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", 0);
  if (dlopen(library.c_str(), RTLD_NOW | RTLD_GLOBAL) == nullptr)
    return {0, "torch's CUDA library does not load (" + std::string(dlerror()) + ")"};
  if (!at::globalContext().hasCUDA()) return {0, "torch sees no CUDA device"};
  const int devices = static_cast<int>(at::detail::getCUDAHooks().deviceCount());
  if (devices > 0) {
    at::globalContext().lazyInitDevice(at::kCUDA);
    at::globalContext().setDeterministicAlgorithms(true, false);
    at::globalContext().setDeterministicFillUninitializedMemory(false);  // costs a pass over each new tensor
  }
  return {devices, "torch sees no CUDA device"};
}

const Cuda& cuda() {
  static const Cuda found = load_cuda();
  return found;
}

int cuda_number(const std::string& device) {
  if (device == "cpu") return -1;
  if (device == "auto") return cuda().devices > 0 ? 0 : -1;
  const int number = device == "cuda" ? 0 : std::atoi(device.c_str() + std::string("cuda:").size());
  if (cuda().devices == 0)
    throw InputError("engine.device: " + device + ", but " + cuda().missing + "; accepted here: auto, cpu");
  if (number >= cuda().devices)
    throw InputError("engine.device: " + device +
                     ", but the last CUDA device is cuda:" + std::to_string(cuda().devices - 1));
  return number;
}

}  // namespace

Place place_of(const EngineConfig& engine) {
  const int number = cuda_number(engine.device);
  if (number < 0) return {-1, trains_in_bfloat16(engine.dtype)};
  if (engine.dtype == "int8")
    throw InputError("engine.dtype: int8 is for the CPU only; accepted on CUDA: auto, float32, bfloat16");
  return {number, engine.dtype != "float32"};
}

std::string device_name(const Place& place) {
  if (place.is_cpu()) return "";
  // CUDA's own headers are not needed to build the program, so the driver is asked by name.
  using GetName = int (*)(char*, int, int);
  const auto get_name = reinterpret_cast<GetName>(dlsym(RTLD_DEFAULT, "cuDeviceGetName"));
  char name[256] = "";
  if (get_name == nullptr || get_name(name, sizeof name, place.cuda) != 0 || name[0] == '\0')
    return "CUDA device";
  return name;
}

DeviceMemory device_memory(const Place& place) {
  if (place.is_cpu()) return {};
  const auto [free, total] = at::accelerator::getMemoryInfo(static_cast<c10::DeviceIndex>(place.cuda));
  return {static_cast<double>(free), static_cast<double>(total)};
}

}  // namespace cai
