#!/usr/bin/env python3
"""Kills, power losses and failing disks anywhere in a run of all stages: the same command goes on and ends with the same bytes.

crash_test.py CAI [--full] [--seed N] [--minutes M] [kill|power|records|faults ...]   --full: every case (an hour of an idle core),
else a sample; --minutes: as many of them, in random order, as there is time for in each part"""
import collections
import hashlib
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

import replay
import tiny

BINARY = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "build/cai").resolve()
SHIM = BINARY.parent / "libfault_shim.so"
SEED = int(sys.argv[sys.argv.index("--seed") + 1]) if "--seed" in sys.argv else 1
MINUTES = float(sys.argv[sys.argv.index("--minutes") + 1]) if "--minutes" in sys.argv else None
FULL = tiny.full()
ERRORS = ["ENOSPC", "EIO", "EDQUOT", "EMFILE", "ENOMEM", "EROFS"]


class Sweep:
    def __init__(self, folder):
        self.setup = tiny.Setup(BINARY.with_name("cai-run"), folder)
        self.folder, self.run = pathlib.Path(folder), pathlib.Path(folder) / "run"
        self.log = self.folder / "calls"
        self.failed = []
        begin = time.monotonic()
        whole = self.train(CAI_FAULT_LOG=str(self.log))
        self.seconds = time.monotonic() - begin
        assert whole.returncode == 0, whole.stderr[-2000:]
        self.expected = tiny.snapshot(self.run)
        self.calls = replay.read_log(self.log, self.run)
        print(f"seed {SEED}; a whole run: {self.seconds:.1f} s, {len(self.expected)} files, {len(self.calls)} calls that change the folder", flush=True)

    def train(self, **env):
        return self.setup.train(self.run, env={"LD_PRELOAD": str(SHIM), "CAI_FAULT_FOLDER": str(self.run), **env})

    def fresh(self):
        shutil.rmtree(self.run, ignore_errors=True)

    def fail(self, case, what):
        self.failed.append(f"{case}: {what}")
        print("FAILED", self.failed[-1], flush=True)

    def goes_on(self, case):
        """The same command, undisturbed: it must end well and with the same bytes."""
        result = self.setup.train(self.run)
        if result.returncode != 0:
            return self.fail(case, f"exit {result.returncode}: {result.stderr[-400:]}")
        different = tiny.differences(self.expected, tiny.snapshot(self.run))
        if different:
            self.fail(case, f"other content: {different[:5]}")

    def told(self, case, result, accepted):
        """The exit code is a documented one and the reason is one line, no internal error, no crash."""
        lines = [line for line in result.stderr.splitlines() if line.strip()]
        last = lines[-1] if lines else ""
        if result.returncode not in accepted:
            self.fail(case, f"exit {result.returncode}: {result.stderr[-400:]}")
        elif result.returncode == 1 and ("internal error" in result.stderr or ": " not in last and "out of memory" not in last):
            self.fail(case, f"no clear line: {last}")


class Cases:
    """Numbers of calls, in random order; with --minutes it ends when the part's time is over."""

    def __init__(self, share=1.0):
        self.end = time.monotonic() + 60 * MINUTES * share if MINUTES else None

    def of(self, total, wanted, rng):
        for k in rng.sample(range(1, total + 1), min(wanted, total)):
            if self.end and time.monotonic() > self.end:
                return
            yield k


