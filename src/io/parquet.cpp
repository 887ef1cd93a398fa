#include "cai/io/parquet.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"
#include "cai/io/home.hpp"

extern char** environ;

namespace cai {
namespace {

namespace fs = std::filesystem;

// The Python of the environment that scripts/parquet makes, or "" when it is not whole; CAI_PARQUET_PYTHON
// names another one that has pyarrow.
fs::path python() {
  const char* set = std::getenv("CAI_PARQUET_PYTHON");
  const fs::path folder = home() / ".deps/parquet";
  const fs::path found = set && *set                       ? fs::path(set)
                         : fs::exists(folder / "complete") ? folder / "bin/python"
                                                           : fs::path();
  return fs::exists(found) ? found : fs::path();
}

struct Pipe {
  std::array<int, 2> ends{-1, -1};
  Pipe() {
    if (::pipe2(ends.data(), O_CLOEXEC) != 0)
      throw EnvironmentError(std::string("cannot make a pipe: ") + std::strerror(errno));
  }
  ~Pipe() { close_end(0), close_end(1); }
  void close_end(std::size_t end) {
    if (ends[end] >= 0) ::close(ends[end]);
    ends[end] = -1;
  }
};

// Runs a program, and hands each line of its standard output to `take`. Returns its exit status.
template <class Take>
int each_line_of(const std::vector<std::string>& command, Take take) {
  Pipe output;
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, output.ends[1], STDOUT_FILENO);
  std::vector<char*> words;
  for (const std::string& word : command)
    words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  pid_t child = 0;
  const int failed = ::posix_spawn(&child, words[0], &actions, nullptr, words.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (failed != 0) throw EnvironmentError("cannot start " + command[0] + ": " + std::strerror(failed));
  output.close_end(1);
  std::string pending;
  std::array<char, 1 << 16> buffer;
  for (ssize_t n = 0; (n = ::read(output.ends[0], buffer.data(), buffer.size())) != 0;) {
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) break;
    pending.append(buffer.data(), static_cast<std::size_t>(n));
    std::size_t from = 0;
    for (std::size_t to = 0; (to = pending.find('\n', from)) != pending.npos; from = to + 1)
      take(pending.substr(from, to - from));
    pending.erase(0, from);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

}  // namespace

std::vector<Json> read_parquet(const fs::path& path) {
  const fs::path helper = home() / "scripts/parquet.py";
  if (python().empty())
    throw EnvironmentError(path.string() +
                           ": Parquet files need a helper that is not installed; install it once with " +
                           (home() / "scripts/parquet").string() + ", or convert the file to JSON Lines");
  std::vector<Json> records;
  std::string refusal;
  const int status = each_line_of(
      {python().string(), "-I", helper.string(), fs::absolute(path).string()}, [&](const std::string& line) {
        Json value = parse_json(line, path.string() + ": row " + std::to_string(records.size() + 1), 0);
        if (value.is_object())
          records.push_back(std::move(value));
        else if (value.is_string())
          refusal = value.get<std::string>();
      });
  if (!refusal.empty()) throw InputError(path.string(), 0, one_line(refusal));
  if (status != 0)
    throw EnvironmentError(path.string() + ": the Parquet helper failed (exit code " +
                           std::to_string(status) + ")");
  return records;
}

}  // namespace cai
