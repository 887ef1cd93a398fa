"""How this program's cost grows: time a token against batch and context, memory against both, and one thread against all.

growth.py CAI_BUILD FOLDER --plots DIR. Writes DIR/growth-*.svg and prints a Markdown table; needs matplotlib and a folder made by compare.py.
"""
import argparse
import json
import pathlib
import random
import subprocess

import matplotlib
matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[1]
matplotlib.rcParams.update({"svg.hashsalt": "cai", "font.size": 9, "figure.figsize": (4.6, 3.2)})


def measure(options, prompts, prompt_tokens, new_tokens, threads=0, sequences=256):
    draw = random.Random(3)
    work = {"job": "generate", "gguf": str(next((ROOT / ".deps/models").glob("*.gguf"))), "stops": [], "seed": 1, "temperature": 1.0, "threads": threads, "max_sequences": sequences,
            "prompts": [{"tokens": [draw.randrange(1000, 40000) for _ in range(prompt_tokens)], "max_new_tokens": new_tokens} for _ in range(prompts)]}
    file = options.folder / "growth.json"
    file.write_text(json.dumps(work))
    best = None
    for _ in range(options.rounds):
        r = json.loads(subprocess.run([f"{options.build}/cai-bench", file], check=True, capture_output=True, text=True).stdout)
        if best is None or r["seconds"] < best["seconds"]:
            best = r
    return best


def draw(options, name, x, series, x_label, y_label):
    figure, axes = plt.subplots()
    for label, y in series.items():
        axes.plot(x, y, marker="o", label=label)
    axes.set_xscale("log", base=2)
    axes.set_xticks(x, [str(v) for v in x])
    axes.set_ylim(bottom=0)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(alpha=0.3)
    if len(series) > 1:
        axes.legend()
    figure.tight_layout()
    figure.savefig(options.plots / f"growth-{name}.svg", metadata={"Date": None})


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("build")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--plots", type=pathlib.Path, required=True)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    options.plots.mkdir(parents=True, exist_ok=True)
    batches, contexts = [1, 2, 4, 8, 16, 32, 64, 128, 256], [128, 256, 512, 1024, 2048, 4096]
    print("| batch (prompts of 32 tokens, 48 new) | ms a new token, all threads | tokens/s | one thread, tokens/s | MB |\n|---|---|---|---|---|")
    rows = []
    for n in batches:
        both, one = measure(options, n, 32, 48), measure(options, n, 32, 48, threads=1)
        rows.append((both["seconds"] / both["units"] * 1000, both["units"] / both["seconds"], one["units"] / one["seconds"], both["peak_megabytes"]))
        print(f"| {n} | {rows[-1][0]:.2f} | {rows[-1][1]:.0f} | {rows[-1][2]:.0f} | {rows[-1][3]:.0f} |", flush=True)
    draw(options, "batch", batches, {"all threads": [r[1] for r in rows], "one thread": [r[2] for r in rows]}, "sequences at once", "generated tokens a second")
    draw(options, "memory", batches, {"peak": [r[3] for r in rows]}, "sequences at once", "peak memory, MB")
    print("\n| context (4 sequences, 32 new tokens each) | ms a token, prompt included | MB |\n|---|---|---|")
    rows = []
    for n in contexts:
        r = measure(options, 4, n - 32, 32)
        rows.append((r["seconds"] / (4 * n) * 1000, r["peak_megabytes"]))
        print(f"| {n} | {rows[-1][0]:.2f} | {rows[-1][1]:.0f} |", flush=True)
    draw(options, "context", contexts, {"": [r[0] for r in rows]}, "context, tokens", "ms a token, prompt included")


if __name__ == "__main__":
    main()
