"""What people type and files that are broken. Each case has a name; what the program says to it stands in expected.txt."""
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "fuzz"))
import corpus  # noqa: E402  (builds GGUF, safetensors and tokenizers by hand)

# ---- command lines: {x} is a folder that does not exist ----

FLAGS = {
    "no command": [], "unknown command": ["trian"], "unknown command far": ["xylophone"], "command with escape": ["\x1b[31mtrain"], "command with newline": ["train\nok"],
    "unknown flag": ["train", "--constitutoin", "a"], "unknown flag far": ["plan", "--zzzzzzz"], "flag with escape": ["plan", "--\x1b]0;x\x07"], "short flag": ["plan", "-Z"],
    "flag of another command": ["config", "show", "--pairs", "x"], "missing out": ["generate"], "missing pairs": ["label", "--out", "{x}"], "missing value": ["plan", "--config"],
    "missing labels": ["reward", "--out", "{x}"], "missing reward": ["ppo", "--out", "{x}"], "missing run": ["report"], "extra word": ["config", "show", "more"],
    "config without verb": ["config"], "config wrong verb": ["config", "shwo"], "constitution without verb": ["constitution"], "constitution wrong verb": ["constitution", "lnit", "x"],
    "completion without shell": ["completion"], "completion wrong shell": ["completion", "tcsh"], "explain unknown": ["config", "explain", "ppo.kl"], "explain near": ["config", "explain", "ppo.updtes"],
    "explain hostile": ["config", "explain", "\x1b[2J\u202e"], "set without equals": ["config", "show", "--set", "seed"], "set unknown": ["config", "show", "--set", "sede=1"],
    "set unknown section": ["config", "show", "--set", "pop.updates=1"], "set unknown in section": ["config", "show", "--set", "ppo.updtes=1"], "set empty name": ["config", "show", "--set", "=1"],
    "set empty": ["config", "show", "--set", ""], "set word for number": ["config", "show", "--set", "seed=abc"], "set nan": ["config", "show", "--set", "ppo.learning_rate=nan"],
    "set inf": ["config", "show", "--set", "ppo.learning_rate=inf"], "set hex": ["config", "show", "--set", "seed=0x10"], "set octal": ["config", "show", "--set", "seed=010"],
    "set negative": ["config", "show", "--set", "seed=-1"], "set fraction": ["config", "show", "--set", "seed=1.5"], "set overflow": ["config", "show", "--set", "seed=99999999999999999999"],
    "set space": ["config", "show", "--set", "seed=1 2"], "set plus": ["config", "show", "--set", "seed=+1"], "set too large": ["config", "show", "--set", "iterations=101"],
    "set zero": ["config", "show", "--set", "iterations=0"], "set yes": ["config", "show", "--set", "revise.openings=yes"], "set not one of": ["config", "show", "--set", "label.method=guess"],
    "set hostile value": ["config", "show", "--set", "seed=\x1b[31m\nforged: line"], "set long value": ["config", "show", "--set", "seed=" + "9" * 5000], "seed word": ["config", "show", "--seed", "x"],
    "seed negative": ["config", "show", "--seed=-1"], "set password": ["config", "show", "--set", "label.feedback=https://me:hunter2@host/v1"],
    "set key as variable": ["config", "show", "--set", "endpoint.key_variable=sk-0123"], "set rloo of one": ["config", "show", "--set", "ppo.advantage=rloo", "--set", "ppo.samples_per_prompt=1"],
    "config missing": ["config", "show", "--config", "{x}"], "config folder": ["config", "show", "--config", "/"], "config endless": ["config", "show", "--config", "/dev/zero"],
    "config long path": ["config", "show", "--config", "/" + "a" * 5000], "constitution missing": ["constitution", "show", "{x}"], "constitution folder": ["constitution", "lint", "/"],
    "constitution long path": ["constitution", "show", "a" * 5000],
}

