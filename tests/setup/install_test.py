#!/usr/bin/env python3
"""cmake --install gives a folder that runs wherever it is moved, without the checkout: its libraries, files and model."""
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

BUILD = pathlib.Path(sys.argv.pop(1) if len(sys.argv) > 1 else "build/cai").resolve().parent
ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
MODEL = ROOT / ".deps/models/SmolLM2-135M-Instruct.Q4_1.gguf"


class Install(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # On the file system of the build, in case temporary files are in memory: torch's libraries take 350 MB.
        cls.keeper = tempfile.TemporaryDirectory(dir=BUILD)
        cls.folder = pathlib.Path(cls.keeper.name)
        first = cls.folder / "first"
        subprocess.run(["cmake", "--install", BUILD, "--prefix", first], check=True, capture_output=True)
        cls.prefix = cls.folder / "moved"
        first.rename(cls.prefix)

    @classmethod
    def tearDownClass(cls):
        cls.keeper.cleanup()

    def cai(self, *arguments, **variables):
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("CAI_", "LD_"))}
        environment |= {"HOME": str(self.folder / "home"), **variables}
        environment.pop("XDG_CACHE_HOME", None)
        return subprocess.run([self.prefix / "bin/cai", *map(str, arguments)], capture_output=True, text=True,
                              cwd=self.folder, env=environment, timeout=300)

    def test_libraries_of_torch_are_its_own(self):
        found = subprocess.run(["ldd", self.prefix / "bin/cai-run"], capture_output=True, text=True, check=True).stdout
        self.assertNotIn("not found", found)
        for name in ("libtorch_cpu.so", "libc10.so", "libgomp.so"):
            path = re.search(rf"{re.escape(name)}\S* => (\S+)", found).group(1)
            self.assertEqual(pathlib.Path(path).resolve().parent, self.prefix / "lib/cai", name)
        names = re.findall(r"^\t(libgomp\S*)", found, re.M)
        self.assertEqual(len(names), 1, "one OpenMP runtime in the process")

    def test_nothing_refers_to_the_build(self):
        for program in ("cai", "cai-run"):
            text = subprocess.run(["readelf", "-d", self.prefix / "bin" / program], capture_output=True, text=True).stdout
            self.assertNotIn(str(ROOT), text)
            self.assertIn("$ORIGIN/../lib/cai", text)

    def test_version_says_installed(self):
        self.assertRegex(self.cai("--version").stdout, r"^cai \d+\.\d+\.\d+ \(installed, commit ")

    def test_shipped_files_are_found(self):
        result = self.cai("constitution", "show", "constitutions/harmless.yaml")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertTrue((self.prefix / "share/bash-completion/completions/cai").stat().st_size)
        for name in ("configs/quick.yaml", "prompts", "suites/adversarial.jsonl", "constitutions/medical.yaml"):
            self.assertTrue((self.prefix / "share/cai" / name).exists(), name)

    def test_model_of_the_user_cache(self):
        arguments = ["plan", "--constitution", "constitutions/harmless.yaml", "--config", "configs/quick.yaml"]
        result = self.cai(*arguments)
        self.assertEqual(result.returncode, 2, result.stderr)
        self.assertIn(".cache/cai/models", result.stderr)
        self.assertIn("cai-fetch-model", result.stderr)
        models = self.folder / "home/.cache/cai/models"
        models.mkdir(parents=True)
        (models / MODEL.name).symlink_to(MODEL)
        result = self.cai(*arguments)
        self.assertEqual(result.returncode, 0, result.stderr)
        fetched = subprocess.run([self.prefix / "bin/cai-fetch-model", models], capture_output=True, text=True)
        self.assertEqual((fetched.returncode, fetched.stdout.strip()), (0, f"{models}/{MODEL.name} is there"), fetched.stderr)
        (self.folder / "one.txt").write_text("Name a colour.\n")
        result = self.cai("generate", "--model", "smollm2", "--prompts", "one.txt", "--max-new-tokens", 4, "--out", "answers")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertTrue((self.folder / "answers/00000.jsonl").exists())


if __name__ == "__main__":
    unittest.main(verbosity=2)
