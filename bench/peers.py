"""Does a work file (bench/work.py) with a peer and prints one line of JSON, as build/cai-bench does.

peers.py WORK.json PEER [VARIANT]. PEER: transformers, llama.cpp, trl, json. VARIANT, e.g. "bfloat16,64": dtype and batch size (transformers,
trl), or GGUF file type and parallel sequences (llama.cpp; "Q4_1/plain,1" repacks no weights). The clock starts when models are loaded and one small pass has been made.
"""
import json
import os
import resource
import sys
import tempfile
import time

CORES = os.cpu_count()


def report(job, units, seconds, start, **more):
    print(json.dumps({"job": job, "units": units, "seconds": seconds, "start_seconds": start,
                      "peak_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, **more}))


def causal_model(work, dtype):
    import torch
    from transformers import AutoModelForCausalLM
    torch.set_num_threads(CORES)
    return AutoModelForCausalLM.from_pretrained(work["model"], dtype=getattr(torch, dtype))


def left_padded(sequences, pad):
    import torch
    longest = max(map(len, sequences))
    ids = torch.tensor([[pad] * (longest - len(s)) + s for s in sequences])
    mask = torch.tensor([[0] * (longest - len(s)) + [1] * len(s) for s in sequences])
    return ids, mask


def transformers_generate(work, dtype, batch):
    import torch
    start = time.perf_counter()
    model = causal_model(work, dtype).eval()
    prompts, stops = work["prompts"], work["stops"]
    options = {"do_sample": work["temperature"] > 0, "pad_token_id": 2, "eos_token_id": stops or None}
    if work["temperature"] > 0:
        options.update(temperature=work["temperature"], top_k=0, top_p=1.0)
    model.generation_config.eos_token_id = stops or None

    def generate(part):
        ids, mask = left_padded([p["tokens"] for p in part], 2)
        # The longest budget of the batch: a batch runs until its longest answer is there.
        out = model.generate(ids, attention_mask=mask, max_new_tokens=max(p["max_new_tokens"] for p in part), **options)
        useful = 0
        for p, row in zip(part, out[:, ids.shape[1]:].tolist()):
            ends = [i + 1 for i, t in enumerate(row) if t in stops]
            useful += min([p["max_new_tokens"], len(row)] + ends[:1])
        return useful

    with torch.inference_mode():
        generate([{**p, "max_new_tokens": 2} for p in prompts[:2]])
        begin = time.perf_counter()
        units = sum(generate(prompts[i:i + batch]) for i in range(0, len(prompts), batch))
    report(work["job"], units, time.perf_counter() - begin, begin - start)


def transformers_labels(work, dtype, batch):
    import torch
    start = time.perf_counter()
    model = causal_model(work, dtype).eval()
    questions = [p["tokens"] for p in work["prompts"]]
    a, b = work["options"]

    def odds(part):
        ids, mask = left_padded(part, 2)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        logits = model(ids, attention_mask=mask, position_ids=positions, logits_to_keep=1).logits[:, -1].float()
        return (logits[:, a] - logits[:, b]).tolist()

    with torch.inference_mode():
        odds(questions[:1])
        begin = time.perf_counter()
        # Sorted by length, so that little is padding.
        order = sorted(range(len(questions)), key=lambda i: len(questions[i]))
        result = [0.0] * len(questions)
        for i in range(0, len(order), batch):
            for j, value in zip(order[i:i + batch], odds([questions[j] for j in order[i:i + batch]])):
                result[j] = value
    report(work["job"], len(questions), time.perf_counter() - begin, begin - start, log_odds=result)


def llama_cpp_generate(work, kind, parallel):
    """Continuous batching by hand on llama.cpp's own calls: a sequence that ends makes room for the next prompt at once."""
    import ctypes
    import llama_cpp as lc
    start = time.perf_counter()
    lc.llama_backend_init()
    quiet = lc.llama_log_callback(lambda level, text, data: None)
    lc.llama_log_set(quiet, ctypes.c_void_p(0))
    kind, *plain = kind.split("/")
    file = work["gguf"] if kind == "Q4_1" else os.path.join(os.path.dirname(work["model"]), f"{kind}.gguf")
    model_params = lc.llama_model_default_params()
    model_params.use_extra_bufts = not plain  # where the weights repacked for AMX end the process with SIGILL (0.3.36, in a virtual machine)
    model = lc.llama_model_load_from_file(file.encode(), model_params)
    params = lc.llama_context_default_params()
    room = max(len(p["tokens"]) + p["max_new_tokens"] for p in work["prompts"]) + 8
    params.n_ctx, params.n_batch, params.n_ubatch, params.n_seq_max = room * parallel, 512, 512, parallel
    params.n_threads = params.n_threads_batch = CORES
    params.kv_unified = True
    context = lc.llama_init_from_model(model, params)
    memory = lc.llama_get_memory(context)
    chain = lc.llama_sampler_chain_init(lc.llama_sampler_chain_default_params())
    lc.llama_sampler_chain_add(chain, lc.llama_sampler_init_dist(1) if work["temperature"] > 0 else lc.llama_sampler_init_greedy())
    batch = lc.llama_batch_init(512, 0, 1)
    stops = set(work["stops"])

    def run(prompts):
        waiting, free, running, produced, first = list(prompts)[::-1], list(range(parallel)), {}, 0, None
        began = time.perf_counter()
        while waiting or running:
            batch.n_tokens = 0
            wanted = []

            def add(token, position, slot, logits):
                i = batch.n_tokens
                batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0], batch.logits[i] = token, position, 1, slot, logits
                batch.n_tokens += 1
                if logits:
                    wanted.append((slot, i))
            for slot, s in running.items():
                add(s["last"], s["position"], slot, True)
                s["position"] += 1
            while waiting and free and batch.n_tokens + len(waiting[-1]["tokens"]) <= 512:
                p, slot = waiting.pop(), free.pop()
                for i, token in enumerate(p["tokens"]):
                    add(token, i, slot, i + 1 == len(p["tokens"]))
                running[slot] = {"position": len(p["tokens"]), "left": p["max_new_tokens"]}
            if lc.llama_decode(context, batch) != 0:
                raise RuntimeError("llama_decode failed")
            for slot, row in wanted:
                token = lc.llama_sampler_sample(chain, context, row)
                if first is None:
                    first = time.perf_counter() - began
                s = running[slot]
                produced += 1
                s["left"] -= 1
                s["last"] = token
                if token in stops or s["left"] == 0:
                    lc.llama_memory_seq_rm(memory, slot, -1, -1)
                    del running[slot]
                    free.append(slot)
        return produced, first

    run([{**p, "max_new_tokens": 2} for p in work["prompts"][:1]])
    begin = time.perf_counter()
    units, first = run(work["prompts"])
    report(work["job"], units, time.perf_counter() - begin, begin - start, first_token_seconds=first)


def trl_settings(folder, dtype, batch, **more):
    return dict(output_dir=folder, use_cpu=True, bf16=dtype == "bfloat16", per_device_train_batch_size=batch, num_train_epochs=1, report_to="none", save_strategy="no",
                logging_steps=1, disable_tqdm=True, dataloader_pin_memory=False, gradient_checkpointing=False, learning_rate=2e-5, **more)


def timed_training(trainer, job, units, start, more=lambda: {}):
    begin = time.perf_counter()
    trainer.train()
    report(job, units, time.perf_counter() - begin, begin - start, **more())


def trl_sft(work, dtype, batch):
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl import SFTConfig, SFTTrainer
    start = time.perf_counter()
    model = causal_model(work, "float32")
    rows = [{"input_ids": e["tokens"], "completion_mask": [int(i >= e["prompt_tokens"]) for i in range(len(e["tokens"]))]} for e in work["examples"]]
    with tempfile.TemporaryDirectory() as folder:
        config = SFTConfig(**trl_settings(folder, dtype, batch, gradient_accumulation_steps=max(1, 1024 // (batch * 256))), packing=True, max_length=512, completion_only_loss=True)
        trainer = SFTTrainer(model=model, args=config, train_dataset=Dataset.from_list(rows), processing_class=AutoTokenizer.from_pretrained(work["model"]))
        timed_training(trainer, work["job"], sum(len(e["tokens"]) for e in work["examples"]), start)


def trl_reward(work, dtype, batch):
    import torch
    from datasets import Dataset
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    from trl import RewardConfig, RewardTrainer
    start = time.perf_counter()
    torch.set_num_threads(CORES)
    model = AutoModelForSequenceClassification.from_pretrained(work["model"], num_labels=1, dtype=torch.float32)
    model.config.pad_token_id = 2
    rows = [{"chosen_ids": p["a"], "rejected_ids": p["b"], "chosen_input_ids": p["a"], "rejected_input_ids": p["b"]} for p in work["pairs"]]
    with tempfile.TemporaryDirectory() as folder:
        config = RewardConfig(**trl_settings(folder, dtype, batch, gradient_accumulation_steps=max(1, work["batch_size"] // batch)), max_length=512)
        trainer = RewardTrainer(model=model, args=config, train_dataset=Dataset.from_list(rows), processing_class=AutoTokenizer.from_pretrained(work["model"]))
        timed_training(trainer, work["job"], len(rows), start)


def trl_ppo(work, dtype, batch):
    """TRL 0.23.1, the last line that has PPOTrainer (with transformers 4.57): an environment of its own."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
    from trl import PPOConfig, PPOTrainer
    start = time.perf_counter()
    torch.set_num_threads(CORES)
    tokenizer = AutoTokenizer.from_pretrained(work["model"], padding_side="left")
    tokenizer.pad_token_id = 0
    policy, reference = (AutoModelForCausalLM.from_pretrained(work["model"], dtype=torch.float32) for _ in range(2))
    value, reward = (AutoModelForSequenceClassification.from_pretrained(work["model"], num_labels=1, dtype=torch.float32) for _ in range(2))
    for m in (value, reward):
        m.config.pad_token_id = 0
    if "trainable_layers" in work:
        for m in (policy, value):
            for name, parameter in m.named_parameters():
                number = name.split("layers.")[1].split(".")[0] if "layers." in name else None
                parameter.requires_grad_(name.startswith("score") or name.endswith("model.norm.weight") or (number is not None and int(number) >= m.config.num_hidden_layers - work["trainable_layers"]))
    count, new_tokens = len(work["prompts"]), work["prompts"][0]["max_new_tokens"]
    rows = Dataset.from_list([{"input_ids": p["tokens"]} for p in work["prompts"]])
    with tempfile.TemporaryDirectory() as folder:
        config = PPOConfig(**{k: v for k, v in trl_settings(folder, dtype, batch).items() if k != "num_train_epochs"}, gradient_accumulation_steps=count // batch, num_mini_batches=1,
                           total_episodes=count, num_ppo_epochs=work["epochs"], response_length=new_tokens, temperature=1.0, stop_token=None, kl_coef=0.05,
                           local_rollout_forward_batch_size=count, num_sample_generations=0)
        trainer = PPOTrainer(args=config, processing_class=tokenizer, model=policy, ref_model=reference, reward_model=reward, value_model=value, train_dataset=rows, eval_dataset=rows)
        timed_training(trainer, work["job"], 1, start)


def json_records(work):
    """Python's json: write a line a record, hash, sync, read back and parse."""
    import hashlib
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "records.jsonl")
        begin = time.perf_counter()
        digest = hashlib.sha256()
        with open(path, "wb") as out:
            for i in range(work["count"]):
                line = (json.dumps({**work["record"], "id": str(i)}) + "\n").encode()
                digest.update(line)
                out.write(line)
            out.flush()
            os.fsync(out.fileno())
        digest = hashlib.sha256()
        with open(path, "rb") as file:
            for line in file:
                digest.update(line)
                json.loads(line)
        report(work["job"], os.path.getsize(path) / 1e6, time.perf_counter() - begin, 0)


def main():
    with open(sys.argv[1]) as file:
        work = json.load(file)
    peer, job = sys.argv[2], work["job"]
    if peer == "json":
        return json_records(work)
    kind, size = sys.argv[3].split(",")
    do = {("transformers", "generate"): transformers_generate, ("transformers", "labels"): transformers_labels, ("llama.cpp", "generate"): llama_cpp_generate,
          ("trl", "sft"): trl_sft, ("trl", "reward"): trl_reward, ("trl", "ppo"): trl_ppo}[peer, job]
    do(work, kind, int(size))


if __name__ == "__main__":
    main()
