#!/usr/bin/env python3
"""Principles that a program verifies, from the critique to the report, and feedback by another model. A tiny model."""
import json
import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "reliability"))
import tiny  # noqa: E402

BINARY = sys.argv.pop(1) if len(sys.argv) > 1 else "build/cai"
# A plain list: what its sentences say plainly becomes checks. The tiny model's answers are random words.
CONSTITUTION = '- Use at most four words.\n- Do not use the word "bread".\n- Be a friend.\n'


def figures(run, stage):
    return json.loads((run / "iter-01" / stage / "manifest.json").read_text())["figures"]


def records(run, stage):
    return [json.loads(line) for line in (run / "iter-01" / stage / "00000.jsonl").read_text().splitlines()]


class Principles(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.keeper = tempfile.TemporaryDirectory()
        cls.folder = pathlib.Path(cls.keeper.name)
        cls.setup = tiny.Setup(pathlib.Path(BINARY).resolve().with_name("cai-run"), cls.folder)
        cls.constitution = cls.folder / "list.yaml"
        cls.constitution.write_text(CONSTITUTION)
        prompts = [json.loads(line)["prompt"] for line in cls.setup.prompts.read_text().splitlines()]
        cls.prompts = cls.folder / "plain.txt"
        cls.prompts.write_text("\n".join(prompts * 2) + "\n")
        cls.run_folder = cls.folder / "run"
        cls.result = cls.train(cls.run_folder)

    @classmethod
    def tearDownClass(cls):
        cls.setup.close()
        cls.keeper.cleanup()

    @classmethod
    def train(cls, run, **settings):
        words = cls.setup.command(run, **{"revise.tries": 4, "revise.rounds": 2, "ppo.advantage": "rloo", "prompts.ordinary": 40, **settings})[1:]
        words[words.index("--constitution") + 1] = str(cls.constitution)
        words[words.index("--prompts") + 1] = str(cls.prompts)
        return cls.setup.cai(*words)

    def setUp(self):
        self.assertEqual(self.result.returncode, 0, self.result.stderr[-2000:])

    def test_who_decides_is_said_before_the_first_stage(self):
        self.assertIn("2 of 3 principles are verified by a program, 1 are judged by the model itself", self.result.stderr)

    def test_reinforcement_is_longer_where_checks_give_the_whole_reward(self):
        all_checked = self.folder / "checked.yaml"
        all_checked.write_text("- Use at most four words.\n")

        def rollouts(constitution, *more):
            result = self.setup.cai("plan", "--json", "--model", self.setup.model, "--prompts", self.prompts, "--constitution", constitution, "--set",
                                    "ppo.prompts_per_update=2", "--set", "ppo.samples_per_prompt=2", *more)
            self.assertEqual(result.returncode, 0, result.stderr[-1000:])
            return {step["stage"]: step for step in json.loads(result.stdout)["steps"]}["ppo"]["records"]

        self.assertEqual(rollouts(all_checked), rollouts(all_checked, "--set", "ppo.updates=40"))
        self.assertEqual(rollouts(self.constitution), rollouts(self.constitution, "--set", "ppo.updates=14"))
        self.assertGreater(rollouts(all_checked), rollouts(self.constitution))

    def test_a_broken_rule_is_the_critique(self):
        by_check = [r for r in records(self.run_folder, "critique-1") if r["critique_by"] == "check"]
        self.assertGreater(len(by_check), 0)
        for r in by_check:
            self.assertEqual(r["principle_by"], "check")
            self.assertIn("breaks the rule", r["critique"])
            words = len(r["answer"].replace(".", " ").split())
            self.assertTrue(words > 4 if r["principle"] == "p1" else "bread" in r["answer"].lower(), r)

    def test_a_revision_that_is_kept_follows_more(self):
        kept = [r for r in records(self.run_folder, "revise-1") if "followed" in r and r["revision_problem"] == ""]
        for r in kept:
            self.assertGreater(r["followed"]["after"], r["followed"]["before"])
        refused = [r for r in records(self.run_folder, "revise-1") if r["revision_problem"] not in ("", "none-asked")]
        self.assertTrue(all(r["tries"] == 4 for r in refused), refused)
        self.assertGreater(len(kept) + len(refused), 0)

    def test_labels_say_what_is_broken(self):
        labels = records(self.run_folder, "label")
        decided = [r for r in labels if r.get("decided_by") == "check"]
        for r in decided:
            self.assertIn("breaks the check", r["reason"])
            self.assertIn(r["principle"], ("p1", "p2"))
        self.assertEqual(figures(self.run_folder, "label")["decided_by"].get("check", 0), len(decided))

    def test_the_reward_is_by_checks_as_far_as_there_are_any(self):
        self.assertAlmostEqual(figures(self.run_folder, "ppo")["reward_by_checks"], 2 / 3)
        for line in (self.run_folder / "iter-01/ppo/metrics.jsonl").read_text().splitlines():
            update = json.loads(line)
            self.assertEqual(set(update["followed_by_principle"]), {"p1", "p2"})
            self.assertTrue(0 <= update["followed"] <= 1)

    def test_the_evaluation_says_by_principle_how_many_answers_follow(self):
        e = figures(self.run_folder, "eval")
        self.assertEqual(set(e["followed"]), {"p1", "p2"})
        self.assertEqual(set(e["followed"]["p1"]), {"base", "sl-cai", "rl-cai"})
        self.assertEqual(set(e["followed_last_step"]), {"p1", "p2"})
        self.assertIn("answered", e["measures"])
        self.assertIn("principles_followed", e["last_step"])

    def test_the_same_answers_are_scored_by_other_constitutions(self):
        other = self.folder / "other-rules.yaml"
        other.write_text("- Write without exclamation marks.\n- Answer in at most three sentences.\n")
        page = self.folder / "also.html"
        result = self.setup.cai("report", self.run_folder, "--also", other, "--out", page, "--json")
        self.assertEqual(result.returncode, 0, result.stderr)
        own, also = json.loads(result.stdout)["also"]
        e = figures(self.run_folder, "eval")
        for principle, by_model in e["followed"].items():
            for model, share in by_model.items():
                self.assertEqual(own["followed"][principle][model], share)
        for model, mean in e["measures"]["principles_followed"].items():
            self.assertAlmostEqual(own["mean"][model]["value"], mean["value"])
        self.assertEqual(set(also["followed"]), {"p1", "p2"})
        self.assertIn("By other constitutions", page.read_text())
        shuffled = self.setup.cai("report", self.run_folder, "--also", "shuffled", "--out", page)
        self.assertEqual(shuffled.returncode, 2)
        self.assertIn("there is nothing to shuffle", shuffled.stderr)

    def test_another_model_gives_feedback(self):
        other = tiny.write_model(self.folder / "other", seed=9)
        run = self.folder / "by-other"
        result = self.train(run, feedback=str(other), **{"eval.judge": str(other)})
        self.assertEqual(result.returncode, 0, result.stderr[-2000:])
        mine = {r["id"]: r for r in records(self.run_folder, "revise-1")}
        revised = [r for r in records(run, "revise-1") if r.get("tries")]
        self.assertTrue(any(mine[r["id"]]["revision"] != r["revision"] for r in revised))
        self.assertEqual([r["response"] for r in records(run, "generate")], [r["response"] for r in records(self.run_folder, "generate")])
        judges = figures(run, "exam")["judges"]
        self.assertEqual(list(judges), ["judge"])
        judged = figures(run, "eval")["judged"]
        self.assertEqual(list(judged["principles"]), ["p3"])  # the one without a check
        self.assertEqual(set(judged["helpful"]), {"sl-cai", "rl-cai"})
        self.assertNotIn("judged", figures(self.run_folder, "eval"))

    def test_a_feedback_model_that_is_not_there_is_told_before_anything_is_made(self):
        result = self.train(self.folder / "none", feedback="qwen9")
        self.assertEqual(result.returncode, 2)
        self.assertIn('model "qwen9": no such file or folder', result.stderr)
        self.assertFalse((self.folder / "none").exists())

    def test_init_writes_what_a_run_can_read(self):
        folder = self.folder / "desk"
        result = self.light("init", folder)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(self.light("constitution", "lint", folder / "constitution.yaml").returncode, 0)
        plan = self.setup.cai("plan", "--constitution", folder / "constitution.yaml", "--prompts", folder / "prompts.jsonl", "--model", self.setup.model,
                              "--set", "feedback=self", "--set", "eval.suites=")
        self.assertEqual(plan.returncode, 0, plan.stderr[-2000:])
        again = self.light("init", folder)
        self.assertEqual(again.returncode, 2)
        self.assertIn("exists already", again.stderr)

    def light(self, *arguments):
        import subprocess
        return subprocess.run([str(pathlib.Path(BINARY).resolve()), *map(str, arguments)], capture_output=True, text=True, timeout=60)


if __name__ == "__main__":
    unittest.main()
