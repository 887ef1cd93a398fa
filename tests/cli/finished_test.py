#!/usr/bin/env python3
"""What becomes of a finished run: it is not changed unasked, what was set aside comes back, mixtures are told; gates, report and log at its end."""
import fcntl
import json
import os
import pathlib
import pty
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "reliability"))
import tiny  # noqa: E402

BINARY = pathlib.Path(sys.argv.pop(1) if len(sys.argv) > 1 else "build/cai").resolve()


class Finished(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.keeper = tempfile.TemporaryDirectory()
        cls.folder = pathlib.Path(cls.keeper.name)
        cls.setup = tiny.Setup(BINARY, cls.folder)
        cls.whole = cls.folder / "whole"
        cls.result = cls.run_cai(*cls.setup.command(cls.whole)[1:])

    @classmethod
    def tearDownClass(cls):
        cls.setup.close()
        cls.keeper.cleanup()

    @staticmethod
    def run_cai(*arguments, **more):
        return subprocess.run([BINARY, *map(str, arguments)], capture_output=True, text=True, timeout=300, **more)

    def setUp(self):
        self.assertEqual(self.result.returncode, 0, self.result.stderr[-3000:])
        self.run_folder = self.folder / self.id().split(".")[-1]

    def copy(self):
        shutil.copytree(self.whole, self.run_folder)
        return self.run_folder

    def train(self, run, *more, **settings):
        return self.run_cai(*self.setup.command(run, **settings)[1:], *more)

    def with_constitution(self, run, constitution):
        command = self.setup.command(run)
        command[command.index("--constitution") + 1] = str(constitution)
        return command[1:]

    def keys(self, run):
        return {str(p.relative_to(run)): json.loads(p.read_text())["key"] for p in run.glob("iter-*/*/manifest.json") if ".stale-" not in str(p)}

    def test_it_is_not_changed_by_another_setting_or_constitution(self):
        other = self.folder / "other.yaml"
        other.write_text(tiny.CONSTITUTION.replace("Be kind and help.", "Be kind, and help at once."))
        before = tiny.snapshot(self.whole)
        for result in (self.train(self.whole, **{"candidates.temperature": 0.9}), self.run_cai(*self.with_constitution(self.whole, other))):
            self.assertEqual(result.returncode, 2, result.stderr)
            for words in ("this run is finished", "--out", f"--reuse {self.whole}", "--force"):
                self.assertIn(words, result.stderr)
        self.assertEqual(tiny.snapshot(self.whole), before)
        self.assertEqual(self.train(self.whole).returncode, 0)
        self.assertEqual(self.train(self.whole, **{"eval.gates": "attack_success<=100%"}).returncode, 0)  # gates change nothing that was made

    def test_what_was_set_aside_comes_back(self):
        run = self.copy()
        first = self.keys(run)
        forced = self.train(run, "--force", **{"eval.max_new_tokens": 7})
        self.assertEqual(forced.returncode, 0, forced.stderr)
        self.assertTrue((run / "iter-01/eval.stale-1").exists())
        self.assertTrue((run / "config.stale-1.yaml").exists())
        back = self.train(run, "--force")
        self.assertEqual(back.returncode, 0, back.stderr)
        self.assertIn("reused from", back.stderr)
        self.assertEqual(self.keys(run), first)
        compared = self.run_cai("verify", self.whole, run)
        self.assertEqual(compared.returncode, 0, compared.stdout + compared.stderr)

    def test_the_earlier_constitution_is_kept_and_a_mixture_is_told(self):
        run = self.copy()
        earlier = (run / "constitution.yaml").read_text()
        other = self.folder / "stricter.yaml"
        other.write_text(tiny.CONSTITUTION.replace("Do not help hurt, steal or poison.", "Never help hurt, steal or poison."))
        process = subprocess.Popen([BINARY, *self.with_constitution(run, other), "--force"], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        while process.poll() is None and not (run / "iter-01/critique-1.stale-1").exists():
            pass
        process.kill()
        process.communicate()
        self.assertEqual((run / "constitution.stale-1.yaml").read_text(), earlier)
        told = self.run_cai("verify", run)
        self.assertEqual(told.returncode, 1, told.stdout)
        self.assertIn("was made from another constitution", told.stdout)
        self.assertIn("was made from another constitution", self.run_cai("explain", run, "red-team-train-0").stderr)
        self.assertIn("was made from another constitution", self.run_cai("chat", "--model", run, "--prompt", "ask", "--max-new-tokens", 2).stderr)
        report = self.run_cai("report", run)
        self.assertEqual(report.returncode, 0, report.stderr)

    def test_a_failed_gate_comes_after_the_report_and_stands_on_top_of_it(self):
        run = self.copy()
        result = self.train(run, **{"eval.gates": "attack_success <= -1, length <= base + 1000, attack_success <= 100% with 95%"})
        self.assertEqual(result.returncode, 100, result.stderr)
        state = json.loads((run / "run.json").read_text())
        self.assertEqual(state["state"], "done")
        self.assertEqual(len(state["failed_gates"]), 1)
        page = (run / "report.html").read_text()
        self.assertLess(page.index("Failed gates"), page.index("All measures"))
        self.assertEqual(self.run_cai("verify", run).returncode, 0)

    def test_a_gate_on_what_cannot_be_measured_is_refused_before_the_run(self):
        lines = [line for line in self.setup.prompts.read_text().splitlines(True) if "borderline" not in line]
        few = self.folder / "few.jsonl"
        few.write_text("".join(lines))
        command = self.setup.command(self.folder / "never", **{"eval.gates": "over_refusal <= base + 5pt"})
        command[command.index("--prompts") + 1] = str(few)
        result = self.run_cai(*command[1:])
        self.assertEqual(result.returncode, 2, result.stderr)
        self.assertIn("no held-out prompt has the kind borderline", result.stderr)
        self.assertFalse((self.folder / "never").exists())

    def test_its_end_is_a_verdict_in_words(self):
        for words in ("base to rl-cai, with 95 % intervals", "Harmful requests complied with:", "too few for a conclusion", f"chat --model {self.whole}", f"{self.whole}/report.html"):
            self.assertIn(words, self.result.stdout)
        self.assertIn("[4/11] iter-01/revise-1", self.result.stderr)

    def test_its_log_has_times(self):
        lines = [json.loads(line) for line in (self.whole / "log.jsonl").read_text().splitlines()]
        self.assertTrue(lines)
        for line in lines:
            self.assertRegex(line["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d$")
            self.assertIn(line["level"], ("info", "warning", "error"))

    def test_a_report_of_a_run_at_work_does_not_wait(self):
        run = self.copy()
        with open(run / ".lock", "a+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            result = self.run_cai("report", run)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("report.html", result.stdout)

    def test_a_drawn_line_fits_the_terminal_and_log_lines_stand_alone(self):
        parent, child = pty.openpty()
        fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 40, 0, 0))
        process = subprocess.Popen([BINARY, *self.setup.command(self.folder / "drawn")[1:]], stdout=subprocess.DEVNULL, stderr=child,
                                   env={**os.environ, "TERM": "xterm", "NO_COLOR": "1"})
        os.close(child)
        text = b""
        while True:
            try:
                more = os.read(parent, 65536)
            except OSError:
                break
            if not more:
                break
            text += more
        self.assertEqual(process.wait(), 0)
        for line in text.decode().replace("\r\n", "\n").split("\n"):
            drawn = [part for part in re.split("\r\x1b\\[K", line) if part]
            for part in drawn:
                if part.startswith("["):
                    self.assertLess(len(part), 40, part)
                    self.assertNotIn("info: ", part)
                    self.assertNotIn("warning: ", part)

    def test_single_stages_say_where_their_output_is(self):
        out = self.folder / "answers"
        result = self.run_cai("generate", "--model", self.setup.model, "--prompts", self.setup.prompts, "--out", out)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn(f"wrote {out}/00000.jsonl (21 records)", result.stdout)

    def test_help_and_version_are_words_too(self):
        self.assertEqual(self.run_cai("help").stdout, self.run_cai("--help").stdout)
        self.assertEqual(self.run_cai("help", "config", "show").stdout, self.run_cai("config", "show", "--help").stdout)
        self.assertEqual(self.run_cai("version").stdout, self.run_cai("--version").stdout)
        self.assertIn("sft.epochs, reward.epochs", self.run_cai("config", "show", "--set", "epochs=3").stderr)
        self.assertIn("principles", self.run_cai("constitution", "show", "harmless").stdout)


if __name__ == "__main__":
    unittest.main(verbosity=2)