# Commands that load torch first; few.
FLAGS_OF_RUNS = {
    "plan: nothing there": ["plan", "--constitution", "{x}", "--model", "{x}", "--prompts", "{x}"], "round zero": ["critique", "--responses", "{x}", "--out", "{x}", "--round", "0"],
    "export format": ["export", "--model", "smollm2", "--out", "{x}", "--format", "onnx"], "export dtype": ["export", "--model", "smollm2", "--out", "{x}", "--dtype", "f16"],
    "eval twice": ["eval", "--model", "a=smollm2", "--model", "a=smollm2", "--out", "{x}"], "out is a file": ["generate", "--prompts", "{x}", "--out", "/dev/null"],
    "out too long": ["generate", "--prompts", "{x}", "--out", "/tmp/" + "a" * 300], "report of nothing": ["report", "{x}"], "verify of nothing": ["verify", "{x}"],
    "gate": ["plan", "--set", "eval.gates=over_refusal is low"], "judge": ["plan", "--set", "label.feedback={x}"], "judge address": ["plan", "--set", "label.feedback=http://h/v1?key=1"],
    "check: nothing to check": ["check"], "check: two inputs": ["check", "--prompt", "x", "--answer", "y", "--exchanges", "{x}"], "check: no answer": ["check", "--prompt", "x"],
    "check: nobody to judge": ["check", "--prompt", "x", "--answer", "y"], "check: out of one": ["check", "--prompt", "x", "--answer", "y", "--out", "{x}"],
    "check: map": ["check", "--exchanges", "{x}", "--map", "question=q"], "check: map of one": ["check", "--prompt", "x", "--answer", "y", "--map", "prompt=q"],
    "check: gate": ["check", "--exchanges", "{x}", "--gate", "violates is low"], "check: gate near": ["check", "--exchanges", "{x}", "--gate", "violates.privcy <= 1%"],
    "check: gate relative": ["check", "--exchanges", "{x}", "--gate", "violates <= base"], "check: reasons": ["check", "--exchanges", "{x}", "--reasons"],
    "check: trunk": ["check", "--exchanges", "{x}", "--trunk", "smollm2"], "check: guard": ["check", "--exchanges", "{x}", "--guard", "{x}"], "check: judge": ["check", "--exchanges", "{x}", "--judge", "{x}"],
    "check: no log": ["check", "--exchanges", "{x}", "--judge", "http://127.0.0.1:1/v1"], "check: not UTF-8": ["check", "--prompt", b"\xff", "--answer", "y"],
    "guard without verb": ["guard"], "guard: no run": ["guard", "train", "{x}", "--out", "{x}"], "guard: no out": ["guard", "train", "{x}"], "guard: share": ["guard", "train", "{x}", "--out", "{x}", "--false-positives", "2%"],
    "guard: no guard": ["guard", "show", "{x}"], "guard: no exchanges": ["guard", "exam", "{x}"], "guard: exam of nothing": ["guard", "exam", "{x}", "--exchanges", "{x}"],
    "model with newline": ["chat", "--prompt", "x", "--model", "a\nforged: line\x1b[31m"], "prompt not UTF-8": ["chat", "--prompt", b"\xff"],
}

# ---- configs ----

CONFIG = {
    "unknown field": "sede: 1\n", "unknown section": "pop:\n  updates: 1\n", "unknown in section": "ppo:\n  updtes: 1\n", "field at top": "updates: 1\n",
    "twice": "seed: 1\nseed: 2\n", "section twice": "ppo:\n  updates: 1\nppo:\n  updates: 2\n", "twice in section": "ppo:\n  updates: 1\n  updates: 2\n",
    "section is scalar": "ppo: 3\n", "section is list": "ppo: [1]\n", "field is list": "seed: [1]\n", "field is map": "seed: {a: 1}\n", "list is scalar": "prompts:\n  files: a.txt\n",
    "list of lists": "prompts:\n  files: [[a]]\n", "word": "seed: abc\n", "empty number": "seed:\n", "null": "ppo:\n  updates: ~\n", "nan": "ppo:\n  learning_rate: .nan\n", "inf": "ppo:\n  learning_rate: .inf\n",
    "hex": "seed: 0x1f\n", "octal": "seed: 017\n", "exponent": "seed: 1e3\n", "overflow": "seed: 123456789012345678901\n", "double overflow": "ppo:\n  learning_rate: 1e999\n",
    "range low": "ppo:\n  learning_rate: -0.1\n", "range high": "sft:\n  weight_decay: 1.1\n", "yes": "revise:\n  openings: yes\n", "capital": "revise:\n  openings: True\n", "not one of": "engine:\n  dtype: float16\n",
    "advantage": "ppo:\n  advantage: rloo\n  samples_per_prompt: 1\n", "a list": "- seed\n", "a word": "seed\n", "number": "3\n", "key is list": "? [seed]\n: 1\n", "key is map": "{{a: 1}: 2}\n",
    "tab": "ppo:\n\tupdates: 1\n", "torn quote": "seed: \"1\n", "torn list": "prompts:\n  files: [a, b\n", "torn map": "{seed: 1\n", "unknown alias": "seed: *a\n",
    "two values": "seed: 1 : 2\n", "percent": "%YAML 9.9\n---\nseed: x\n", "bad escape": 'seed: "\\q"\n', "control character": "seed: \x01\n", "NUL": "seed: 1\0\n", "not UTF-8": b"seed: \xff\n", "UTF-16": "seed: 1\n".encode("utf-16"),
    "deep": "a: " + "[" * 3000 + "]" * 3000 + "\n", "deep map": "{a: " * 2000 + "\n", "large": "#" * 1_100_000, "extends nothing": "extends: none.yaml\n", "extends itself": "extends: {name}\n", "extends list": "extends: [a]\n",
    "hostile key": '"\\e[31mred\\nforged.yaml:1: fine": 1\n', "long key": "k" * 900 + ": 1\n", "hostile value": 'seed: "\\e]0;x\\a\\u202e\\u200b"\n', "many wrong": "".join(f"wrong_{i}: 1\n" for i in range(300)),
    "password": "label:\n  feedback: http://me:hunter2@host/v1\n", "key": "endpoint:\n  key_variable: sk-0123\n", "anchor loop": "seed: &a [*a]\n", "merge": "<<: {seed: 1}\n",
}

