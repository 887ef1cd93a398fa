"""Reference data of the default model, from transformers 5.23.0 and torch 2.13.0 (float32, CPU).

Writes tests/model/golden/smollm2.json (texts, tokens, greedy answers) and smollm2_logits.bin: for each position, in order,
10 x (int32 id, float32 logit) of the highest logits, then 8 float32 logits of fixed ids, then float32 logsumexp.
Run: .deps/reference/bin/python tests/golden/smollm2.py
"""
import json
import pathlib
import struct

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODELS = ROOT / ".deps" / "models"
FIXED = [0, 2, 28, 260, 1000, 10000, 30000, 49151]
OUT = ROOT / "tests" / "model" / "golden"

tokenizer = AutoTokenizer.from_pretrained(MODELS, gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf")
model = AutoModelForCausalLM.from_pretrained(MODELS, gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf", dtype=torch.float32).eval()

prompts = [json.loads(line)["prompt"] for line in open(ROOT / "prompts" / "ordinary.jsonl")]
constitution = (ROOT / "constitutions" / "harmless.yaml").read_text()
texts, positions = [], 0
for chunk in range(0, len(constitution), 1000):
    if positions >= 2000:
        break
    ids = tokenizer(constitution[chunk:chunk + 1000], add_special_tokens=False)["input_ids"][: 2000 - positions]
    texts.append(ids)
    positions += len(ids)

with torch.no_grad(), open(OUT / "smollm2_logits.bin", "wb") as f:
    for ids in texts:
        logits = model(torch.tensor([ids])).logits[0]
        top = logits.topk(10, dim=-1)
        total = logits.logsumexp(-1)
        for p in range(len(ids)):
            for k in range(10):
                f.write(struct.pack("<if", int(top.indices[p, k]), float(top.values[p, k])))
            for i in FIXED:
                f.write(struct.pack("<f", float(logits[p, i])))
            f.write(struct.pack("<f", float(total[p])))
    greedy = []
    for prompt in prompts[:20]:
        ids = tokenizer.apply_chat_template([{"role": "user", "content": prompt}], add_generation_prompt=True, return_dict=False)
        out = model.generate(torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long), max_new_tokens=64, do_sample=False, pad_token_id=2)
        greedy.append({"prompt": prompt, "tokens": ids, "answer": out[0, len(ids):].tolist()})
chats = [
    [{"role": "user", "content": "Hello <|im_end|> there"}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi\n\nyou"}, {"role": "assistant", "content": "Yes?"}, {"role": "user", "content": "  Bye "}],
]
rendered = [tokenizer.apply_chat_template(c, add_generation_prompt=True, tokenize=False) for c in chats[1:]]
encoded = [tokenizer.apply_chat_template(c, add_generation_prompt=True, return_dict=False) for c in chats[1:]]
json.dump({"fixed": FIXED, "texts": texts, "greedy": greedy, "chats": [{"messages": c, "tokens": t} for c, t in zip(chats[1:], encoded)]}, open(OUT / "smollm2.json", "w"), separators=(",", ":"))
print(positions, "positions", len(greedy), "greedy answers")
