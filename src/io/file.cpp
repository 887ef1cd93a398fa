#include "cai/io/file.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "cai/base/error.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kLargestFile = std::size_t{4} << 30;  // of those read whole; a device or pipe may never end

[[noreturn]] void fail(const std::string& what, const fs::path& path) {
  throw EnvironmentError("cannot " + what + " " + path.string() + ": " + std::strerror(errno));
}

int open_retrying(const fs::path& path, int flags, mode_t mode = 0644) {
  int fd;
  do fd = ::open(path.c_str(), flags | O_CLOEXEC, mode);
  while (fd < 0 && errno == EINTR);
  return fd;
}

void write_all(int fd, std::string_view bytes, const fs::path& path) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail("write", path);
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
}

struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

}  // namespace

std::string read_file(const fs::path& path) {
  const Descriptor file{open_retrying(path, O_RDONLY)};
  if (file.fd < 0) fail("read", path);
  std::string bytes;
  char buffer[1 << 16];
  while (true) {
    const ssize_t n = ::read(file.fd, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail("read", path);
    if (bytes.size() > kLargestFile) throw InputError(path.string(), 0, "larger than " + std::to_string(kLargestFile >> 30) + " GB");
    if (n == 0) return bytes;
    bytes.append(buffer, static_cast<std::size_t>(n));
  }
}

void sync_folder(const fs::path& folder) {
  const Descriptor d{open_retrying(folder.empty() ? fs::path(".") : folder, O_RDONLY | O_DIRECTORY)};
  if (d.fd < 0) fail("open", folder);
  if (::fsync(d.fd) != 0 && errno != EINVAL) fail("sync", folder);  // EINVAL: a file system without folder sync
}

void rename_durably(const fs::path& from, const fs::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) fail("rename " + from.string() + " to", to);
  sync_folder(to.parent_path());
}

void write_file(const fs::path& path, std::string_view bytes) {
  const fs::path temporary = path.string() + ".tmp";
  {
    const Descriptor file{open_retrying(temporary, O_WRONLY | O_CREAT | O_TRUNC)};
    if (file.fd < 0) fail("write", temporary);
    write_all(file.fd, bytes, temporary);
    if (::fsync(file.fd) != 0) fail("sync", temporary);
  }
  rename_durably(temporary, path);
}

void remove_unpublished(const fs::path& folder) {
  if (!fs::is_directory(folder)) return;
  std::vector<fs::path> leftovers;
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.is_regular_file() && entry.path().extension() == ".tmp") leftovers.push_back(entry.path());
  for (const fs::path& leftover : leftovers) {
    std::error_code ignored;  // a folder that cannot be written says so at the first write
    fs::remove(leftover, ignored);
  }
}

AppendFile::AppendFile(const fs::path& path, std::uint64_t keep_bytes) : path_(path) {
  fd_ = open_retrying(path, O_RDWR | O_CREAT);
  if (fd_ < 0) fail("open", path);
  struct stat status;
  if (::fstat(fd_, &status) != 0) fail("look at", path);
  size_ = static_cast<std::uint64_t>(status.st_size);
  if (keep_bytes < size_) {
    if (::ftruncate(fd_, static_cast<off_t>(keep_bytes)) != 0) fail("cut", path);
    size_ = keep_bytes;
  }
  if (::lseek(fd_, static_cast<off_t>(size_), SEEK_SET) < 0) fail("seek in", path);
  sync_folder(path.parent_path());
}

AppendFile::~AppendFile() { ::close(fd_); }

void AppendFile::append(std::string_view bytes) {
  write_all(fd_, bytes, path_);
  size_ += bytes.size();
}

void AppendFile::sync() {
  if (::fdatasync(fd_) != 0) fail("sync", path_);
}

MappedFile::MappedFile(const fs::path& path) {
  const Descriptor file{open_retrying(path, O_RDONLY)};
  if (file.fd < 0) fail("read", path);
  struct stat status;
  if (::fstat(file.fd, &status) != 0) fail("look at", path);
  if (!S_ISREG(status.st_mode)) throw EnvironmentError("cannot read " + path.string() + ": not a regular file");
  size_ = static_cast<std::size_t>(status.st_size);
  if (size_ == 0) return;
  void* memory = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.fd, 0);
  if (memory == MAP_FAILED) fail("map", path);
  data_ = static_cast<const std::byte*>(memory);
}

MappedFile::~MappedFile() {
  if (data_) ::munmap(const_cast<std::byte*>(data_), size_);
}

FolderLock::FolderLock(const fs::path& folder) {
  const fs::path path = folder / ".lock";
  fd_ = open_retrying(path, O_RDWR | O_CREAT);
  if (fd_ < 0) fail("open", path);
  if (::flock(fd_, LOCK_EX | LOCK_NB) != 0) {  // the kernel drops the lock of a dead process
    const std::string holder = read_file(path);
    ::close(fd_);
    throw EnvironmentError(folder.string() + " is in use by " + (holder.empty() ? "another process" : holder) +
                           "; wait for it to end, or choose another --out");
  }
  char host[256] = {};
  ::gethostname(host, sizeof host - 1);
  const std::string self = "process " + std::to_string(::getpid()) + " on " + host;
  if (::ftruncate(fd_, 0) != 0) fail("write", path);
  write_all(fd_, self, path);
}

FolderLock::~FolderLock() { ::close(fd_); }

}  // namespace cai
