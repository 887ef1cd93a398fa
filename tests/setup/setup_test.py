#!/usr/bin/env python3
"""scripts/setup.sh and scripts/cai in a checkout that is not set up, without a network: what they take, refuse and say."""
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PYTHON = f"cp{sys.version_info.major}{sys.version_info.minor}"
KEPT = ["torch-cpu", "torch-cuda", "cuda-cpu", "cuda-gpu"]


def wheel(folder, name, version, files=(), tag="py3-none-any"):
    """A wheel with these files and little else; returns its SHA-256."""
    path = folder / f"{name}-{version}-{tag}.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        for file in files:
            archive.writestr(file, "x")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {tag}\n")
        archive.writestr(f"{info}/RECORD", "".join(f"{file},,\n" for file in files))
    return hashlib.sha256(path.read_bytes()).hexdigest()


TORCH_FILES = ["torch/version.py", "torch/lib/libtorch_cpu.so", "torch/lib/libc10.so", "torch/include/ATen/ATen.h"]


class Setup(unittest.TestCase):
    def setUp(self):
        keeper = tempfile.TemporaryDirectory()
        self.addCleanup(keeper.cleanup)
        self.root = pathlib.Path(keeper.name) / "checkout"
        self.wheels = pathlib.Path(keeper.name) / "wheels"
        self.wheels.mkdir()
        self.root.mkdir()
        shutil.copytree(ROOT / "scripts", self.root / "scripts")
        shutil.copytree(ROOT / "cmake", self.root / "cmake")
        shutil.copy(ROOT / "CMakeLists.txt", self.root)

    @classmethod
    def setUpClass(cls):
        cls.keeper = tempfile.TemporaryDirectory()
        cls.venv = pathlib.Path(cls.keeper.name) / "venv"
        subprocess.run(["/usr/bin/python3", "-m", "venv", cls.venv], check=True)

    @classmethod
    def tearDownClass(cls):
        cls.keeper.cleanup()

    def bash(self, script, driver=None, quick=True, **variables):
        """Runs a script that has sourced setup.sh, with pip offered only the wheels made here. If quick, virtual
        environments are copied (but for the first lines of their scripts they can be): making one takes seconds."""
        if quick:
            copy = self.root.parent / "python"
            copy.write_text(f'#!/bin/sh\nexec cp -a {self.venv} "$3"\n')
            copy.chmod(0o755)
            script = f"python_for_venvs() {{ echo {copy}; }}; {script}"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "CAI_"))}
        environment = {**kept, "PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.wheels), **variables}
        file = self.root / "driver"
        if driver:
            file.write_text(f"NVRM version: NVIDIA UNIX x86_64 Kernel Module  {driver}  Sat Aug 19\nGCC version: gcc 580.1\n")
        return subprocess.run(["bash", "-c", f"set -euo pipefail; driver_file={file}; . scripts/setup.sh; {script}"],
                              cwd=self.root, capture_output=True, text=True, env=environment, timeout=300)

    def offer(self, *lists):
        """Makes the wheels of these lists, small, and puts their hashes into the lists."""
        for name in lists:
            lines = []
            for line in (self.root / f"scripts/wheels/{name}.txt").read_text().replace("\\\n", "").splitlines():
                if "==" not in line:
                    continue
                package, version = line.split()[0].replace("===", "==").split("==")
                files = TORCH_FILES if package == "torch" else [f"nvidia/{package}"]
                made = wheel(self.wheels, package.replace("-", "_"), version, files)
                lines.append(f"{line.split()[0]} --hash=sha256:{made}\n")
            (self.root / f"scripts/wheels/{name}.txt").write_text("".join(lines))

    def installed(self):
        return {path.name.rsplit(".", 1)[0] for path in self.root.glob(".deps/torch/lib/python3*/site-packages/*.dist-info")
                if path.name.startswith(("torch", "nvidia"))}

    def done(self, result):
        self.assertEqual(result.returncode, 0, result.stderr)
        return result

    def test_cpu_wheel_comes_first(self):
        self.offer(*KEPT)
        result = self.done(self.bash("need_torch; torch_folder"))
        self.assertEqual(self.installed(), {"torch-2.13.0+cpu"})
        self.assertIn("192 MB to download", result.stderr)
        again = self.done(self.bash("need_torch; torch_folder"))
        self.assertEqual((again.stdout, again.stderr), (result.stdout, ""))

    def test_index_wheel_with_the_two_packages_it_needs(self):
        self.offer("torch-cuda", "cuda-cpu", "cuda-gpu")
        result = self.done(self.bash("need_torch", quick=False))
        self.assertEqual(self.installed(), {"torch-2.13.0", "nvidia_cuda_runtime-13.0.96", "nvidia_cuda_cupti-13.0.85"})
        self.assertIn("540 MB to download", result.stderr)
        script = next(self.root.glob(".deps/torch/bin/pip"))
        self.assertEqual(subprocess.run([script, "--version"], capture_output=True).returncode, 0, "the venv's scripts work")

    def test_a_driver_of_580_asks_for_the_gpu_set(self):
        self.offer(*KEPT)
        self.done(self.bash("need_torch", driver="535.104.05"))
        self.assertEqual(self.installed(), {"torch-2.13.0+cpu"})
        result = self.done(self.bash("need_torch", driver="580.65.06"))
        self.assertEqual(len(self.installed()), 14)
        self.assertIn("2324 MB to download", result.stderr)
        self.assertEqual(self.done(self.bash("torch_device", driver="580.65.06", CAI_DEVICE="cpu")).stdout, "cpu\n")
        self.assertEqual(self.bash("torch_device", CAI_DEVICE="tpu").returncode, 2)

    def test_an_unknown_wheel_is_refused_until_it_is_accepted(self):
        made = wheel(self.wheels, "torch", "2.13.0+cpu", TORCH_FILES, f"{PYTHON}-{PYTHON}-linux_x86_64")
        result = self.bash("need_torch")
        self.assertEqual(result.returncode, 1)
        for words in (f"CAI_TORCH_SHA256={made}", "CAI_TORCH=index", "CAI_TORCH=FOLDER"):
            self.assertIn(words, result.stderr)
        self.done(self.bash("need_torch", CAI_TORCH_SHA256=made))
        self.assertEqual(self.installed(), {"torch-2.13.0+cpu"})

    def test_a_changed_cuda_package_is_refused(self):
        self.offer("torch-cuda")
        for package in ("nvidia_cuda_runtime-13.0.96", "nvidia_cuda_cupti-13.0.85"):
            wheel(self.wheels, *package.split("-"))
        result = self.bash("need_torch", CAI_TORCH_SHA256="0" * 64)
        self.assertEqual(result.returncode, 1)
        self.assertIn("nvidia-cuda-", result.stderr)

    def test_an_interrupted_installation_is_done_again(self):
        self.offer("torch-cuda", "cuda-cpu")
        self.done(self.bash("need_torch"))
        for package in ("torch-2.13.0", "nvidia_cuda_cupti-13.0.85"):
            next(self.root.glob(f".deps/torch/lib/python3*/site-packages/{package}.dist-info/INSTALLER")).unlink()
            self.assertIn("installing torch", self.done(self.bash("need_torch")).stderr)
            self.assertEqual(self.done(self.bash("need_torch")).stderr, "")

    def test_a_torch_of_ones_own(self):
        libtorch = self.root.parent / "libtorch"
        for file in TORCH_FILES:
            path = libtorch / file.removeprefix("torch/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        result = self.done(self.bash("need_torch; torch_folder", CAI_TORCH=str(libtorch)))
        self.assertEqual(result.stdout, f"{self.root}/.deps/torch\n")
        self.assertEqual(self.done(self.bash("need_torch; torch_folder")).stdout, result.stdout, "it is remembered")
        for wrong, words in (("/nowhere", "no such folder"), ("/usr", "no torch is there")):
            refused = self.bash("need_torch", CAI_TORCH=wrong)
            self.assertEqual(refused.returncode, 2)
            self.assertIn(words, refused.stderr)
        self.assertEqual(self.done(self.bash("torch_folder")).stdout, result.stdout, "a wrong one changes nothing")

    def test_questions_about_cai_leave_nothing_behind(self):
        before = sorted(self.root.rglob("*"))
        for arguments, status in ((["--version"], 0), (["--help"], 0), ([], 0), (["config", "explain"], 2)):
            result = subprocess.run([self.root / "scripts/cai", *arguments], capture_output=True, text=True, timeout=60)
            self.assertEqual(result.returncode, status, result.stderr)
            self.assertIn("not built yet", result.stdout)
        self.assertEqual(sorted(self.root.rglob("*")), before)

    def test_a_changed_cmake_file_builds_again(self):
        before = self.done(self.bash("sources_fingerprint")).stdout
        with open(self.root / "cmake/torch.cmake", "a", encoding="utf-8") as file:
            file.write("\n")
        self.assertNotEqual(self.done(self.bash("sources_fingerprint")).stdout, before)

    def test_a_long_step_reports_how_far_it_is(self):
        script = "sleep() { command sleep 0.1; }; reporting build log bash -c 'echo [7/12]; command sleep 1'"
        self.assertIn("build: 7 of 12 steps, ", self.done(self.bash(script)).stderr)
        self.assertEqual(self.bash("reporting build log false").returncode, 1)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + [word for word in sys.argv[1:] if not word.endswith("/cai")], verbosity=2)
