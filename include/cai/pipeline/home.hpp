// Where the files that come with the program are: constitutions/, prompts/, configs/, suites/.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "cai/config/config.hpp"
#include "cai/data/suites.hpp"
#include "cai/io/home.hpp"

namespace cai {

/// How the program came here: "checkout", "installed", or what home()/origin says ("Debian package",
/// "tarball").
std::string origin();

/// `path` itself when it exists; else the file of that relative path in home(), when that exists; else
/// `path`.
std::filesystem::path find_shipped(const std::filesystem::path& path);

/// The shipped prompt sets: home()/prompts/*.{jsonl,tsv,txt} in name order.
std::vector<std::filesystem::path> shipped_prompts();

/// What eval.suites names: home()/suites/<name>.jsonl by its name, else a file. Throws InputError with all
/// problems.
Suites suites_of(const EvalConfig& config);

/// What prompts.wrappers names, in the same way; nothing where prompts.wrapped is 0. Throws InputError where
/// an attack is among `evaluated`, or is more than one prompt with {request}.
Suites wrappers_of(const PromptsConfig& config, const Suites& evaluated);

/// What a person types to call this program again ("cai", "scripts/cai"), for messages.
std::string program_name();

}  // namespace cai
