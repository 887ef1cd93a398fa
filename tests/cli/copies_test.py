#!/usr/bin/env python3
"""What counts of an input is its content, not where it lies: a run repeats from any folder by its own copies, and a judge that changed under
the same name labels again."""
import http.server
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "reliability"))
import tiny  # noqa: E402

BINARY = pathlib.Path(sys.argv.pop(1) if len(sys.argv) > 1 else "build/cai").resolve()
PAIRS = [{"prompt": f"tell {word}", "chosen": "you can ask.", "rejected": "not a friend."} for word in tiny.WORDS[:6]]


def write_lines(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


class Copies(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.keeper = tempfile.TemporaryDirectory()
        cls.folder = pathlib.Path(cls.keeper.name)
        cls.setup = tiny.Setup(BINARY, cls.folder)
        cls.work = cls.folder / "work"  # where the user's files lie until the run is made
        (cls.work / "more").mkdir(parents=True)
        lines = cls.setup.prompts.read_text().splitlines(keepends=True)
        (cls.work / "mine.jsonl").write_text("".join(lines[:10]))
        (cls.work / "more/mine.jsonl").write_text("".join(lines[10:]))
        shutil.copy(cls.setup.constitution, cls.work / "rules.yaml")
        write_lines(cls.work / "people.jsonl", PAIRS)
        shutil.copytree(cls.setup.model, cls.folder / "judge")
        cls.run_folder = cls.folder / "run"
        cls.result = cls.cai_in(cls.work, *cls.command("../run"))
        for name in ("mine.jsonl", "more/mine.jsonl", "rules.yaml"):
            (cls.work / name).unlink()

    @classmethod
    def tearDownClass(cls):
        cls.setup.close()
        cls.keeper.cleanup()

    @classmethod
    def command(cls, out):
        settings = {**tiny.SETTINGS, "eval.suites": "../suites.jsonl", "prompts.files": "mine.jsonl,more/mine.jsonl",
                    "label.feedback": "../judge", "label.minimum_margin": 0, "label.exam_pairs": "people.jsonl", "hybrid.pairs": "people.jsonl"}
        words = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
        return ["train", "--constitution", "rules.yaml", "--model", "../model", "--out", out, *words]

    @staticmethod
    def cai_in(folder, *arguments, **environment):
        return subprocess.run([BINARY, *map(str, arguments)], cwd=folder, capture_output=True, text=True, timeout=300,
                              env={**os.environ, "OMP_NUM_THREADS": "1", **environment})

    def setUp(self):
        self.assertEqual(self.result.returncode, 0, self.result.stderr[-3000:])

    def elsewhere(self, *arguments):
        folder = self.folder / "elsewhere"
        folder.mkdir(exist_ok=True)
        return self.cai_in(folder, *arguments)

    def test_a_run_repeats_from_another_folder_without_the_files_it_was_made_from(self):
        copies = sorted(str(p.relative_to(self.run_folder)) for p in (self.run_folder / "inputs").iterdir())
        self.assertEqual(copies, ["inputs/2-mine.jsonl", "inputs/mine.jsonl"])
        named = [e["copy"] for e in json.loads((self.run_folder / "run.json").read_text())["prompts"]]
        self.assertEqual(named, ["inputs/mine.jsonl", "inputs/2-mine.jsonl"])
        again = self.elsewhere("train", "--config", self.run_folder / "config.yaml", "--out", "again")
        self.assertEqual(again.returncode, 0, again.stderr[-3000:])
        compared = self.elsewhere("verify", self.run_folder, "again")
        self.assertEqual(compared.returncode, 0, compared.stdout + compared.stderr)
        plan = self.elsewhere("plan", "--json", "--out", self.run_folder)
        self.assertEqual({step["state"] for step in json.loads(plan.stdout)["steps"]}, {"done"}, plan.stderr)

    def test_a_copy_that_changed_is_not_taken_for_what_the_run_was_made_from(self):
        for name in ("constitution.yaml", "inputs/2-mine.jsonl"):
            run = self.folder / ("changed-" + pathlib.Path(name).stem)
            shutil.copytree(self.run_folder, run)
            text = (run / name).read_text()
            (run / name).write_text(text.replace("hurt", "harm"))
            again = self.elsewhere("plan", "--config", run / "config.yaml")
            self.assertEqual(again.returncode, 2, again.stdout)
            self.assertIn(f"{run / name}: changed since the run", again.stderr)
            told = self.elsewhere("verify", run)
            self.assertEqual((told.returncode, str(run / name) in told.stdout), (1, True), told.stdout)
            (run / name).unlink()
            self.assertIn("is missing", self.elsewhere("verify", run).stdout)

    def test_files_beside_a_config_go_before_those_of_the_working_folder(self):
        beside, other = self.folder / "beside", self.folder / "other"
        for folder, words in ((beside, "the first prompt"), (other, "another prompt")):
            folder.mkdir()
            write_lines(folder / "p.jsonl", [{"prompt": words}])
        (beside / "c.yaml").write_text("prompts: {files: [p.jsonl]}\n")
        for folder, config in ((other, "../beside/c.yaml"), (beside, "c.yaml")):
            result = self.cai_in(folder, "generate", "--config", config, "--model", "../model", "--out", self.folder / f"from-{folder.name}", "--max-new-tokens", 2)
            self.assertEqual(result.returncode, 0, result.stderr)
            record = json.loads((self.folder / f"from-{folder.name}/00000.jsonl").read_text())
            self.assertEqual(record["prompt"], "the first prompt")

    def test_a_judge_that_changed_under_its_name_labels_and_is_examined_again(self):
        judge = self.folder / "changing-judge"
        shutil.copytree(self.setup.model, judge)
        label = ["label", "--constitution", self.setup.constitution, "--pairs", self.work / "people.jsonl", "--out", self.folder / "labels"]
        exam = ["exam", "--constitution", self.setup.constitution, "--out", self.folder / "exam"]
        settings = ["--set", f"label.feedback={judge}", "--set", "label.minimum_mass=0", "--set", "engine.threads=1"]
        for command in (label, exam):
            for expected in (False, True):
                result = self.cai_in(self.folder, *command, *settings)
                self.assertEqual(result.returncode, 0, result.stderr)
                self.assertEqual("nothing to do" in result.stderr, expected, result.stderr)
        shutil.rmtree(judge)
        tiny.write_model(judge, seed=2)
        for command in (label, exam):
            result = self.cai_in(self.folder, *command, *settings)
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertNotIn("nothing to do", result.stderr)

    def test_a_server_named_in_no_proxy_is_asked_directly(self):
        asked = []

        class Proxy(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                asked.append(self.path)
                self.send_error(502)

            def log_message(self, *_):
                pass

        server = http.server.HTTPServer(("127.0.0.1", 0), Proxy)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        proxy = f"http://127.0.0.1:{server.server_port}"
        command = ["exam", "--constitution", self.setup.constitution, "--out", self.folder / "proxied", "--set", "label.feedback=http://judge.invalid/v1",
                   "--set", "endpoint.model=m", "--set", "endpoint.retries=0"]
        for variables, is_asked in (({}, True), ({"NO_PROXY": "judge.invalid"}, False), ({"no_proxy": "judge.invalid"}, False), ({"NO_PROXY": "*"}, False),
                                    ({"NO_PROXY": "other.invalid"}, True)):
            asked.clear()
            clean = {"NO_PROXY": "", "no_proxy": "", "http_proxy": proxy}
            result = self.cai_in(self.folder, *command, **{**clean, **variables})
            self.assertEqual(result.returncode, 1, result.stderr)
            self.assertEqual(bool(asked), is_asked, f"{variables}: {asked} {result.stderr}")


if __name__ == "__main__":
    unittest.main()
