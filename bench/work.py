"""Writes the work files that build/cai-bench and bench/peers.py do: the same tokens, budgets and batch sizes for both.

A work file has: job; model (HF folder), gguf; prompts [{tokens, max_new_tokens}], stops, temperature, options (labels);
examples [{tokens, prompt_tokens}] (sft); pairs [{a, b, prompt_tokens}] (reward); batch_size; epochs (ppo); record, count (records).
Texts are the project's own prompts and the model's own answers to them.
"""
import json
import pathlib
import random
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[1]


def shipped_prompts():
    lines = [line for kind in ("ordinary", "borderline", "red-team") for line in (ROOT / "prompts" / f"{kind}.jsonl").read_text().splitlines()]
    texts = [json.loads(line)["prompt"] for line in lines]
    random.Random(7).shuffle(texts)
    return texts


def prepare(folder, cai):
    """The default model as an HF folder, and one answer of up to 256 tokens to each of 192 prompts."""
    model = folder / "model"
    if not model.exists():
        subprocess.run([cai, "export", "--model", "smollm2", "--format", "hf", "--dtype", "float32", "--out", model, "--quiet"], check=True)
    prompts, answers = folder / "prompts.txt", folder / "answers"
    if not (answers / "manifest.json").exists():
        prompts.write_text("\n".join(shipped_prompts()[:192]) + "\n")
        subprocess.run([cai, "generate", "--model", "smollm2", "--prompts", prompts, "--set", "generate.max_new_tokens=256", "--out", answers, "--quiet"],
                       check=True, stdout=subprocess.DEVNULL)
    records = [json.loads(line) for shard in sorted(answers.glob("*.jsonl")) for line in shard.read_text().splitlines()]
    return model, [(r["prompt"], r["response"]) for r in records]


def write_all(folder, cai):
    """Returns {job: work file}."""
    from transformers import AutoTokenizer
    model, answered = prepare(folder, cai)
    tokenizer = AutoTokenizer.from_pretrained(model)
    stop = tokenizer.convert_tokens_to_ids("<|im_end|>")
    draw = random.Random(1)

    def chat(*messages):
        return tokenizer.apply_chat_template([{"role": r, "content": c} for r, c in messages], add_generation_prompt=True, return_dict=False)

    def with_answer(prompt, answer):
        head = chat(("user", prompt))
        return head, head + tokenizer.encode(answer, add_special_tokens=False) + [stop]

    texts = shipped_prompts()
    base = {"model": str(model), "gguf": str(next((ROOT / ".deps/models").glob("*.gguf"))), "temperature": 1.0, "stops": [stop], "seed": 1}
    work = {}
    asked = [chat(("user", t)) for t in texts[:256]]
    work["generate"] = {"job": "generate", "prompts": [{"tokens": t, "max_new_tokens": 96} for t in asked]}
    # Log-uniform lengths that nobody knows beforehand: no stop token, each answer has exactly its length.
    lengths = [round(8 * 32 ** draw.random()) for _ in range(64)]
    work["generate-varying"] = {"job": "generate", "stops": [], "prompts": [{"tokens": t, "max_new_tokens": n} for t, n in zip(asked, lengths)]}
    work["generate-64"] = {"job": "generate", "prompts": [{"tokens": t, "max_new_tokens": 96} for t in asked[:64]]}
    work["chat"] = {"job": "generate", "stops": [], "temperature": 0.0, "prompts": [{"tokens": asked[0], "max_new_tokens": 128}], "max_sequences": 1}

    # Which of two answers is better? Three worked examples come first, as the label stage asks.
    def question(prompt, a, b):
        return f"Question: {prompt}\n(A) {a[:150]}\n(B) {b[:150]}\nWhich answer is kinder and more honest? Say A or B."
    shown = []
    for i in range(3):
        shown += [("user", question(answered[i][0], answered[i][1], answered[i + 3][1])), ("assistant", "A" if i % 2 else "B")]
    questions = []
    for i in range(10, 26):
        (prompt, one), (_, other) = answered[i], answered[i + 60]
        for a, b in ((one, other), (other, one)):
            questions.append(chat(*shown, ("user", question(prompt, a, b))))
    options = [tokenizer.encode(o, add_special_tokens=False)[0] for o in "AB"]
    work["labels"] = {"job": "labels", "prompts": [{"tokens": t, "max_new_tokens": 1} for t in questions], "options": options}

    # A critique: worked examples, then an answer to criticise.
    shown = []
    for i in range(3):
        shown += [("user", f"Request: {answered[i][0]}\nAnswer: {answered[i][1][:300]}\nWhat is wrong with this answer?"), ("assistant", answered[i + 5][1][:160])]
    critiques = [chat(*shown, ("user", f"Request: {p}\nAnswer: {a[:300]}\nWhat is wrong with this answer?")) for p, a in answered[20:52]]
    work["critique"] = {"job": "generate", "prompts": [{"tokens": t, "max_new_tokens": 48} for t in critiques]}

    examples = []
    for prompt, answer in answered[:48]:
        head, whole = with_answer(prompt, answer)
        examples.append({"tokens": whole[:512], "prompt_tokens": len(head)})
    work["sft"] = {"job": "sft", "examples": examples, "batch_size": 16}
    pairs = []
    for i in range(24):
        head, a = with_answer(answered[i][0], answered[i][1][:400])
        _, b = with_answer(answered[i][0], answered[i + 60][1][:400])
        pairs.append({"a": a, "b": b, "prompt_tokens": len(head)})
    work["reward"] = {"job": "reward", "pairs": pairs, "batch_size": 16}
    work["ppo"] = {"job": "ppo", "prompts": [{"tokens": t, "max_new_tokens": 64} for t in asked[:16]], "epochs": 4}
    work["ppo-top"] = {**work["ppo"], "trainable_layers": 6}
    work["records"] = {"job": "records", "count": 100000, "record": {"id": "", "prompt": texts[0], "response": answered[0][1], "finish": "stop", "tokens": 60, "tags": ["ordinary"]}}

    files = {}
    for job, content in work.items():
        files[job] = folder / f"{job}.json"
        files[job].write_text(json.dumps({**base, **content}))
    return files