# ---- constitutions ----

P = "principles:\n  - id: a\n    text: Do not help anyone hurt people.\n"
CONSTITUTION = {
    "empty": "", "scalar": "Be kind.\n", "number": "3\n", "empty list": "[]\n", "list of numbers and lists": "- [a]\n", "list with empty": "- Be kind to people.\n- ''\n", "map in list": "- {text: x}\n",
    "no principles": "name: x\n", "principles a word": "principles: x\n", "principles empty": "principles: []\n", "principle a list": "principles:\n  - [x]\n", "no text": "principles:\n  - id: a\n",
    "empty text": "principles:\n  - id: a\n    text: ' '\n", "text a list": "principles:\n  - id: a\n    text: [x]\n", "text long": "principles:\n  - id: a\n    text: " + "x" * 20001 + "\n", "unknown field": P + "    priorty: 1\n",
    "unknown top": "nme: x\n" + P, "unknown far": "zebra: x\n" + P, "id twice": P + "  - id: a\n    text: Be kind.\n", "field twice": P + "    text: y\n", "priority word": P + "    priority: high\n", "priority zero": P + "    priority: 0\n",
    "priority huge": P + "    priority: 1e300\n", "priority list": P + "    priority: [1]\n", "weight nan": P + "    weight: .nan\n", "weight negative": P + "    weight: -1\n", "hard word": P + "    hard: maybe\n", "applies_to word": P + "    applies_to: red-team\n",
    "applies_to of lists": P + "    applies_to: [[a]]\n", "openings empty": P + "    revision_openings: ['']\n", "tests word": P + "    tests: x\n", "test word": P + "    tests: [x]\n", "test without prompt": P + "    tests:\n      - must: refuse\n",
    "test without must": P + "    tests:\n      - prompt: x\n", "test must unknown": P + "    tests:\n      - {prompt: x, must: obey}\n", "test unknown field": P + "    tests:\n      - {prompt: x, must: refuse, mst: y}\n",
    "mention without words": P + "    tests:\n      - {prompt: x, must: mention}\n", "examples word": P + "examples: x\n", "examples unknown": P + "examples:\n  labels: []\n", "example not complete": P + "examples:\n  label:\n    - {prompt: x}\n",
    "example better": P + "examples:\n  label:\n    - {prompt: p, a: x, b: y, better: C, reason: z}\n", "critique list": P + "examples:\n  critique: 3\n", "tab": "principles:\n\t- x\n", "torn": "principles: [\n", "alias": "principles: *x\n",
    "key list": P + "? [a]\n: 1\n", "not UTF-8": b"- \xff\xfe\n", "large": "- " + "x" * 5_000_001, "deep": "principles: " + "[" * 1000, "hostile id": P + '  - id: "a\\nforged: \\e[31m"\n    text: x\n    weight: -1\n',
    "hostile field": P + '    "\\e[2J\\nforged": 1\n', "BOM and word": "\ufeffBe kind\n",
}

# ---- prompts: all of them are given to one plan, which tells all problems ----

