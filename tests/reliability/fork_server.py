"""Runs one loaded program many times (fork_server.c): a case costs its own work, not the loading of libtorch."""
import os
import pathlib
import select
import signal
import struct
import subprocess


class Server:
    def __init__(self, binary, folder):
        self.binary = str(binary)
        self.files = [str(pathlib.Path(folder) / name) for name in ("server-output", "server-errors")]
        shim = pathlib.Path(binary).resolve().parent / "libfault_shim.so"
        self.process = subprocess.Popen([self.binary], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0,
                                        env={**os.environ, "OMP_NUM_THREADS": "1", "LD_PRELOAD": str(shim), "CAI_FORK_SERVER": "1"})

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def begin(self, arguments, env):
        """Starts the program; its process id. `end` has to follow."""
        words = [*self.files, *(f"{name}={value}" for name, value in env.items()), "", *map(str, arguments)]
        request = b"".join(word.encode() + b"\0" for word in words)
        self.process.stdin.write(struct.pack("=I", len(request)) + request)
        return self.answer()

    def answer(self):
        data = self.process.stdout.read(4)
        assert len(data) == 4, "the server is gone"
        return struct.unpack("=i", data)[0]

    def ended(self, seconds):
        """Whether the program that `begin` started ends within this time."""
        return bool(select.select([self.process.stdout], [], [], seconds)[0])

    def end(self, arguments=(), pid=None, timeout=300):
        """What became of the program: as subprocess.run says it."""
        if not self.ended(timeout):
            os.kill(pid, signal.SIGKILL)
            self.answer()
            raise subprocess.TimeoutExpired(arguments, timeout)
        code = os.waitstatus_to_exitcode(self.answer())
        output, errors = (pathlib.Path(file).read_text(errors="replace") for file in self.files)
        return subprocess.CompletedProcess(arguments, code, output, errors)

    def run(self, arguments, env=None):
        pid = self.begin(arguments, env or {})
        return self.end(arguments, pid)
