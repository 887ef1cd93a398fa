"""Tiny random models of each architecture that we read, and what transformers 5.23.0 and torch 2.13.0 (float32, CPU) compute with them.

Writes tests/model/golden/<name>/ (config.json, weights, golden.json with tokens and logits) and tests/train/golden/{sft,ppo}.json (loss and
gradients of a fine-tuning batch; one PPO update, computed here from its formulas with torch's autograd).
Run: .deps/reference/bin/python tests/golden/models.py
"""
import copy
import json
import pathlib
import shutil

import torch
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODELS = ROOT / "tests" / "model" / "golden"
TRAIN = ROOT / "tests" / "train" / "golden"
TRAIN.mkdir(parents=True, exist_ok=True)

SMALL = dict(vocab_size=48, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256, bos_token_id=1, eos_token_id=2)
LLAMA3 = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32}
KINDS = {
    "llama-tied": (LlamaForCausalLM, LlamaConfig(**SMALL, tie_word_embeddings=True), {}),
    "llama3-scaled": (LlamaForCausalLM, LlamaConfig(**SMALL, tie_word_embeddings=False, rope_parameters=LLAMA3), {}),
    "llama-bfloat16-sharded": (LlamaForCausalLM, LlamaConfig(**SMALL, tie_word_embeddings=False), {"max_shard_size": "6KB"}),
    "mistral-window": (MistralForCausalLM, MistralConfig(**SMALL, sliding_window=6, tie_word_embeddings=False), {}),
    "qwen2-bias": (Qwen2ForCausalLM, Qwen2Config(**SMALL, tie_word_embeddings=True), {}),
    "qwen3-norm": (Qwen3ForCausalLM, Qwen3Config(**SMALL, head_dim=8, tie_word_embeddings=True), {}),
}
torch.manual_seed(1)
SEQUENCES = [torch.randint(3, 48, (n,)).tolist() for n in (1, 5, 17, 40)]


def build(name):
    kind, config, saving = KINDS[name]
    config._attn_implementation = "eager"
    torch.manual_seed(len(name))
    model = kind(config).eval()
    with torch.no_grad():
        for key, weight in model.named_parameters():  # wide enough that a missing bias, norm or window shows
            if key.endswith("bias"):
                weight.normal_(0, 0.5)
            elif "norm" in key:
                weight.normal_(1, 0.3)
            else:
                weight.normal_(0, 0.3)
            if "bfloat16" in name:
                weight.copy_(weight.to(torch.bfloat16).float())
    return model, saving


for name in KINDS:
    model, saving = build(name)
    folder = MODELS / name
    shutil.rmtree(folder, ignore_errors=True)
    (copy.deepcopy(model).to(torch.bfloat16) if "bfloat16" in name else model).save_pretrained(folder, **saving)
    for extra in folder.glob("generation_config.json"):
        extra.unlink()
    with torch.no_grad():
        rows = [[[round(x, 6) for x in row] for row in model(torch.tensor([s])).logits[0, -3:].tolist()] for s in SEQUENCES]
    json.dump({"sequences": SEQUENCES, "last_three_logits": rows}, open(folder / "golden.json", "w"), separators=(",", ":"))

# A fine-tuning batch: token-mean cross-entropy over the answers of ragged examples, and its gradients.
model, _ = build("llama-tied")
examples = [{"tokens": torch.randint(3, 48, (n,)).tolist(), "prompt": p} for n, p in ((7, 3), (12, 1), (20, 15), (4, 2))]
total = sum(len(e["tokens"]) - e["prompt"] for e in examples)
loss = 0
for e in examples:
    labels = torch.tensor([[-100] * e["prompt"] + e["tokens"][e["prompt"]:]])
    loss = loss + model(torch.tensor([e["tokens"]]), labels=labels).loss * (len(e["tokens"]) - e["prompt"]) / total
loss.backward()
gradients = {n: w.grad.reshape(-1).tolist() for n, w in model.named_parameters()}
json.dump({"examples": examples, "loss": loss.item(), "gradients": gradients}, open(TRAIN / "sft.json", "w"), separators=(",", ":"))