PROMPTS = {
    "empty.jsonl": "", "empty.txt": "", "blank.txt": "\n \n\t\n", "list.jsonl": "[1]\n", "word.jsonl": "hello\n", "torn.jsonl": '{"prompt": "a"}\n{"prompt": \n', "two-a-line.jsonl": '{"prompt": "a"}{"prompt": "b"}\n',
    "no-prompt.jsonl": '{"text": "a"}\n', "number.jsonl": '{"prompt": 3}\n', "null.jsonl": '{"prompt": null}\n', "blank.jsonl": '{"prompt": "  "}\n', "split.jsonl": '{"prompt": "a", "split": "test"}\n', "tags.jsonl": '{"prompt": "a", "tags": "x"}\n',
    "tag-numbers.jsonl": '{"prompt": "a", "tags": [1]}\n', "tag.jsonl": '{"prompt": "a", "tag": 1}\n', "reference.jsonl": '{"prompt": "a", "reference": []}\n', "id-float.jsonl": '{"prompt": "a", "id": 1.5}\n', "id-list.jsonl": '{"prompt": "a", "id": []}\n',
    "id-twice.jsonl": '{"prompt": "a", "id": "x"}\n{"prompt": "b", "id": "x"}\n', "field-twice.jsonl": '{"prompt": "a", "prompt": "b"}\n', "long.jsonl": json.dumps({"prompt": "x" * 100001}) + "\n",
    "deep.jsonl": "[" * 100000 + "\n", "number-range.jsonl": '{"prompt": "a", "x": 1e999}\n', "surrogate.jsonl": '{"prompt": "\\ud800"}\n', "utf8.jsonl": b'{"prompt": "\xff"}\n', "utf8.txt": b"ok\n\xc3\x28\n", "utf16.txt": "hello\n".encode("utf-16"),
    "comment.jsonl": '{"prompt": "a"} // x\n', "single-quotes.jsonl": "{'prompt': 'a'}\n", "trailing-comma.jsonl": '{"prompt": "a",}\n', "nan.jsonl": '{"prompt": "a", "x": NaN}\n', "control.jsonl": '{"prompt": "a\x01"}\n', "hostile-key.jsonl": '{"\\u001b[31m\\nforged: x": 1, "\\u001b[31m\\nforged: x": 2, "prompt": "a"}\n',
    "hostile-id.jsonl": '{"prompt": "a", "id": "\\u001b[31m\\nforged: x"}\n{"prompt": "b", "id": "\\u001b[31m\\nforged: x"}\n', "one-line.txt": "x" * 1_000_000, "header.tsv": "question\ttags\nx\ty\n", "columns.tsv": "prompt\ttags\nx\ty\tz\n",
    "column-twice.tsv": "prompt\tprompt\na\tb\n", "header-only.tsv": "prompt\ttags\n", "utf8.tsv": b"prompt\n\xff\n", "header-utf8.tsv": b"prompt\t\xff\nx\ty\n", "split.tsv": "prompt\tsplit\na\tb\n", "torn.jsonl.zst": b"\x28\xb5\x2f\xfd\x20", "word.jsonl.zst": "no zstd",
}

# ---- pairs and other records: each a call of label (or another stage) with a tiny model ----

PAIRS = {
    "word": "hello\n", "list": "[]\n", "torn": '{"prompt": "a", "chosen"', "id twice": '{"id": 1, "prompt": "a", "a": "x", "b": "y"}\n{"id": 1, "prompt": "a", "a": "x", "b": "y"}\n', "no prompt": '{"a": "x", "b": "y"}\n', "prompt number": '{"prompt": 1, "a": "x", "b": "y"}\n',
    "no answers": '{"prompt": "a"}\n', "chosen only": '{"prompt": "a", "chosen": "x"}\n', "answer number": '{"prompt": "a", "a": 1, "b": "y"}\n', "answer null": '{"prompt": "a", "chosen": {"text": null}, "rejected": "y"}\n', "one candidate": '{"prompt": "a", "candidates": ["x"]}\n',
    "candidates word": '{"prompt": "a", "candidates": "x"}\n', "candidate number": '{"prompt": "a", "candidates": ["x", 2]}\n', "unknown principle": '{"prompt": "a", "candidates": [{"text": "x", "side": "principle", "principle": "\\u001b\\nz"}, {"text": "y", "side": "opposite", "principle": "z"}]}\n',
    "hostile id": '{"id": "\\u001b[31m\\nforged: x", "prompt": "a"}\n',
}

