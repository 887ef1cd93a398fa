#!/usr/bin/env python3
"""LoRA adapters through a whole run of a tiny model: what is trained, saved and merged, a run that is killed again and again, adapters as models, export."""
import json
import pathlib
import signal
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "reliability"))
import tiny  # noqa: E402

BINARY = sys.argv.pop(1) if len(sys.argv) > 1 else "build/cai"
LORA = {f"{stage}.lora.{name}": value for stage in ("sft", "reward", "ppo", "dpo") for name, value in (("rank", 2), ("alpha", 3))}
LORA.update({"sft.learning_rate": 0.01, "ppo.learning_rate": 0.001, "reward.lora.layers": 1, "ppo.lora.layers": 1, "dpo.batch_size": 4})


def matrix(values, rows):
    columns = len(values) // rows
    return [values[i * columns:(i + 1) * columns] for i in range(rows)]


def read_adapter(folder):
    """{module: (A, B, scale)} of a PEFT folder, and its config."""
    config = json.loads((folder / "adapter_config.json").read_text())
    tensors = tiny.read_model(folder, "adapter_model.safetensors")
    modules = {}
    for name in tensors:
        if not name.endswith(".lora_A.weight"):
            continue
        module = name.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
        rank = config["rank_pattern"].get(module, config["r"])
        alpha = config["alpha_pattern"].get(module, config["lora_alpha"])
        a, b = tensors[name], tensors[name.replace("lora_A", "lora_B")]
        modules[module] = matrix(a, rank), matrix(b, len(b) // rank), alpha / rank
    return modules, config


def merged(base, modules):
    """The base model's weights with W + scale B A in place of each adapted W."""
    weights = {name: list(values) for name, values in base.items()}
    for module, (a, b, scale) in modules.items():
        columns = list(zip(*a))
        weights[module + ".weight"] = [w + scale * sum(x * y for x, y in zip(row, column))
                                       for w, (row, column) in zip(base[module + ".weight"], ((row, column) for row in b for column in columns))]
    return weights


class Adapters(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.keeper = tempfile.TemporaryDirectory()
        cls.folder = pathlib.Path(cls.keeper.name)
        cls.setup = tiny.Setup(pathlib.Path(BINARY).resolve().with_name("cai-run"), cls.folder)
        cls.run_folder = cls.folder / "never-killed"
        cls.result = cls.setup.train(cls.run_folder, settings=LORA)

    @classmethod
    def tearDownClass(cls):
        cls.setup.close()
        cls.keeper.cleanup()

    def setUp(self):
        self.assertEqual(self.result.returncode, 0, self.result.stderr[-2000:])
        self.iteration = self.run_folder / "iter-01"

    def same_weights(self, found, expected, message):
        self.assertEqual(found.keys(), expected.keys())
        for name, values in expected.items():
            for x, y in zip(found[name], values):
                self.assertAlmostEqual(x, y, delta=1e-5, msg=f"{message} {name}")

    def answer(self, model):
        result = self.setup.cai("chat", "--model", model, "--prompt", "ask a friend", "--temperature", 0, "--max-new-tokens", 12, "--set", "engine.dtype=float32")
        self.assertEqual(result.returncode, 0, result.stderr[-2000:])
        return result.stdout

    def refused(self, words, *arguments):
        result = self.setup.cai(*arguments)
        self.assertEqual(result.returncode, 2, result.stdout + result.stderr)
        self.assertIn(words, result.stderr)
        self.assertEqual(result.stderr.count("\n"), 1, result.stderr)

    def test_a_checkpoint_is_the_model_it_was_trained_on_with_the_adapter_merged(self):
        for stage, before, layers in (("sft", self.setup.model, 2), ("ppo", self.iteration / "sft/checkpoint", 1), ("reward", self.iteration / "sft/checkpoint", 1)):
            modules, config = read_adapter(self.iteration / stage / "adapter")
            self.assertEqual(len(modules), 7 * layers, stage)
            self.assertTrue(any(any(any(row) for row in b) for _, b, _ in modules.values()), f"{stage} has learned nothing")
            self.assertEqual((self.iteration / stage / "adapter" / config["base_model_name_or_path"]).resolve(), before.resolve(), stage)
            after, expected = tiny.read_model(self.iteration / stage / "checkpoint"), merged(tiny.read_model(before), modules)
            if stage == "reward":
                self.assertEqual((config["task_type"], config["modules_to_save"]), ("SEQ_CLS", ["score"]))
                self.assertEqual(after.pop("score.weight"), tiny.read_model(self.iteration / stage / "adapter", "adapter_model.safetensors")["base_model.model.score.weight"])
                expected.pop("lm_head.weight")
            self.same_weights(after, expected, stage)
            frozen = [name for name in after if name.removesuffix(".weight") not in modules]
            self.assertEqual({name: after[name] for name in frozen}, {name: tuple(expected[name]) for name in frozen})
            figures = json.loads((self.iteration / stage / "manifest.json").read_text())["figures"]["adapter"]
            self.assertEqual(figures["rank"], 2)
            self.assertEqual(figures["weights"], sum(len(m) * len(m[0]) for a, b, _ in modules.values() for m in (a, b)))
        self.assertEqual(json.loads((self.iteration / "ppo/manifest.json").read_text())["figures"]["shared_layers"], 1)
        self.assertEqual(self.setup.cai("verify", self.run_folder).returncode, 0)

    def test_a_run_that_is_killed_again_and_again_ends_with_the_same_bytes(self):
        killed, run = 0, self.folder / "often-killed"
        for call in range(137, 4000, 137):
            result = self.setup.train(run, env={"CAI_FAULT_FOLDER": str(run), "CAI_FAULT": f"kill@{call}"}, settings=LORA)
            if result.returncode == 0:
                break
            self.assertEqual(result.returncode, -signal.SIGKILL, result.stderr[-2000:])
            killed += 1
        self.assertEqual(self.setup.train(run, settings=LORA).returncode, 0)
        self.assertGreater(killed, 3)
        self.assertEqual(tiny.differences(tiny.snapshot(self.run_folder), tiny.snapshot(run)), [])

    def test_an_adapter_is_a_model_with_its_base(self):
        self.assertEqual(self.answer(self.iteration / "ppo/adapter"), self.answer(self.run_folder))
        self.assertEqual(self.answer(self.iteration / "sft/adapter"), self.answer(self.iteration / "sft"))
        self.assertEqual(self.answer(f"{self.setup.model}+{self.iteration / 'sft/adapter'}"), self.answer(self.iteration / "sft"))
        lost = self.folder / "lost"
        lost.mkdir()
        for name in ("adapter_config.json", "adapter_model.safetensors"):
            (lost / name).write_bytes((self.iteration / "sft/adapter" / name).read_bytes())
        (lost / "adapter_config.json").write_text((lost / "adapter_config.json").read_text().replace(str(self.setup.model), "somebody/a-model"))
        self.refused('base model is not here (base_model_name_or_path: "somebody/a-model")', "chat", "--model", lost, "--prompt", "x")
        self.refused("the adapter of a reward model", "chat", "--model", self.iteration / "reward/adapter", "--prompt", "x")

    def test_export_makes_one_adapter_of_all_that_were_trained(self):
        out = self.folder / "exported"
        result = self.setup.cai("export", "--format", "adapter", "--model", self.run_folder, "--out", out, "--json")
        self.assertEqual(result.returncode, 0, result.stderr[-2000:])
        modules, config = read_adapter(out)
        self.assertEqual(config["base_model_name_or_path"], str(self.setup.model))
        self.assertEqual({len(a) for a, _, _ in modules.values()}, {2, 4})  # fine-tuning's alone; PPO's beside it
        self.same_weights(merged(tiny.read_model(self.setup.model), modules), {n: list(v) for n, v in tiny.read_model(self.iteration / "ppo/checkpoint").items()}, "exported")
        self.assertEqual(self.answer(out), self.answer(self.run_folder))
        self.refused("was trained without an adapter", "export", "--format", "adapter", "--model", self.setup.model, "--out", self.folder / "none")
        self.refused("--dtype does not go with --format adapter", "export", "--format", "adapter", "--dtype", "f16", "--model", self.run_folder, "--out", self.folder / "none")

    def test_dpo_trains_one_too(self):
        run = self.folder / "dpo"
        result = self.setup.cai(*self.setup.command(run, method="dpo", **LORA)[1:], "--reuse", self.run_folder)
        self.assertEqual(result.returncode, 0, result.stderr[-2000:])
        modules, _ = read_adapter(run / "iter-01/dpo/adapter")
        self.same_weights(tiny.read_model(run / "iter-01/dpo/checkpoint"), merged(tiny.read_model(run / "iter-01/sft/checkpoint"), modules), "dpo")


if __name__ == "__main__":
    unittest.main(verbosity=2)
