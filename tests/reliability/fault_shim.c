// Preloaded into cai by the reliability tests: counts the calls that change files below CAI_FAULT_FOLDER, writes them to a log, and lets
// one of them fail, fall short or be the process's last.
//
//   CAI_FAULT_FOLDER  only paths below it count
//   CAI_FAULT_LOG     every call is appended here: a header line, then the bytes of a write (see replay.py)
//   CAI_FAULT         kill@K        SIGKILL in place of call K (from 1)
//                     torn@K        half of the bytes of call K, then SIGKILL (a call without bytes: as kill)
//                     short@K       half of the bytes of call K, which returns that count
//                     ENAME@K       call K fails with this errno (ENOSPC, EIO, EDQUOT, EMFILE, ENOMEM, EINTR, EROFS, ENOLCK)
//                     ENAME@K+      so do all later ones
//                     ENAME=CALL    every call of that name fails (flock)
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t guard = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static char folder[PATH_MAX], mode[16], call_name[16];
static long at_call, calls;
static int and_later, error_number, log_file = -1, ready;

static int errno_of(const char* name) {
  static const struct { const char* name; int number; } known[] = {
      {"ENOSPC", ENOSPC}, {"EIO", EIO}, {"EDQUOT", EDQUOT}, {"EMFILE", EMFILE}, {"ENOMEM", ENOMEM}, {"EINTR", EINTR}, {"EROFS", EROFS}, {"ENOLCK", ENOLCK}};
  for (size_t i = 0; i < sizeof known / sizeof *known; ++i)
    if (!strcmp(known[i].name, name)) return known[i].number;
  return 0;
}

