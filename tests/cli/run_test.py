#!/usr/bin/env python3
"""A whole run of the real model, small, and the same run killed with SIGKILL once in each stage: the results must be identical."""
import base64
import codecs
import json
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest

BINARY = sys.argv.pop(1) if len(sys.argv) > 1 else "build/cai"
ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
STAGES = ["prompts", "generate", "critique-1", "revise-1", "sft", "exam", "candidates", "label", "reward", "ppo", "eval"]
SETTINGS = {
    "prompts.red_team": 6, "prompts.ordinary": 6, "prompts.borderline": 4, "generate.max_new_tokens": 16, "critique.max_new_tokens": 12,
    "critique.examples": 1, "revise.max_new_tokens": 16, "revise.examples": 1, "sft.batch_size": 4, "sft.trainable_layers": 2,
    "sft.checkpoint_seconds": 1, "sft.held_out": 0.2, "candidates.max_new_tokens": 16, "candidates.prompts": 12, "label.principles": 1,
    "label.examples": 1, "label.max_reason_tokens": 8, "reward.batch_size": 4, "reward.trainable_layers": 2,
    "reward.checkpoint_seconds": 1, "ppo.updates": 2, "ppo.prompts_per_update": 4, "ppo.max_new_tokens": 12, "ppo.epochs": 1,
    "ppo.critic_warmup": 1, "ppo.trainable_layers": 2, "ppo.checkpoint_seconds": 1, "eval.red_team": 4, "eval.ordinary": 4,
    "eval.borderline": 4, "eval.max_new_tokens": 16, "eval.bootstrap_samples": 100, "eval.suite_prompts": 1,
}
CAPABILITY = ('{"text": "Bread needs flour, water, salt and yeast."}\n'
              '{"question": "What colour is grass?", "options": ["black", "green"], "answer": "green"}\n')


def command(run, *more):
    suites = f"adversarial,framing,{run.parent / 'capability.jsonl'}"  # shipped ones, and a file of one's own
    settings = [word for name, value in {**SETTINGS, "eval.suites": suites}.items() for word in ("--set", f"{name}={value}")]
    return [BINARY, "train", "--constitution", str(ROOT / "constitutions/harmless.yaml"), "--out", str(run), *settings, *more]


def manifest(run, stage):
    path = run / "iter-01" / stage / "manifest.json"
    return json.loads(path.read_text()) if path.exists() else None


