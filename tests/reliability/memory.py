#!/usr/bin/env python3
"""Peak memory and disk of a whole run on the default model beside what `cai plan` estimated: the estimate must hold, and be no more than three times what was needed.

memory.py CAI [CONFIG]   CONFIG: configs/quick.yaml unless given"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

CAI = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "build/cai").resolve()
ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFIG = sys.argv[2] if len(sys.argv) > 2 else ROOT / "configs/quick.yaml"


def main():
    with tempfile.TemporaryDirectory(prefix="cai-") as folder:
        run = pathlib.Path(folder) / "run"
        common = ["--constitution", ROOT / "constitutions/harmless.yaml", "--config", CONFIG, "--out", run]
        plan = json.loads(subprocess.run([CAI, "plan", *common, "--json"], check=True, capture_output=True, text=True).stdout)
        child = subprocess.Popen([CAI, "train", *common, "--quiet"], stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        if status:
            sys.exit(f"the run ended with status {status}")
        disk = sum(path.stat().st_size for path in run.rglob("*") if path.is_file())
    failed = 0
    for what, estimate, needed in (("memory", plan["memory_bytes"], usage.ru_maxrss * 1024), ("disk, at the end", plan["disk_bytes"], disk)):
        fits = needed <= estimate <= 3 * needed
        failed += not fits
        print(f"{what}: estimated {estimate / 1e9:.2f} GB, needed {needed / 1e9:.2f} GB{'' if fits else ': FAILED'}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
