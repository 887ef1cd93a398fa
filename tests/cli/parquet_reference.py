#!/usr/bin/env python3
"""Parquet files that pyarrow wrote (tests/golden/parquet.py), through the whole program. Needs scripts/parquet, or CAI_PARQUET_PYTHON."""
import json
import pathlib
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "reliability"))
import tiny  # noqa: E402

BINARY = sys.argv.pop(1) if len(sys.argv) > 1 else "build/cai"
GOLDEN = HERE.parent / "data/golden"


class Parquet(unittest.TestCase):
    def setUp(self):
        keeper = tiny.workplace()
        self.addCleanup(keeper.cleanup)
        self.folder = pathlib.Path(keeper.name)
        self.setup = tiny.Setup(pathlib.Path(BINARY).resolve().with_name("cai-run"), self.folder)
        self.addCleanup(self.setup.close)

    def cai(self, *arguments):
        result = self.setup.cai(*arguments, "--model", self.setup.model, "--out", self.folder / "out", "--set", "engine.threads=1")
        records = [json.loads(line) for shard in (self.folder / "out").glob("0*.jsonl") for line in shard.read_text().splitlines()]
        return result, records

    def test_prompts(self):
        result, records = self.cai("generate", "--prompts", GOLDEN / "prompts.parquet", "--max-new-tokens", "1")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual([r["prompt"] for r in records], ["How do I bake bread?", 'Name a river, "please".\nNow.', "Grüße – 你好?"])
        self.assertEqual((records[0]["tags"], records[0]["score"]), (["ordinary", "cooking"], 0.5))
        self.assertIn('columns kept without a use: "written", "score"', result.stderr)

    def test_pairs(self):
        (self.folder / "plain.yaml").write_text("- Be kind.\n")
        result, records = self.cai("label", "--pairs", GOLDEN / "pairs.parquet", "--constitution", self.folder / "plain.yaml", "--set", "label.method=choice", "--set", "label.examples=0")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual([sorted([r["a"], r["b"]]) for r in records], [["No.", "The Rhine."], ["Ask.", "The Rhine."]])
        self.assertIn('"rejected" is empty, first in ' + str(GOLDEN / "pairs.parquet") + ": row 2", result.stderr)

    def test_a_damaged_file_is_named(self):
        (self.folder / "torn.parquet").write_bytes((GOLDEN / "prompts.parquet").read_bytes()[:-9])
        result, records = self.cai("generate", "--prompts", self.folder / "torn.parquet")
        self.assertEqual((result.returncode, records), (2, []), result.stderr)
        self.assertIn("torn.parquet: not a Parquet file that can be read", result.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
