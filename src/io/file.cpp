#include "cai/io/file.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "cai/base/error.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kLargestFile = std::size_t{4}
                                     << 30;  // of those read whole; a device or pipe may never end

[[noreturn]] void fail(const std::string& what, const fs::path& path) {
  const int reason = errno;
  std::string help;
  if (reason == ENOSPC || reason == EDQUOT) help = "; free some space, then run the same command to continue";
  if (reason == EFBIG) help = "; raise the limit (ulimit -f), then run the same command to continue";
  throw EnvironmentError("cannot " + what + " " + path.string() + ": " + std::strerror(reason) + help);
}

template <class Call>
auto retrying(Call call) {  // a signal in the middle of a call is no failure
  auto result = call();
  while (result < 0 && errno == EINTR)
    result = call();
  return result;
}

// Records hold what people asked and answered: for their owner alone. Models, settings and reports are for
// whoever the umask says.
mode_t mode_of_new(const fs::path& path) {
  return path.extension() == ".jsonl" || path.extension() == ".answers" ? 0600 : 0644;
}

int open_retrying(const fs::path& path, int flags, mode_t mode = 0644) {
  return retrying([&] { return ::open(path.c_str(), flags | O_CLOEXEC, mode); });
}

void write_all(int fd, std::string_view bytes, const fs::path& path) {
  while (!bytes.empty()) {
    const ssize_t n = retrying([&] { return ::write(fd, bytes.data(), bytes.size()); });
    if (n == 0) errno = ENOSPC;
    if (n <= 0) fail("write", path);
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
  if (struct stat status; ::fstat(file.fd, &status) == 0 && S_ISREG(status.st_mode))
    bytes.reserve(std::min(static_cast<std::size_t>(status.st_size), kLargestFile));
  char buffer[1 << 16];
  while (true) {
    const ssize_t n = retrying([&] { return ::read(file.fd, buffer, sizeof buffer); });
    if (n < 0) fail("read", path);
    if (bytes.size() > kLargestFile)
      throw InputError(path.string(), 0, "larger than " + std::to_string(kLargestFile >> 30) + " GB");
    if (n == 0) return bytes;
    bytes.append(buffer, static_cast<std::size_t>(n));
  }
}

void sync_folder(const fs::path& folder) {
  const Descriptor d{open_retrying(folder.empty() ? fs::path(".") : folder, O_RDONLY | O_DIRECTORY)};
  if (d.fd < 0) fail("open", folder);
  if (retrying([&] { return ::fsync(d.fd); }) != 0 && errno != EINVAL)
    fail("sync", folder);  // EINVAL: a file system without folder sync
}

void create_folders(const fs::path& folder) {
  if (folder.empty() || fs::is_directory(folder)) return;
  const fs::path parent = folder.has_filename() ? folder.parent_path() : folder.parent_path().parent_path();
  create_folders(parent);
  if (retrying([&] { return ::mkdir(folder.c_str(), 0755); }) != 0 && errno != EEXIST) fail("create", folder);
  sync_folder(parent);
}

void rename_durably(const fs::path& from, const fs::path& to) {
  if (retrying([&] { return ::rename(from.c_str(), to.c_str()); }) != 0)
    fail("rename " + from.string() + " to", to);
  sync_folder(to.parent_path());
}

void write_file(const fs::path& path, std::string_view bytes) {
  const fs::path temporary = path.string() + ".tmp";
  struct stat before;
  const bool is_there = ::stat(path.c_str(), &before) == 0;
  {
    const Descriptor file{open_retrying(temporary, O_WRONLY | O_CREAT | O_TRUNC, mode_of_new(path))};
    if (file.fd < 0) fail("write", temporary);
    if (is_there)
      retrying([&] {
        return ::fchmod(file.fd, before.st_mode & 0777);
      });  // what a person allowed stays allowed; not all file systems know modes
    write_all(file.fd, bytes, temporary);
    if (retrying([&] { return ::fsync(file.fd); }) != 0) fail("sync", temporary);
  }
  rename_durably(temporary, path);
}

void remove_path(const fs::path& path) {
  std::error_code error;
  do
    fs::remove_all(path, error);
  while (error == std::errc::interrupted);
  errno = error.value();
  if (error) fail("remove", path);
}

void remove_if_possible(const fs::path& path) {
  try {
    remove_path(path);
  } catch (const EnvironmentError&) {
  }
}

void remove_unpublished(const fs::path& folder) {
  if (!fs::is_directory(folder)) return;
  std::vector<fs::path> leftovers;
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.is_regular_file() && entry.path().extension() == ".tmp") leftovers.push_back(entry.path());
  for (const fs::path& leftover : leftovers)
    remove_if_possible(leftover);  // a folder that cannot be written says so at the first write
}

AppendFile::AppendFile(const fs::path& path, std::uint64_t keep_bytes) : path_(path) {
  fd_ = open_retrying(path, O_RDWR | O_CREAT, mode_of_new(path));
  if (fd_ < 0) fail("open", path);
  struct stat status;
  if (::fstat(fd_, &status) != 0) fail("inspect", path);
  size_ = static_cast<std::uint64_t>(status.st_size);
  if (keep_bytes < size_) {
    if (retrying([&] { return ::ftruncate(fd_, static_cast<off_t>(keep_bytes)); }) != 0) fail("cut", path);
    size_ = keep_bytes;
  }
  if (::lseek(fd_, static_cast<off_t>(size_), SEEK_SET) < 0) fail("seek in", path);
  sync_folder(path.parent_path());
}

