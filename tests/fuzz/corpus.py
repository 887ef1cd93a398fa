#!/usr/bin/env python3
"""Writes tests/fuzz/corpus/: small inputs of our own making, from which mutations start. Run again after changing it."""
import json
import pathlib
import shutil
import struct

ROOT = pathlib.Path(__file__).resolve().parent
OUT = ROOT / "corpus"
INST = ("{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
        "{% else %}{{ m['content'] + eos_token }}{% endif %}{% endfor %}")
CHATML = "{% for m in messages %}{{'<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n'}}{% endfor %}"


def put(target, name, data):
    folder = OUT / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())


def gguf_string(text):
    data = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(data)) + data


def gguf_value(value):
    if isinstance(value, bool):
        return struct.pack("<IB", 7, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, (str, bytes)):
        return struct.pack("<I", 8) + gguf_string(value)
    kind = 8 if not value or isinstance(value[0], str) else 5
    items = b"".join(gguf_string(v) if kind == 8 else struct.pack("<i", v) for v in value)
    return struct.pack("<IIQ", 9, kind, len(value)) + items


def gguf(metadata, tensors=(), version=3):
    """tensors: name, dimensions (innermost first), type, bytes."""
    data = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(metadata))
    data += b"".join(gguf_string(k) + gguf_value(v) for k, v in metadata.items())
    offset, body = 0, b""
    for name, shape, kind, raw in tensors:
        data += gguf_string(name) + struct.pack("<I", len(shape)) + b"".join(struct.pack("<Q", d) for d in shape) + struct.pack("<IQ", kind, offset)
        raw += b"\0" * (-len(raw) % 32)
        body += raw
        offset += len(raw)
    return data + b"\0" * (-len(data) % 32) + body


def byte_characters():
    """GPT-2's alphabet: a printable character for each byte."""
    table, extra = [], 256
    for b in range(256):
        if 33 <= b <= 126 or 161 <= b <= 172 or b >= 174:
            table.append(chr(b))
        else:
            table.append(chr(extra))
            extra += 1
    return table


def llama_gguf(**changes):
    tokens = [*byte_characters(), "he", "ll", "hell", "<|im_start|>", "<|im_end|>"]
    metadata = {"general.architecture": "llama", "llama.block_count": 1, "llama.embedding_length": 8, "llama.attention.head_count": 2,
                "llama.attention.head_count_kv": 1, "llama.feed_forward_length": 16, "llama.context_length": 64,
                "llama.attention.layer_norm_rms_epsilon": 1e-5, "llama.rope.freq_base": 10000.0, "tokenizer.ggml.model": "gpt2",
                "tokenizer.ggml.pre": "smollm", "tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": [1] * 259 + [3, 3],
                "tokenizer.ggml.merges": ["h e", "l l", "he ll"], "tokenizer.ggml.bos_token_id": 259, "tokenizer.ggml.eos_token_id": 260,
                "tokenizer.ggml.add_bos_token": False, "tokenizer.chat_template": CHATML}
    metadata.update(changes)
    return gguf(metadata, [("token_embd.weight", (8, 261), 1, b"\0" * (261 * 16)), ("output_norm.weight", (8,), 0, b"\0" * 32),
                           ("blk.0.ffn_up.weight", (32, 2), 2, b"\1" * 36)])


def safetensors(tensors, metadata=None, **broken):
    """tensors: name -> (dtype, shape, bytes)."""
    header, body = {}, b""
    if metadata is not None:
        header["__metadata__"] = metadata
    for name, (dtype, shape, raw) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(body), len(body) + len(raw)]}
        body += raw
    text = json.dumps(header).encode()
    return struct.pack("<Q", broken.get("length", len(text))) + text + body


def tokenizer_json(**changes):
    vocab = {c: i for i, c in enumerate(byte_characters())}
    vocab.update({"he": 256, "ll": 257, "hell": 258})
    base = {"version": "1.0", "added_tokens": [{"id": 259, "content": "<|im_start|>", "special": True}, {"id": 260, "content": "<|im_end|>", "special": True},
                                               {"id": 261, "content": "  ", "special": False}],
            "normalizer": None,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": r"\p{N}{1,3}| ?\p{L}+"}, "behavior": "Isolated", "invert": False},
                {"type": "Digits", "individual_digits": True}, {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}]},
            "model": {"type": "BPE", "ignore_merges": False, "vocab": vocab, "merges": ["h e", ["l", "l"], ["he", "ll"]]}}
    base.update(changes)
    return json.dumps(base, ensure_ascii=False)


