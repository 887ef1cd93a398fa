#!/usr/bin/env python3
"""What comes after the labels: DPO instead of a reward model and PPO, best of n, and stages taken over from another run. A tiny model."""
import json
import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "reliability"))
import tiny  # noqa: E402

BINARY = sys.argv.pop(1) if len(sys.argv) > 1 else "build/cai"


def figures(run, stage):
    return json.loads((run / "iter-01" / stage / "manifest.json").read_text())["figures"]


class Methods(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.keeper = tempfile.TemporaryDirectory()
        cls.folder = pathlib.Path(cls.keeper.name)
        cls.setup = tiny.Setup(pathlib.Path(BINARY).resolve().with_name("cai-run"), cls.folder)
        cls.first = cls.folder / "first"
        cls.result = cls.setup.train(cls.first)

    @classmethod
    def tearDownClass(cls):
        cls.setup.close()
        cls.keeper.cleanup()

    def setUp(self):
        self.assertEqual(self.result.returncode, 0, self.result.stderr[-2000:])

    def by_dpo(self, name, *more):
        run = self.folder / name
        return run, self.setup.cai(*self.setup.command(run, method="dpo", **{"dpo.batch_size": 4, "dpo.trainable_layers": 1})[1:], *more)

    def test_dpo_takes_over_what_it_shares_and_learns_from_the_labels(self):
        run, result = self.by_dpo("reusing", "--reuse", self.first)
        self.assertEqual(result.returncode, 0, result.stderr[-2000:])
        for stage in ("prompts", "generate", "critique-1", "revise-1", "sft", "exam", "candidates", "label"):
            self.assertIn(f"iter-01/{stage}: reused from {self.first}", result.stderr)
        self.assertFalse((run / "iter-01/reward").exists() or (run / "iter-01/ppo").exists())
        self.assertEqual(figures(run, "eval")["models"], ["base", "sl-cai", "dpo"])
        self.assertEqual(figures(run, "dpo")["pairs"], figures(run, "dpo")["train"])
        self.assertEqual(self.setup.cai("verify", run).returncode, 0)
        # The same run without reuse has the same files.
        alone, result = self.by_dpo("alone")
        self.assertEqual(result.returncode, 0, result.stderr[-2000:])
        self.assertEqual(tiny.differences(tiny.snapshot(alone), tiny.snapshot(run)), [])

    def test_each_iteration_is_asked_the_same_and_trained_on_none_of_it(self):
        run = self.folder / "two"
        result = self.setup.cai(*self.setup.command(run, iterations=2)[1:], "--reuse", self.first)
        self.assertEqual(result.returncode, 0, result.stderr[-2000:])
        def records(iteration, stage):
            return [json.loads(line) for line in (run / f"iter-0{iteration}" / stage / "00000.jsonl").read_text().splitlines()]
        asked = [sorted((r["id"], r.get("suite", ""), r["prompt"]) for r in records(i, "eval") if r["model"] == "base" and "prompt" in r) for i in (1, 2)]
        self.assertEqual(asked[0], asked[1])
        self.assertGreater(sum("failure" in json.loads(line) for line in (run / "iter-01/eval/failures.jsonl").read_text().splitlines()), 0)
        for i in (1, 2):
            self.assertFalse({prompt for _, _, prompt in asked[0]} & {r["prompt"] for r in records(i, "prompts")})

    def test_eval_says_how_far_a_model_went_from_the_first(self):
        out, tuned = self.folder / "apart", self.first / "iter-01/sft"
        def asked(gate, folder):
            return self.setup.cai("eval", "--model", f"base={self.setup.model}", "--model", f"same={self.setup.model}", "--model", f"tuned={tuned}", "--constitution", self.setup.constitution,
                                  "--prompts", self.setup.prompts, "--out", folder, "--max-new-tokens", 12, "--set", "engine.dtype=float32", "--set", "eval.suites=", "--set", f"eval.gates={gate}")
        result = asked("divergence >= 0.0001", out)
        self.assertEqual(result.returncode, 0, result.stderr[-2000:])
        divergence = json.loads((out / "manifest.json").read_text())["figures"]["measures"]["divergence"]
        self.assertEqual([divergence[name]["value"] for name in ("base", "same")], [0, 0])
        self.assertGreater(divergence["tuned"]["value"], 0)
        self.assertEqual(asked("divergence <= base", self.folder / "held").returncode, 100)

    def test_explain_says_whose_revisions_moved_an_answer(self):
        result = self.setup.cai("explain", self.first, "--prompt", "steal money", "--against", "bread and water.", "--json")
        self.assertEqual(result.returncode, 0, result.stderr[-2000:])
        e = json.loads(result.stdout)
        self.assertEqual(e["before"], "bread and water.")
        trained = [json.loads(line) for line in (self.first / "iter-01/sft/examples.jsonl").read_text().splitlines()]
        groups = e["principles"] + ([e["harmless"]] if e["harmless"] else [])
        self.assertEqual(sum(g["examples"] for g in groups), sum(use["use"] == "train" for use in trained))
        self.assertAlmostEqual(sum(g["share"] for g in groups), 1, places=6)
        self.assertTrue(all(g["low"] is None or g["low"] <= g["sum"] <= g["high"] for g in groups))  # None: of one example
        self.assertEqual([p["sum"] for p in e["principles"]], sorted((p["sum"] for p in e["principles"]), reverse=True))
        refused = self.setup.cai("explain", self.folder, "--prompt", "steal money")
        self.assertEqual((refused.returncode, "fine-tuning has not finished" in refused.stderr), (2, True), refused.stderr)

    def test_a_point_between_two_models_is_the_mean_of_their_weights(self):
        tuned = self.first / "iter-01/sft/checkpoint"
        for share in (0.25, -0.5):
            out = self.folder / f"mixed{share}"
            result = self.setup.cai("export", "--model", tuned, "--towards", self.setup.model, "--share", share, "--out", out)
            self.assertEqual(result.returncode, 0, result.stderr[-2000:])
            a, b, mixed = (tiny.read_model(folder) for folder in (tuned, self.setup.model, out))
            self.assertEqual(a.keys(), mixed.keys())
            self.assertNotEqual(a, b)
            for name in a:
                for x, y, z in zip(a[name], b[name], mixed[name], strict=True):
                    self.assertAlmostEqual(z, (1 - share) * x + share * y, places=5)
        refused = lambda *more: self.setup.cai("export", "--model", tuned, "--out", self.folder / "no", *more)
        for problem, more in (("a number from -1 to 1", ["--towards", self.setup.model, "--share", "much"]), ("both or neither", ["--share", 0.5]),
                              ("weights of other names or shapes", ["--towards", "smollm2", "--share", 0.5])):
            result = refused(*more)
            self.assertEqual((result.returncode, problem in result.stderr, len(result.stderr.splitlines())), (2, True, 1), result.stderr)
        self.assertFalse((self.folder / "no").exists())

    def test_what_was_not_made_by_a_run_is_not_reused(self):
        run, result = self.by_dpo("nothing", "--reuse", self.folder / "model")
        self.assertEqual(result.returncode, 2, result.stderr)
        self.assertIn("not a run folder", result.stderr)
        self.assertFalse(run.exists())

    def test_harmful_answers_come_from_the_initial_model(self):
        base, policy = self.setup.model, self.first / "iter-01/ppo"
        said = {}
        for name, models in (("base", ["--model", base]), ("policy", ["--model", policy]), ("both", ["--model", policy, "--initial", base])):
            out = self.folder / f"candidates-{name}"
            result = self.setup.cai("candidates", *models, "--constitution", self.setup.constitution, "--prompts", self.setup.prompts, "--contrast", "--out", out, "--max-new-tokens", 12,
                                    "--set", "engine.dtype=float32", "--temperature", 1)
            self.assertEqual(result.returncode, 0, result.stderr[-2000:])
            said[name] = {(r["id"], c["side"], k): (r["decline"], c["text"]) for r in map(json.loads, (out / "00000.jsonl").read_text().splitlines()) for k, c in enumerate(r["candidates"])}
        harmful = [key for key, (decline, _) in said["both"].items() if decline and key[1] == "opposite"]
        self.assertGreater(len(harmful), 0)
        for key in said["both"]:
            self.assertEqual(said["both"][key], said["base" if key in harmful else "policy"][key], key)
        self.assertNotEqual([said["base"][key] for key in harmful], [said["policy"][key] for key in harmful])
        plain = self.setup.cai("candidates", "--model", policy, "--initial", base, "--constitution", self.setup.constitution, "--prompts", self.setup.prompts, "--out", self.folder / "plain")
        self.assertEqual((plain.returncode, "--initial" in plain.stderr), (2, True))

    def test_best_of_n_chooses_by_reward(self):
        out = self.folder / "eval"
        few = self.folder / "few.yaml"
        few.write_text("eval: {red_team: 1, ordinary: 1, borderline: 1}\n")  # prompts that are named are asked all the same
        common = ["--include-train", "--config", few, "--constitution", self.setup.constitution, "--prompts", self.setup.prompts, "--set", "eval.suites=", "--set", "eval.bootstrap_samples=100", "--set", "eval.max_new_tokens=8"]
        models = ["--model", f"base={self.setup.model}", "--model", f"sl={self.first / 'iter-01/sft'}"]
        result = self.setup.cai("eval", *models, "--best-of", 4, "--reward", self.first / "iter-01/reward", *common, "--out", out)
        self.assertEqual(result.returncode, 0, result.stderr[-2000:])
        records = [json.loads(line) for line in (out / "00000.jsonl").read_text().splitlines()]
        by_model = {}
        for record in records:
            by_model.setdefault(record["model"], []).append({"id": record["id"], "prompt": record["prompt"], "a": record["response"]})
        self.assertEqual(list(by_model), ["base", "sl", "sl, best of 4"])
        self.assertEqual(sum(r["model"] == "sl" and r["tags"] == ["red-team"] for r in records), 9)
        # What it gives is scored higher than what the same policy says first, on average.
        pairs = self.folder / "pairs.jsonl"
        with pairs.open("w") as lines:
            for chosen, plain in zip(by_model["sl, best of 4"], by_model["sl"]):
                if chosen["a"] and plain["a"]:
                    lines.write(json.dumps({**chosen, "b": plain["a"]}) + "\n")
        scores = self.folder / "scores"
        result = self.setup.cai("score", "--model", self.first / "iter-01/reward", "--pairs", pairs, "--out", scores)
        self.assertEqual(result.returncode, 0, result.stderr[-2000:])
        scored = [json.loads(line) for line in (scores / "00000.jsonl").read_text().splitlines()]
        self.assertGreater(sum(s["margin"] for s in scored), 0)

    def test_best_of_n_needs_its_reward_model(self):
        result = self.setup.cai("eval", "--model", f"base={self.setup.model}", "--best-of", 4, "--prompts", self.setup.prompts, "--out", self.folder / "none")
        self.assertEqual(result.returncode, 2)
        self.assertIn("--best-of and --reward: give both or neither", result.stderr)


if __name__ == "__main__":
    unittest.main()
