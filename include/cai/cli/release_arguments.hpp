// The command line of gate, promote, registry and key.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace cai {

/// Values as typed; "" where absent.
struct ReleaseArguments {
  std::string place, name;  // the run, registry or folder that the command is about; a version or key's name
  std::string policy, to, version, by, reason, key, approve, alias, revoke, at, signature;
  std::vector<std::string> keys;
  bool without_passphrase = false;
};

/// Adds a command below `under`: name, help, examples.
using AddCommand = std::function<CLI::App*(CLI::App& under, const std::string& name, const std::string& help,
                                           const std::string& examples)>;

void add_release_commands(CLI::App& app, ReleaseArguments& a, const AddCommand& add);

/// gate, promote, registry ..., key ...
bool is_release_command(const std::string& command);

struct Arguments;

/// Runs one of them. Returns the exit code.
int run_release(const Arguments& arguments);

}  // namespace cai