def kill(sweep, rng):
    """SIGKILL in place of a call, in the middle of a write, and at random moments."""
    count = 0
    for k in Cases(0.7).of(len(sweep.calls), 800 if FULL else 8, rng):
        sweep.fresh()
        mode = "torn" if sweep.calls[min(k, len(sweep.calls)) - 1][0] == "write" and rng.random() < 0.7 else "kill"
        sweep.train(CAI_FAULT=f"{mode}@{k}")
        sweep.goes_on(f"{mode}@{k}")
        count += 1
    at_random = 0
    for _ in Cases(0.2).of(100 if FULL else 3, 100, rng):
        sweep.fresh()
        process = subprocess.Popen(sweep.setup.command(sweep.run), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
        delay = rng.uniform(0.2, 0.3 + sweep.seconds)
        try:
            process.wait(delay)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            at_random += 1
        sweep.goes_on(f"SIGKILL after {delay:.3f} s")
    # One run killed again and again, a little further each time.
    sweep.fresh()
    chain = 0
    for k in range(rng.randint(20, 40), 4000, rng.randint(20, 40) if FULL else 200):
        if sweep.train(CAI_FAULT=f"kill@{k}").returncode == 0:
            break
        chain += 1
    sweep.goes_on("a chain of kills")
    print(f"killed at {count} calls, at {at_random} random moments, one run {chain} times in a row", flush=True)


def power(sweep, rng):
    """The power goes at a call; what was not synced is kept, lost or torn in part."""
    count = 0
    for k in Cases().of(len(sweep.calls), 200 if FULL else 8, rng):
        disk = replay.Disk()
        for call in sweep.calls[:k]:
            disk.apply(*call)
        mode = rng.choice(["none", "some", "some", "some", "all"])
        sweep.fresh()
        disk.write_out(sweep.run, random.Random(SEED * 100_000 + k), mode)
        sweep.goes_on(f"power lost after call {k} ({mode} of the unsynced kept)")
        count += 1
    print(f"power lost at {count} calls", flush=True)


def acknowledged(calls):
    """Records whose line and hash were both synced."""
    written = synced_hashes = 0
    for call, path, *_, data in calls:
        if call == "write" and path.endswith("progress.hashes"):
            written += data.count(b"\n")
        if call in ("fsync", "fdatasync") and path.endswith("progress.hashes"):
            synced_hashes = written
    return synced_hashes


def records(sweep, rng):
    """One stage with several batches of records: none that was acknowledged is lost to a power failure, whatever of the rest survives."""
    sweep.fresh()
    prompts = sweep.folder / "many.txt"
    prompts.write_text("".join(f"tell a {rng.choice(tiny.WORDS)} {rng.choice(tiny.WORDS)} {i}\n" for i in range(300)))
    command = ["generate", "--model", sweep.setup.model, "--prompts", prompts, "--out", sweep.run, "--max-new-tokens", "4",
               "--set", "engine.dtype=float32", "--set", "engine.threads=1"]
    log = sweep.folder / "record-calls"
    whole = sweep.setup.cai(*command, env={"LD_PRELOAD": str(SHIM), "CAI_FAULT_FOLDER": str(sweep.run), "CAI_FAULT_LOG": str(log)})
    assert whole.returncode == 0, whole.stderr
    expected, calls = tiny.snapshot(sweep.run), replay.read_log(log, sweep.run)
    lost = kept_most = count = 0
    for k in Cases().of(len(calls), 200 if FULL else 8, rng):
        disk = replay.Disk()
        for call in calls[:k]:
            disk.apply(*call)
        sweep.fresh()
        disk.write_out(sweep.run, random.Random(SEED * 100_000 + k), rng.choice(["none", "some", "all"]))
        promised = acknowledged(calls[:k])
        shard, hashes = sweep.run / "00000.jsonl", sweep.run / "progress.hashes"
        if not (sweep.run / "manifest.json").exists() and promised:
            lines = shard.read_bytes().split(b"\n")[:promised]
            noted = hashes.read_bytes().split(b"\n")
            whole_lines = sum(hashlib.sha256(a).hexdigest()[:16].encode() == b for a, b in zip(lines, noted))
            lost += promised - whole_lines
            kept_most = max(kept_most, whole_lines)
        result = sweep.setup.cai(*command)
        if result.returncode != 0 or tiny.differences(expected, tiny.snapshot(sweep.run)):
            sweep.fail(f"records, power lost after call {k}", result.stderr[-400:])
        count += 1
    if lost:
        sweep.fail("records", f"{lost} acknowledged records lost")
    print(f"power lost at {count} calls of a stage of 300 records (up to {kept_most} of them acknowledged): {lost} acknowledged records lost", flush=True)


def faults(sweep, rng):
    """A call fails: the run ends with a documented code and one line, or is not harmed at all; then the same command goes on."""
    outcomes = collections.Counter()
    cases = [(error + "@", "") for error in ERRORS] + [("ENOSPC@", "+"), ("EIO@", "+")]
    for kind, more in cases:
        for k in Cases(0.1).of(len(sweep.calls), 200 if FULL else 1, rng):
            fault = f"{kind}{k}{more}"
            sweep.fresh()
            result = sweep.train(CAI_FAULT=fault)
            sweep.told(fault, result, (0, 1))
            outcomes[f"{kind}{more} exit {result.returncode}"] += 1
            sweep.goes_on(fault)
    for kind in ["short", "EINTR"]:  # no failures at all
        for k in Cases(0.1).of(len(sweep.calls), 200 if FULL else 2, rng):
            sweep.fresh()
            result = sweep.train(CAI_FAULT=f"{kind}@{k}")
            if result.returncode != 0:
                sweep.fail(f"{kind}@{k}", f"exit {result.returncode}: {result.stderr[-300:]}")
            elif tiny.differences(sweep.expected, tiny.snapshot(sweep.run)):
                sweep.fail(f"{kind}@{k}", "other content")
            outcomes[f"{kind} exit {result.returncode}"] += 1
    print("faults:", json.dumps(outcomes), flush=True)


def main():
    wanted = [f for f in (kill, power, records, faults) if f.__name__ in sys.argv] or [kill, power, records, faults]
    with tiny.workplace() as folder:
        sweep = Sweep(folder)
        for part in wanted:
            part(sweep, random.Random(SEED))
        print(f"{len(sweep.failed)} failures")
        sys.exit(1 if sweep.failed else 0)


if __name__ == "__main__":
    main()
