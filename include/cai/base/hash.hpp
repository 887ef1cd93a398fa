// SHA-256 of bytes and files (OpenSSL).
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

namespace cai {

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;
  void update(std::string_view bytes);
  std::string hex() const;  ///< of what was given so far, 64 lower-case digits; more may follow

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

std::string sha256(std::string_view bytes);

/// Throws EnvironmentError when the file cannot be read. A large file (16 MB) that has neither been written
/// nor replaced since this process read it last is not read again.
std::string sha256_file(const std::filesystem::path& path);

/// Says what a file that this process has just written hashes to, as if it had been read.
void note_sha256(const std::filesystem::path& path, const std::string& hex);

}  // namespace cai
