"""How well `cai explain RUN --prompt` tells which principle's revisions moved an answer, against fine-tuning without them.

.deps/peers/bin/python bench/faithfulness.py CAI FOLDER [--prompts N] [--seeds N] [--json FILE]

A small run of the default recipe is made in FOLDER (kept, taken up again), then one fine-tuning without the revisions of each principle. The true effect of a
principle on an answer is what the full fine-tuning raised log p(answer after) - log p(answer before) by, less what the one without it did, both by transformers in
float32. Compared with it, over the principles of one prompt: the influence that `cai explain` gives, how many revisions the principle has, and the words they
share with the prompt (TF-IDF). How well one seed's true effects tell another's is the most that any of them can reach.
"""
import argparse
import collections
import json
import math
import pathlib
import random
import statistics
import subprocess
import sys

import pandas
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

ROOT = pathlib.Path(__file__).resolve().parents[1]
SETTINGS = ["prompts.red_team=160", "prompts.ordinary=48", "prompts.borderline=48", "sft.held_out=0", "ppo.updates=0", "eval.suites=", "eval.red_team=1", "eval.borderline=1", "eval.ordinary=1"]


def run(cai, *arguments):
    done = subprocess.run([cai, *map(str, arguments), "--quiet"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"faithfulness: cai {arguments[0]}: {done.stderr.strip()}")
    return done.stdout


def read_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def spearman(x, y):
    """None where one side does not vary."""
    if len(set(x)) == 1 or len(set(y)) == 1:
        return None
    return statistics.correlation(list(pandas.Series(x).rank()), list(pandas.Series(y).rank()))


def interval(values):
    """Mean and 95 % bootstrap interval."""
    draw = random.Random(1)
    means = sorted(sum(draw.choices(values, k=len(values))) / len(values) for _ in range(2000))
    return [sum(values) / len(values), means[49], means[1949]]


def shared_words(prompt, texts_of):
    """{principle: sum of the cosines between prompt and its revisions' prompts, TF-IDF}."""
    words = lambda text: [w.strip(".,!?;:\"'()").lower() for w in text.split()]
    documents = [set(words(t)) for texts in texts_of.values() for t in texts]
    in_documents = collections.Counter(w for d in documents for w in d)
    def vector(text):
        v = {w: n * math.log((1 + len(documents)) / (1 + in_documents[w])) for w, n in collections.Counter(words(text)).items()}
        length = math.sqrt(sum(x * x for x in v.values())) or 1
        return {w: x / length for w, x in v.items()}
    asked = vector(prompt)
    return {p: sum(sum(x * asked.get(w, 0) for w, x in vector(t).items()) for t in texts) for p, texts in texts_of.items()}


def margins(folder, explained):
    """log p(after) - log p(before) of each explanation's answers under a model."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    stop = tokenizer.convert_tokens_to_ids("<|im_end|>")
    def log_probability(prompt, answer):
        head = tokenizer.apply_chat_template([{"role": "user", "content": prompt}], add_generation_prompt=True, return_dict=False)
        tokens = torch.tensor([head + tokenizer.encode(answer, add_special_tokens=False) + [stop]])
        with torch.inference_mode():
            logs = model(tokens).logits[0, :-1].log_softmax(-1).gather(1, tokens[0, 1:, None])[:, 0]
        return logs[len(head) - 1:].sum().item()
    return [log_probability(e["prompt"], e["after"]) - log_probability(e["prompt"], e["before"]) for e in explained]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cai")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--prompts", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--json", type=pathlib.Path)
    o = parser.parse_args()
    o.folder.mkdir(parents=True, exist_ok=True)
    o.folder = o.folder.resolve()
    settings = [x for s in SETTINGS for x in ("--set", s)]
    base = o.folder / "run"
    run(o.cai, "train", "--config", "configs/default.yaml", "--out", base, *settings)
    stage = base / "iter-01" / "revise-1"
    records = [r for shard in sorted(stage.glob("[0-9]*.jsonl")) for r in read_lines(shard)]
    learned = {use["id"] for use in read_lines(base / "iter-01/sft/examples.jsonl") if use["use"] == "train"}
    revised = collections.defaultdict(list)
    for r in records:
        if r["id"] in learned and r.get("principle") and not r.get("revision_problem"):
            revised[r["principle"]].append(r["prompt"])
    principles = sorted(revised)

    def fine_tuned(without, seed):
        out = o.folder / f"{without or 'all'}-{seed}"
        if not (out / "manifest.json").exists():
            file = o.folder / f"{without or 'all'}.jsonl"
            file.write_text("".join(json.dumps(r) + "\n" for r in records if not without or r.get("principle") != without))
            run(o.cai, "sft", "--config", base / "config.yaml", "--model", "smollm2", "--revisions", file, "--seed", seed, "--out", out)
        return out / "checkpoint"

    explained = []
    for prompt in [r["prompt"] for r in read_lines(ROOT / "prompts" / "red-team.jsonl") if r["split"] == "held-out"]:
        if len(explained) == o.prompts:
            break
        file = o.folder / f"explained-{len(explained)}.json"
        if not file.exists() or json.loads(file.read_text())["prompt"] != prompt:
            e = json.loads(run(o.cai, "explain", base, "--prompt", prompt, "--json"))
            if "principles" not in e:  # fine-tuning left this answer as it was
                continue
            file.write_text(json.dumps(e))
        explained.append(json.loads(file.read_text()))

    # effects[seed][prompt][principle]
    effects = []
    for seed in range(1, o.seeds + 1):
        with_all = margins(fine_tuned("", seed), explained)
        without = {p: margins(fine_tuned(p, seed), explained) for p in principles}
        effects.append([[with_all[i] - without[p][i] for p in principles] for i in range(len(explained))])
    truth = [[sum(e[i][k] for e in effects) / len(effects) for k in range(len(principles))] for i in range(len(explained))]
    guesses = {"influence": [[next(x["sum"] for x in e["principles"] if x["principle"] == p) for p in principles] for e in explained],
               "number of revisions": [[len(revised[p]) for p in principles] for _ in explained],
               "shared words": [[shared_words(e["prompt"], revised)[p] for p in principles] for e in explained]}

    def compared(guess, truth):
        pairs = list(zip(guess, truth))
        first = [g.index(max(g)) == t.index(max(t)) for g, t in pairs]
        return {"spearman": interval([s for s in (spearman(g, t) for g, t in pairs) if s is not None]), "first": sum(first) / len(first)}

    rows = {name: compared(guess, truth) for name, guess in guesses.items()}
    if len(effects) > 1:
        rows["another seed's true effects (against one seed)"] = compared(effects[1], effects[0])
    print(f"{len(explained)} prompts, {len(principles)} principles ({', '.join(f'{p} {len(revised[p])}' for p in principles)}), {o.seeds} seeds\n")
    print("| by | rank correlation with the true effect, mean [95 %] | the largest one found |\n|---|---|---|")
    for name, row in rows.items():
        mean, low, high = row["spearman"]
        print(f"| {name} | {mean:.2f} [{low:.2f}, {high:.2f}] | {row['first']:.2f} |")
    if o.json:
        o.json.write_text(json.dumps({"principles": principles, "effects": effects, "guesses": guesses, "rows": rows}))


if __name__ == "__main__":
    main()
