# Finds torch in a pip installation or an unpacked libtorch, and defines the target cai::torch and CAI_TORCH_VERSION.
#
# find_package(Torch) is not used: with a CUDA build of torch it looks for a whole CUDA toolkit, and links CUDA's libraries
# into every program. The program needs headers, libc10, libtorch_cpu and torch's own OpenMP runtime, which CPU and CUDA
# builds both have under the same names. So the same objects link and run with either build.
file(GLOB default_torch ${CMAKE_SOURCE_DIR}/.deps/torch/lib/python3*/site-packages/torch)
set(CAI_TORCH_DIR "${default_torch}" CACHE PATH "Folder of torch: site-packages/torch of a pip installation, or an unpacked libtorch")

if(NOT EXISTS "${CAI_TORCH_DIR}/lib/libtorch_cpu.so")
  message(FATAL_ERROR "No torch in '${CAI_TORCH_DIR}' (lib/libtorch_cpu.so is missing).\n"
    "scripts/cai installs one into .deps/torch; for another: -DCAI_TORCH_DIR=FOLDER, such as venv/lib/python3.11/site-packages/torch")
endif()
if(EXISTS "${CAI_TORCH_DIR}/version.py")
  file(STRINGS "${CAI_TORCH_DIR}/version.py" version_line REGEX "^__version__ = ")
  string(REGEX REPLACE ".*'([^']+)'.*" "\\1" CAI_TORCH_VERSION "${version_line}")
else()  # libtorch says it in a file of its own
  file(STRINGS "${CAI_TORCH_DIR}/build-version" CAI_TORCH_VERSION LIMIT_COUNT 1)
endif()
message(STATUS "torch ${CAI_TORCH_VERSION} in ${CAI_TORCH_DIR}")

# torch brings its own OpenMP runtime; a second one in the process would spin against it.
file(GLOB torch_openmp "${CAI_TORCH_DIR}/lib/libgomp*.so*")
# Imported: its include folders are system folders for whoever links it.
add_library(cai::torch INTERFACE IMPORTED)
set_target_properties(cai::torch PROPERTIES
  INTERFACE_INCLUDE_DIRECTORIES "${CAI_TORCH_DIR}/include;${CAI_TORCH_DIR}/include/torch/csrc/api/include"
  INTERFACE_LINK_LIBRARIES "${CAI_TORCH_DIR}/lib/libtorch_cpu.so;${CAI_TORCH_DIR}/lib/libc10.so;${torch_openmp}")
