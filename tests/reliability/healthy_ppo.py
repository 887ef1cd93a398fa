#!/usr/bin/env python3
"""PPO of configs/quick.yaml on the default model, from one reward model, by many seeds: the guards must not stop a healthy run, nor warn of it.

healthy_ppo.py CAI [RUNS]   RUNS: 20 unless given (half an hour of two cores). Beside each run: its score gained, KL and length."""
import json
import pathlib
import subprocess
import sys
import tempfile

CAI = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "build/cai").resolve()
RUNS = int(sys.argv[2]) if len(sys.argv) > 2 else 20
ROOT = pathlib.Path(__file__).resolve().parents[2]
QUICK = ROOT / "configs/quick.yaml"


def cai(*arguments):
    return subprocess.run([CAI, *map(str, arguments)], capture_output=True, text=True, errors="replace")


def main():
    failed = 0
    with tempfile.TemporaryDirectory(prefix="cai-") as folder:
        run = pathlib.Path(folder) / "run"
        made = cai("train", "--constitution", ROOT / "constitutions/harmless.yaml", "--config", QUICK, "--set", "eval.suites=", "--out", run, "--quiet")
        if made.returncode != 0:
            sys.exit(f"the run that PPO starts from: exit {made.returncode}: {made.stderr[-400:]}")
        stages = run / "iter-01"
        for seed in range(1, RUNS + 1):
            out = pathlib.Path(folder) / f"ppo-{seed}"
            done = cai("ppo", "--config", QUICK, "--model", stages / "sft", "--reward", stages / "reward", "--prompts", stages / "prompts", "--set", "ppo.updates=20", "--seed", seed, "--out", out, "--quiet")
            alarms = [line for line in done.stderr.splitlines() if "warning" in line]
            if done.returncode != 0 or alarms:
                failed += 1
                print(f"seed {seed}: FAILED, exit {done.returncode}: {(alarms or done.stderr.splitlines()[-1:] or [''])[0]}", flush=True)
                continue
            figures = json.loads((out / "manifest.json").read_text())["figures"]
            print(f"seed {seed}: no alarm; score gained {figures['score_gained']['value']:.2f}, KL {figures['kl']['last_third']:.2f}", flush=True)
    print(f"{RUNS} runs, {failed} alarms or failures")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
