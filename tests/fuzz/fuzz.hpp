// A fuzz target takes any bytes. With clang (preset fuzz) libFuzzer drives each as a program of its own; with
// g++ all of them are in one program that replays the checked-in corpus and mutations of it (replay.cpp).
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"

#ifdef CAI_LIBFUZZER
#define FUZZ_TARGET(name)                                                             \
  static void fuzz_##name(std::string_view);                                          \
  extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) { \
    fuzz_##name({reinterpret_cast<const char*>(data), size});                         \
    return 0;                                                                         \
  }                                                                                   \
  static void fuzz_##name([[maybe_unused]] std::string_view data)
#else
namespace cai::fuzz {
bool add_target(const char* name, void (*run)(std::string_view));
}
#define FUZZ_TARGET(name)                                                                      \
  static void fuzz_##name(std::string_view);                                                   \
  [[maybe_unused]] static const bool added_##name = cai::fuzz::add_target(#name, fuzz_##name); \
  static void fuzz_##name([[maybe_unused]] std::string_view data)
#endif

namespace cai::fuzz {

/// Ends the program: a promise is broken.
inline void hold(bool promise, const char* what) {
  if (promise) return;
  std::fprintf(stderr, "broken promise: %s\n", what);
  std::abort();
}

/// A folder in memory for the inputs that parsers take as files; gone when the program ends.
inline const std::filesystem::path& folder() {
  struct Folder {
    std::filesystem::path path;
    Folder() {
      std::filesystem::path root =
          std::filesystem::is_directory("/dev/shm") ? "/dev/shm" : std::filesystem::temp_directory_path();
      std::string name = (root / "cai-fuzz-XXXXXX").string();
      hold(mkdtemp(name.data()) != nullptr, "a temporary folder");
      path = name;
    }
    ~Folder() { std::filesystem::remove_all(path); }
  };
  static const Folder made;
  return made.path;
}

inline std::filesystem::path file_of(const char* name, std::string_view data) {
  const std::filesystem::path path = folder() / name;
  std::ofstream(path, std::ios::binary) << data;
  return path;
}

/// Runs a parser. It may refuse with exit code 2, in printable lines of its own: text from the input never
/// starts a line.
template <class Parse>
void refuses_or_works(Parse parse, const std::string& line_start = "") {
  try {
    parse();
  } catch (const Error& e) {
    const std::string message = e.what();
    hold(e.exit_code() == kBadInput, "bad input is refused with exit code 2");
    for (const std::string& line : split(message, '\n')) {
      hold(line.starts_with(line_start) || line.starts_with("... and "),
           "each line of a message is the program's own");
      hold(line.size() < 3000, "a message is no copy of the input");
    }
  }
}

}  // namespace cai::fuzz