# One PPO update by its formulas: k1 penalty in the reward, score on the last token, GAE, whitening over all tokens (n - 1), clipped losses.
BETA, GAMMA, LAMBDA, CLIP, CLIP_VALUE = 0.05, 1.0, 0.95, 0.2, 0.2
reference, _ = build("llama-tied")
old, _ = build("llama-tied")
new, _ = build("llama-tied")
torch.manual_seed(7)
with torch.no_grad():
    for o, n in zip(old.parameters(), new.parameters()):
        o.add_(0.02 * torch.randn_like(o))
        n.copy_(o + 0.02 * torch.randn_like(o))
head_old, head_new = torch.randn(16) * 0.2, None
head_new = (head_old + 0.05 * torch.randn(16)).requires_grad_(True)
rollouts = [{"tokens": torch.randint(3, 48, (n,)).tolist(), "prompt": p, "score": s} for n, p, s in ((9, 4, 1.3), (14, 3, -0.4), (6, 2, 0.2), (11, 10, -1.1))]


def answers(model, r):
    out = model(torch.tensor([r["tokens"]]), output_hidden_states=True)
    logs = out.logits[0].log_softmax(-1)[r["prompt"] - 1:-1]
    targets = torch.tensor(r["tokens"][r["prompt"]:])
    return logs.gather(1, targets.unsqueeze(1)).squeeze(1), out.hidden_states[-1][0, r["prompt"] - 1:-1]


per_rollout, advantages, returns = [], [], []
with torch.no_grad():
    for r in rollouts:
        lp, hidden = answers(old, r)
        ref, _ = answers(reference, r)
        values = hidden @ head_old
        rewards = -BETA * (lp - ref)
        rewards[-1] += r["score"]
        advantage, running = torch.zeros_like(lp), 0.0
        for t in reversed(range(len(lp))):
            following = values[t + 1] if t + 1 < len(lp) else 0.0
            running = rewards[t] + GAMMA * following - values[t] + GAMMA * LAMBDA * running
            advantage[t] = running
        per_rollout.append({"log_probabilities": lp, "reference": ref, "values": values})
        advantages.append(advantage)
        returns.append(advantage + values)
flat = torch.cat(advantages)
whitened = [(a - flat.mean()) / torch.sqrt(flat.var() + 1e-8) for a in advantages]
count = len(flat)
policy_loss, value_loss = 0, 0
for r, kept, a, target in zip(rollouts, per_rollout, whitened, returns):
    lp, hidden = answers(new, r)
    ratio = torch.exp(lp - kept["log_probabilities"])
    policy_loss = policy_loss + torch.max(-a * ratio, -a * ratio.clamp(1 - CLIP, 1 + CLIP)).sum() / count
    v = hidden.detach() @ head_new
    held = torch.max(torch.min(v, kept["values"] + CLIP_VALUE), kept["values"] - CLIP_VALUE)
    value_loss = value_loss + 0.5 * torch.max((v - target) ** 2, (held - target) ** 2).sum() / count
policy_loss.backward()
value_loss.backward()
norm = torch.sqrt(sum((p.grad ** 2).sum() for p in new.parameters())).item()
dump = lambda model: {n: [float(f"{x:.9g}") for x in w.detach().reshape(-1).tolist()] for n, w in model.named_parameters()}
json.dump({"beta": BETA, "gamma": GAMMA, "lambda": LAMBDA, "clip": CLIP, "clip_value": CLIP_VALUE, "rollouts": rollouts, "old": dump(old), "new": dump(new),
           "head_old": head_old.tolist(), "head_new": head_new.detach().tolist(),
           "advantages": [a.tolist() for a in whitened], "returns": [x.tolist() for x in returns], "log_probabilities": [k["log_probabilities"].tolist() for k in per_rollout],
           "policy_loss": policy_loss.item(), "value_loss": value_loss.item(), "gradient_norm": norm, "value_gradient": head_new.grad.tolist()},
          open(TRAIN / "ppo.json", "w"), separators=(",", ":"))
print("written", sum(f.stat().st_size for f in list(MODELS.rglob("*")) + list(TRAIN.rglob("*")) if f.is_file()) // 1024, "KiB")
