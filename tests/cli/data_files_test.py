#!/usr/bin/env python3
"""The files that people bring, through the whole program: a tiny model, every form of file, and runs on prompts without tags."""
import gzip
import json
import pathlib
import random
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "reliability"))
import tiny  # noqa: E402

BINARY = sys.argv.pop(1) if len(sys.argv) > 1 else "build/cai"
PLAIN = "- Do not help hurt, steal or poison.\n- Be kind to a friend.\n"


def words(n, seed):
    rng = random.Random(seed)
    return [" ".join(rng.sample(tiny.WORDS, 5)) for _ in range(n)]


def read(folder):
    return [json.loads(line) for shard in sorted(pathlib.Path(folder).glob("0*.jsonl")) for line in shard.read_text().splitlines()]


def figures(run, stage):
    return json.loads((run / "iter-01" / stage / "manifest.json").read_text())["figures"]


class DataFiles(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.keeper = tiny.workplace()
        cls.folder = pathlib.Path(cls.keeper.name)
        cls.setup = tiny.Setup(pathlib.Path(BINARY).resolve().with_name("cai-run"), cls.folder)
        (cls.folder / "plain.yaml").write_text(PLAIN)
        cls.words = words(30, 7)
        (cls.folder / "plain.txt").write_text("".join(line + "\n" for line in cls.words))
        # Random weights give "A" and "B" little of their probability: where the program asks for more, it must not here.
        cls.judging = {"label.minimum_margin": 0}
        if cls.setup.cai("config", "explain", "label.minimum_mass").returncode == 0:
            cls.judging["label.minimum_mass"] = 0
        cls.plain_run = cls.folder / "plain-run"
        cls.result = cls.plain(cls.plain_run)

    @classmethod
    def tearDownClass(cls):
        cls.setup.close()
        cls.keeper.cleanup()

    @classmethod
    def plain(cls, run, *more, **settings):
        """`cai train` on a list of sentences and a list of prompts."""
        every = {**tiny.SETTINGS, "eval.suites": "", **cls.judging, **settings}
        given = [word for name, value in every.items() for word in ("--set", f"{name}={value}")]
        return cls.setup.cai("train", "--constitution", cls.folder / "plain.yaml", "--prompts", cls.folder / "plain.txt",
                             "--model", cls.setup.model, "--out", run, *given, *more)

    def generated(self, name, text):
        path = self.folder / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        out = self.folder / ("out-" + name)
        result = self.setup.cai("generate", "--model", self.setup.model, "--prompts", path, "--out", out, "--max-new-tokens", "1")
        self.assertEqual(result.returncode, 0, result.stderr)
        return [r["prompt"] for r in read(out)]

    def test_a_list_of_sentences_and_a_list_of_prompts_go_from_start_to_report(self):
        self.assertEqual(self.result.returncode, 0, self.result.stderr[-3000:])
        self.assertIn("has a kind tag (red-team, borderline or ordinary)", self.result.stderr)
        self.assertIn("the judge chooses between answers", self.result.stderr)
        self.assertTrue((self.plain_run / "report.html").exists())
        trained = {r["prompt"] for r in read(self.plain_run / "iter-01/prompts")}
        asked = {r["prompt"] for r in read(self.plain_run / "iter-01/eval")}
        self.assertTrue(trained and asked and not trained & asked)
        self.assertLessEqual(trained | asked, set(self.words))
        self.assertEqual(figures(self.plain_run, "critique-1")["critiques"], len(trained))
        self.assertEqual(figures(self.plain_run, "label")["method"], "choice")
        self.assertGreaterEqual(figures(self.plain_run, "reward")["labels"], 2)
        ordinary = figures(self.plain_run, "eval")["measures"]["refusal_ordinary"]
        self.assertEqual(ordinary["base"]["n"], len(asked))  # prompts without a kind are evaluated with the ordinary ones

    def test_what_cannot_be_done_with_the_prompts_is_said_before_anything_is_made(self):
        run = self.folder / "contrast"
        refused = self.plain(run, **{"label.method": "contrast"})
        self.assertEqual(refused.returncode, 2, refused.stderr)
        self.assertIn("label.method=choice", refused.stderr)
        self.assertFalse(run.exists())
        (self.folder / "idle.yaml").write_text("name: idle\nprinciples:\n  - {id: a, text: Be kind., applies_to: [redteam]}\n")
        typed = self.setup.cai("plan", "--model", self.setup.model, "--constitution", self.folder / "idle.yaml", "--prompts", self.setup.prompts)
        self.assertEqual(typed.returncode, 2, typed.stderr)
        self.assertIn("no principle applies to any training prompt", typed.stderr)

    def test_mistyped_tags_and_limits_are_told_at_the_start(self):
        lines = [{"prompt": w, "tags": [("red_team", "ordinary", "redteam")[i % 3]]} for i, w in enumerate(self.words)]
        (self.folder / "typed.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        (self.folder / "typed.yaml").write_text("name: typed\nprinciples:\n  - {id: a, text: Be kind., applies_to: [ordinary, red_team]}\n  - {id: b, text: Be brief.}\n")
        told = self.setup.cai("plan", "--model", self.setup.model, "--constitution", self.folder / "typed.yaml", "--prompts", self.folder / "typed.jsonl",
                              "--set", "prompts.ordinary=5")
        self.assertEqual(told.returncode, 0, told.stderr)
        for piece in ['the tag "red_team" on 10 prompts is no kind; did you mean "red-team"?', 'the tag "redteam" on 10 prompts', "prompts.ordinary = 5:",
                      'principle "a" applies to the tag "red_team"; did you mean "red-team"?', "labels by contrast leave them out"]:
            self.assertIn(piece, told.stderr)

    def test_eval_asks_nothing_that_the_model_was_trained_on(self):
        def asked(name, *more):
            out = self.folder / name
            result = self.setup.cai("eval", "--model", f"base={self.setup.model}", "--model", f"mine={self.plain_run}", "--constitution", self.folder / "plain.yaml",
                                    "--set", "eval.suites=", "--set", "engine.threads=1", "--max-new-tokens", "4", "--out", out, *more)
            return result, {r["prompt"] for r in read(out)} if out.exists() else set()
        trained = {r["prompt"] for r in read(self.plain_run / "iter-01/prompts")}
        held_out = {r["prompt"] for r in read(self.plain_run / "iter-01/eval")}
        result, some = asked("e1", "--prompts", self.folder / "plain.txt")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn('prompts of the split "train"', result.stderr)
        self.assertFalse(some & trained)
        self.assertLessEqual(held_out, some)
        result, every = asked("e2", "--prompts", self.folder / "plain.txt", "--include-train")
        self.assertEqual(every, set(self.words))
        self.assertIn("are training prompts of these models' runs", result.stderr)
        alone = self.setup.cai("eval", "--model", f"base={self.setup.model}", "--constitution", self.folder / "plain.yaml", "--prompts",
                               self.folder / "plain.txt", "--set", "eval.suites=", "--max-new-tokens", "2", "--out", self.folder / "e0")
        self.assertEqual(alone.returncode, 0, alone.stderr)
        self.assertEqual({r["prompt"] for r in read(self.folder / "e0")}, set(self.words), "a model of no run was trained on nothing that is known")
        # Whatever a file calls them: what the model's own run trained on is known from the run.
        one, new = sorted(trained)[0], "a house and a garden and a dog"
        (self.folder / "called.jsonl").write_text("".join(json.dumps({"prompt": p, "split": "held-out"}) + "\n" for p in (one, new)))
        result, some = asked("e3", "--prompts", self.folder / "called.jsonl")
        self.assertEqual(some, {new}, result.stderr)
        self.assertIn("1 prompts are left out: a run of these models trained on them", result.stderr)
        (self.folder / "trained.jsonl").write_text(json.dumps({"prompt": one, "split": "held-out"}) + "\n")
        result, some = asked("e4", "--prompts", self.folder / "trained.jsonl")
        self.assertEqual((result.returncode, some), (2, set()), result.stderr)
        self.assertIn("--include-train", result.stderr)

    def test_what_people_bring_on_prompts_that_eval_asks_is_left_out(self):
        held_out = [json.loads(line)["prompt"] for line in self.setup.prompts.read_text().splitlines() if '"held-out"' in line]
        own = words(6, 11)
        (self.folder / "brought.jsonl").write_text("".join(json.dumps({"prompt": p, "chosen": "a friend.", "rejected": "a dog."}) + "\n"
                                                           for p in [held_out[0] + "?", "Tell a friend!", *own]))
        (self.folder / "edits.jsonl").write_text("\n".join(json.dumps({"id": str(i), "prompt": p, "tags": ["ordinary"], "edited": "ask a friend."}) for i, p in enumerate([held_out[1], own[0]])))
        run = self.folder / "brought"
        result = self.setup.train(run, settings={"hybrid.pairs": self.folder / "brought.jsonl", "hybrid.decisions": self.folder / "edits.jsonl", "hybrid.share": 1})
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("hybrid.pairs: 2 records are left out", result.stderr)
        self.assertEqual(json.loads((run / "run.json").read_text())["left_out"], {"hybrid.pairs": 2, "hybrid.decisions": 1})
        self.assertEqual(figures(run, "reward")["human_pairs"], 6)
        self.assertEqual(figures(run, "sft")["used"]["edit ordinary"], 1, "a last line without a line break counts")

    def test_what_people_bring_does_not_change_the_balance_of_the_ai_labels(self):
        labels = [{"id": str(i), "prompt": w, "a": "a friend", "b": "a dog", "p": 0.9, "decline": i < 2, "tags": ["red-team" if i < 2 else "ordinary"]}
                  for i, w in enumerate(words(8, 21))]
        (self.folder / "labels.jsonl").write_text("".join(json.dumps(label) + "\n" for label in labels))
        (self.folder / "people.csv").write_text("prompt,chosen,rejected\n" + "".join(f"{w},a house,a road\n" for w in words(12, 22)))
        weights = []
        for name, more in [("alone", []), ("joined", ["--set", f"hybrid.pairs={self.folder / 'people.csv'}", "--set", "hybrid.share=1"])]:
            out = self.folder / ("reward-" + name)
            result = self.setup.cai("reward", "--model", self.setup.model, "--labels", self.folder / "labels.jsonl", "--out", out, "--set", "reward.epochs=1",
                                    "--set", "reward.held_out=0", "--set", "engine.threads=1", *more)
            self.assertEqual(result.returncode, 0, result.stderr)
            made = json.loads((out / "manifest.json").read_text())["figures"]
            weights.append((made["declining_weight"], made["human_pairs"]))
        self.assertEqual(weights, [(3, 0), (3, 12)])

    def test_prompts_of_each_form_are_asked(self):
        two = ["bread and water, please", 'say "yes" to a friend']
        messages = [{"messages": [{"role": "user", "content": p}]} for p in two]
        table = 'prompt,tags\n"bread and water, please",ordinary\n"say ""yes"" to a friend",\n'
        for name, text in {"p.json": json.dumps([{"prompt": p} for p in two], indent=1), "p.jsonl.gz": gzip.compress("".join(json.dumps(m) + "\n" for m in messages).encode()),
                           "p.csv": table, "p.csv.gz": gzip.compress(table.encode()), "twice.txt": "\n".join([*two, two[0]])}.items():
            self.assertEqual(self.generated(name, text), two, name)

    def test_a_parquet_file_says_what_it_needs(self):
        (self.folder / "p.parquet").write_bytes(b"PAR1")
        result = self.setup.cai("generate", "--model", self.setup.model, "--prompts", self.folder / "p.parquet", "--out", self.folder / "pq",
                                env={"CAI_PARQUET_PYTHON": "/nowhere"})
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("scripts/parquet", result.stderr)
        self.assertFalse((self.folder / "pq").exists())

    def test_fields_of_other_tools_are_kept_by_each_stage(self):
        (self.folder / "more.jsonl").write_text(json.dumps({"prompt": "a friend and a dog", "source": "book", "answer": "no"}) + "\n" + json.dumps({"prompt": "money is not good bread"}) + "\n")
        result = self.setup.cai("prompts", "--prompts", self.folder / "more.jsonl", "--out", self.folder / "chosen")
        self.assertEqual(result.returncode, 0, result.stderr)
        first = read(self.folder / "chosen")[0]
        self.assertEqual((first["source"], first["prompt_answer"]), ("book", "no"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
