"""Reference tokens on 10,000 generated lines (transformers 5.23.0, tokenizers 0.23.3, sentencepiece 0.2.3).

Writes tests/text/golden/tokens.json: for each tokenizer, SHA-256 of the token ids of each block of 500 lines, and small tokenizer files of
the kinds for which no small public model is at hand, trained here on the project's own texts.
Lines come from a linear congruential generator that tests/text/tokens_test.cpp implements too.
Run: .deps/reference/bin/python tests/golden/tokens.py
"""
import hashlib
import json
import pathlib

import sentencepiece
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer

ROOT = pathlib.Path(__file__).resolve().parents[2]
OUT = ROOT / "tests" / "text" / "golden"
WORDS = ["the", "The", "don't", "I'm", "it's", "HTTP", "x1", "2024", "3.14", "foo_bar", "if (x) {", "\t", "  ", "    ", "\n", "\n\n", "\r\n", " \n ", "...", "!?", "<|im_end|>", "<s>", "</s>",
         "[INST]", "na\u00efve", "\u00fcber", "\u4f60\u597d", "\u3053\u3093\u306b\u3061\u306f", "\u0645\u0631\u062d\u0628\u0627", "\u05e9\u05dc\u05d5\u05dd", "\u041f\u0440\u0438\u0432\u0435\u0442",
         "\u0928\u092e\u0938\u094d\u0924\u0947", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35", "\uc548\ub155", "\U0001f600", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea", "e\u0301", "\u00a0", "\u2003",
         "\u00bd", "\u2167", "\u0663", "'ll", "'S", "\ufffd", "\u0000", "\u200b", "def f(a, b):", "=>", "//", "a" * 40, "-" * 30]
RANGES = [(0x20, 0x7e), (0x20, 0x7e), (0xa1, 0x17f), (0x370, 0x3ff), (0x400, 0x4ff), (0x5d0, 0x5ea), (0x620, 0x64a), (0x900, 0x97f), (0xe01, 0xe3a), (0x3041, 0x30ff), (0x4e00, 0x9fff),
          (0xac00, 0xd7a3), (0x2000, 0x206f), (0x2190, 0x21ff), (0x1f300, 0x1f64f)]


class Generator:
    def __init__(self, seed):
        self.state = (seed * 2654435761 + 12345) & 0xFFFFFFFFFFFFFFFF

    def below(self, n):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) & 0xFFFFFFFFFFFFFFFF
        return (self.state >> 33) % n


def line(i):
    g = Generator(i)
    parts = []
    for _ in range(1 + g.below(12)):
        kind = g.below(4)
        if kind < 2:
            parts.append(WORDS[g.below(len(WORDS))])
        elif kind == 2:
            low, high = RANGES[g.below(len(RANGES))]
            parts.append("".join(chr(low + g.below(high - low + 1)) for _ in range(1 + g.below(8))))
        else:
            parts.append(" " * (1 + g.below(3)))
        if g.below(2):
            parts.append(" ")
    data = "".join(parts).encode()
    if g.below(10) == 0:  # invalid UTF-8: a byte dropped from somewhere
        at = g.below(len(data))
        data = data[:at] + data[at + 1:]
    return data.decode("utf-8", errors="replace")


def hashes(encode):
    blocks = []
    for block in range(20):
        h = hashlib.sha256()
        for i in range(block * 500, block * 500 + 500):
            h.update((",".join(map(str, encode(line(i)))) + "\n").encode())
        blocks.append(h.hexdigest())
    return blocks


corpus = [(ROOT / "constitutions" / "harmless.yaml").read_text()] + [json.loads(l)["prompt"] for l in open(ROOT / "prompts" / "ordinary.jsonl")] + [line(i) for i in range(20000, 21000)]


def train_bpe(name, steps, ignore_merges):
    t = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    t.pre_tokenizer = pre_tokenizers.Sequence(steps)
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=800, special_tokens=["<|begin|>", "<|im_end|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    t.save(str(OUT / name))
    return t


LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
split = lambda p: pre_tokenizers.Split(Regex(p), behavior="isolated", invert=False)
result = {}
smol = AutoTokenizer.from_pretrained(ROOT / ".deps" / "models", gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf")
# transformers' reading of GGUF files knows no tokenizer.ggml.pre and leaves out the cut into single digits that "smollm" stands for.
smol.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
result["smollm2"] = hashes(lambda s: smol(s, add_special_tokens=False, split_special_tokens=True)["input_ids"])
result["smollm2_lines"] = [[line(i), smol(line(i), add_special_tokens=False, split_special_tokens=True)["input_ids"]] for i in range(5)]
for name, pattern, ignore in (("llama3.json", LLAMA3, True), ("qwen2.json", QWEN2, False)):
    t = train_bpe(name, [split(pattern), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)], ignore)
    t.encode_special_tokens = True
    result[name] = hashes(lambda s: t.encode(s, add_special_tokens=False).ids)
sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(corpus), model_prefix=str(OUT / "llama2"), vocab_size=3000, model_type="bpe", byte_fallback=True, character_coverage=0.98,
                                         normalization_rule_name="identity", remove_extra_whitespaces=False, minloglevel=2)
(OUT / "llama2.vocab").unlink()
sp = sentencepiece.SentencePieceProcessor(model_file=str(OUT / "llama2.model"))
result["llama2.model"] = hashes(lambda s: sp.encode(s))
json.dump(result, open(OUT / "tokens.json", "w"), indent=0)
print({k: v[0][:8] if isinstance(v[0], str) else len(v) for k, v in result.items()})
