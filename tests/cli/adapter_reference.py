#!/usr/bin/env python3
"""Adapters that the program trained and wrote, opened by PEFT: the logits of the merged checkpoint. A tiny model; .deps/reference with peft."""
import pathlib
import subprocess
import sys
import tempfile
import unittest

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "reliability"))
import tiny  # noqa: E402

BINARY = sys.argv.pop(1) if len(sys.argv) > 1 else "build/cai"
SETTINGS = {f"{stage}.lora.{name}": value for stage in ("sft", "reward", "ppo") for name, value in (("rank", 2), ("alpha", 3))}
SETTINGS.update({"sft.learning_rate": 0.01, "ppo.learning_rate": 0.001, "ppo.lora.layers": 1, "ppo.lora.targets": "attention"})
SEQUENCES = [[256, 270, 271, 280, 257], [256, 290, 265, 266, 267, 268, 281]]


class Opened(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.keeper = tempfile.TemporaryDirectory()
        cls.folder = pathlib.Path(cls.keeper.name)
        cls.binary = pathlib.Path(BINARY).resolve()
        cls.setup = tiny.Setup(cls.binary.with_name("cai-run"), cls.folder)
        cls.run_folder = cls.folder / "run"
        cls.result = cls.setup.train(cls.run_folder, settings=SETTINGS)

    @classmethod
    def tearDownClass(cls):
        cls.setup.close()
        cls.keeper.cleanup()

    def setUp(self):
        self.assertEqual(self.result.returncode, 0, self.result.stderr[-2000:])
        self.iteration = self.run_folder / "iter-01"

    def logits_of(self, model):
        """The program's, of every position, end to end."""
        text = "".join(" ".join(map(str, s)) + "\n" for s in SEQUENCES)
        result = subprocess.run([self.binary.with_name("logits_of"), model], input=text.encode(), capture_output=True)
        self.assertEqual(result.returncode, 0, result.stderr)
        return torch.frombuffer(bytearray(result.stdout), dtype=torch.float32)

    def of_peft(self, base, adapter, kind=AutoModelForCausalLM, **more):
        whole = kind.from_pretrained(base, dtype=torch.float32, attn_implementation="eager", **more)
        model = PeftModel.from_pretrained(whole, adapter).eval()
        with torch.no_grad():
            return torch.cat([model(torch.tensor([s])).logits.reshape(-1) for s in SEQUENCES])

    def near(self, ours, theirs, what):
        difference = (ours - theirs).abs().max().item()
        print(f"{what}: {difference:.1e}")
        self.assertLess(difference, 5e-5, what)

    def test_peft_says_what_the_merged_checkpoints_say(self):
        sft = self.iteration / "sft/checkpoint"
        self.near(self.logits_of(sft), self.of_peft(self.setup.model, self.iteration / "sft/adapter"), "sft")
        self.near(self.logits_of(self.iteration / "ppo/checkpoint"), self.of_peft(sft, self.iteration / "ppo/adapter"), "ppo")

    def test_peft_says_what_an_exported_adapter_says(self):
        out = self.folder / "exported"
        result = self.setup.cai("export", "--format", "adapter", "--model", self.run_folder, "--out", out)
        self.assertEqual(result.returncode, 0, result.stderr)
        theirs = self.of_peft(self.setup.model, out)
        self.near(self.logits_of(self.iteration / "ppo/checkpoint"), theirs, "exported, merged by us")
        self.near(self.logits_of(out), theirs, "exported, opened by us")

    def test_peft_gives_the_scores_of_a_reward_model(self):
        whole = AutoModelForSequenceClassification.from_pretrained(self.iteration / "reward/checkpoint", dtype=torch.float32, attn_implementation="eager")
        with torch.no_grad():
            ours = torch.cat([whole.eval()(torch.tensor([s])).logits.reshape(-1) for s in SEQUENCES])
        self.near(ours, self.of_peft(self.iteration / "sft/checkpoint", self.iteration / "reward/adapter", AutoModelForSequenceClassification, num_labels=1), "reward")


if __name__ == "__main__":
    unittest.main(verbosity=2)
