// Signatures of model folders: OpenSSF Model Signing 1.0, key method. A Sigstore bundle holds a DSSE envelope
// over an in-toto statement that lists every file with its SHA-256.
// https://github.com/ossf/model-signing-spec
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "cai/io/json.hpp"
#include "cai/release/keys.hpp"

namespace cai {

/// What DSSE signs: the type and the payload with their lengths (pre-authentication encoding).
std::string dsse_bytes(const std::string& type, const std::string& payload);

/// Signs all files of a folder but `file` (the signature itself) and what git keeps at its top. Writes the
/// bundle to `file`. `name`: what the model is called (default: its folder's name). Throws InputError for an
/// empty folder or one with symbolic links.
void sign_folder(const std::filesystem::path& folder, const std::filesystem::path& file,
                 const SigningKey& key, const std::string& name = "");

/// Compares a folder with its signature. One line for each file that differs, is missing or was added, or one
/// line saying why the signature does not count; none when all is as it was signed.
std::vector<std::string> verify_folder(const std::filesystem::path& folder, const std::filesystem::path& file,
                                       const PublicKey& key);

/// Files below a folder, relative, in byte order of their names; those below `ignored` are left out. Throws
/// InputError for a symbolic link or another thing that is no file.
std::vector<std::string> files_below(const std::filesystem::path& folder,
                                     const std::vector<std::string>& ignored);

}  // namespace cai
