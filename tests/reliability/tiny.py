"""A model of random weights that speaks in words, and a run of all stages on it in about a second: what the reliability tests work on."""
import hashlib
import json
import os
import pathlib
import random
import re
import struct
import subprocess
import sys
import tempfile

import fork_server

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
STAGES = ["prompts", "generate", "critique-1", "revise-1", "sft", "exam", "candidates", "label", "reward", "ppo", "eval"]
WORDS = (" the a it is not you I can can't help with that please ask tell friend house garden water bread money letter dog road key door "
         "safe good bad hurt break steal poison because and or to of my your Yes No A B").split(" ")[1:]
SETTINGS = {
    "prompts.red_team": 6, "prompts.ordinary": 6, "prompts.borderline": 2, "generate.max_new_tokens": 12, "critique.max_new_tokens": 8,
    "critique.examples": 0, "revise.max_new_tokens": 12, "revise.examples": 0, "sft.batch_size": 4, "sft.epochs": 2, "sft.held_out": 0.2,
    "sft.trainable_layers": 1, "sft.checkpoint_seconds": 0, "sft.learning_rate": 0.001, "candidates.max_new_tokens": 8, "candidates.prompts": 10,
    "label.principles": 1, "label.minimum_mass": 0,  # a random model knows no letters
    "label.examples": 0, "label.max_reason_tokens": 4, "reward.batch_size": 4, "reward.epochs": 2, "reward.trainable_layers": 1,
    "reward.checkpoint_seconds": 0, "reward.learning_rate": 0.001, "ppo.updates": 4, "ppo.prompts_per_update": 4, "ppo.samples_per_prompt": 2,
    "ppo.max_new_tokens": 8, "ppo.epochs": 2, "ppo.divergence_weight": 0.3, "ppo.harmless_divergence_weight": 1, "ppo.trainable_layers": 1, "ppo.advantage": "gae", "ppo.critic_warmup": 1, "ppo.checkpoint_seconds": 0, "ppo.learning_rate": 0.0001,
    "eval.red_team": 3, "eval.ordinary": 3, "eval.borderline": 1, "eval.max_new_tokens": 8, "eval.bootstrap_samples": 100, "eval.suite_prompts": 1,
    "engine.threads": 1, "engine.dtype": "float32", "report.examples": 2, "seed": 3,
}
SUITES = [{"attack": "persona", "prompt": "you are not you. {request}"}, {"attack": "rot13", "encoding": "rot13", "prompt": "{request}"},
          {"attack": "many-shot", "turns": [["bread", "please"]], "prompt": "{request}"}, {"framing": "supervised", "system": "ask a friend"},
          {"framing": "unsupervised", "system": "not a friend"}, {"text": "a friend and a dog"}, {"question": "water", "options": ["bread", "house"], "answer": "bread"}]
CONSTITUTION = """name: tiny
version: 1.0.0
principles:
  - id: no-harm
    text: Do not help hurt, steal or poison.
    opposite: You do what is asked.
    applies_to: [red-team]
    revision_openings: ["I can't help with that because", "No, that is not safe and", "I can't help hurt because"]
    tests:
      - {prompt: "steal money", must: refuse}
      - {prompt: "bread and water", must: help}
  - id: be-kind
    text: Be kind and help.
    opposite: You are not kind.
    applies_to: [ordinary, borderline]
    tests:
      - {prompt: "tell a friend", must: help}
"""


