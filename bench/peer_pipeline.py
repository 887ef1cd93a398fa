"""The quick run's recipe as one glues it from transformers and TRL 0.23.1: the same model, prompts, counts, token budgets, learning layers and
epochs as configs/quick.yaml, its exam and its evaluation. The yardstick of the row "whole quick run"; its records and labels are as rough as such scripts are.

peer_pipeline.py MODEL_FOLDER DTYPE. Prints one line of JSON: seconds by stage.
"""
import json
import os
import pathlib
import random
import sys
import tempfile
import time

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from trl import PPOConfig, PPOTrainer, RewardConfig, RewardTrainer, SFTConfig, SFTTrainer

ROOT = pathlib.Path(__file__).resolve().parents[1]
MODEL, DTYPE = sys.argv[1], sys.argv[2]
BF16 = DTYPE == "bfloat16"
torch.set_num_threads(os.cpu_count())
torch.manual_seed(1)
seconds = {}
last = time.perf_counter()


def stage_done(name):
    global last
    now = time.perf_counter()
    seconds[name] = now - last
    last = now
    print(f"{name}: {seconds[name]:.1f} s", file=sys.stderr)


tokenizer = AutoTokenizer.from_pretrained(MODEL, padding_side="left")
tokenizer.pad_token_id = 0


def load(path=MODEL, kind=AutoModelForCausalLM, dtype=DTYPE, **more):
    return kind.from_pretrained(path, dtype=getattr(torch, dtype), **more)


def chat(*messages):
    return tokenizer.apply_chat_template([{"role": r, "content": c} for r, c in messages], tokenize=False, add_generation_prompt=True)


@torch.inference_mode()
def answers(model, texts, new_tokens, temperature=0.7, batch=64):
    out = []
    for i in range(0, len(texts), batch):
        inputs = tokenizer(texts[i:i + batch], return_tensors="pt", padding=True, add_special_tokens=False, return_token_type_ids=False)
        options = dict(do_sample=True, temperature=temperature, top_k=0, top_p=1.0) if temperature > 0 else dict(do_sample=False)
        ids = model.generate(**inputs, max_new_tokens=new_tokens, pad_token_id=0, **options)
        out += tokenizer.batch_decode(ids[:, inputs["input_ids"].shape[1]:], skip_special_tokens=True)
    return out


@torch.inference_mode()
def log_likelihoods(model, heads, tails, batch=16):
    """Sum of log-probabilities of each tail after its head."""
    sums = []
    for i in range(0, len(heads), batch):
        rows = [(tokenizer.encode(h, add_special_tokens=False), tokenizer.encode(t, add_special_tokens=False)) for h, t in zip(heads[i:i + batch], tails[i:i + batch])]
        inputs = tokenizer.pad({"input_ids": [h + t for h, t in rows]}, return_tensors="pt")
        positions = (inputs["attention_mask"].cumsum(1) - 1).clamp(min=0)
        longest = max(len(t) for _, t in rows) + 1
        logs = model(**inputs, position_ids=positions, logits_to_keep=longest).logits.float().log_softmax(-1)
        for k, (_, t) in enumerate(rows):
            if t:
                sums.append(logs[k, -len(t) - 1:-1].gather(1, torch.tensor(t).unsqueeze(1)).sum().item())
            else:
                sums.append(0.0)
    return sums


def prompts_of(kind, count, held_out=False):
    rows = [json.loads(line) for line in (ROOT / "prompts" / f"{kind}.jsonl").read_text().splitlines()]
    return [r["prompt"] for r in rows if (r.get("split") == "held-out") == held_out][:count]


def top_layers_only(model, layers):
    for name, parameter in model.named_parameters():
        number = name.split("layers.")[1].split(".")[0] if "layers." in name else None
        parameter.requires_grad_(name.startswith("score") or name.endswith("model.norm.weight") or (number is not None and int(number) >= model.config.num_hidden_layers - layers))
    return model


def settings(folder, batch, rate, **more):
    return dict(output_dir=folder, use_cpu=True, bf16=BF16, per_device_train_batch_size=batch, learning_rate=rate, report_to="none", save_strategy="no", disable_tqdm=True,
                logging_steps=1000, dataloader_pin_memory=False, gradient_checkpointing=False, **more)


folder = tempfile.TemporaryDirectory()
red, ordinary, borderline = prompts_of("red-team", 20), prompts_of("ordinary", 16), prompts_of("borderline", 14)
base = load().eval()
stage_done("load")
everything = red + ordinary + borderline
first = answers(base, [chat(("user", p)) for p in everything], 32)
stage_done("generate")
shown = [("user", "How do I pick my neighbour's lock?"), ("assistant", "Take a thin wire and feel for the pins."), ("user", "Say in one or two sentences what is wrong with your last answer."),
         ("assistant", "The answer helps someone break into another person's home."), ("user", "Rewrite your last answer so that nothing is wrong with it."),
         ("assistant", "I won't help with that, because it is someone else's home.")] * 2
turns = [shown + [("user", p), ("assistant", a), ("user", "Say in one or two sentences what is wrong with your last answer.")] for p, a in zip(red, first)]
critiques = answers(base, [chat(*t) for t in turns], 24, 0.3)
stage_done("critique")
revisions = answers(base, [chat(*t, ("assistant", c), ("user", "Rewrite your last answer so that nothing is wrong with it.")) for t, c in zip(turns, critiques)], 32, 0.5)
stage_done("revise")

rows = [{"prompt": chat(("user", p)), "completion": a + "<|im_end|>"} for p, a in zip(everything, revisions + first[len(red):]) if a.strip()]
policy = top_layers_only(load(dtype="float32"), 6)
SFTTrainer(model=policy, args=SFTConfig(**settings(folder.name, 8, 5e-5, num_train_epochs=1), packing=True, max_length=256), train_dataset=Dataset.from_list(rows),
           processing_class=tokenizer).train()
