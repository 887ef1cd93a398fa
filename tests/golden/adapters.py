"""LoRA adapters of tiny models as PEFT 0.21.2 writes them (transformers 5.23.0, torch 2.13.0, float32, CPU), and what it computes with them.

Writes tests/model/golden/adapters/<name>/ (adapter_config.json, adapter_model.safetensors, golden.json: the base model's folder, tokens, logits of the
last token, and for one of them loss, gradients and the matrices after three steps of AdamW).
Run: .deps/reference/bin/python tests/golden/adapters.py
"""
import json
import pathlib
import shutil
import sys

sys.path.pop(0)  # statistics.py beside this file would stand in for Python's own

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

MODELS = pathlib.Path(__file__).resolve().parents[1] / "model" / "golden"
KINDS = {
    # name: (base model's folder, task, settings)
    "llama": ("llama-tied", "CAUSAL_LM", dict(r=2, lora_alpha=6, target_modules="all-linear")),
    "llama-top": ("llama-tied", "CAUSAL_LM", dict(r=3, lora_alpha=3, target_modules=["q_proj", "v_proj"], layers_to_transform=[1])),
    "qwen2": ("qwen2-bias", "CAUSAL_LM", dict(r=2, lora_alpha=4, use_rslora=True, target_modules=["k_proj", "o_proj", "down_proj"],
                                             rank_pattern={"layers.0.self_attn.o_proj": 4}, alpha_pattern={"down_proj": 7})),
    "phi3": ("families/phi3", "CAUSAL_LM", dict(r=2, lora_alpha=4, target_modules="all-linear")),
    "gemma2": ("families/gemma2", "CAUSAL_LM", dict(r=2, lora_alpha=4, target_modules="all-linear")),
    "reward": ("llama-tied", "SEQ_CLS", dict(r=2, lora_alpha=4, target_modules=["q_proj", "up_proj"])),
}
SEQUENCES = [[5, 9, 13, 4, 30, 7], [11, 3], [8, 8, 21, 29, 2, 17, 31, 12, 6]]
EXAMPLES = [{"tokens": [5, 9, 13, 4, 30, 7, 19], "prompt": 3}, {"tokens": [11, 3, 28, 41], "prompt": 1}]


def rounded(tensor):
    return [float(f"{x:.7g}") for x in tensor.detach().reshape(-1).tolist()]


def loss_of(model):
    total = sum(len(e["tokens"]) - e["prompt"] for e in EXAMPLES)
    loss = 0
    for e in EXAMPLES:
        logs = model(torch.tensor([e["tokens"]])).logits[0].log_softmax(-1)[e["prompt"] - 1:-1]
        loss = loss - logs.gather(1, torch.tensor(e["tokens"][e["prompt"]:]).unsqueeze(1)).sum() / total
    return loss


def training(model):
    """Loss and gradients, then the matrices after three steps of AdamW."""
    named = {n.removeprefix("base_model.model.").replace(".default", ""): p for n, p in model.named_parameters() if p.requires_grad}
    optimiser = torch.optim.AdamW(named.values(), lr=0.01, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)
    found = {"examples": EXAMPLES, "losses": []}
    for step in range(3):
        optimiser.zero_grad()
        loss = loss_of(model)
        loss.backward()
        found["losses"].append(loss.item())
        if step == 0:
            found["gradients"] = {n: rounded(p.grad) for n, p in named.items()}
        optimiser.step()
    found["after"] = {n: rounded(p) for n, p in named.items()}
    return found


for name, (base, task, settings) in KINDS.items():
    torch.manual_seed(len(name))
    reads = AutoModelForCausalLM if task == "CAUSAL_LM" else AutoModelForSequenceClassification
    extra = {} if task == "CAUSAL_LM" else {"num_labels": 1, "pad_token_id": 0}
    model = get_peft_model(reads.from_pretrained(MODELS / base, attn_implementation="eager", dtype=torch.float32, **extra),
                           LoraConfig(task_type=task, **settings)).eval()
    with torch.no_grad():
        for key, weight in model.named_parameters():
            if "lora_B" in key or "score" in key:
                weight.normal_(0, 0.3)
    folder = MODELS / "adapters" / name
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    (folder / "adapter_model.safetensors").chmod(0o644)
    for other in folder.glob("README.md"):
        other.unlink()
    config = json.load(open(folder / "adapter_config.json"))
    config["base_model_name_or_path"] = f"../../{base}"
    config["target_modules"] = sorted(config["target_modules"])
    json.dump(config, open(folder / "adapter_config.json", "w"), indent=1)
    with torch.no_grad():
        outputs = [model(torch.tensor([s])).logits[0] for s in SEQUENCES]  # of a score: one number
        last = [rounded(one[-1] if task == "CAUSAL_LM" else one) for one in outputs]
    golden = {"base": base, "sequences": SEQUENCES, "last_logits": last}
    if name == "llama":
        golden["training"] = training(model)
    json.dump(golden, open(folder / "golden.json", "w"), separators=(",", ":"))
    print(name, golden["last_logits"][0][:4], golden.get("training", {}).get("losses"))
