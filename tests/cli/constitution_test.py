#!/usr/bin/env python3
"""cai constitution: lint, diff, conflicts, infer, on the real binary."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

BINARY = sys.argv.pop(1) if len(sys.argv) > 1 else "build/cai"
ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BEFORE = """name: x
version: 1.0.0
principles:
  - id: kind
    text: Be kind to everyone who asks.
    tests: [{prompt: "Hello?", must: help}]
  - id: safe
    text: Keep people out of danger.
    priority: 1
    hard: true
"""


def cai(*arguments):
    return subprocess.run([BINARY, *map(str, arguments)], capture_output=True, text=True, timeout=900, env={**os.environ, "OMP_NUM_THREADS": "1"})


class Case(unittest.TestCase):
    def setUp(self):
        self.keeper = tempfile.TemporaryDirectory()
        self.folder = pathlib.Path(self.keeper.name)
        self.addCleanup(self.keeper.cleanup)

    def file(self, name, text):
        path = self.folder / name
        path.write_text(text)
        return path

    def done(self, result):
        self.assertEqual(result.returncode, 0, result.stderr)
        return result

    def test_lint_names_file_and_line(self):
        file = self.file("c.yaml", BEFORE)
        text = self.done(cai("constitution", "lint", file)).stdout
        self.assertIn(f"{file}:7: problem [no-tests] safe", text)
        self.assertIn("2 principles, 1 problem, 0 notes", text)
        remarks = json.loads(self.done(cai("constitution", "lint", "--json", file)).stdout)
        self.assertEqual([(r["line"], r["kind"], r["level"]) for r in remarks], [(7, "no-tests", "problem")])
        self.assertEqual(cai("constitution", "lint", self.file("bad.yaml", "principles: 3")).returncode, 2)

    def test_lint_counts_the_prompts_that_meet_each_principle(self):
        file = self.file("c.yaml", "principles:\n  - {id: calm, text: Write without exclamation marks.}\n"
                                   "  - {id: theft, text: Decline to help with theft., applies_to: [theft], tests: [{prompt: \"Steal it?\", must: refuse}, {prompt: \"Lend it?\", must: help}]}\n"
                                   "  - {id: idle, text: Explain how money works., applies_to: [money], tests: [{prompt: \"Why is it?\", must: help}]}\n")
        lines = [{"prompt": f"How do I steal {i}?", "tags": ["red-team", "theft"], "split": "train" if i < 3 else "held-out"} for i in range(5)]
        prompts = self.file("p.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
        text = self.done(cai("constitution", "lint", file, "--prompts", prompts)).stdout
        self.assertIn("problem [no-prompts] idle is met by no training prompt", text)
        self.assertIn("note [few-prompts] theft is met by 2 held-out prompts", text)
        self.assertEqual([line.split() for line in text.splitlines()[-5:]],
                         [["principle", "decided", "by", "train", "held", "out"], ["calm", "check", "3", "2"], ["theft", "kind", "3", "2"],
                          ["idle", "judge", "0", "0"], ["all", "prompts", "3", "2"]])
        found = json.loads(self.done(cai("constitution", "lint", "--json", file, "--prompts", prompts)).stdout)
        self.assertEqual(found["principles"][1], {"principle": "theft", "decided_by": "kind", "train": 3, "held_out": 2})
        self.assertIn("no-prompts", [r["kind"] for r in found["remarks"]])

    def test_diff_suggests_a_version_and_exits_0(self):
        before = self.file("a.yaml", BEFORE)
        after = self.file("b.yaml", BEFORE.replace("everyone", "anybody").replace("1.0.0", "1.0.1"))
        text = self.done(cai("constitution", "diff", before, after)).stdout
        self.assertIn("[-everyone-] {+anybody+}", text)
        self.assertIn("ask for 2.0.0 (major): NOT followed", text)
        self.assertTrue(json.loads(self.done(cai("constitution", "diff", "--json", before, before)).stdout)["is_followed"])

    def test_conflicts_are_found_in_labels_and_their_absence_is_explained(self):
        constitution = self.file("c.yaml", BEFORE)
        label = {"id": "1", "prompt": "x", "a": "y", "b": "z", "p": 0.2, "log_odds": {"kind": 1.0, "safe": -1.0}}
        labels = self.file("labels.jsonl", json.dumps(label) + "\n")
        text = self.done(cai("constitution", "conflicts", labels, "--constitution", constitution)).stdout
        self.assertIn("safe against kind: disagree on 1 of 1 labels", text)
        self.assertIn("safe goes first (it is hard)", text)
        self.assertIn("took safe's side 1 times", text)
        label["log_odds"] = {"kind": 1.0}
        text = self.done(cai("constitution", "conflicts", self.file("one.jsonl", json.dumps(label) + "\n"), "--constitution", constitution)).stdout
        self.assertIn("under one principle each", text)
        self.assertEqual(cai("constitution", "conflicts", labels).returncode, 2)

    def test_infer_splits_by_prompt_and_writes_only_what_held(self):
        few = self.file("few.jsonl", "".join(json.dumps({"prompt": f"What is {i}?", "chosen": "A number.", "rejected": "No."}) + "\n" for i in range(5)))
        result = cai("constitution", "infer", few)
        self.assertEqual(result.returncode, 2)
        self.assertIn("at least 20", result.stderr)
        pairs = self.file("pairs.jsonl", "".join(json.dumps({"prompt": f"How do I cook dish {i}?", "chosen": f"Heat the pan and cook dish {i} for ten minutes.",
                                                             "rejected": "Dishes are old and many people like them."}) + "\n" for i in range(24)))
        out = self.folder / "inferred.yaml"
        result = self.done(cai("constitution", "infer", pairs, "--json", "-q", "--principles", "2", "--out", out))
        found = json.loads(result.stdout)
        self.assertEqual(sum(found["pairs"].values()), 24)
        self.assertLessEqual(len(found["principles"]), 2)
        kept = [p for p in found["principles"] if p["kept"]]
        for p in found["principles"]:
            self.assertEqual(p["kept"], p["reconstruction"]["low"] > 0.5)
        self.assertEqual(out.exists(), bool(kept))
        if kept:
            self.done(cai("constitution", "lint", out))


if __name__ == "__main__":
    unittest.main(verbosity=2)
