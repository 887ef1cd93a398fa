"""scripts/gpu-check on the CPU: all steps run, and the files that it writes say so."""
import json
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
build = pathlib.Path(sys.argv[1]).parent

with tempfile.TemporaryDirectory() as folder:
    out = pathlib.Path(folder)
    command = [sys.executable, ROOT / "scripts/gpu-check", "--device", "cpu", "--build", build, "--out", out]
    done = subprocess.run(command, capture_output=True, text=True)
    print(done.stdout, done.stderr)
    assert done.returncode == 0, done.returncode
    result = json.loads((out / "gpu.json").read_text())
    assert result["complete"] and all(step["code"] == 0 for step in result["steps"]), result["steps"]
    assert [m["job"] for m in result["measurements"]] == ["generate", "sft", "reward", "ppo"]
    assert all(m["tokens_per_second"] > 0 for m in result["measurements"])
    table = (out / "gpu.md").read_text()
    assert table.count("| tiny |") == 4 and "Failed steps: none." in table, table

    # A device that is not there is one line, before any work.
    for device, told in [("cuda:7", "engine.device: cuda:7, but "), ("gpu", "auto, cpu, cuda or cuda:N")]:
        done = subprocess.run([sys.argv[1], "plan", "--set", f"engine.device={device}"],
                              capture_output=True, text=True)
        assert done.returncode == 2 and told in done.stderr, done.stderr
