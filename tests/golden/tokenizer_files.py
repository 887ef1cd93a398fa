"""Reference tokens of tokenizer.json files of many kinds (tokenizers 0.23): normalisers, pre-tokenisers, added tokens, sentencepiece as JSON.

Writes tests/text/golden/tokenizers.json: for each kind what is changed in one of two small files, and the tokens of some lines. Writes
tests/text/golden/pieces.json, a tokenizer of sentencepiece's kind (characters, bytes for those that it does not know).
Run: .deps/reference/bin/python tests/golden/tokenizer_files.py
"""
import json
import pathlib

from tokenizers import Tokenizer, decoders, models, normalizers, trainers

ROOT = pathlib.Path(__file__).resolve().parents[2]
OUT = ROOT / "tests" / "text" / "golden"
LINES = ["Hello there, world!", "  two  spaces\n\n and\tmore ", "cafe\u0301 cre\u0300me bru\u0302le\u0301e", "\ufb01ne \uff21\uff22\uff23 \u2460 \u00bd \u212b", "\uac01 \u1100\u1161\u11a8",
         "\u0130stanbul \u1e9e \u03a3\u03a3", "12345 + 6,789.01 = x1y22", "a.b,c;d!!e??...f", "you'll DON'T I'm", "\u4f60\u597d\uff0c\u4e16\u754c\u3002", "emoji \U0001f600\U0001f468\u200d\U0001f469",
         "\u2581low \u2581\u2581line", "<think>deep</think> x <|user|> \n y <tool>z</tool>", "foo<sep>bar <sep> baz sep_<sep>", "Hello<mark>world <mark>  again", "", " ", "\n", "x",
         "\u0645\u0631\u062d\u0628\u0627 \u05e9\u05dc\u05d5\u05dd", "CAPS and \u00dcber", "tab\tand\u00a0nbsp\u3000wide", "a  b   c    d", "HTTPServerError 3xx", "e\u0301\u0323 o\u0323\u0302"]

corpus = [(ROOT / "constitutions" / "harmless.yaml").read_text()] + [json.loads(line)["prompt"] for line in open(ROOT / "prompts" / "ordinary.jsonl")]
pieces = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
pieces.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
pieces.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
special = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
pieces.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=700, special_tokens=special, max_token_length=8, show_progress=False))
made = json.loads(pieces.to_str())
made["added_tokens"] = [token for token in made["added_tokens"] if token["id"] < 3]
(OUT / "pieces.json").write_text(json.dumps(made, ensure_ascii=False, separators=(",", ":")) + "\n")


def split(pattern, behavior, invert=False):
    return {"type": "Split", "pattern": pattern, "behavior": behavior, "invert": invert}


def sequence(*steps):
    return {"type": "Sequence", "pretokenizers": [*steps, {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}]}


def normal(*steps):
    return {"normalizer": {"type": "Sequence", "normalizers": list(steps)}}


def added(first, **flags):
    base = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
    names = ["<think>", "</think>", "<tool>", "</tool>", "<sep>", "<mark>", "  ", "lo"]
    return [{"id": first + i, "content": name, **base, **(flags.get(name.strip("<>/"), {}))} for i, name in enumerate(names)]


def metaspace(scheme, cut):
    return {"normalizer": None, "pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": scheme, "split": cut},
            "decoder": {"type": "Sequence", "decoders": [{"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": scheme, "split": cut}, {"type": "ByteFallback"}, {"type": "Fuse"}]}}


