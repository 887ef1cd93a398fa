"""Three steps of TRL 1.16's DPOTrainer (transformers 5.23.0, torch 2.13.0, float32, CPU) on the tiny model tests/model/golden/llama-tied.

Writes tests/train/golden/dpo.json: the pairs as the trainer read them, each step's loss, and the weights afterwards.
Run: .deps/reference/bin/python tests/golden/dpo.py
"""
import json
import pathlib
import random
import tempfile

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from trl import DPOConfig, DPOTrainer

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODEL = ROOT / "tests" / "model" / "golden" / "llama-tied"
BETA, RATE, STEPS = 0.5, 2e-3, 3

# Words are numbers, so that the trainer reads the tokens that we choose; 2 ends an answer.
words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(48)}, unk_token="w0"))
words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="w2", pad_token="w0", unk_token="w0")

draw = random.Random(5)
text = lambda n: " ".join(f"w{draw.randrange(3, 48)}" for _ in range(n))
rows = [{"prompt": text(p) + " ", "chosen": text(c), "rejected": text(r)} for p, c, r in ((3, 4, 9), (5, 2, 1), (1, 7, 3), (12, 5, 6), (4, 11, 2), (2, 3, 3))]

model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32, attn_implementation="eager")
losses = []


class Recorder(DPOTrainer):
    def compute_loss(self, model, inputs, *args, **kwargs):
        out = super().compute_loss(model, inputs, *args, **kwargs)
        losses.append((out[0] if isinstance(out, tuple) else out).item())
        return out


with tempfile.TemporaryDirectory() as folder:
    config = DPOConfig(output_dir=folder, beta=BETA, learning_rate=RATE, lr_scheduler_type="constant", max_steps=STEPS, per_device_train_batch_size=len(rows),
                       gradient_accumulation_steps=1, weight_decay=0.0, max_grad_norm=1.0, adam_epsilon=1e-8, bf16=False, use_cpu=True, report_to=[], save_strategy="no", gradient_checkpointing=False,
                       disable_dropout=True, logging_steps=1, optim="adamw_torch")
    trainer = Recorder(model=model, args=config, train_dataset=Dataset.from_list(rows), processing_class=tokenizer)
    seen = [{"prompt": r["prompt_ids"], "chosen": r["chosen_ids"], "rejected": r["rejected_ids"]} for r in trainer.train_dataset]
    trainer.train()
weights = {n: [float(f"{x:.9g}") for x in w.detach().reshape(-1).tolist()] for n, w in model.named_parameters()}
json.dump({"beta": BETA, "learning_rate": RATE, "pairs": seen, "losses": losses, "weights": weights}, open(ROOT / "tests" / "train" / "golden" / "dpo.json", "w"), separators=(",", ":"))
print(seen[0], losses)