static void start(void) {
  if (ready) return;
  ready = 1;
  const char* where = getenv("CAI_FAULT_FOLDER");
  if (where) snprintf(folder, sizeof folder, "%s", where);
  const char* fault = getenv("CAI_FAULT");
  if (fault) {
    const char* at = strpbrk(fault, "@=");
    if (at) {
      snprintf(mode, sizeof mode, "%.*s", (int)(at - fault), fault);
      error_number = errno_of(mode);
      if (*at == '=') snprintf(call_name, sizeof call_name, "%s", at + 1);
      else at_call = strtol(at + 1, NULL, 10), and_later = at[strlen(at) - 1] == '+';
    }
  }
  const char* log = getenv("CAI_FAULT_LOG");
  if (log) log_file = (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
}

// For fork_server.c: a child's environment is another one.
void fault_shim_forget(void) {
  if (log_file >= 0) syscall(SYS_close, log_file);
  log_file = -1;
  at_call = calls = and_later = error_number = ready = 0;
  folder[0] = mode[0] = call_name[0] = 0;
}

#define REAL(name) \
  static __typeof__(name)* real; \
  if (!real) real = (__typeof__(name)*)dlsym(RTLD_NEXT, #name)

static int below(const char* path, char* full) {
  if (!folder[0] || !path) return 0;
  if (path[0] == '/') {
    snprintf(full, PATH_MAX, "%s", path);
  } else {
    char here[PATH_MAX];
    if (!getcwd(here, sizeof here)) return 0;
    snprintf(full, PATH_MAX, "%.2000s/%.2000s", here, path);
  }
  const size_t n = strlen(folder);
  return !strncmp(full, folder, n) && (full[n] == '/' || full[n] == 0);
}

static int path_of(int fd, char* full) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const ssize_t n = readlink(link, full, PATH_MAX - 1);
  if (n <= 0) return 0;
  full[n] = 0;
  char same[PATH_MAX];
  return below(full, same);
}

static void record(const char* call, const char* path, const char* other, long long offset, const void* bytes, size_t n) {
  if (log_file < 0) return;
  char line[2 * PATH_MAX + 100];
  const int length = snprintf(line, sizeof line, "%s\t%s\t%s\t%lld\t%zu\n", call, path, other ? other : "", offset, bytes ? n : 0);
  if (write(log_file, line, (size_t)length) < 0) abort();
  if (bytes && n && write(log_file, bytes, n) < 0) abort();
}

// What becomes of this call: 0 as usual, 1 fail (errno set), 2 short, 3 short and then death.
static int fate(const char* call, int has_bytes) {
  if (call_name[0] && !strcmp(call, call_name)) {
    errno = error_number;
    return 1;
  }
  ++calls;
  if (!at_call || !(calls == at_call || (and_later && calls > at_call))) return 0;
  if (!strcmp(mode, "kill") || (!strcmp(mode, "torn") && !has_bytes)) kill(getpid(), SIGKILL);
  if (!strcmp(mode, "torn")) return 3;
  if (!strcmp(mode, "short")) return has_bytes ? 2 : 0;
  if (!error_number) return 0;
  errno = error_number;
  return 1;
}

#define LOCKED(block) \
  do { \
    pthread_mutex_lock(&guard); \
    start(); \
    const int reason_before = errno; \
    (void)reason_before; \
    block; \
    const int reason = errno; \
    pthread_mutex_unlock(&guard); \
    errno = reason; \
  } while (0)

ssize_t write(int fd, const void* bytes, size_t n) {
  REAL(write);
  if (fd == log_file || fd <= 2) return real(fd, bytes, n);
  ssize_t result = -1;
  LOCKED({
    char full[PATH_MAX];
    if (!path_of(fd, full)) {
      result = real(fd, bytes, n);
    } else {
      const int f = fate("write", n > 1);
      if (f != 1) {
        const long long offset = lseek(fd, 0, SEEK_CUR);
        result = real(fd, bytes, f >= 2 ? n / 2 : n);
        if (f == 3) kill(getpid(), SIGKILL);
        if (result > 0) record("write", full, NULL, offset, bytes, (size_t)result);
      }
    }
  });
  return result;
}

#define SYNC(name) \
  int name(int fd) { \
    REAL(name); \
    int result = -1; \
    LOCKED({ \
      char full[PATH_MAX]; \
      if (!path_of(fd, full)) { \
        result = real(fd); \
      } else if (fate(#name, 0) != 1) { \
        result = 0; /* the disk is not asked: the tests' power loss is made from the log */ \
        record(#name, full, NULL, 0, NULL, 0); \
      } \
    }); \
    return result; \
  }
SYNC(fsync)
SYNC(fdatasync)

static int opened(const char* call, int (*real)(const char*, int, ...), const char* path, int flags, mode_t permissions) {
  int result = -1;
  LOCKED({
    char full[PATH_MAX];
    const int changes = (flags & (O_CREAT | O_TRUNC)) != 0;
    if (!below(path, full)) {
      result = real(path, flags, permissions);
    } else if (!changes) {  // counted only where descriptors or memory run out
      result = (error_number == EMFILE || error_number == ENOMEM) && fate(call, 0) == 1 ? -1 : real(path, flags, permissions);
    } else if (fate(call, 0) != 1) {
      struct stat before;
      const int is_new = stat(path, &before) != 0;
      result = real(path, flags, permissions);
      if (result >= 0 && is_new) record("create", full, NULL, 0, NULL, 0);
      if (result >= 0 && !is_new && (flags & O_TRUNC)) record("truncate", full, NULL, 0, NULL, 0);
    }
  });
  return result;
}

int open(const char* path, int flags, ...) {
  REAL(open);
  va_list list;
  va_start(list, flags);
  const mode_t permissions = (flags & O_CREAT) ? va_arg(list, mode_t) : 0;
  va_end(list);
  return opened("open", real, path, flags, permissions);
}

int open64(const char* path, int flags, ...) {
  REAL(open64);
  va_list list;
  va_start(list, flags);
  const mode_t permissions = (flags & O_CREAT) ? va_arg(list, mode_t) : 0;
  va_end(list);
  return opened("open", real, path, flags, permissions);
}

int rename(const char* from, const char* to) {
  REAL(rename);
  int result = -1;
  LOCKED({
    char a[PATH_MAX];
    char b[PATH_MAX];
    if (!below(from, a) || !below(to, b)) {
      result = real(from, to);
    } else if (fate("rename", 0) != 1) {
      result = real(from, to);
      if (result == 0) record("rename", a, b, 0, NULL, 0);
    }
  });
  return result;
}

int ftruncate(int fd, off_t length) {
  REAL(ftruncate);
  int result = -1;
  LOCKED({
    char full[PATH_MAX];
    if (!path_of(fd, full)) {
      result = real(fd, length);
    } else if (fate("ftruncate", 0) != 1) {
      result = real(fd, length);
      if (result == 0) record("truncate", full, NULL, length, NULL, 0);
    }
  });
  return result;
}

int mkdir(const char* path, mode_t permissions) {
  REAL(mkdir);
  int result = -1;
  LOCKED({
    char full[PATH_MAX];
    if (!below(path, full)) {
      result = real(path, permissions);
    } else if (fate("mkdir", 0) != 1) {
      result = real(path, permissions);
      if (result == 0) record("mkdir", full, NULL, 0, NULL, 0);
    }
  });
  return result;
}

#define REMOVE(name) \
  int name(const char* path) { \
    REAL(name); \
    int result = -1; \
    LOCKED({ \
      char full[PATH_MAX]; \
      if (!below(path, full)) { \
        result = real(path); \
      } else if (fate(#name, 0) != 1) { \
        result = real(path); \
        if (result == 0) record("remove", full, NULL, 0, NULL, 0); \
      } \
    }); \
    return result; \
  }
REMOVE(unlink)
REMOVE(remove)
REMOVE(rmdir)

int unlinkat(int at, const char* name, int flags) {
  REAL(unlinkat);
  int result = -1;
  LOCKED({
    char parent[PATH_MAX];
    char full[PATH_MAX];
    if (name[0] == '/' || at == AT_FDCWD || !path_of(at, parent)) {
      result = real(at, name, flags);
    } else if (fate("unlinkat", 0) != 1) {
      result = real(at, name, flags);
      snprintf(full, sizeof full, "%.2000s/%.2000s", parent, name);
      if (result == 0) record("remove", full, NULL, 0, NULL, 0);
    }
  });
  return result;
}

int flock(int fd, int operation) {
  REAL(flock);
  int result = -1;
  LOCKED({
    char full[PATH_MAX];
    if (!path_of(fd, full) || strcmp(call_name, "flock")) result = real(fd, operation);
    else fate("flock", 0);
  });
  return result;
}

#define MAP(name, offset_type) \
  void* name(void* address, size_t length, int protection, int flags, int fd, offset_type offset) { \
    REAL(name); \
    if (fd < 0) return real(address, length, protection, flags, fd, offset); \
    void* result = MAP_FAILED; \
    LOCKED({ \
      char full[PATH_MAX]; \
      if (error_number != ENOMEM || !path_of(fd, full) || fate("mmap", 0) != 1) result = real(address, length, protection, flags, fd, offset); \
    }); \
    return result; \
  }
MAP(mmap, off_t)
MAP(mmap64, off64_t)
