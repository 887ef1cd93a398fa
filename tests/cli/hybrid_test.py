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


if __name__ == "__main__":
    unittest.main(verbosity=2)
