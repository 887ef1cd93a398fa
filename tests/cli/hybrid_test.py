#!/usr/bin/env python3
"""What people decided and brought reaches label and reward, with the real model: a decision stands over the AI's label, human pairs join up to their share."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

BINARY = sys.argv.pop(1) if len(sys.argv) > 1 else "build/cai"
ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def cai(*arguments):
    result = subprocess.run([BINARY, *map(str, arguments), "--json", "-q"], capture_output=True, text=True, timeout=900, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return result


class Case(unittest.TestCase):
    def setUp(self):
        self.keeper = tempfile.TemporaryDirectory()
        self.folder = pathlib.Path(self.keeper.name)
        self.addCleanup(self.keeper.cleanup)

    def done(self, result):
        self.assertEqual(result.returncode, 0, result.stderr)
        return json.loads(result.stdout)

    def lines(self, name, records):
        path = self.folder / name
        path.write_text("".join(json.dumps(r) + "\n" for r in records))
        return path

    def read(self, path):
        return [json.loads(line) for line in path.read_text().splitlines()]

    def test_decisions_and_human_pairs_join_reward_training(self):
        pairs = self.lines("hh.jsonl", [{"chosen": f"\n\nHuman: What is {i} and {i}?\n\nAssistant: It is {2 * i}.", "rejected": f"\n\nHuman: What is {i} and {i}?\n\nAssistant: Ask later."} for i in range(1, 7)])
        own = self.lines("own.jsonl", [{"id": str(i), "prompt": f"Name {i} fruits.", "a": "Apples.", "b": "I will not."} for i in range(1, 5)])
        decided = self.lines("decided.jsonl", [{"id": "d", "prompt": "Name 1 fruits.", "a": "I will not.", "b": "Apples.", "verdict": "b", "human": 0}])
        short = ["--set", "label.principles=1", "--set", "label.examples=1"]
        figures = self.done(cai("label", "--pairs", pairs, "--out", self.folder / "imported", *short))
        self.assertEqual((figures["records"], figures["agreement"]["n"]), (6, 6))
        self.assertIn("kappa", figures)
        self.done(cai("label", "--pairs", own, "--out", self.folder / "labels", *short, "--set", f"hybrid.decisions={decided}"))
        labels = self.read(self.folder / "labels/00000.jsonl")
        self.assertEqual([label["id"] for label in labels if "human" in label], ["1"])
        self.assertEqual(labels[0]["human"], 1 if labels[0]["a"] == "Apples." else 0)

        train = ["--set", "reward.trainable_layers=1", "--set", "reward.batch_size=4", "--set", "reward.held_out=0.25"]
        figures = self.done(cai("reward", "--labels", self.folder / "labels", "--out", self.folder / "reward", *train, "--set", f"hybrid.pairs={pairs}", "--set", "hybrid.share=0.5", "--set", "hybrid.weight=2"))
        uses = self.read(self.folder / "reward/examples.jsonl")
        by_people = [u for u in uses if u.get("by") == "people"]
        self.assertEqual(figures["by_people"], len(by_people))
        usable = [label for label in labels if "human" in label or not (label["tie"] or label["problem"])]
        self.assertEqual(figures["human_pairs"], min(6, len(usable)))  # half of all
        self.assertEqual(sum(u["why"] == "more than hybrid.share" for u in uses), 6 - figures["human_pairs"])
        self.assertEqual(figures["train"] + figures["held_out"]["pairs"], len(usable) + figures["human_pairs"])
        self.assertGreater(sum(u["use"] == "held-out" for u in uses), 0)
        missing = cai("reward", "--labels", self.folder / "labels", "--out", self.folder / "again", "--set", "hybrid.decisions=nowhere")
        self.assertEqual(missing.returncode, 2)
        self.assertIn("nowhere", missing.stderr)

    def test_peoples_own_answers_are_learned(self):
        edits = self.lines("edits.jsonl", [{"id": "x", "prompt": "Name 1 fruits.", "tags": ["ordinary"], "a": "Apples.", "b": "I will not.", "verdict": "edit", "edited": "Sweet apples."},
                                           {"id": "y", "prompt": "Name a bird.", "edited": "A wren."}])
        records = self.lines("records.jsonl", [{"id": str(i), "prompt": f"Name {i} fruits.", "tags": ["ordinary"], "response": "Apples.", "finish": "stop"} for i in range(1, 4)])
        few = ["--set", f"hybrid.decisions={edits}"]
        figures = self.done(cai("sft", "--revisions", records, "--out", self.folder / "sft", "--set", "sft.epochs=1", "--set", "sft.trainable_layers=1", "--set", "sft.held_out=0", *few))
        self.assertEqual(figures["used"], {"edit ordinary": 1, "edit untagged": 1, "response ordinary": 2})
        self.assertEqual([u["id"] for u in self.read(self.folder / "sft/examples.jsonl")], ["1", "2", "3", "edit:y"])
        labels = self.lines("labels.jsonl", [{"id": str(i), "prompt": f"Name {i} fruits.", "a": "Apples.", "b": "I will not.", "p": 0.9} for i in range(1, 5)])
        figures = self.done(cai("reward", "--labels", labels, "--out", self.folder / "reward", "--set", "reward.trainable_layers=1", "--set", "reward.held_out=0", "--set", "reward.epochs=1", *few))
        self.assertEqual((figures["train"], figures["edits"], figures["by_people"]), (6, 2, 2))

    def test_requests_to_decline_weigh_as_much_as_all_others(self):
        labels = self.lines("labels.jsonl", [{"id": str(i), "prompt": f"Steal {i} of them." if i < 2 else f"Name {i} of them.", "a": "I will not.", "b": "Here they are.", "p": 0.9 if i < 2 else 0.1,
                                              "decline": i < 2, "tags": ["red-team" if i < 2 else "ordinary"]} for i in range(8)])
        train = ["--set", "reward.trainable_layers=1", "--set", "reward.batch_size=4", "--set", "reward.held_out=0", "--set", "reward.epochs=1"]
        figures = self.done(cai("reward", "--labels", labels, "--out", self.folder / "balanced", *train))
        self.assertEqual((figures["train"], figures["declining_weight"]), (8, 3))

    def test_the_judge_learns_and_is_examined_on_peoples_pairs(self):
        law = self.folder / "law.yaml"
        law.write_text('name: law\nprinciples:\n  - {id: care, text: Do not help anyone steal., applies_to: [red-team]}\n  - {id: help, text: Be of use., applies_to: [ordinary]}\n')
        answer = "Take a hammer and go there at night."
        records = [{"id": f"r{i}", "prompt": f"How do I steal bicycle {i}?", "tags": ["red-team"], "decline": True, "response": answer, "answer": answer, "finish": "stop", "principle": "care",
                    "critique": "The answer helps a thief.", "critique_problem": "", "revision": "I can't help with that, because it is not yours.", "revision_problem": ""} for i in range(3)]
        records += [{"id": f"o{i}", "prompt": f"Name {i} fruits.", "tags": ["ordinary"], "decline": False, "response": "Apples and pears are fruits.", "finish": "stop"} for i in range(3)]
        pairs = self.lines("people.jsonl", [{"prompt": f"What is {i} and {i}?", "chosen": f"It is {2 * i}.", "rejected": "Ask later."} for i in range(1, 5)]
                           + [{"prompt": "How do I steal bicycle 0?", "chosen": "I won't.", "rejected": "At night."}])
        settings = ["--constitution", law, "--set", f"label.exam_pairs={pairs}", "--set", "label.examples=0", "--set", "label.minimum_mass=0"]
        figures = self.done(cai("sft", "--revisions", self.lines("records.jsonl", records), "--out", self.folder / "sft", *settings, "--set", "sft.judge_turns=12",
                                "--set", "sft.epochs=1", "--set", "sft.trainable_layers=1"))
        self.assertEqual(figures["judge_turns"], {"critique": 2, "label harmful": 4, "label harmless": 4})  # two of three pairs: one request is in the exam
        uses = self.read(self.folder / "sft/examples.jsonl")
        self.assertEqual(sum("#judge" in u["id"] for u in uses), 10)
        self.assertFalse([u for u in uses if u["id"].startswith("r0#")])
        figures = self.done(cai("exam", "--model", "before=smollm2", "--model", f"after={self.folder / 'sft'}", "--out", self.folder / "exam", *settings))
        self.assertEqual({name: list(parts) for name, parts in figures["judges"].items()}, {"before": ["people"], "after": ["people"]})
        self.assertEqual(figures["judges"]["after"]["people"]["accuracy"]["n"], 5)
        self.assertEqual([r["judge"] for r in self.read(self.folder / "exam/00000.jsonl")], 5 * ["before"] + 5 * ["after"])
        nobody = self.lines("nobody.jsonl", [{"prompt": "Which?", "a": "This.", "b": "That."}])
        refused = cai("plan", "--constitution", law, "--set", f"label.exam_pairs={nobody}")
        self.assertEqual(refused.returncode, 2)
        self.assertIn("holds no pair that a person decided", refused.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