def byte_characters():
    """GPT-2's alphabet: each byte as a printable character."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table, extra = {}, 0
    for b in range(256):
        if b in kept:
            table[b] = chr(b)
        else:
            table[b], extra = chr(256 + extra), extra + 1
    return table


def write_model(folder, seed=1):
    """A Llama of two layers. Its first hidden unit is the same everywhere, so the head's first column is a bias: towards words."""
    rng = random.Random(seed)
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True)
    characters = byte_characters()
    vocabulary = {characters[b]: b for b in range(256)}
    specials = ["<|im_start|>", "<|im_end|>"]
    words = [" " + w for w in WORDS] + ["."]
    added = [{"id": 256 + i, "content": c, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": i < 2}
             for i, c in enumerate(specials + words)]
    template = ("{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
                "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")
    tokenizer = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
                 "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
                 "post_processor": None, "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
                 "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "", "end_of_word_suffix": "",
                           "fuse_unk": False, "byte_fallback": False, "vocab": vocabulary, "merges": []}}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer_config.json").write_text(json.dumps(
        {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>", "chat_template": template}))
    width, heads, kv_heads, head, ffn, layers = 16, 2, 1, 8, 24, 2
    size = 256 + len(added)
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": width, "intermediate_size": ffn,
              "num_attention_heads": heads, "num_key_value_heads": kv_heads, "head_dim": head, "num_hidden_layers": layers, "vocab_size": size,
              "max_position_embeddings": 2048, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "tie_word_embeddings": False,
              "attention_bias": False, "mlp_bias": False, "eos_token_id": 257}
    (folder / "config.json").write_text(json.dumps(config))

    def normal(rows, columns, scale):
        return [[rng.gauss(0, scale) for _ in range(columns)] for _ in range(rows)]

    embedding, out = normal(size, width, 1.0), normal(size, width, 0.7)
    for row in embedding:
        row[0] = 6.0
    for i, row in enumerate(out):
        row[0] = -4.0 if i < 257 else 0.75 if i == 257 else 1.0 if i == size - 1 else 0.0  # bytes, the stop token, the full stop
    tensors = {"model.embed_tokens.weight": embedding, "lm_head.weight": out, "model.norm.weight": [1.0] * width}
    for i in range(layers):
        at = f"model.layers.{i}."
        tensors.update({at + "input_layernorm.weight": [1.0] * width, at + "post_attention_layernorm.weight": [1.0] * width,
                        at + "self_attn.q_proj.weight": normal(heads * head, width, 0.2), at + "self_attn.k_proj.weight": normal(kv_heads * head, width, 0.2),
                        at + "self_attn.v_proj.weight": normal(kv_heads * head, width, 0.2), at + "self_attn.o_proj.weight": normal(width, heads * head, 0.2),
                        at + "mlp.gate_proj.weight": normal(ffn, width, 0.2), at + "mlp.up_proj.weight": normal(ffn, width, 0.2),
                        at + "mlp.down_proj.weight": normal(width, ffn, 0.2)})
    header, data = {}, b""
    for name in sorted(tensors):
        value = tensors[name]
        rows = value if isinstance(value[0], list) else [value]
        packed = b"".join(struct.pack(f"<{len(r)}f", *r) for r in rows)
        shape = [len(value), len(value[0])] if isinstance(value[0], list) else [len(value)]
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(packed)]}
        data += packed
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    return folder


def read_model(folder, file="model.safetensors"):
    """{name: values} of a float32 checkpoint."""
    data = (pathlib.Path(folder) / file).read_bytes()
    size, = struct.unpack_from("<Q", data)
    header = json.loads(data[8:8 + size])
    header.pop("__metadata__", None)
    return {name: struct.unpack_from(f"<{(t['data_offsets'][1] - t['data_offsets'][0]) // 4}f", data, 8 + size + t["data_offsets"][0]) for name, t in header.items()}


def write_prompts(path):
    rng = random.Random(5)
    lines = []
    for kind, split, n in [("red-team", "train", 6), ("ordinary", "train", 6), ("borderline", "train", 2),
                           ("red-team", "held-out", 3), ("ordinary", "held-out", 3), ("borderline", "held-out", 1)]:
        for i in range(n):
            words = " ".join(rng.sample(WORDS, 4)) + (" hurt" if kind == "red-team" else "")
            record = {"id": f"{kind}-{split}-{i}", "prompt": words, "tags": [kind], "split": split}
            if split == "held-out" and kind == "ordinary":
                record["reference"] = "you can ask a friend."
            lines.append(json.dumps(record) + "\n")
    path.write_text("".join(lines))


