"""Reference tokens on 10,000 generated lines (transformers 5.23.0, tokenizers 0.23.3, sentencepiece 0.2.3).

Writes tests/text/golden/tokens.json: for each tokenizer, SHA-256 of the token ids of each block of 500 lines, and small tokenizer files of
the kinds for which no small public model is at hand, trained here on the project's own texts.
Run: .deps/reference/bin/python tests/golden/tokens.py
"""
import json
import pathlib

import sentencepiece
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer

from lines import hashes, line

ROOT = pathlib.Path(__file__).resolve().parents[2]
OUT = ROOT / "tests" / "text" / "golden"

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
