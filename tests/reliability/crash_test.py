#!/usr/bin/env python3
"""Kills, power losses and failing disks anywhere in a run of all stages: the same command goes on and ends with the same bytes.

crash_test.py CAI [--full] [--seed N] [--minutes M] [--part I/N] [kill|reuse|power|records|faults ...]   --full: every case (an hour of an idle core),
else a sample; --minutes: as many of them, in random order, as there is time for in each part; --part: every N-th of them, from the I-th on"""
import collections
import hashlib
import json
import os
import pathlib
import random
import shutil
import signal
import sys
import time

import replay
import tiny

BINARY = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "build/cai").resolve()


def option(name, otherwise):
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else otherwise


SEED = int(option("--seed", 1))
MINUTES = float(option("--minutes", 0))
PART, PARTS = map(int, option("--part", "1/1").split("/"))
FULL = tiny.full()
ERRORS = ["ENOSPC", "EIO", "EDQUOT", "EMFILE", "ENOMEM", "EROFS"]


class Sweep:
    def __init__(self, folder):
        self.setup = tiny.Setup(BINARY.with_name("cai-run"), folder)
        self.folder, self.run = pathlib.Path(folder), pathlib.Path(folder) / "run"
        self.log = self.folder / "calls"
        self.failed = []
        whole = self.train(CAI_FAULT_LOG=str(self.log))
        assert whole.returncode == 0, whole.stderr[-2000:]
        self.expected = tiny.snapshot(self.run)
        self.calls = replay.read_log(self.log, self.run)
        self.fresh()
        begin = time.monotonic()
        self.goes_on("the same again")
        self.seconds = time.monotonic() - begin
        print(f"seed {SEED}; a whole run: {self.seconds:.1f} s, {len(self.expected)} files, {len(self.calls)} calls that change the folder", flush=True)

    def train(self, **env):
        return self.setup.train(self.run, env={"CAI_FAULT_FOLDER": str(self.run), **env})

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
        last = lines[-1].removeprefix("error: ") if lines else ""
        if result.returncode not in accepted:
            self.fail(case, f"exit {result.returncode}: {result.stderr[-400:]}")
        elif result.returncode == 1 and ("internal error" in result.stderr or ": " not in last and "out of memory" not in last):
            self.fail(case, f"no clear line: {last}")


def of_seed(*words):
    """Random figures of one case, whatever was run before it."""
    return random.Random(f"{SEED} {words}")


def cases(everything, sample, share=1.0):
    """Everything with --full, else that many of it; in random order, the part that was asked for, until this share of the minutes is over."""
    end = time.monotonic() + 60 * MINUTES * share if MINUTES else None
    everything = list(everything)
    order = of_seed("order").sample(everything, len(everything) if FULL else min(sample, len(everything)))
    part = order[PART - 1::PARTS]
    for i, case in enumerate(part):
        if end and time.monotonic() > end:
            return
        if i and i % 250 == 0:
            print(f"{i} of {len(part)}", flush=True)
        yield case


def drawn(calls, n, first=1):
    """Numbers of n of these calls, the first of which has the number `first`."""
    return of_seed("calls").sample(range(first, first + len(calls)), min(n, len(calls)))