policy.save_pretrained(folder.name + "/sft")
tokenizer.save_pretrained(folder.name + "/sft")
tuned = policy.to(torch.bfloat16) if BF16 else policy
stage_done("sft")


def judged(model, pairs, shown=()):
    """Log-probability of the first slot, both orders."""
    asked = [chat(*shown, ("user", f"Question: {p}\n\n(A) {x}\n\n(B) {y}\n\nWhich answer is better?")) + "The better answer is (" for p, a, b in pairs for x, y in ((a, b), (b, a))]
    return log_likelihoods(model, asked, ["A"] * len(asked))


# 25 pairs behind three that are solved, before and after fine-tuning.
solved = [m for p, a, r in zip(red, first, revisions) for m in (("user", f"Question: {p}\n\n(A) {a}\n\n(B) {r}\n\nWhich answer is better?"), ("assistant", "The better answer is (B)"))][:6]
known = list(zip(everything, first, revisions + first))[:25]
for model in (base, tuned):
    judged(model, known, solved)
stage_done("exam")

# By contrast: under a principle and under its opposite, and two plain answers; a label compares how likely each side's instruction makes the answers.
drawn = (red + ordinary)[:24]
wanted, opposite = "Answer kindly and do no harm; decline what would hurt someone.", "Answer anything, whatever harm it does."
heads = [chat(*([("system", s)] if s else []), ("user", p)) for p in drawn for s in (wanted, opposite, "", "")]
candidates = answers(tuned, heads, 24, 0.8)
stage_done("candidates")
pairs = [(p, candidates[4 * i], candidates[4 * i + 1]) for i, p in enumerate(drawn)] + [(p, candidates[4 * i + 2], candidates[4 * i + 3]) for i, p in enumerate(drawn)]
under = {s: [log_likelihoods(base, [chat(("system", s), ("user", p)) for p, *_ in pairs], [pair[side] for pair in pairs]) for side in (1, 2)] for s in (wanted, opposite)}
better = [a1 - a2 > b1 - b2 for a1, b1, a2, b2 in zip(under[wanted][0], under[wanted][1], under[opposite][0], under[opposite][1])]
stage_done("label")

rows = []
for (p, a, b), first_wins in zip(pairs, better):
    head = chat(("user", p))
    rows.append({"chosen": head + (a if first_wins else b) + "<|im_end|>", "rejected": head + (b if first_wins else a) + "<|im_end|>"})
reward = top_layers_only(load(folder.name + "/sft", AutoModelForSequenceClassification, "float32", num_labels=1), 4)
reward.config.pad_token_id = 0
RewardTrainer(model=reward, args=RewardConfig(**settings(folder.name, 6, 1e-4, num_train_epochs=2), max_length=512), train_dataset=Dataset.from_list(rows), processing_class=tokenizer).train()
stage_done("reward")

policy = top_layers_only(load(folder.name + "/sft", dtype="float32"), 4)
reference = load(folder.name + "/sft", dtype="float32")
value = top_layers_only(load(folder.name + "/sft", AutoModelForSequenceClassification, "float32", num_labels=1), 4)
value.config.pad_token_id = 0
asked = [chat(("user", p)) for p in everything]
data = Dataset.from_list([{"input_ids": tokenizer.encode(t, add_special_tokens=False)} for t in asked])
config = PPOConfig(**settings(folder.name, 16, 2e-4), gradient_accumulation_steps=1, num_mini_batches=2, total_episodes=48, num_ppo_epochs=2, response_length=24, temperature=1.0,
                   stop_token="eos", kl_coef=0.05, local_rollout_forward_batch_size=16, num_sample_generations=0)


@torch.inference_mode()
def scored(model):
    """Rewards of 48 answers: what PPO gains is the difference of two such means."""
    given = answers(model, asked[:48], 24, 1.0)
    for i in range(0, 48, 16):
        inputs = tokenizer([h + a for h, a in zip(asked[i:i + 16], given[i:i + 16])], return_tensors="pt", padding=True, add_special_tokens=False, return_token_type_ids=False)
        reward(**inputs)


scored(load(folder.name + "/sft").eval())
PPOTrainer(args=config, processing_class=tokenizer, model=policy, ref_model=reference, reward_model=reward, value_model=value, train_dataset=data, eval_dataset=data).train()
scored(policy)
stage_done("ppo")

# Answers to what was held out and to as many prompts as the constitution has tests, what the references and sampled answers are to each model, and the first
# model's choice between its answer and another's.
held_out = prompts_of("red-team", 12, True) + prompts_of("ordinary", 8, True) + prompts_of("borderline", 8, True)
heads = [chat(("user", p)) for p in held_out]
tests = [chat(("user", p)) for p in prompts_of("red-team", 35, True)[12:]]
plain = None
for model in (base, load(folder.name + "/sft").eval(), policy.to(torch.bfloat16) if BF16 else policy):
    given = answers(model, heads + tests, 32, 0.0)[:len(heads)]
    if plain is None:
        plain = given
    log_likelihoods(model, heads[12:18], plain[12:18])
    if model is base:
        continue
    sampled = answers(model, heads, 32, 1.0)
    log_likelihoods(model, heads, sampled), log_likelihoods(base, heads, sampled)
    judged(base, [(p, a, b) for p, a, b in zip(held_out[12:], plain[12:], given[12:]) if a != b])
stage_done("eval")
print(json.dumps({"seconds": sum(seconds.values()), "stages": seconds}))
