"""What transformers does in a second with a random model of the same shape, for scripts/gpu-check.

Prints one JSON object.

device_peer.py DEVICE SHAPE generate|sft [SEQUENCES]
"""
import json
import sys
import time

import torch
import transformers

SHAPES = {  # layers, width, heads, key and value heads, feed-forward, vocabulary, tied
    "smollm2-135m": (30, 576, 9, 3, 1536, 49152, True),
    "llama-3.2-1b": (16, 2048, 32, 8, 8192, 128256, True),
    "llama-3.1-8b": (32, 4096, 32, 8, 14336, 128256, False),
}
PROMPT, WRITTEN, LENGTH, EXAMPLES, STEPS = 128, 128, 512, 64, 4


def model_of(shape, device):
    layers, width, heads, kv_heads, ffn, vocabulary, tied = SHAPES[shape]
    config = transformers.LlamaConfig(
        num_hidden_layers=layers, hidden_size=width, num_attention_heads=heads, num_key_value_heads=kv_heads,
        intermediate_size=ffn, vocab_size=vocabulary, tie_word_embeddings=tied, max_position_embeddings=2048,
        eos_token_id=None, pad_token_id=0)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(device):
        return transformers.AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")


def generate(model, device, sequences):
    prompts = torch.randint(1, model.config.vocab_size, (sequences, PROMPT), device=device)
    model.eval()

    def write(tokens):
        with torch.no_grad():
            model.generate(prompts, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=True, top_k=0)
        torch.cuda.synchronize()

    write(4)
    start = time.perf_counter()
    write(WRITTEN)
    seconds = time.perf_counter() - start
    return {"sequences": sequences, "tokens_per_second": sequences * WRITTEN / seconds, "seconds": seconds}


def sft(model, device, shape):
    """AdamW in bfloat16 on the same layers; micro-batches of 16 texts."""
    layers = model.model.layers
    learning = list(model.parameters())
    if shape == "llama-3.1-8b":
        for p in model.parameters():
            p.requires_grad_(False)
        learning = [p for layer in layers[-8:] for p in layer.parameters()]
        for p in learning:
            p.requires_grad_(True)
    optimiser = torch.optim.AdamW(learning, lr=1e-5, fused=True)
    model.train()
    ends = []
    for _ in range(STEPS):
        for _ in range(EXAMPLES // 16):
            tokens = torch.randint(1, model.config.vocab_size, (16, LENGTH), device=device)
            (model(input_ids=tokens, labels=tokens).loss * 16 / EXAMPLES).backward()
        optimiser.step()
        optimiser.zero_grad()
        torch.cuda.synchronize()
        ends.append(time.perf_counter())
    seconds = (ends[-1] - ends[0]) / (STEPS - 1)
    return {"tokens_per_second": EXAMPLES * LENGTH / seconds, "seconds": seconds}


def main():
    device, shape, job = sys.argv[1:4]
    model = model_of(shape, device)
    result = generate(model, device, int(sys.argv[4])) if job == "generate" else sft(model, device, shape)
    result.update(job=job, shape=shape, peak_gigabytes=torch.cuda.max_memory_allocated() / 1e9,
                  versions={"torch": torch.__version__, "transformers": transformers.__version__})
    print(json.dumps(result))


main()