AppendFile::~AppendFile() {
  ::close(fd_);
}

void AppendFile::append(std::string_view bytes) {
  write_all(fd_, bytes, path_);
  size_ += bytes.size();
}

void AppendFile::sync() {
  if (retrying([&] { return ::fdatasync(fd_); }) != 0) fail("sync", path_);
}

MappedFile::MappedFile(const fs::path& path) {
  const Descriptor file{open_retrying(path, O_RDONLY)};
  if (file.fd < 0) fail("read", path);
  struct stat status;
  if (::fstat(file.fd, &status) != 0) fail("inspect", path);
  if (!S_ISREG(status.st_mode))
    throw EnvironmentError("cannot read " + path.string() + ": not a regular file");
  size_ = static_cast<std::size_t>(status.st_size);
  if (size_ == 0) return;
  void* memory = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.fd, 0);
  if (memory == MAP_FAILED) fail("map", path);
  data_ = static_cast<const std::byte*>(memory);
}

MappedFile::~MappedFile() {
  if (data_) ::munmap(const_cast<std::byte*>(data_), size_);
}

namespace {

// When a process began, in clock ticks since boot: with its number it names one process, also after the
// number is used again.
std::string start_of(long pid) {
  std::error_code gone;
  const fs::path stat = "/proc/" + std::to_string(pid) + "/stat";
  if (!fs::exists(stat, gone)) return "";
  std::string text;
  try {
    text = read_file(stat);
  } catch (const EnvironmentError&) {
    return "";  // it ended just now
  }
  std::size_t at = text.rfind(')');  // the name before it may hold anything
  for (int field = 2; field < 22 && at != text.npos; ++field)
    at = text.find(' ', at + 1);
  return at == text.npos ? "" : text.substr(at + 1, text.find(' ', at + 1) - at - 1);
}

std::string this_host() {
  char host[256] = {};
  ::gethostname(host, sizeof host - 1);
  return host;
}

std::string note_of(long pid) {
  return "process " + std::to_string(pid) + " on " + this_host() + ", started at tick " + start_of(pid);
}

// Without locks: the process that the note names is still there, or cannot be looked for from here.
bool may_live(const std::string& note) {
  if (note.rfind("process ", 0) != 0) return false;
  const long pid = std::strtol(note.c_str() + 8, nullptr, 10);
  if (note.find(" on " + this_host() + ",") == note.npos) return true;
  return pid != ::getpid() && pid > 0 && !start_of(pid).empty() && note == note_of(pid);
}

}  // namespace

void refuse_lfs_pointer(std::span<const std::byte> bytes, const fs::path& path) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (text.starts_with("version https://git-lfs."))
    throw InputError(path.string(), 0,
                     "is a Git LFS pointer, not the file itself; fetch it with: git lfs pull");
}

FolderLock::FolderLock(const fs::path& folder, bool beside)
    : path_(beside ? folder.parent_path() / ("." + folder.filename().string() + ".lock") : folder / ".lock"),
      is_removed_(beside) {
  const auto is_still_there =
      [&](int fd) {  // a holder that ends removes its file: whoever opened it before holds a lock on nothing
        struct stat mine {
        }, named{};
        return ::fstat(fd, &mine) == 0 && ::stat(path_.c_str(), &named) == 0 && mine.st_ino == named.st_ino;
      };
  while (fd_ < 0) {
    const Descriptor file{open_retrying(path_, O_RDWR | O_CREAT)};
    if (file.fd < 0) fail("open", path_);
    char note[512];
    const ssize_t size = ::pread(file.fd, note, sizeof note, 0);
    const std::string holder(note, static_cast<std::size_t>(std::max<ssize_t>(0, size)));
    const auto refuse = [&](const std::string& more) {
      throw EnvironmentError(folder.string() + " is in use by " +
                             (holder.empty() ? "another process" : holder.substr(0, holder.find(','))) +
                             more);
    };
    if (retrying([&] { return ::flock(file.fd, LOCK_EX | LOCK_NB); }) !=
        0) {  // the kernel drops the lock of a dead process
      if (errno == EWOULDBLOCK) refuse("; wait for it to end, or choose another --out");
      if (may_live(holder))
        refuse("; this file system does not support locks: if that process has ended, remove " +
               path_.string());
    }
    if (!is_still_there(file.fd)) continue;
    if (retrying([&] { return ::ftruncate(file.fd, 0); }) != 0) fail("write", path_);
    write_all(file.fd, note_of(::getpid()), path_);
    fd_ = ::fcntl(file.fd, F_DUPFD_CLOEXEC, 0);
    if (fd_ < 0) fail("open", path_);
  }
}

FolderLock::~FolderLock() {
  if (is_removed_)
    retrying([&] { return ::unlink(path_.c_str()); });
  else if (::ftruncate(fd_, 0) != 0) {
  }  // for file systems without locks; a note that stays is checked against the process
  ::close(fd_);
}

}  // namespace cai
