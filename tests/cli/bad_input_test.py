#!/usr/bin/env python3
"""Bad input, through the real binary: exit code 2, one line that says where, what was found and what is accepted, nothing on stdout,
nothing created. The inputs are in bad_input/cases.py, the answers in bad_input/expected.txt; `bad_input_test.py CAI --write` writes
the answers anew, to be read before they are committed."""
import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unicodedata

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "bad_input"))
import cases  # noqa: E402

BINARY = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else "build/cai")
EXPECTED = HERE / "bad_input/expected.txt"
RULES = HERE.parent.parent / "constitutions/harmless.yaml"
ENV = {**os.environ, "OMP_NUM_THREADS": "1"}


def put(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else json.dumps(data).encode() if not isinstance(data, str) else data.encode())
    return path


def snapshot(folder):
    return sorted((str(p), p.stat().st_size) for p in folder.rglob("*"))


def run(folder, arguments):
    """Exit code, and the lines of stderr with the case's folder left out."""
    result = subprocess.run([BINARY, *arguments], capture_output=True, cwd=folder, env=ENV, timeout=60, stdin=subprocess.DEVNULL)
    if result.returncode == 0:
        return 0, ["(accepted)"]
    assert result.stdout == b"", result.stdout
    lines = result.stderr.decode().split("\n")
    assert lines.pop() == "", lines
    assert any(line.startswith("error: ") for line in lines), lines
    for line in lines:
        assert not any(unicodedata.category(c) in ("Cc", "Cf") for c in line), f"a hidden character in {line!r}"
    return result.returncode, [line.removeprefix("error: ").replace(str(folder) + "/", "") for line in lines]


def tiny_model(folder):
    """A model of two layers that loads: what is wrong with a case is its own."""
    c = cases.corpus
    put(folder / "config.json", c.MODEL_CONFIG)
    shapes = {"model.embed_tokens.weight": [300, 16], "model.norm.weight": [16]}
    for i in range(2):
        at = f"model.layers.{i}."
        shapes |= {at + "input_layernorm.weight": [16], at + "post_attention_layernorm.weight": [16], at + "self_attn.q_proj.weight": [16, 16], at + "self_attn.k_proj.weight": [8, 16],
                   at + "self_attn.v_proj.weight": [8, 16], at + "self_attn.o_proj.weight": [16, 16], at + "mlp.gate_proj.weight": [32, 16], at + "mlp.up_proj.weight": [32, 16], at + "mlp.down_proj.weight": [16, 32]}
    tensors = {name: ("F32", shape, b"\0" * (4 * shape[0] * (shape[1] if len(shape) > 1 else 1))) for name, shape in shapes.items()}
    put(folder / "model.safetensors", c.safetensors(tensors))
    put(folder / "tokenizer.json", c.tokenizer_json())
    put(folder / "tokenizer_config.json", {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "chat_template": c.CHATML})
    return folder


def all_cases():
    """Kind, name, function that prepares a folder and returns the arguments."""
    def flags(arguments):
        return lambda folder: [a if isinstance(a, bytes) else a.replace("{x}", "nothing-here") for a in arguments]

    def config(text):
        return lambda folder: ["config", "show", "--config", put(folder / "c.yaml", text.replace("{name}", "c.yaml") if isinstance(text, str) else text)]

    def constitution(text):
        return lambda folder: ["constitution", "show", put(folder / "r.yaml", text)]

    def stage(command, flag, text):
        return lambda folder: [command, flag, put(folder / "r.jsonl", text), "--model", tiny_model(folder / "m"), "--out", folder / "a/out",
                               *([] if command in ("sft", "reward") else ["--constitution", RULES])]

    def model(name, data):
        def prepare(folder):
            tiny_model(folder / "m")
            if name.endswith("config.json") and isinstance(data, dict):
                before = json.loads((folder / "m" / name).read_text())
                put(folder / "m" / name, {k: v for k, v in {**before, **data}.items() if v is not None})
            else:
                put(folder / "m" / name, data)
            return ["chat", "--prompt", "x", "--model", "m"]
        return prepare

    def gguf(data):
        return lambda folder: ["chat", "--prompt", "x", "--model", put(folder / "m.gguf", data)]

    for kind, table, make in [("flags", cases.FLAGS, flags), ("flags", cases.FLAGS_OF_RUNS, flags), ("config", cases.CONFIG, config), ("constitution", cases.CONSTITUTION, constitution),
                              ("config.json", cases.CONFIG_JSON, lambda d: model("config.json", d)), ("safetensors", cases.SAFETENSORS, lambda d: model("model.safetensors", d)),
                              ("tokenizer.json", cases.TOKENIZER, lambda d: model("tokenizer.json", d)), ("tokenizer_config.json", cases.TOKENIZER_CONFIG, lambda d: model("tokenizer_config.json", d)),
                              ("GGUF", cases.GGUF, gguf), ("pairs", cases.PAIRS, lambda t: stage("label", "--pairs", t)), ("records", cases.STAGES, lambda s: stage(*s))]:
        for name, data in table.items():
            yield kind, name, make(data)


def one(case):
    kind, name, prepare = case
    with tempfile.TemporaryDirectory(prefix="cai-bad-") as keeper:
        folder = pathlib.Path(keeper)
        arguments = prepare(folder)
        before = snapshot(folder)
        code, lines = run(folder, arguments)
        assert snapshot(folder) == before, f"{kind}, {name}: something was created"
        return [(f"{kind}: {name}", code, line) for line in lines]


def prompts():
    """All prompt files in one plan: each has its own lines."""
    with tempfile.TemporaryDirectory(prefix="cai-bad-") as keeper:
        folder = pathlib.Path(keeper)
        arguments = ["plan", "--model", tiny_model(folder / "m"), "--constitution", RULES]
        for name, data in cases.PROMPTS.items():
            put(folder / name, data)
            arguments += ["--prompts", name]
        before = snapshot(folder)
        code, lines = run(folder, arguments)
        assert snapshot(folder) == before, "prompts: something was created"
        named = {name: [line for line in lines if line.startswith(name + ":")] for name in cases.PROMPTS}
        assert sorted(sum(named.values(), [])) == sorted(line for line in lines if not line.startswith("prompts.files:")), "a line without its file"
        return [(f"prompts: {name}", code, line) for name, found in named.items() for line in found or ["(accepted)"]]


def main():
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        found = sum(pool.map(one, all_cases()), []) + prompts()
    text = "".join(f"{name}\n  {code}  {line}\n" for name, code, line in found)
    names = [name for name, _, _ in found]
    print(f"{len(set(names))} bad inputs, {len(found)} lines")
    if "--write" in sys.argv:
        EXPECTED.write_text(text)
        return 0
    expected = EXPECTED.read_text()
    if text != expected:
        import difflib
        sys.stdout.writelines(difflib.unified_diff(expected.splitlines(True), text.splitlines(True), "expected", "found"))
        return 1
    wrong = [(name, code, line) for name, code, line in found if code != 2 or "internal error" in line or len(line) > 1000]
    print("".join(f"{w}\n" for w in wrong), end="")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
