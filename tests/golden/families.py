"""Tiny random models of the families that are not plain Llama, and of the ways to stretch rotary frequencies, with what transformers 5.23.0 and torch 2.13.0 (float32,
CPU) compute with them.

Writes tests/model/golden/families/<name>/ (config.json, weights in bfloat16, golden.json: logits of the last token of each sequence, and for the last sequence but
one what each weight's gradient comes to when it is multiplied with cos(0), cos(1), ...) and tests/model/golden/ropes.json (settings and logits, with llama-tied's weights).
Run: .deps/reference/bin/python tests/golden/families.py
"""
import json
import pathlib
import shutil

import torch
import transformers as t

MODELS = pathlib.Path(__file__).resolve().parents[2] / "tests" / "model" / "golden"
SMALL = dict(vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256,
             bos_token_id=1, eos_token_id=2, pad_token_id=0)
GEMMA = dict(SMALL, head_dim=8)
WINDOWS = dict(layer_types=["sliding_attention", "full_attention"], sliding_window=6)
LONGROPE = {"rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0, 1.3, 2.1], "long_factor": [1.5, 3.0, 9.0]}
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 16}
KINDS = {
    "phi3": (t.Phi3ForCausalLM, t.Phi3Config(**dict(SMALL, num_attention_heads=2, num_key_value_heads=1), partial_rotary_factor=0.75, rope_parameters=LONGROPE,
                                             original_max_position_embeddings=64, sliding_window=9)),
    "smollm3": (t.SmolLM3ForCausalLM, t.SmolLM3Config(**SMALL, no_rope_layer_interval=2)),
    "gemma": (t.GemmaForCausalLM, t.GemmaConfig(**GEMMA)),
    "gemma2": (t.Gemma2ForCausalLM, t.Gemma2Config(**GEMMA, **WINDOWS, attn_logit_softcapping=3.0, final_logit_softcapping=5.0, query_pre_attn_scalar=12)),
    "gemma3": (t.Gemma3ForCausalLM, t.Gemma3TextConfig(**GEMMA, **WINDOWS, query_pre_attn_scalar=20,
                                                       rope_parameters={"full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                                                                        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}})),
    "olmo2": (t.Olmo2ForCausalLM, t.Olmo2Config(**SMALL)),
    "olmo3": (t.Olmo3ForCausalLM, t.Olmo3Config(**SMALL, **WINDOWS, rope_parameters={"full_attention": YARN, "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}})),
    "granite": (t.GraniteForCausalLM, t.GraniteConfig(**SMALL, attention_bias=True, embedding_multiplier=3.0, residual_multiplier=0.22, attention_multiplier=0.3, logits_scaling=6.0)),
    "qwen3-upper-windows": (t.Qwen3ForCausalLM, t.Qwen3Config(**SMALL, head_dim=8, attention_bias=True, use_sliding_window=True, sliding_window=6, max_window_layers=1)),
    "qwen2-windows": (t.Qwen2ForCausalLM, t.Qwen2Config(**SMALL, use_sliding_window=True, sliding_window=6, max_window_layers=0)),
}
ROPES = {
    "linear": {"rope_type": "linear", "factor": 4.0},
    "dynamic": {"rope_type": "dynamic", "factor": 4.0},
    "yarn": {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 32},
    "yarn with all its settings": {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 32, "beta_fast": 4, "beta_slow": 0.5, "truncate": False, "attention_factor": 1.5},
    "yarn with mscale": {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 32, "mscale": 0.7, "mscale_all_dim": 0.4},
    "longrope": {"rope_type": "longrope", "short_factor": [1.2, 3.0], "long_factor": [2.0, 7.0], "original_max_position_embeddings": 64},
    "longrope with a factor": {"rope_type": "longrope", "short_factor": [1.2, 3.0], "long_factor": [1.2, 3.0], "factor": 2.0, "original_max_position_embeddings": 64},
}
torch.manual_seed(5)
SEQUENCES = [torch.randint(3, 32, (n,)).tolist() for n in (1, 5, 17, 40)]


def last_logits(model):
    with torch.no_grad():
        return [[round(x, 5) for x in model(torch.tensor([s])).logits[0, -1].tolist()] for s in SEQUENCES]


def weighed(x):
    return (x.double().reshape(-1) * torch.cos(torch.arange(x.numel(), dtype=torch.float64))).sum()


def gradients(model, config):
    """Of sum(logits cos), by the names of the program: fused weights are apart."""
    weighed(model(torch.tensor([SEQUENCES[2]])).logits).backward()
    head = config.hidden_size // config.num_attention_heads
    sizes = [config.num_attention_heads * head, config.num_key_value_heads * head, config.num_key_value_heads * head]
    found = {}
    for name, weight in model.named_parameters():
        parts = {name: weight.grad}
        if "qkv_proj" in name:
            parts = {name.replace("qkv", part): g for part, g in zip("qkv", weight.grad.split(sizes))}
        if "gate_up_proj" in name:
            parts = {name.replace("gate_up", part): g for part, g in zip(("gate", "up"), weight.grad.chunk(2))}
        found.update({n: round(weighed(g).item(), 5) for n, g in parts.items()})
    return found


shutil.rmtree(MODELS / "families", ignore_errors=True)
for name, (kind, config) in KINDS.items():
    config._attn_implementation = "eager"
    torch.manual_seed(len(name))
    model = kind(config).eval()
    with torch.no_grad():
        for key, weight in model.named_parameters():  # wide enough that a missing bias, norm, window or cap shows
            weight.normal_(1 if "norm" in key and "gemma" not in name else 0, 0.5 if key.endswith("bias") else 0.3)
            weight.copy_(weight.to(torch.bfloat16).float())
    folder = MODELS / "families" / name
    golden = {"sequences": SEQUENCES, "last_logits": last_logits(model), "gradients": gradients(model, config)}
    model.to(torch.bfloat16).save_pretrained(folder)
    for extra in folder.glob("generation_config.json"):
        extra.unlink()
    (folder / "golden.json").write_text(json.dumps(golden, separators=(",", ":")))

found = {}
for name, rope in ROPES.items():
    config = t.LlamaConfig.from_pretrained(MODELS / "llama-tied", rope_scaling={"rope_theta": 10000.0, **rope})
    config._attn_implementation = "eager"
    found[name] = {"rope": rope, "last_logits": last_logits(t.LlamaForCausalLM.from_pretrained(MODELS / "llama-tied", config=config).eval())}
(MODELS / "ropes.json").write_text(json.dumps({"sequences": SEQUENCES, "kinds": found}, separators=(",", ":")))
print("written", sum(f.stat().st_size for f in [MODELS / "ropes.json", *(MODELS / "families").rglob("*")] if f.is_file()) // 1024, "KiB")