def kill(sweep):
    """SIGKILL in place of each call, in the middle of each write, at random moments, and again and again."""
    killed = collections.Counter()
    writes = [k for k, call in enumerate(sweep.calls, 1) if call[0] == "write" and len(call[-1]) > 1]
    for mode, k in cases([("kill", k) for k in range(1, len(sweep.calls) + 1)] + [("torn", k) for k in writes], 11, 0.7):
        sweep.fresh()
        killed[mode] += sweep.train(CAI_FAULT=f"{mode}@{k}").returncode == -signal.SIGKILL
        sweep.goes_on(f"{mode}@{k}")
    for i in cases(range(550), 3, 0.2):  # some of them after the end: at least 500 are kills
        sweep.fresh()
        delay = of_seed("moment", i).uniform(0, sweep.seconds)
        begin = time.monotonic()
        pid = sweep.setup.server.begin(sweep.setup.command(sweep.run)[1:], {})
        if not sweep.setup.server.ended(delay):
            os.kill(pid, signal.SIGKILL)
        else:
            sweep.seconds = min(sweep.seconds, time.monotonic() - begin)  # the machine was slower when that was measured
        killed["moment"] += sweep.setup.server.end(pid=pid).returncode == -signal.SIGKILL
        sweep.goes_on(f"SIGKILL after {delay:.3f} s")
    sweep.fresh()
    rng = of_seed("chain")
    for k in range(rng.randint(20, 40), 4000, rng.randint(20, 40) if FULL else 200):  # one run, a little further each time
        if sweep.train(CAI_FAULT=f"kill@{k}").returncode == 0:
            break
        killed["chain"] += 1
    sweep.goes_on("a chain of kills")
    print(f"killed at {killed['kill']} calls, in {killed['torn']} writes, at {killed['moment']} random moments, one run {killed['chain']} times in a row", flush=True)


def reuse(sweep):
    """A run that takes finished stages over from another (hard links): SIGKILL in place of each call up to the first stage of its own, and the other run stays what it was."""
    sweep.fresh()
    sweep.goes_on("the run whose stages are taken over")
    other = sweep.folder / "other"
    sweep.run.rename(other)
    kept = tiny.snapshot(other)
    command, log = sweep.setup.command(sweep.run, **{"ppo.updates": 2})[1:] + ["--reuse", str(other)], sweep.folder / "reuse-calls"
    whole = sweep.setup.cai(*command, env={"CAI_FAULT_FOLDER": str(sweep.run), "CAI_FAULT_LOG": str(log)})
    assert whole.returncode == 0, whole.stderr[-2000:]
    expected, calls = tiny.snapshot(sweep.run), replay.read_log(log, sweep.run)
    own = next(k for k, call in enumerate(calls) if any("iter-01/ppo" in str(part) for part in call))
    killed = 0
    for k in cases(range(1, own + 1), 6):
        sweep.fresh()
        killed += sweep.setup.cai(*command, env={"CAI_FAULT_FOLDER": str(sweep.run), "CAI_FAULT": f"kill@{k}"}).returncode == -signal.SIGKILL
        result = sweep.setup.cai(*command)
        if result.returncode != 0 or tiny.differences(expected, tiny.snapshot(sweep.run)):
            sweep.fail(f"reuse, kill@{k}", result.stderr[-400:] or str(tiny.differences(expected, tiny.snapshot(sweep.run))[:5]))
    if tiny.differences(kept, tiny.snapshot(other)):
        sweep.fail("reuse", "the run whose stages were taken over has changed")
    shutil.rmtree(other)
    print(f"killed at {killed} of the {own} calls that take stages over", flush=True)


def power(sweep):
    """The power goes at 200 calls of each stage (and of the run's own files); what was not synced is kept, lost or torn in part."""
    stages = collections.defaultdict(list)
    for k, (_, path, *_) in enumerate(sweep.calls, 1):
        parts = path.split("/")
        stages[parts[1].split(".")[0] if parts[0].startswith("iter-") and len(parts) > 1 else "run"].append(k)
    states = [(stage, k, i) for stage, calls in stages.items() for i, k in enumerate(of_seed("power", stage).choices(calls, k=200))]
    count = collections.Counter()
    for stage, k, i in cases(states, 8):
        disk = replay.Disk()
        for call in sweep.calls[:k]:
            disk.apply(*call)
        rng = of_seed("power", k, i)
        mode = rng.choice(["none", "some", "some", "some", "all"])
        sweep.fresh()
        disk.write_out(sweep.run, rng, mode)
        sweep.goes_on(f"power lost after call {k}, state {i} ({mode} of the unsynced kept)")
        count[stage] += 1
    print(f"power lost in {sum(count.values())} states:", json.dumps(count), flush=True)


def acknowledged(calls):
    """Records whose line and hash were both synced."""
    written = synced_hashes = 0
    for call, path, *_, data in calls:
        if call == "write" and path.endswith("progress.hashes"):
            written += data.count(b"\n")
        if call in ("fsync", "fdatasync") and path.endswith("progress.hashes"):
            synced_hashes = written
    return synced_hashes