KINDS = {
    "NFC": ("qwen2.json", {"normalizer": {"type": "NFC"}}),
    "NFD": ("qwen2.json", {"normalizer": {"type": "NFD"}}),
    "NFKC": ("qwen2.json", {"normalizer": {"type": "NFKC"}}),
    "NFKD": ("qwen2.json", {"normalizer": {"type": "NFKD"}}),
    "lower case": ("qwen2.json", {"normalizer": {"type": "Lowercase"}}),
    "strip, replace by text and pattern": ("qwen2.json", normal({"type": "Strip", "strip_left": True, "strip_right": True}, {"type": "Replace", "pattern": {"String": "e"}, "content": "ee"},
                                                                 {"type": "Replace", "pattern": {"Regex": r"\s{2,}"}, "content": " "})),
    "prepend": ("qwen2.json", normal({"type": "Prepend", "prepend": "> "}, {"type": "NFC"})),
    "digits together": ("qwen2.json", {"pre_tokenizer": sequence({"type": "Digits", "individual_digits": False})}),
    "digits alone": ("qwen2.json", {"pre_tokenizer": sequence({"type": "Digits", "individual_digits": True})}),
    "split, removed": ("qwen2.json", {"pre_tokenizer": sequence(split({"Regex": r"[,.!?]"}, "Removed"))}),
    "split, merged with previous": ("qwen2.json", {"pre_tokenizer": sequence(split({"Regex": r"[,.!?]"}, "MergedWithPrevious"))}),
    "split, merged with next": ("qwen2.json", {"pre_tokenizer": sequence(split({"Regex": r"[,.!?]"}, "MergedWithNext"))}),
    "split, contiguous": ("qwen2.json", {"pre_tokenizer": sequence(split({"Regex": r"[,.!?]"}, "Contiguous"))}),
    "split, inverted": ("qwen2.json", {"pre_tokenizer": sequence(split({"Regex": r"\w+"}, "Removed", True))}),
    "split by a text": ("qwen2.json", {"pre_tokenizer": sequence(split({"String": "."}, "Isolated"))}),
    "punctuation": ("qwen2.json", {"pre_tokenizer": sequence({"type": "Punctuation", "behavior": "Isolated"})}),
    "punctuation, contiguous": ("qwen2.json", {"pre_tokenizer": sequence({"type": "Punctuation", "behavior": "Contiguous"})}),
    "prefix space": ("qwen2.json", {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}}),
    "white space": ("qwen2.json", {"pre_tokenizer": sequence({"type": "WhitespaceSplit"})}),
    "added tokens": ("qwen2.json", {"added_tokens": added(800)}),
    "added tokens that strip": ("qwen2.json", {"added_tokens": added(800, sep={"lstrip": True, "rstrip": True}, mark={"rstrip": True}, think={"lstrip": True})}),
    "added tokens that are single words": ("qwen2.json", {"added_tokens": added(800, sep={"single_word": True}, lo={"single_word": True})}),
    "added tokens that are normalised": ("qwen2.json", {"added_tokens": added(800, lo={"normalized": True}), "normalizer": {"type": "Lowercase"}}),
    "sentencepiece": ("pieces.json", {}),
    "sentencepiece without bytes": ("pieces.json", {"model.byte_fallback": False}),
    "metaspace, first": ("pieces.json", metaspace("first", False)),
    "metaspace, always": ("pieces.json", metaspace("always", True)),
    "metaspace, never": ("pieces.json", metaspace("never", True)),
    "sentencepiece with added tokens": ("pieces.json", {"added_tokens": made["added_tokens"] + added(700, sep={"rstrip": True})[:-1]}),
}

cases = []
for name, (base, changes) in KINDS.items():
    whole = json.loads((OUT / base).read_text())
    for key, value in changes.items():
        if key.startswith("model."):
            whole["model"][key[6:]] = value
        else:
            whole[key] = value
    tokenizer = Tokenizer.from_str(json.dumps(whole))
    tokenizer.encode_special_tokens = True
    ids = [tokenizer.encode(line, add_special_tokens=False).ids for line in LINES]
    cases.append({"name": name, "file": base, "changes": changes, "ids": ids, "texts": [tokenizer.decode(one) for one in ids]})
body = ",\n".join(json.dumps({"name": case["name"], "file": case["file"], "changes": case["changes"], "ids": case["ids"], "texts": case["texts"]}, separators=(",", ":")) for case in cases)
(OUT / "tokenizers.json").write_text('{"lines":' + json.dumps(LINES, separators=(",", ":")) + ',\n"kinds":[\n' + body + "]}\n")
print(len(cases), "kinds")
