#!/usr/bin/env python3
"""Model files against llama.cpp and the gguf package: what we export, llama.cpp computes alike; what llama.cpp quantises, we compute alike.

Quantised files are compared with llama.cpp on the same weights in float32 (dequantised by the gguf package), because its own products of
quantised weights round activations to 8 bits. Needs .deps/reference. `llama_cpp_reference.py CAI FILE...` compares these GGUF files instead.
"""
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

import gguf
import llama_cpp
import numpy
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config

CAI = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "build/cai").resolve()
FILES = [pathlib.Path(f).resolve() for f in sys.argv[2:]]
ROOT = pathlib.Path(__file__).resolve().parents[2]
TOKENIZERS = ROOT / "tests/text/golden"
SMOLLM2 = ROOT / ".deps/models/SmolLM2-135M-Instruct.Q4_1.gguf"
# Kinds of llama.cpp's quantizer by its own numbers; each uses one or several types of blocks.
KINDS = {"Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9, "Q2_K": 10, "Q3_K_M": 12, "Q4_K_M": 15, "Q5_K_M": 17, "Q6_K": 18, "IQ4_NL": 25, "IQ4_XS": 30, "BF16": 32}
LLAMA3 = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}


def ours(model, sequences):
    """Logits of every position of each sequence, [tokens, vocabulary]."""
    text = "".join(" ".join(map(str, s)) + "\n" for s in sequences)
    result = subprocess.run([CAI.parent / "logits_of", model], input=text.encode(), capture_output=True)
    assert result.returncode == 0, result.stderr.decode()
    rows = numpy.frombuffer(result.stdout, "<f4").reshape(sum(map(len, sequences)), -1)
    return numpy.split(rows, numpy.cumsum([len(s) for s in sequences])[:-1])


def of_llama_cpp(file, sequences):
    model = llama_cpp.Llama(str(file), n_ctx=256, logits_all=True, verbose=False, type_k=0, type_v=0, flash_attn=False, n_threads=2)
    rows = []
    for sequence in sequences:
        model.reset()
        model.eval(sequence)
        rows.append(model.scores[: len(sequence)].copy())
    return rows


def largest(a, b):
    return max(float(numpy.abs(x[:, : y.shape[1]] - y[:, : x.shape[1]]).max()) for x, y in zip(a, b))