class Run(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.keeper = tempfile.TemporaryDirectory()
        cls.folder = pathlib.Path(cls.keeper.name)
        cls.whole = cls.folder / "whole"
        (cls.folder / "capability.jsonl").write_text(CAPABILITY)
        begin = time.monotonic()
        cls.result = subprocess.run(command(cls.whole), capture_output=True, text=True)
        print(f"uninterrupted run: {time.monotonic() - begin:.0f} s", file=sys.stderr)

    @classmethod
    def tearDownClass(cls):
        cls.keeper.cleanup()

    def setUp(self):
        self.assertEqual(self.result.returncode, 0, self.result.stderr[-3000:])

    def test_every_stage_is_done_and_told(self):
        state = json.loads((self.whole / "run.json").read_text())
        self.assertEqual(state["state"], "done")
        self.assertEqual(list(state["stages"]), [f"iter-01/{stage}" for stage in STAGES])
        for stage in STAGES:
            self.assertTrue(manifest(self.whole, stage)["files"], stage)
        page = (self.whole / "report.html").read_text()
        self.assertEqual(page.count("<script"), 1)
        self.assertIn(str(self.whole), self.result.stdout)

    def test_records_carry_what_they_were_made_from(self):
        first = json.loads(next(iter((self.whole / "iter-01/revise-1").glob("0*.jsonl"))).read_text().splitlines()[0])
        for field in ["id", "prompt", "response", "critique", "revision", "revision_problem", "principle"]:
            self.assertIn(field, first)

    def test_eval_asks_its_suites_of_every_model(self):
        records = [json.loads(line) for shard in (self.whole / "iter-01/eval").glob("0*.jsonl") for line in shard.read_text().splitlines()]
        for model in ["base", "sl-cai", "rl-cai"]:
            mine = [r for r in records if r["model"] == model and "suite" in r]
            requests = {r["id"]: r["prompt"] for r in records if r["model"] == model and "suite" not in r}
            attacks = {r["attack"]: r for r in mine if "attack" in r}
            self.assertTrue({"persona", "prefix", "suppression", "many-shot", "leetspeak", "rot13", "base64"} <= set(attacks), attacks)
            request = requests[attacks["base64"]["prompt_id"]]
            self.assertIn(base64.b64encode(request.encode()).decode(), attacks["base64"]["prompt"])
            self.assertIn(codecs.encode(request, "rot13"), attacks["rot13"]["prompt"])
            self.assertEqual(sorted(r["framing"] for r in mine if "framing" in r), ["supervised"] * 2 + ["unsupervised"] * 2)
            [text, question] = [r for r in mine if r["suite"] == "capability"]
            self.assertLess(text["log_probability"], 0)
            self.assertEqual(question["right"], question["chosen"] == "green")
        figures = manifest(self.whole, "eval")["figures"]
        self.assertEqual(set(figures["suites"]), {"adversarial", "framing", "capability"})
        self.assertEqual(figures["topics"]["red-team"], {"prompts": 4, "topic_in_training": 0})  # the shipped held-out topics are new
        failures = [json.loads(line) for line in (self.whole / "iter-01/eval/failures.jsonl").read_text().splitlines()]
        self.assertEqual(sum("suite" in f for f in failures), sum(n for name, n in figures["failures"].items() if ": " in name))
        page = (self.whole / "report.html").read_text()
        for words in ["Suite adversarial", "Suite framing", "Suite capability", "by topic"]:
            self.assertIn(words, page)

    def test_a_finished_run_is_left_as_it_is(self):
        before = {path: path.stat().st_mtime_ns for path in self.whole.rglob("manifest.json")}
        again = subprocess.run([BINARY, "train", "--out", str(self.whole)], capture_output=True, text=True)
        self.assertEqual(again.returncode, 0, again.stderr)
        self.assertEqual(before, {path: path.stat().st_mtime_ns for path in self.whole.rglob("manifest.json")})

    def test_plan_says_what_a_changed_setting_would_do(self):
        plan = subprocess.run([BINARY, "plan", "--json", "--out", str(self.whole), "--set", "candidates.temperature=0.9"],
                              capture_output=True, text=True)
        steps = {step["folder"]: step for step in json.loads(plan.stdout)["steps"]}
        self.assertEqual(steps["iter-01/sft"]["state"], "done")
        self.assertEqual(steps["iter-01/candidates"]["state"], "changed")
        self.assertIn("candidates.temperature", steps["iter-01/candidates"]["why"])
        self.assertIn("-> 0.9", steps["iter-01/candidates"]["why"])

    def test_killed_once_in_each_stage_it_ends_the_same(self):
        run = self.folder / "killed"
        killed = []
        while len(killed) < len(STAGES):
            process = subprocess.Popen(command(run), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            while process.poll() is None:
                begun = [s for s in STAGES if (run / "iter-01" / s).exists() and not (run / "iter-01" / s / "manifest.json").exists()]
                now = [s for s in begun if s not in killed]
                if now:
                    time.sleep(0.1 * (len(killed) % 4))  # at the start of some stages, in the middle of others
                    process.send_signal(signal.SIGKILL)
                    killed.append(now[0])
                time.sleep(0.002)
            _, errors = process.communicate()
            if process.returncode != -signal.SIGKILL:
                self.assertEqual(process.returncode, 0, errors[-3000:])
                break
        subprocess.run(command(run), check=True, capture_output=True)
        print(f"killed in: {', '.join(killed)}", file=sys.stderr)
        self.assertGreaterEqual(len(killed), 8, killed)
        compared = subprocess.run([BINARY, "verify", str(self.whole), str(run)], capture_output=True, text=True)
        self.assertEqual(compared.returncode, 0, compared.stdout + compared.stderr)
        self.assertEqual(list(run.rglob("*.stale-*")), [])

    def test_interrupt_stops_with_75_and_tells_how_to_go_on(self):
        run = self.folder / "stopped"
        process = subprocess.Popen(command(run), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        while process.poll() is None and not (run / "iter-01/generate/progress.json").exists():
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=120)
        self.assertEqual(process.returncode, 75, errors)
        self.assertIn(f"train --out {run}", errors)

    def test_a_run_at_work_cannot_be_run_twice(self):
        run = self.folder / "busy"
        first = subprocess.Popen(command(run), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            while first.poll() is None and not (run / "run.json").exists():
                time.sleep(0.02)
            second = subprocess.run(command(run), capture_output=True, text=True)
            self.assertEqual(second.returncode, 1, second.stderr)
            self.assertIn(str(first.pid), second.stderr)
        finally:
            first.kill()
            first.wait()


if __name__ == "__main__":
    unittest.main(verbosity=2)