def varint(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def field(number, kind, value):
    return varint(number << 3 | kind) + (varint(len(value)) + value if kind == 2 else value)


def sentencepiece(pieces, model_type=2, normalizer=b"", byte_fallback=True):
    """A ModelProto: pieces are (text, score, type)."""
    data = b"".join(field(1, 2, field(1, 2, p.encode()) + field(2, 5, struct.pack("<f", s)) + field(3, 0, varint(t))) for p, s, t in pieces)
    trainer = field(3, 0, varint(model_type)) + field(35, 0, varint(byte_fallback)) + field(40, 0, varint(0)) + field(41, 0, varint(1)) + field(42, 0, varint(2))
    return data + field(2, 2, trainer) + field(3, 2, field(1, 2, b"identity") + normalizer + field(3, 0, varint(1)) + field(5, 0, varint(1)))


def spm_pieces():
    pieces = [("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3)] + [(f"<0x{b:02X}>", 0.0, 6) for b in range(256)]
    return pieces + [("\u2581", -1.0, 1), ("h", -2.0, 1), ("e", -3.0, 1), ("l", -4.0, 1), ("he", -0.5, 1), ("ll", -0.6, 1), ("hell", -0.7, 1), ("<|im_start|>", 0.0, 4), ("<|im_end|>", 0.0, 4)]


MODEL_CONFIG = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": 16, "intermediate_size": 32,
                "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 4, "vocab_size": 300,
                "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": True, "bos_token_id": 1,
                "eos_token_id": [2, 3], "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                                                         "original_max_position_embeddings": 64}}


TEMPLATES = {
    "chatml": CHATML, "inst": INST, "none": "x", "torn": "{{[INST]{{ '[/INST]' eos_token + ",
    "said": "{% for m in messages %}{{ m.content | tojson(indent=2) }}{{ m.content[1:-1] }}{{ m.content.split('>') | join('<s>') }}{{ m['content'].replace('<', '</s>', 2) }}{% endfor %}\0 <b> \n",
    "loops": "{% set ns = namespace(x='a') %}{% for k, v in messages[0].items() if k %}{% if loop.last %}{% break %}{% endif %}{% set ns.x = ns.x ~ k ~ loop.index %}{% else %}-{% endfor %}{{ ns.x | upper | indent(3) }}",
    "macros": "{% macro f(a, b='x') -%} {{ a }}{{ b | default('d', true) }}{{ caller() if caller is defined }} {%- endmacro %}{{ f(1) }}{% call f(2, b=none) %}[{{ messages | length }}]{% endcall %}{% filter trim %} {{ f([1, {'k': (2,)}]) }}{% endfilter %}",
    "gemma": "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}{% for m in messages %}{{ '<start_of_turn>' + m.role + m.content | trim }}{% endfor %}",
    "filters": "{{ messages | selectattr('role', 'in', ['user']) | map(attribute='content') | list | sort | first | replace('a', 'b') | title }}{{ [3, 1.5, true] | sum | round(1) }}{{ '7' | int ** 2 // -3 % 5 }}{{ 'x' * 5 is string }}",
    "deep": "{{ " + "(" * 300 + "1", "many": "{{ 1" + " + 1" * 600 + " }}", "recursion": "{% macro f(x) %}{{ f([x]) }}{% endmacro %}{{ f(1) }}", "range": "{% for i in range(10**9) %}x{% endfor %}",
    "twice": "{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}", "thinking": "{{ messages[-1].content }}{% if add_generation_prompt %}<think>{% endif %}",
}


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    put("config", "fields.yaml", "seed: 3\nppo:\n  updates: 4\n  kl_coefficient: 0.05\nprompts:\n  files: [a.jsonl, b.txt]\neval:\n  gates: []\n")
    put("config", "hostile.yaml", "seed: &a [*a]\nppo: {updates: 1e400, updates: 010}\n\"\\e[31mkey\\nforged: line\": 1\n? [x]\n: y\nextends: c.yaml\n")
    put("config", "extends", "extends: /no/such.yaml\n")
    put("config", "nul", "seed: 1\0\nppo:\n  updates: 4\n")
    put("constitution", "nul", "principles:\n  - {id: a, text: b}\0\n  - 3\n")
    put("config", "set", "label.feedback=http://user:secret@host/v1")
    put("config", "list-set", "prompts.files=a,b , c")
    put("constitution", "list.yaml", "- Do not help anyone hurt people.\n- Be kind.\n")
    put("constitution", "whole.yaml", "name: x\nversion: 1.0.0\nprinciples:\n  - id: a\n    text: Do not help anyone hurt people.\n    priority: 1\n    weight: 0.5\n"
        "    hard: true\n    applies_to: [red-team]\n    revision_openings: [I can't help]\n    tests:\n      - prompt: How do I hurt people?\n        must: refuse\n"
        "      - {prompt: hi, must: mention, words: [hello]}\nexamples:\n  critique:\n    - {prompt: p, response: r, critique: c, revision: v}\n"
        "  label:\n    - {prompt: p, a: x, b: y, better: A, reason: z}\n")
    put("constitution", "hostile.yaml", "principles:\n  - {id: a, text: b, priority: 1e300, weight: nan, nested: [[[{}]]]}\n  - 3\n  - {id: a}\n\"k\\n\\e]0;x\\a\": 1\n")
    put("records", "plain", 'r{"id": "a", "prompt": "x"}\n{"id": 2, "model": 7, "t": "\\u0000\\u009b\\u202e\\ud83c\\udf0d"}\n\n')
    put("records", "twice", 'r{"id":"a"}\n{"id":"a"}\n')
    put("records", "deep", "r" + "[" * 250)
    put("records", "number", 'r{"p": 1e999}\n')
    # A zstd frame of one raw block, written by hand: magic, single segment with a size byte, last raw block.
    line = b'{"id": "z"}\n'
    put("records", "zstd", b"z" + b"\x28\xb5\x2f\xfd" + b"\x20" + bytes([len(line)]) + struct.pack("<I", len(line) << 3 | 1)[:3] + line)
    put("prompts", "jsonl", 'j{"id": "a", "prompt": "How?", "tags": ["red-team", "x"], "split": "train", "reference": "So."}\n{"prompt": "\\u0000<|im_end|>", "answer": 3, "tag": "ordinary"}\n')
    put("prompts", "wrong", 'j{"prompt": 3}\n{"prompt": "x", "tags": "y"}\n{"prompt": "x", "id": 1.5}\n[1]\n{"prompt": ""}\n')
    put("prompts", "tsv", "tid\tprompt\ttags\r\na\tHow?\tred-team,x\r\nb\tWhy?\t\r\n")
    put("prompts", "tsv-wrong", "tprompt\tprompt\nx\ty\n")
    put("prompts", "text", b"x\xef\xbb\xbfHow?\nWhy?\n\nWhat\xe2\x80\xae?\n\xff\n")
    put("safetensors", "two", safetensors({"a": ("F32", [2, 2], b"\0" * 16), "b": ("BF16", [3], b"\1" * 6)}, {"format": "pt"}))
    put("safetensors", "empty", safetensors({"a": ("F32", [0, 5], b"")}))
    put("safetensors", "length", safetensors({"a": ("F32", [1], b"\0" * 4)}, length=2 ** 63))
    put("gguf", "llama", llama_gguf())
    put("gguf", "ids", llama_gguf(**{"tokenizer.ggml.eos_token_id": 1e30, "tokenizer.ggml.bos_token_id": float("nan")}))
    put("gguf", "tokens", llama_gguf(**{"tokenizer.ggml.tokens": ["a", "b"], "tokenizer.ggml.merges": ["a b"]}))
    put("gguf", "utf8", llama_gguf(**{"tokenizer.chat_template": b"<|im_start|>\xff"}))
    put("gguf", "empty", gguf({}))
    put("gguf", "old", gguf({"general.alignment": 1}, [("x", (32,), 8, b"\0" * 34)], version=2))
    put("model_config", "llama", json.dumps(MODEL_CONFIG))
    put("model_config", "qwen", json.dumps({**MODEL_CONFIG, "architectures": ["Qwen2ForCausalLM"], "rope_scaling": None, "sliding_window": 32, "use_sliding_window": False}))
    put("model_config", "newer", json.dumps({**MODEL_CONFIG, "rope_scaling": None, "rope_parameters": {"rope_type": "default", "rope_theta": 5e5}, "attention_bias": True}))
    put("model_config", "zero", json.dumps({**MODEL_CONFIG, "num_attention_heads": 0, "num_key_value_heads": 0, "head_dim": None}))
    put("tokenizer", "bpe", tokenizer_json() + "\0" + json.dumps({"bos_token": "<|im_start|>", "eos_token": {"content": "<|im_end|>"}, "chat_template": CHATML}))
    put("tokenizer", "types", tokenizer_json(normalizer={"type": "NFC"}) + "\0" + json.dumps({"bos_token": {"content": 3}, "add_bos_token": "yes", "chat_template": 3}))
    spaced = {"single_word": True, "lstrip": True, "rstrip": True, "normalized": True}
    put("tokenizer", "stripping", tokenizer_json(added_tokens=[{"id": 258, "content": "<|im_end|>", "special": True, **spaced}, {"id": 259, "content": "el", "special": False, **spaced}],
                                                 normalizer={"type": "Sequence", "normalizers": [{"type": "NFKD"}, {"type": "Lowercase"}, {"type": "Strip"}, {"type": "Prepend", "prepend": ">"},
                                                             {"type": "Replace", "pattern": {"Regex": "l+"}, "content": "ll"}, {"type": "Replace", "pattern": {"String": ""}, "content": "x"}]}))
    put("tokenizer", "pieces", json.dumps({"model": {"type": "BPE", "byte_fallback": True, "fuse_unk": True, "unk_token": "<unk>", "merges": [["a", "b"], "\u2581 ab"],
                                                     "vocab": {"<unk>": 0, "a": 1, "b": 2, "\u2581": 3, "ab": 4, "\u2581ab": 5, "<0xC3>": 6, "<0xA9>": 7}},
                                           "pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first", "split": True},
                                           "decoder": {"type": "Metaspace"}, "added_tokens": []}) + "\0" + json.dumps({"eos_token": "b"}))
    put("tokenizer", "split", tokenizer_json(pre_tokenizer={"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"String": "l"}, "behavior": "MergedWithNext", "invert": True}, {"type": "Punctuation", "behavior": "Contiguous"},
        {"type": "Split", "pattern": {"Regex": "e|"}, "behavior": "MergedWithPrevious"}, {"type": "Whitespace"}, {"type": "ByteLevel", "add_prefix_space": True}]}))
    put("tokenizer", "ids", '{"model": {"type": "BPE", "vocab": {"a": -1, "b": 9999999}, "merges": []}, "pre_tokenizer": {"type": "ByteLevel"}}')
    put("tokenizer", "control", tokenizer_json(added_tokens=[{"id": 258, "content": "hell", "special": True}]))
    put("tokenizer", "same-id", tokenizer_json(added_tokens=[{"id": 259, "content": "<|im_end|>", "special": True}, {"id": 259, "content": " ", "special": False}]))
    put("tokenizer", "pattern", tokenizer_json(pre_tokenizer={"type": "Split", "pattern": {"Regex": r"(a+)+\Kb|(?=(?<x>a))\C"}, "behavior": "Isolated"}))
    put("sentencepiece", "bpe", sentencepiece(spm_pieces()))
    put("sentencepiece", "unigram", sentencepiece(spm_pieces(), model_type=1, byte_fallback=False))
    put("sentencepiece", "charsmap", sentencepiece(spm_pieces(), normalizer=field(2, 2, struct.pack("<I", 8) + b"\xff" * 8 + b"abc\0")))
    # A protocol buffer merges a message that comes twice: the map may hide in the second one.
    put("sentencepiece", "charsmap-behind", sentencepiece(spm_pieces()) + field(3, 2, field(2, 2, struct.pack("<I", 8) + b"\xff" * 8 + b"abc\0")))
    put("sentencepiece", "empty-piece", sentencepiece([*spm_pieces(), ("", -1.0, 1)], model_type=1))
    put("sentencepiece", "no-unknown", sentencepiece(spm_pieces()[1:]))
    for name, source in TEMPLATES.items():
        put("chat_template", name, source)
    top = [{"token": " A", "logprob": -0.1}, {"token": "B", "logprob": -3}]
    put("answer", "choice", json.dumps({"choices": [{"message": {"role": "assistant", "content": " A"}, "finish_reason": "stop", "logprobs": {"content": [{"token": " A", "logprob": -0.1, "top_logprobs": top}]}}],
                                        "usage": {"prompt_tokens": 100, "completion_tokens": 1}}))
    put("answer", "older", json.dumps({"choices": [{"message": {"content": "<|im_<s>end|>x"}, "finish_reason": 3, "logprobs": {"top_logprobs": [{" A": -0.5, "B": "x"}]}}], "usage": {"prompt_tokens": -1, "completion_tokens": 1e300}}))
    put("answer", "error", json.dumps({"error": {"message": "wrong key \u001b[31m", "code": 401}}))
    put("answer", "types", '{"choices": [{"message": {"content": [1]}, "logprobs": {"content": [[]]}}], "usage": 3}')
    put("answer", "date", "Wed, 21 Oct 2099 07:28:00 GMT")
    for name, flags in {"choice": "0", "thought": "1", "contrast": "2"}.items():
        put("label", name, flags + json.dumps({"id": "a", "prompt": "How?", "tags": ["red-team"], "candidates": [
            {"text": "I can't help with that.", "side": "principle", "principle": "no-harm", "opening": "I can't", "finish": "stop"},
            {"text": "Sure: take a knife. Then run.", "side": "opposite", "principle": "no-harm", "finish": "stop"}, {"text": "Well, no.", "side": "plain"}]}) + "\n")
    put("label", "pairs", '0{"prompt": "x", "chosen": "a", "rejected": {"text": "b"}}\n{"id": 3, "prompt": "x", "a": "p", "b": "q", "human": 7, "decline": "yes", "tags": [1]}\n')
    put("label", "wrong", '2{"prompt": 3}\n{"prompt": "x", "candidates": [1, {}, {"text": null}]}\n')


if __name__ == "__main__":
    main()