STAGES = {  # command, flag, records
    "critique without response": ("critique", "--responses", '{"prompt": "a"}\n'), "revise without critique": ("revise", "--critiques", '{"prompt": "a", "answer": "b", "principle": "no-harm"}\n'),
    "revise unknown principle": ("revise", "--critiques", '{"prompt": "a", "answer": "b", "principle": "zz", "critique": "c"}\n'), "reward without p": ("reward", "--labels", '{"prompt": "a", "a": "x", "b": "y"}\n'),
    "reward p of 2": ("reward", "--labels", '{"prompt": "a", "a": "x", "b": "y", "p": 2}\n'), "reward of one": ("reward", "--labels", '{"prompt": "a", "a": "x", "b": "y", "p": 1}\n'), "sft of nothing": ("sft", "--revisions", '{"prompt": "a", "response": ""}\n'),
}

# ---- models ----

CONFIG_JSON = {
    "not json": "hello", "list": [], "no architecture": {"architectures": None, "model_type": None}, "other architecture": {"architectures": ["GPT2LMHeadModel"]}, "hostile architecture": {"architectures": ["\x1b[31m\nforged: x"]}, "two architectures": {"architectures": ["LlamaForCausalLM", "x"], "model_type": "x"},
    "activation": {"hidden_act": "gelu"}, "activation number": {"hidden_act": 1}, "no layers": {"num_hidden_layers": None}, "layers word": {"num_hidden_layers": "2"}, "layers zero": {"num_hidden_layers": 0}, "layers negative": {"num_hidden_layers": -1}, "layers many": {"num_hidden_layers": 10 ** 12},
    "heads zero": {"num_attention_heads": 0, "head_dim": None}, "heads uneven": {"num_key_value_heads": 3}, "head odd": {"head_dim": 3}, "width huge": {"hidden_size": 2 ** 63}, "eps": {"rms_norm_eps": 0}, "theta": {"rope_theta": -1}, "theta word": {"rope_theta": "x"}, "tied word": {"tie_word_embeddings": "yes"},
    "rope kind": {"rope_scaling": {"rope_type": "spiral", "factor": 2}}, "rope factor": {"rope_scaling": {"rope_type": "llama3", "factor": 0}}, "rope parameters word": {"rope_scaling": None, "rope_parameters": {"rope_theta": "x"}, "rope_theta": None}, "mlp bias": {"mlp_bias": True},
    "vocabulary small": {"vocab_size": 10}, "context": {"max_position_embeddings": 0},
}

SAFETENSORS = {
    "empty": b"", "short": b"\1\0\0", "length": corpus.struct.pack("<Q", 2 ** 40) + b"{}", "not json": corpus.struct.pack("<Q", 2) + b"hi", "list": corpus.struct.pack("<Q", 2) + b"[]", "no tensors": corpus.safetensors({}), "no dtype": corpus.struct.pack("<Q", 15) + b'{"a":{"x":1234}}'[:15],
    "other tensor": corpus.safetensors({"\x1b[31m\nforged": ("F32", [1], b"\0" * 4)}), "dtype": corpus.safetensors({"a": ("F8_E5M2", [1], b"\0")}), "size": corpus.safetensors({"a": ("F32", [2], b"\0" * 4)}), "negative": corpus.safetensors({"a": ("F32", [-1], b"\0" * 4)}),
    "impossible": corpus.safetensors({"a": ("F32", [2 ** 40, 2 ** 40], b"\0" * 4)}), "behind": corpus.safetensors({"a": ("F32", [1], b"\0" * 4)}) + b"x", "cut": corpus.safetensors({"a": ("F32", [9], b"\0" * 36)})[:-1], "whole numbers": corpus.safetensors({"model.embed_tokens.weight": ("I64", [1], b"\0" * 8)}),
}

