#!/usr/bin/env python3
"""A registry after SIGKILL in place of each call that changes it: the old state or the new one, and the same command again ends well.

registry_test.py CAI [--full]"""
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys

import replay
import tiny

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "release"))
import made_run  # noqa: E402

BINARY = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "build/cai").resolve()
SHIM = BINARY.with_name("libfault_shim.so")
SAMPLE = 14  # of the calls of each command


class Case:
    def __init__(self, folder):
        self.folder, self.registry, self.kept = folder, folder / "support", folder / "kept"
        self.failed, self.killed = [], 0

    def cai(self, *words, **env):
        return subprocess.run([BINARY, *map(str, words)], cwd=self.folder, capture_output=True, text=True, timeout=60,
                              env={**os.environ, **env})

    def faulted(self, words, **env):
        return self.cai(*words, LD_PRELOAD=str(SHIM), CAI_FAULT_FOLDER=str(self.registry), **env)

    def done(self, *words):
        result = self.cai(*words)
        assert result.returncode == 0, result.stderr + result.stdout
        return result

    def state(self):
        """What people did, without times and hashes."""
        done = self.cai("registry", "log", self.registry, "--json")
        if done.returncode != 0:
            return done.stderr
        log = json.loads(done.stdout)
        return [[e["event"], e["version"], e["by"]] for e in log["entries"]], log["aliases"]

    def back_to(self, before):
        shutil.rmtree(self.registry)
        shutil.copytree(before, self.registry)

    def sweep(self, name, words):
        """One command, killed at each of its calls."""
        shutil.rmtree(self.kept, ignore_errors=True)
        shutil.copytree(self.registry, self.kept)
        old, calls = self.state(), self.folder / f"calls-{name}"
        whole = self.faulted(words, CAI_FAULT_LOG=str(calls))
        assert whole.returncode == 0, whole.stderr + whole.stdout
        new, count = self.state(), len(replay.read_log(calls, self.registry))
        assert old != new and count > 3, (old, new, count)
        numbers = range(1, count + 1)
        if not tiny.full():
            numbers = random.Random(name).sample(numbers, min(SAMPLE, count))
        for k in numbers:
            for mode in ("kill", "torn"):
                self.back_to(self.kept)
                self.one(f"{name}, {mode}@{k}", words, f"{mode}@{k}", old, new)
        self.back_to(self.kept)
        self.done(*words)
        print(f"{name}: {count} calls, {len(numbers)} of them tried", flush=True)

    def one(self, case, words, fault, old, new):
        self.killed += self.faulted(words, CAI_FAULT=fault).returncode == -signal.SIGKILL
        state = self.state()
        if state not in (old, new):
            self.failed.append(f"{case}: neither old nor new: {state}")
        verified = self.cai("registry", "verify", self.registry)
        if verified.returncode != 0:
            self.failed.append(f"{case}: {verified.stdout}{verified.stderr}")
        again = self.cai(*words)
        if again.returncode != 0 and state != new:
            self.failed.append(f"{case}, again: {again.stderr}")
        if state == old and self.state() != new:
            self.failed.append(f"{case}, again: {self.state()}")


def main():
    with tiny.workplace() as folder:
        case = Case(pathlib.Path(folder))
        made_run.make_run(case.folder / "run")
        made_run.make_registry(case.registry, approvals=1)
        for name in ("Ada", "Bo"):
            case.done("key", "new", name, "--no-passphrase")
        who = {name: ["--by", name, "--reason", "better", "--key", f"{name}.key"] for name in ("Ada", "Bo")}
        case.sweep("propose", ["promote", "run", "--to", case.registry, "--version", "1.0.0", *who["Ada"]])
        case.sweep("approve", ["promote", case.registry, "--approve", "1.0.0", *who["Bo"]])
        case.sweep("alias", ["promote", case.registry, "--alias", "production=1.0.0", *who["Ada"]])
        case.done("promote", "run", "--to", case.registry, "--version", "1.1.0", *who["Ada"])
        case.sweep("revoke", ["promote", case.registry, "--revoke", "1.1.0", *who["Bo"]])
    print("\n".join(case.failed) or f"killed {case.killed} times: always the old state or the new one")
    return 1 if case.failed or case.killed < 20 else 0


if __name__ == "__main__":
    sys.exit(main())
