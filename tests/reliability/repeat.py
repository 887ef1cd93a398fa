#!/usr/bin/env python3
"""A whole run on the default model, on all cores: once more, and once more with SIGKILL at random moments, ends with the same bytes.

repeat.py CAI [KILLS]   KILLS: 12 unless given, each with its stage"""
import pathlib
import random
import subprocess
import sys
import tempfile
import time

import tiny

CAI = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "build/cai").resolve()
KILLS = int(sys.argv[2]) if len(sys.argv) > 2 else 12
SEED = 1


def command(run):
    return [CAI.with_name("cai-run"), "train", "--constitution", tiny.ROOT / "constitutions/harmless.yaml", "--config", tiny.ROOT / "configs/quick.yaml", "--out", run, "--quiet"]


def whole(run):
    begin = time.monotonic()
    result = subprocess.run(command(run), capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"{run.parent.name}: exit {result.returncode}: {result.stderr[-400:]}")
    return time.monotonic() - begin


def at_work(run):
    """The stage that has begun and has no manifest yet."""
    return next((p.name for p in sorted(run.glob("iter-*/*")) if p.is_dir() and not (p / "manifest.json").exists()), "between stages")


def main():
    rng, failed = random.Random(SEED), 0
    with tempfile.TemporaryDirectory(prefix="cai-") as folder:
        runs = {name: pathlib.Path(folder) / name / "run" for name in ("first", "again", "killed")}  # reports name their folder: the same name
        seconds = whole(runs["first"])
        expected = tiny.snapshot(runs["first"])
        print(f"seed {SEED}; a whole run: {seconds:.0f} s, {len(expected)} files", flush=True)
        whole(runs["again"])
        for kill in range(KILLS):
            process = subprocess.Popen(command(runs["killed"]), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                process.wait(rng.uniform(0.5, 2.5 * seconds / KILLS))
                break
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                print(f"killed in {at_work(runs['killed'])}", flush=True)
        whole(runs["killed"])
        for name in ("again", "killed"):
            different = tiny.differences(expected, tiny.snapshot(runs[name]))
            verified = subprocess.run([CAI, "verify", runs["first"], runs[name]], capture_output=True, text=True)
            failed += bool(different) or verified.returncode != 0
            print(f"{name}: {different[:5] or 'the same bytes'}; verify: {verified.stdout.strip().splitlines()[-1:]}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