def records(sweep):
    """One stage with several batches of records: none that was acknowledged is lost to a power failure, whatever of the rest survives."""
    sweep.fresh()
    prompts, rng = sweep.folder / "many.txt", of_seed("prompts")
    prompts.write_text("".join(f"tell a {rng.choice(tiny.WORDS)} {rng.choice(tiny.WORDS)} {i}\n" for i in range(300)))
    command = ["generate", "--model", sweep.setup.model, "--prompts", prompts, "--out", sweep.run, "--max-new-tokens", "4",
               "--set", "engine.dtype=float32", "--set", "engine.threads=1"]
    log = sweep.folder / "record-calls"
    whole = sweep.setup.cai(*command, env={"CAI_FAULT_FOLDER": str(sweep.run), "CAI_FAULT_LOG": str(log)})
    assert whole.returncode == 0, whole.stderr
    expected, calls = tiny.snapshot(sweep.run), replay.read_log(log, sweep.run)
    lost = kept_most = count = 0
    for k in cases(drawn(calls, 200), 8):
        disk = replay.Disk()
        for call in calls[:k]:
            disk.apply(*call)
        sweep.fresh()
        rng = of_seed("records", k)
        disk.write_out(sweep.run, rng, rng.choice(["none", "some", "all"]))
        promised = acknowledged(calls[:k])
        shard, hashes = sweep.run / "00000.jsonl", sweep.run / "progress.hashes"
        if not (sweep.run / "manifest.json").exists() and promised:
            lines = shard.read_bytes().splitlines(keepends=True)[:promised]
            so_far = [hashlib.sha256(b"".join(lines[:n + 1])).hexdigest()[:16].encode() for n in range(len(lines))]
            noted = hashes.read_bytes().split(b"\n")
            whole_lines = sum(a == b for a, b in zip(so_far, noted))
            lost += promised - whole_lines
            kept_most = max(kept_most, whole_lines)
        result = sweep.setup.cai(*command)
        if result.returncode != 0 or tiny.differences(expected, tiny.snapshot(sweep.run)):
            sweep.fail(f"records, power lost after call {k}", result.stderr[-400:])
        count += 1
    if lost:
        sweep.fail("records", f"{lost} acknowledged records lost")
    print(f"power lost at {count} calls of a stage of 300 records (up to {kept_most} of them acknowledged): {lost} acknowledged records lost", flush=True)


def faults(sweep):
    """A call fails: the run ends with a documented code and one line, or is not harmed at all; then the same command goes on."""
    outcomes = collections.Counter()
    at = [*range(1, 201), *drawn(sweep.calls[200:], 50, first=201)]
    harmless = ["short@", "EINTR@"]
    for kind, more, k in cases([(kind, more, k) for kind, more in [(error + "@", "") for error in ERRORS] + [("ENOSPC@", "+"), ("EIO@", "+")] +
                                [(kind, "") for kind in harmless] for k in at], 12):
        fault = f"{kind}{k}{more}"
        sweep.fresh()
        result = sweep.train(CAI_FAULT=fault)
        outcomes[f"{kind}{more} exit {result.returncode}"] += 1
        if kind not in harmless:
            sweep.told(fault, result, (0, 1))
            sweep.goes_on(fault)
        elif result.returncode != 0:
            sweep.fail(fault, f"exit {result.returncode}: {result.stderr[-300:]}")
        elif tiny.differences(sweep.expected, tiny.snapshot(sweep.run)):
            sweep.fail(fault, "other content")
    print("faults:", json.dumps(outcomes), flush=True)


def main():
    wanted = [f for f in (kill, reuse, power, records, faults) if f.__name__ in sys.argv] or [kill, reuse, power, records, faults]
    with tiny.workplace() as folder:
        sweep = Sweep(folder)
        for part in wanted:
            part(sweep)
        sweep.setup.close()
        print(f"{len(sweep.failed)} failures")
        sys.exit(1 if sweep.failed else 0)


if __name__ == "__main__":
    main()
