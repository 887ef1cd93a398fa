"""What cai hands on of its environment: nothing that changes how torch's libraries compute."""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

SETTINGS = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ONEDNN_DEFAULT_FPMATH_MODE": "BF16", "DNNL_MAX_CPU_ISA": "AVX2", "MKL_CBWR": "COMPATIBLE",
            "MKL_ENABLE_INSTRUCTIONS": "AVX2", "ATEN_CPU_CAPABILITY": "default"}


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        shutil.copy2(sys.argv[1], folder / "cai")
        heavy = folder / "cai-run"
        heavy.write_text("#!/bin/sh\nexec env\n")  # says what it is given
        heavy.chmod(0o755)
        result = subprocess.run([str(folder / "cai"), "generate", "--model", "m", "--prompts", "p", "--out", "o"], env=os.environ | SETTINGS | {"KEPT": "yes"},
                                capture_output=True, text=True, check=True)
    given = dict(line.split("=", 1) for line in result.stdout.splitlines() if "=" in line)
    assert given["KEPT"] == "yes", given
    left = sorted(set(given) & set(SETTINGS))
    assert not left, f"handed on: {left}"


if __name__ == "__main__":
    main()
