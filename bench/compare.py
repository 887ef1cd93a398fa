"""Runs this program and the peers alternately on the same work and writes a table (Markdown) and rows (JSON).

compare.py CAI_BUILD FOLDER --peers VENV --ppo-peers VENV [--rounds 3] [--jobs a,b] [--json FILE] [--table FILE]
For each job the peer's variants are tried once, then the best one alternates with us. Figures are medians; the ratio is the median of the
rounds' ratios, its spread their lowest and highest. Start-up is left out on both sides and stated apart.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

import work as work_files

HERE = pathlib.Path(__file__).resolve().parent

# job, what is measured, unit, peer, variants, ratio to reach, share of the peer's memory to stay below
ROWS = [
    ("generate", "generation, 256 prompts, up to 96 new tokens, T = 1", "useful tokens/s", "transformers", ["bfloat16,64", "bfloat16,128"], 5, None),
    ("generate-varying", "generation, lengths 8 to 256", "useful tokens/s", "transformers", ["bfloat16,64", "bfloat16,32"], 7, None),
    ("generate-64", "generation, continuous batching, 64 prompts", "useful tokens/s", "llama.cpp", ["Q4_1,32", "Q4_1/plain,32", "BF16,32"], 8, None),
    ("chat", "one sequence, 128 tokens, greedy", "tokens/s", "llama.cpp", ["Q4_1,1", "Q4_1/plain,1", "BF16,1"], 1, None),
    ("labels", "A/B labels, shared few-shot prefix, both orders", "labels/s", "transformers", ["bfloat16,16", "bfloat16,4"], 6, None),
    ("critique", "critiques, shared exemplars, 48 new tokens", "useful tokens/s", "transformers", ["bfloat16,32", "bfloat16,64"], 6, None),
    ("sft", "SFT, all weights, ragged examples", "trained tokens/s", "trl", ["bfloat16,4", "bfloat16,2"], 3, 0.6),
    ("reward", "reward model, all weights", "pairs/s", "trl", ["bfloat16,8", "bfloat16,16"], 3, 0.6),
    ("ppo", "one PPO update, 16 prompts, 64 tokens, 4 epochs, four models", "updates/s", "trl-ppo", ["bfloat16,16"], 5, 0.5),
    ("ppo-top", "the same, top six layers learn (the default config's way)", "updates/s", "trl-ppo", ["bfloat16,16"], 5, 0.5),
    ("records", "records: write, hash, sync, read", "MB/s", "json", [""], 1, None),
]


def result_of(command, **more):
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", **more})
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        raise RuntimeError(lines[-1] if lines else "no output")
    return json.loads(done.stdout.strip().splitlines()[-1])


def rate(result):
    return result["units"] / result["seconds"]


class Bench:
    def __init__(self, options, files):
        self.options, self.files = options, files

    def ours(self, job):
        return result_of([f"{self.options.build}/cai-bench", self.files[job]], GOMP_SPINCOUNT="5000", GLIBC_TUNABLES="glibc.malloc.hugetlb=1")  # as `cai` starts its work

    def theirs(self, file, peer, variant):
        venv = self.options.ppo_peers if peer == "trl-ppo" else self.options.peers
        return result_of([f"{venv}/bin/python", HERE / "peers.py", file, peer.split("-")[0], variant])

    def quarter(self, job):
        """A quarter of the work, which is enough to see which variant is best."""
        work = json.loads(self.files[job].read_text())
        for name in ("prompts", "examples", "pairs"):
            if len(work.get(name, [])) > 16:
                work[name] = work[name][:max(16, len(work[name]) // 4)]
        file = self.files[job].with_name(f"{job}-quarter.json")
        file.write_text(json.dumps(work))
        return file

    def best_variant(self, job, peer, variants):
        tried = {}
        for variant in variants:
            try:
                tried[variant] = rate(self.theirs(self.quarter(job), peer, variant))
            except RuntimeError as error:
                print(f"  {peer} {variant}: {error}", file=sys.stderr)
        if not tried:
            raise RuntimeError(f"{job}: no variant of {peer} ran")
        return max(tried, key=tried.get), tried

    def row(self, job, what, unit, peer, variants, goal, memory_goal):
        variant, tried = self.best_variant(job, peer, variants) if len(variants) > 1 else (variants[0], {})
        ours, theirs = [], []
        for _ in range(self.options.rounds):
            ours.append(self.ours(job))
            theirs.append(self.theirs(self.files[job], peer, variant))
        ratios = [rate(a) / rate(b) for a, b in zip(ours, theirs)]
        row = {"job": what, "unit": unit, "peer_name": peer, "peer_variant": variant, "variants_tried": tried,
               "ours": statistics.median(map(rate, ours)), "peer": statistics.median(map(rate, theirs)), "ours_all": [rate(r) for r in ours], "peer_all": [rate(r) for r in theirs],
               "ratio": statistics.median(ratios), "ratio_low": min(ratios), "ratio_high": max(ratios), "goal": goal,
               "memory": statistics.median(r["peak_megabytes"] for r in ours), "peer_memory": statistics.median(r["peak_megabytes"] for r in theirs), "memory_goal": memory_goal,
               "start_seconds": statistics.median(r["start_seconds"] for r in ours), "peer_start_seconds": statistics.median(r["start_seconds"] for r in theirs)}
        if job == "labels":  # the same question must have the same answer
            pairs = list(zip(ours[0]["log_odds"], theirs[0]["log_odds"]))
            row["mean_difference_of_log_odds"] = statistics.mean(abs(a - b) for a, b in pairs)
        return row


def quick_run(build, folder, ppo_peers, rounds):
    """Whole processes, start-up included: `cai train` with the quick config, and the same recipe glued from transformers and TRL. Without suites of attacks and
    framings, which those scripts do not have."""
    ours, theirs, stages = [], [], {}
    for _ in range(rounds):
        out = folder / f"quick-{time.time_ns()}"
        begin = time.perf_counter()
        subprocess.run([f"{build}/cai", "train", "--constitution", HERE.parent / "constitutions/harmless.yaml", "--config", HERE.parent / "configs/quick.yaml", "--set", "eval.suites=", "--out", out,
                        "--quiet"],
                       check=True, stdout=subprocess.DEVNULL)
        ours.append(time.perf_counter() - begin)
        begin = time.perf_counter()
        stages = result_of([f"{ppo_peers}/bin/python", HERE / "peer_pipeline.py", folder / "model", "bfloat16"])["stages"]
        theirs.append(time.perf_counter() - begin)
    ratios = [b / a for a, b in zip(ours, theirs)]
    return {"ours": statistics.median(ours), "peer": statistics.median(theirs), "ratio": statistics.median(ratios), "ratio_low": min(ratios), "ratio_high": max(ratios), "goal": 5, "peer_stages": stages}


def limits(build):
    """What this machine does at best: products by dtype and reading memory."""
    done = subprocess.run([f"{build}/bench_kernels", "--benchmark_filter=library_product.*(1024|2048)|engine_product/.*/192/|memory_read", "--benchmark_format=json"],
                          capture_output=True, text=True, check=True)
    best = {}
    for b in json.loads(done.stdout)["benchmarks"]:
        name = b["name"].split("/")
        key = name[0] + (" " + name[1] if name[1] in ("int8", "bfloat16", "float32") else "")
        best[key] = max(best.get(key, 0), b.get("GFLOP/s", b.get("GB/s", 0)))
    return best


def start_to_first_token(build, files, peers):
    """Whole processes, the binary's and the interpreter's start included on either side; only the load and first token of the peer beside it. Of ours an
    answer in the terminal, and the stage that leaves a durable record with the hashes of what it was made from."""
    model = json.loads(pathlib.Path(files["chat"]).read_text())["gguf"]
    prompt = pathlib.Path(files["chat"]).with_name("one.txt")
    prompt.write_text("What is the capital of France?\n")

    def seconds_of(*command):
        begin = time.perf_counter()
        subprocess.run([f"{build}/cai", *map(str, command), "--model", model], check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - begin

    answers, stages = [], []
    for i in range(4):
        answers.append(seconds_of("chat", "--prompt", prompt.read_text(), "--max-new-tokens", 1))
        stages.append(seconds_of("generate", "--prompts", prompt, "--set", "generate.max_new_tokens=1", "--out", prompt.with_name(f"one-{time.time_ns()}"), "--quiet"))
    one = json.loads(pathlib.Path(files["chat"]).read_text())
    one["prompts"][0]["max_new_tokens"] = 1
    file = prompt.with_name("one.json")
    file.write_text(json.dumps(one))

    def theirs(variant):
        return result_of([f"{peers}/bin/python", HERE / "peers.py", file, "llama.cpp", variant])

    variant = "Q4_1,1"
    try:
        theirs(variant)
    except RuntimeError:
        variant = "Q4_1/plain,1"
    whole, inside = [], []
    for i in range(4):
        begin = time.perf_counter()
        r = theirs(variant)
        whole.append(time.perf_counter() - begin)
        inside.append(r["start_seconds"] + r["seconds"])
    return {"cai chat": statistics.median(answers), "cai generate": statistics.median(stages), "llama.cpp, process": statistics.median(whole), "llama.cpp, load and first token only": statistics.median(inside)}


def share_of_limit(row, best):
    """Generation's products as a share of the best bfloat16 product: 2 operations a weight and token, the head only where a token is drawn."""
    peak = max(rate for name, rate in best.items() if "bfloat16" in name)
    return row["ours"] * 2 * 134.5e6 / 1e9 / peak