T = corpus.tokenizer_json
TOKENIZER = {
    "not json": "hello", "list": "[]", "empty": "{}", "model word": T(model="x"), "model kind": T(model={"type": "WordPiece", "vocab": {}, "merges": []}), "no vocabulary": T(model={"type": "BPE", "merges": []}), "vocabulary list": T(model={"type": "BPE", "vocab": [], "merges": []}),
    "id negative": T(model={"type": "BPE", "vocab": {"a": -1}, "merges": []}), "id huge": T(model={"type": "BPE", "vocab": {"a": 9999999}, "merges": []}), "id word": T(model={"type": "BPE", "vocab": {"a": "1"}, "merges": []}), "merge unknown": T(model={"type": "BPE", "vocab": {"a": 0}, "merges": ["x y"]}),
    "merge one": T(model={"type": "BPE", "vocab": {"a": 0}, "merges": ["x"]}), "merge hostile": T(model={"type": "BPE", "vocab": {"a": 0}, "merges": ["\x1b[31m\nforged: y"]}), "merge control": T(added_tokens=[{"id": 258, "content": "hell", "special": True}]), "no pre-tokenizer": T(pre_tokenizer=None),
    "pre-tokenizer": T(pre_tokenizer={"type": "Metaspace"}), "pattern": T(pre_tokenizer={"type": "Split", "pattern": {"Regex": "(a"}, "behavior": "Isolated"}), "pattern C": T(pre_tokenizer={"type": "Split", "pattern": {"Regex": "\\C"}, "behavior": "Isolated"}), "behaviour": T(pre_tokenizer={"type": "Split", "pattern": {"Regex": "a"}, "behavior": "Sideways"}),
    "normalizer": T(normalizer={"type": "BertNormalizer"}), "normalizer word": T(normalizer="x"), "added word": T(added_tokens="x"), "added id": T(added_tokens=[{"id": 2 ** 33, "content": "x"}]), "added twice": T(added_tokens=[{"id": 259, "content": "<|im_end|>", "special": True}, {"id": 259, "content": " "}]),
}
TOKENIZER_CONFIG = {"not json": "hello", "template": {"chat_template": "{{ messages"}, "include": {"chat_template": "{% include 'x' %}"}}

GGUF = {
    "empty": b"", "magic": b"GGML" + b"\0" * 40, "short": b"GGUF\3\0", "version": corpus.gguf({}, version=1), "counts": b"GGUF" + corpus.struct.pack("<IQQ", 3, 2 ** 60, 2 ** 60), "value type": b"GGUF" + corpus.struct.pack("<IQQ", 3, 0, 1) + corpus.gguf_string("k") + corpus.struct.pack("<I", 99) + b"\0" * 32,
    "nested array": b"GGUF" + corpus.struct.pack("<IQQ", 3, 0, 1) + corpus.gguf_string("k") + corpus.struct.pack("<IIQ", 9, 9, 1) + b"\0" * 32, "key twice": b"GGUF" + corpus.struct.pack("<IQQ", 3, 0, 2) + (corpus.gguf_string("\x1b\nk") + corpus.gguf_value(1)) * 2,
    "no metadata": corpus.gguf({}), "architecture": corpus.llama_gguf(**{"general.architecture": "gemma\x1b"}), "architecture number": corpus.llama_gguf(**{"general.architecture": 3}), "layers word": corpus.llama_gguf(**{"llama.block_count": "x"}), "layers fraction": corpus.llama_gguf(**{"llama.block_count": 1.5}), "layers zero": corpus.llama_gguf(**{"llama.block_count": 0}),
    "heads zero": corpus.llama_gguf(**{"llama.attention.head_count": 0}), "alignment": corpus.llama_gguf(**{"general.alignment": 0}), "tokenizer": corpus.llama_gguf(**{"tokenizer.ggml.model": "llama"}), "pre": corpus.llama_gguf(**{"tokenizer.ggml.pre": "x\ny"}), "tokens": corpus.llama_gguf(**{"tokenizer.ggml.tokens": 3}), "merges": corpus.llama_gguf(**{"tokenizer.ggml.merges": ["zz qq"]}),
    "template UTF-8": corpus.llama_gguf(**{"tokenizer.chat_template": b"<|im_start|>\xff"}), "dimensions": corpus.gguf({}, [("x", (), 0, b"")]), "five dimensions": corpus.gguf({}, [("x", (1, 1, 1, 1, 1), 0, b"\0" * 4)]), "shape": corpus.gguf({}, [("x", (2 ** 40, 2 ** 40), 0, b"")]), "tensor type": corpus.gguf({}, [("x", (1,), 77, b"")]), "row": corpus.gguf({}, [("x\x1b[31m\n", (31,), 2, b"")]),
    "past the end": corpus.gguf({}, [("x", (4096,), 0, b"\0" * 32)]), "tensor twice": corpus.gguf({}, [("x", (1,), 0, b"\0" * 4), ("x", (1,), 0, b"\0" * 4)]), "tensor missing": corpus.llama_gguf(),
}
