#!/usr/bin/env python3
"""What the program saves, opened by transformers: the same greedy answers and the same log-probabilities of reference answers."""
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

BINARY = sys.argv.pop(1) if len(sys.argv) > 1 else "build/cai"
ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PROMPTS = ["What is the capital of France?", "Name three colours.", "How do I boil an egg?", "Write one sentence about the sea.", "What is 12 times 3?", "Why is the sky blue?"]


def run(*arguments):
    result = subprocess.run([BINARY, *map(str, arguments), "--set", "engine.dtype=float32"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]


def records(folder):
    return [json.loads(line) for line in (folder / "00000.jsonl").read_text().splitlines()]


class Saved(unittest.TestCase):
    def test_a_trained_checkpoint_is_the_same_model_in_transformers(self):
        with tempfile.TemporaryDirectory() as keeper:
            folder = pathlib.Path(keeper)
            (folder / "prompts.jsonl").write_text("".join(json.dumps({"id": str(i), "prompt": p, "tags": ["ordinary"], "reference": "It is a short answer."}) + "\n" for i, p in enumerate(PROMPTS)))
            run("generate", "--model", "smollm2", "--prompts", folder / "prompts.jsonl", "--out", folder / "answers", "--max-new-tokens", 24)
            run("sft", "--model", "smollm2", "--revisions", folder / "answers", "--out", folder / "sft", "--set", "sft.trainable_layers=0", "--set", "sft.epochs=1", "--set", "sft.batch_size=3")
            run("generate", "--model", folder / "sft", "--prompts", folder / "prompts.jsonl", "--out", folder / "again", "--temperature", 0, "--max-new-tokens", 32)
            run("eval", "--model", f"sft={folder / 'sft'}", "--prompts", folder / "prompts.jsonl", "--constitution", ROOT / "constitutions/harmless.yaml", "--out", folder / "eval",
                "--set", "eval.max_new_tokens=4", "--set", "eval.suites=")
            checkpoint = folder / "sft/checkpoint"
            tokenizer = AutoTokenizer.from_pretrained(checkpoint)
            model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval()
            measured = {r["id"]: r["reference_log_probability"] for r in records(folder / "eval") if "reference_log_probability" in r}
            self.assertEqual(len(measured), len(PROMPTS))
            for r in records(folder / "again"):
                ids = tokenizer.apply_chat_template([{"role": "user", "content": r["prompt"]}], add_generation_prompt=True, return_dict=False)
                out = model.generate(torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long), max_new_tokens=32, do_sample=False, pad_token_id=tokenizer.eos_token_id)
                self.assertEqual(tokenizer.decode(out[0, len(ids):], skip_special_tokens=True).strip(), r["response"].strip())
                answer = tokenizer("It is a short answer.", add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
                with torch.no_grad():
                    logs = model(torch.tensor([ids + answer])).logits[0].log_softmax(-1)
                expected = sum(logs[len(ids) + k - 1, t].item() for k, t in enumerate(answer)) / len(answer)
                self.assertAlmostEqual(measured[r["id"]], expected, places=3)


if __name__ == "__main__":
    unittest.main(verbosity=2)