def markdown(rows, best, start, quick):
    lines = ["| job | unit | ours | peer | ratio [lowest, highest] | goal | our memory | its memory |", "|---|---|---|---|---|---|---|---|"]
    for r in rows:
        mark = "" if r["ratio"] >= r["goal"] else " (not reached)"
        memory = f"{r['memory'] / 1000:.1f} GB ({100 * r['memory'] / r['peer_memory']:.0f} %)"
        lines.append(f"| {r['job']} | {r['unit']} | {r['ours']:.4g} | {r['peer']:.4g} ({r['peer_name']} {r['peer_variant']}) | {r['ratio']:.2f} [{r['ratio_low']:.2f}, {r['ratio_high']:.2f}] "
                     f"| {r['goal']}{mark} | {memory} | {r['peer_memory'] / 1000:.1f} GB |")
    if quick:
        lines.append(f"| whole quick run, start-up included | s | {quick['ours']:.0f} | {quick['peer']:.0f} (transformers and TRL) | {quick['ratio']:.2f} [{quick['ratio_low']:.2f}, {quick['ratio_high']:.2f}] "
                     f"| {quick['goal']}{'' if quick['ratio'] >= quick['goal'] else ' (not reached)'} | | |")
    lines += ["", "Limits of this machine: " + "; ".join(f"{k} {v:.0f} {'GB/s' if 'memory' in k else 'GFLOP/s'}" for k, v in best.items()),
              ""]
    if start:
        lines += ["Process start to first token (s): " + "; ".join(f"{k} {v:.2f}" for k, v in start.items())]
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("build")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--peers", required=True)
    parser.add_argument("--ppo-peers", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick-rounds", type=int, default=2)
    parser.add_argument("--jobs", default="")
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--table", type=pathlib.Path)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    cai = f"{options.build}/cai"
    files = work_files.write_all(options.folder, cai)
    for kind in ("BF16",):
        if not (options.folder / f"{kind}.gguf").exists():
            subprocess.run([cai, "export", "--model", "smollm2", "--format", "gguf", "--dtype", "bf16", "--out", options.folder / "gguf", "--quiet"], check=True, stdout=subprocess.DEVNULL)
            next((options.folder / "gguf").glob("*.gguf")).rename(options.folder / f"{kind}.gguf")
    best = limits(options.build)
    bench, rows = Bench(options, files), []
    wanted = options.jobs.split(",") if options.jobs else [r[0] for r in ROWS]
    for job, *rest in sorted((r for r in ROWS if r[0] in wanted), key=lambda r: wanted.index(r[0])):
        begin = time.perf_counter()
        try:
            rows.append(bench.row(job, *rest))
        except RuntimeError as error:
            print(f"{job}: {error}", file=sys.stderr)
            continue
        if job == "generate":
            rows[-1]["share_of_best_product"] = share_of_limit(rows[-1], best)
        r = rows[-1]
        print(f"{job}: {r['ratio']:.2f} (ours {r['ours']:.4g}, {r['peer_name']} {r['peer']:.4g}; {time.perf_counter() - begin:.0f} s)", file=sys.stderr, flush=True)
        if options.json:  # after each job: a bench that is cut off keeps what it has
            options.json.write_text(json.dumps({"rows": rows, "limits": best}, indent=1) + "\n")
    start = start_to_first_token(options.build, files, options.peers) if not options.jobs or "start" in wanted else {}
    quick = quick_run(options.build, options.folder, options.ppo_peers, options.quick_rounds) if not options.jobs or "quick" in options.jobs.split(",") else None
    table = markdown(rows, best, start, quick)
    if options.json:
        options.json.write_text(json.dumps({"rows": rows, "limits": best, "start": start, "quick_run": quick}, indent=1) + "\n")
    if options.table:
        options.table.write_text(table)
    print(table)


if __name__ == "__main__":
    main()