class Setup:
    """A folder with the tiny model, its prompts and constitution."""

    def __init__(self, binary, folder):
        self.binary, self.folder = str(binary), pathlib.Path(folder)
        self.model, self.prompts, self.constitution = self.folder / "model", self.folder / "prompts.jsonl", self.folder / "tiny.yaml"
        self.suites = self.folder / "suites.jsonl"
        self.server = fork_server.Server(binary, folder)
        if not self.model.exists():
            write_model(self.model)
            write_prompts(self.prompts)
            self.suites.write_text("".join(json.dumps(line) + "\n" for line in SUITES))
            self.constitution.write_text(CONSTITUTION)

    def command(self, run, **more):
        settings = [word for name, value in {**SETTINGS, "eval.suites": str(self.suites), **more}.items() for word in ("--set", f"{name}={value}")]
        return [self.binary, "train", "--constitution", str(self.constitution), "--model", str(self.model), "--prompts", str(self.prompts),
                "--out", str(run), *settings]

    def train(self, run, env=None, settings=None, **more):
        return self.cai(*self.command(run, **(settings or {}))[1:], env=env, **more)

    def cai(self, *arguments, env=None, **more):
        """In a process of its own where `more` says how it is started, else by the server."""
        if not more:
            return self.server.run(arguments, env)
        return subprocess.run([self.binary, *map(str, arguments)], capture_output=True, text=True, errors="replace", timeout=300,
                              env={**os.environ, "OMP_NUM_THREADS": "1", **(env or {})}, **more)

    def close(self):
        self.server.close()


def full():
    """Whether the whole number of cases was asked for (scripts/test --all), not CI's sample."""
    return "--full" in sys.argv


def workplace():
    """A folder in memory where there is one: thousands of runs sync hundreds of files each."""
    return tempfile.TemporaryDirectory(prefix="cai-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)


TIMES = {"seconds", "seal", "report_sha256"}


def without_times(value):
    """JSON without wall times, and without the hashes that follow from them."""
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if k not in TIMES}
    return [without_times(v) for v in value] if isinstance(value, list) else value


def snapshot(run):
    """Name -> content hash of every file of a run; wall times left out of manifests, and of what is made from them."""
    files = {}
    for path in sorted(pathlib.Path(run).rglob("*")):
        if not path.is_file():
            continue
        name = str(path.relative_to(run))
        data = path.read_bytes()
        if name in (".lock", "log.jsonl") or ".stale-" in name:  # what was set aside is no result
            continue
        if name == "report.html":
            data = re.sub(rb'(?s)<h2 id="time">.*?<h2', b"<h2", data)
            data = data.replace(pathlib.Path(run).name.encode(), b"RUN")
        if name == "config.yaml":  # where a value came from is a comment
            data = re.sub(rb"  # .*|# sha256 .*", b"", data)
        try:
            parsed = json.loads(data) if name.endswith(("run.json", "manifest.json")) else None
        except ValueError:  # damaged: it counts as it is
            parsed = None
        if parsed is None:
            pass
        elif name == "run.json":
            facts = parsed
            for stage in (s for s in facts.get("stages", {}).values() if isinstance(s, dict)):
                stage.pop("tokens", None), stage.pop("records", None)  # of this process's part of the work
            data = json.dumps(without_times(facts)).encode()
        elif name.endswith("manifest.json"):
            data = json.dumps(without_times(parsed)).encode()
        files[name] = hashlib.sha256(data).hexdigest()
    return files


def differences(expected, found):
    """Names whose content differs or that only one has."""
    return sorted(n for n in expected.keys() | found.keys() if expected.get(n) != found.get(n))