def dequantised(source, target):
    """The same file with every tensor in float32, by the gguf package."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, reader.fields["general.architecture"].contents())
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type"):
            continue
        kind = field.types[0]
        writer.add_key_value(name, field.contents(), kind, field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None)
    for t in reader.tensors:
        values = gguf.quants.dequantize(t.data, t.tensor_type).astype(numpy.float32)
        writer.add_tensor(t.name, values.reshape([int(d) for d in reversed(t.shape)]))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def quantised(source, target, kind):
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype, parameters.nthread, parameters.allow_requantize = KINDS[kind], 2, True
    assert llama_cpp.llama_model_quantize(str(source).encode(), str(target).encode(), parameters) == 0
    return target


def made(folder, config, tokenizer):
    """An HF folder with a random model of this shape and one of the project's small tokenizers."""
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.normal_(1 if "norm" in name else 0, 0.3 if "norm" in name or "bias" in name else 0.08)
    model.save_pretrained(folder)
    shutil.copy(TOKENIZERS / tokenizer, folder / ("tokenizer.model" if tokenizer.endswith(".model") else "tokenizer.json"))
    named = {"bos_token": "<s>", "eos_token": "</s>"} if tokenizer.endswith(".model") else {"bos_token": "<|begin|>", "eos_token": "<|im_end|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps({**named, "chat_template": "{% for m in messages %}{{'<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n'}}{% endfor %}"}))
    return model


SHAPE = dict(hidden_size=256, intermediate_size=512, num_hidden_layers=2, num_attention_heads=8, num_key_value_heads=4, max_position_embeddings=512)
MODELS = {
    "llama, byte-level BPE": (LlamaConfig(**SHAPE, vocab_size=800, tie_word_embeddings=True), "llama3.json"),
    "llama, sentencepiece": (LlamaConfig(**SHAPE, vocab_size=3000, tie_word_embeddings=False), "llama2.model"),
    "llama, biases": (LlamaConfig(**SHAPE, vocab_size=800, attention_bias=True), "llama3.json"),
    "llama, scaled rotary frequencies": (LlamaConfig(**SHAPE, vocab_size=800, rope_parameters=LLAMA3), "llama3.json"),
    "llama, padded embedding": (LlamaConfig(**SHAPE, vocab_size=832), "llama3.json"),
    "mistral, sentencepiece": (MistralConfig(**SHAPE, vocab_size=3000, sliding_window=None), "llama2.model"),
    "qwen2": (Qwen2Config(**SHAPE, vocab_size=800, tie_word_embeddings=True), "qwen2.json"),
    "qwen3": (Qwen3Config(**SHAPE, vocab_size=800, head_dim=64, tie_word_embeddings=True), "qwen2.json"),
}


class Files(unittest.TestCase):
    def setUp(self):
        self.keeper = tempfile.TemporaryDirectory()
        self.folder = pathlib.Path(self.keeper.name)
        numpy.random.seed(1)

    def tearDown(self):
        self.keeper.cleanup()

    def sequences(self, vocabulary):
        return [numpy.random.randint(3, vocabulary, n).tolist() for n in (7, 100)]

    def export(self, model, name):
        out = self.folder / name
        result = subprocess.run([CAI, "export", "--model", model, "--format", "gguf", "--dtype", "f32", "--out", out], capture_output=True, text=True)
        self.assertEqual(result.returncode, 0, result.stderr)
        return out / "model.gguf"

    def report(self, name, difference, bound):
        print(f"{name:45} largest logit difference {difference:.6f}")
        self.assertLess(difference, bound, name)

    def test_exported_files(self):
        for name, (config, tokenizer) in MODELS.items():
            with self.subTest(name):
                folder = self.folder / name.replace(",", "").replace(" ", "-")
                model, sequences = made(folder, config, tokenizer), self.sequences(790)
                with torch.no_grad():
                    theirs = [model(torch.tensor([s])).logits[0].numpy() for s in sequences]
                file = self.export(folder, folder.name + "-gguf")
                self.report(name + ": folder, transformers", largest(ours(folder, sequences), theirs), 1e-3)
                self.report(name + ": exported, llama.cpp", largest(of_llama_cpp(file, sequences), theirs), 1e-3)
                self.report(name + ": exported, read again", largest(ours(file, sequences), theirs), 1e-3)
                self.assertEqual(gguf.GGUFReader(file).fields["general.name"].contents(), folder.name)
                text = "Hello  world, na\u00efve \u4f60\u597d 123\n\n\tx"
                vocabulary = llama_cpp.Llama(str(file), vocab_only=True, verbose=False)
                self.assertEqual(vocabulary.detokenize(vocabulary.tokenize(text.encode(), add_bos=False)).decode().strip(" "), text)

    def compare_quantised(self, name, file, bound):
        sequences = self.sequences(790)
        plain = dequantised(file, self.folder / "plain.gguf")
        self.report(name, largest(ours(file, sequences), of_llama_cpp(plain, sequences)), bound)

    def test_quantised_files(self):
        made(self.folder / "tiny", MODELS["llama, byte-level BPE"][0], "llama3.json")
        for source, label in ((self.export(self.folder / "tiny", "tiny-gguf"), "tiny"), (self.export("smollm2", "smollm2-gguf"), "SmolLM2-135M")):
            for kind in KINDS:
                with self.subTest(label + kind):
                    self.compare_quantised(f"{label}, {kind}", quantised(source, self.folder / "quantised.gguf", kind), 2e-3)

    def test_files_named(self):
        for file in FILES:
            with self.subTest(file.name):
                self.compare_quantised(file.name, file, 5e-3)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + ["Files.test_files_named"] * bool(FILES), verbosity=2)
