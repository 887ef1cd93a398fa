// Part of libfault_shim.so: a program that was loaded once and then forks for each call, so that thousands of test cases do not pay for
// loading libtorch (half of a short run's time). Each child is a whole process from main() on.
//
// With CAI_FORK_SERVER set, the program reads requests from standard input instead of running main: a 32-bit length, then strings that each end in
// NUL: a file for the child's output, one for its errors, NAME=VALUE for its environment, an empty one, and the arguments from argv[1] on. It
// writes the child's id to standard output as 32 bits, and when the child has ended its wait status. It ends with its input.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

void fault_shim_forget(void);  // fault_shim.c: the next call reads the environment anew

typedef int (*Main)(int, char**, char**);
static Main program;

static int take(void* bytes, size_t n) {
  char* at = bytes;
  while (n > 0) {
    const ssize_t got = read(0, at, n);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return 0;
    at += got;
    n -= (size_t)got;
  }
  return 1;
}

static void tell(int32_t value) {
  if (syscall(SYS_write, 1, &value, sizeof value) != sizeof value) _exit(1);
}

static void redirect(const char* path, int fd) {
  const int file = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CREAT | O_TRUNC, 0644);
  if (file < 0 || dup2(file, fd) < 0) _exit(126);
  close(file);
}

static void child(char* name, char* strings, const char* end, char** environment) {
  char* arguments[512] = {name};
  int count = 1;
  const char* files[2];
  for (int i = 0; i < 2; ++i) files[i] = strings, strings += strlen(strings) + 1;
  for (; *strings; strings += strlen(strings) + 1) putenv(strings);
  for (++strings; strings < end && count < 511; strings += strlen(strings) + 1) arguments[count++] = strings;
  redirect("/dev/null", 0);
  redirect(files[0], 1);
  redirect(files[1], 2);
  unsetenv("CAI_FORK_SERVER");
  fault_shim_forget();
  exit(program(count, arguments, environment));
}

static int serve(int argc, char** argv, char** environment) {
  uint32_t length;
  while (take(&length, sizeof length)) {
    char* strings = malloc(length);
    if (!strings || !take(strings, length)) return 1;
    const pid_t pid = fork();
    if (pid == 0) child(argv[0], strings, strings + length, environment);
    tell(pid);
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {}
    tell(status);
    free(strings);
  }
  return 0;
}

int __libc_start_main(Main main, int argc, char** argv, void (*init)(void), void (*fini)(void), void (*loader_fini)(void), void* stack) {
  int (*real)(Main, int, char**, void (*)(void), void (*)(void), void (*)(void), void*);
  *(void**)&real = dlsym(RTLD_NEXT, "__libc_start_main");
  program = main;
  return real(getenv("CAI_FORK_SERVER") ? serve : main, argc, argv, init, fini, loader_fini, stack);
}
