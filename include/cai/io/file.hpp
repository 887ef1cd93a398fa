// Durable files: what a function here reports as written survives SIGKILL and power loss.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace cai {

/// Whole file. Throws EnvironmentError when it cannot be read, InputError when it is larger than 4 GB.
std::string read_file(const std::filesystem::path& path);

/// Writes beside `path`, syncs, renames over it, syncs the folder. Throws EnvironmentError; the old file then
/// stands.
void write_file(const std::filesystem::path& path, std::string_view bytes);

/// Renames (file or folder) and syncs the parent folder.
void rename_durably(const std::filesystem::path& from, const std::filesystem::path& to);

void sync_folder(const std::filesystem::path& folder);

/// Creates the folder and what is missing above it; each new name is durable in its parent.
void create_folders(const std::filesystem::path& folder);

/// Removes a file, or a folder with all in it; where nothing is there, nothing happens. Throws
/// EnvironmentError.
void remove_path(const std::filesystem::path& path);

/// The same, of what does no harm where it stays.
void remove_if_possible(const std::filesystem::path& path);

/// Removes the temporary files that a killed write_file left in `folder` (not below it): nothing in them was
/// ever reported as written. A folder that does not exist is fine.
void remove_unpublished(const std::filesystem::path& folder);

/// A file that only grows.
class AppendFile {
 public:
  /// Opens or creates; cuts the file to `keep_bytes` first when that is shorter.
  AppendFile(const std::filesystem::path& path, std::uint64_t keep_bytes);
  ~AppendFile();
  AppendFile(const AppendFile&) = delete;
  AppendFile& operator=(const AppendFile&) = delete;
  void append(std::string_view bytes);  ///< whole or throws EnvironmentError
  void sync();                          ///< fdatasync
  std::uint64_t size() const { return size_; }

 private:
  std::filesystem::path path_;
  int fd_ = -1;
  std::uint64_t size_ = 0;
};

/// A read-only memory map of a whole file. Throws EnvironmentError.
class MappedFile {
 public:
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  std::span<const std::byte> bytes() const { return {data_, size_}; }

 private:
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

/// Throws InputError where `bytes`, a file's, are the pointer that a git clone without its large files has in
/// their place.
void refuse_lfs_pointer(std::span<const std::byte> bytes, const std::filesystem::path& path);

/// One process a run folder. Throws EnvironmentError naming the holder (pid, host) when another live process
/// has it; a lock left by a dead process is taken over. Where the file system has no locks, the holder's note
/// stands for one: it counts while that process lives on this host.
class FolderLock {
 public:
  /// Holds folder/.lock; `beside`: .<folder>.lock in its parent, for a folder that may be moved aside
  /// meanwhile. That one is removed at the end.
  explicit FolderLock(const std::filesystem::path& folder, bool beside = false);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  std::filesystem::path path_;
  bool is_removed_;
  int fd_ = -1;
};

}  // namespace cai
