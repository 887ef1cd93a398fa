#!/usr/bin/env python3
"""Tiny models of each family, read and saved by the program, opened by transformers (and, where it knows them, by llama.cpp): the logits that the golden files have."""
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

import torch
from transformers import AutoModelForCausalLM

BINARY = sys.argv.pop(1) if len(sys.argv) > 1 else "build/cai"
GOLDEN = pathlib.Path(__file__).resolve().parent / "golden"
TOKENS = ["<s>", "</s>", "<pad>"] + [chr(ord("a") + i) for i in range(26)] + ["Ġ", "A", "B"]  # 32, as the models have
TOKENIZER = {"version": "1.0", "truncation": None, "padding": None, "normalizer": None, "post_processor": None,
             "added_tokens": [{"id": i, "content": TOKENS[i], "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True} for i in range(3)],
             "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
             "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
             "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "", "end_of_word_suffix": "", "fuse_unk": False, "byte_fallback": False,
                       "ignore_merges": False, "vocab": {t: i for i, t in enumerate(TOKENS)}, "merges": []}}


def families():
    return sorted(p.name for p in (GOLDEN / "families").iterdir())


class Saved(unittest.TestCase):
    def setUp(self):
        keeper = tempfile.TemporaryDirectory()
        self.addCleanup(keeper.cleanup)
        self.folder = pathlib.Path(keeper.name)

    def model(self, name):
        folder = self.folder / name
        shutil.copytree(GOLDEN / "families" / name, folder)
        (folder / "tokenizer.json").write_text(json.dumps(TOKENIZER))
        (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "add_bos_token": False}))
        return folder

    def export(self, name, *arguments):
        out = self.folder / ("saved-" + name + "-" + arguments[-1])
        result = subprocess.run([BINARY, "export", "--model", self.model(name), "--out", out, *arguments], capture_output=True, text=True)
        self.assertEqual(result.returncode, 0, result.stderr)
        return out

    def test_transformers_reads_what_is_saved(self):
        for name in families():
            with self.subTest(name):
                golden = json.loads((GOLDEN / "families" / name / "golden.json").read_text())
                out = self.export(name, "--format", "hf", "--dtype", "float32")
                model, report = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
                for missing in ("missing_keys", "unexpected_keys", "mismatched_keys"):
                    self.assertFalse(report[missing], (name, missing, report[missing]))
                with torch.no_grad():
                    ours = torch.stack([model.eval()(torch.tensor([s])).logits[0, -1] for s in golden["sequences"]])
                difference = (ours - torch.tensor(golden["last_logits"])).abs().max().item()
                print(f"{name}: {difference:.1e}")
                self.assertLess(difference, 2e-5)


if __name__ == "__main__":
    unittest.main(verbosity=2)
