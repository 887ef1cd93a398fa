#!/usr/bin/env python3
"""Locks, signals, limits of the process, folders that cannot be written, damaged files of a run, and that a config repeats its run.

limits_test.py CAI [--full] [--seed N]   --full: all cases, else a sample"""
import json
import os
import pathlib
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
import unittest

import tiny

FULL = tiny.full()
SEED = int(sys.argv[sys.argv.index("--seed") + 1]) if "--seed" in sys.argv else 1
BINARY = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "build/cai").resolve()


class Limits(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.keeper = tiny.workplace()
        cls.folder = pathlib.Path(cls.keeper.name)
        cls.setup = tiny.Setup(BINARY.with_name("cai-run"), cls.folder)
        cls.whole = cls.folder / "whole/run"  # reports name their folder: the same name
        begin = time.monotonic()
        result = cls.setup.train(cls.whole)
        cls.seconds = time.monotonic() - begin
        assert result.returncode == 0, result.stderr[-2000:]
        cls.expected = tiny.snapshot(cls.whole)
        print(f"seed {SEED}", file=sys.stderr)

    @classmethod
    def tearDownClass(cls):
        cls.setup.close()
        cls.keeper.cleanup()

    def setUp(self):
        self.run_folder = self.folder / "run"
        shutil.rmtree(self.run_folder, ignore_errors=True)

    def goes_on(self, what=""):
        result = self.setup.train(self.run_folder)
        self.assertEqual(result.returncode, 0, f"{what}: {result.stderr[-600:]}")
        self.assertEqual(tiny.differences(self.expected, tiny.snapshot(self.run_folder)), [], what)

    def started(self, until):
        """The command at work, once `until` (a path below the run) is there."""
        process = subprocess.Popen(self.setup.command(self.run_folder, **{"ppo.updates": 2000}), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                   text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        while process.poll() is None and not (self.run_folder / until).exists():
            time.sleep(0.002)
        return process

    def told(self, result, code, *words):
        self.assertEqual(result.returncode, code, result.stderr[-600:])
        self.assertNotIn("internal error", result.stderr)
        for word in words:
            self.assertIn(word, result.stderr)

    # --- locks ---

    def test_the_second_process_is_told_who_works_here(self):
        first = self.started("iter-01/ppo/stage.json")
        second = self.setup.train(self.run_folder)
        first.kill(), first.communicate()
        self.told(second, 1, f"is in use by process {first.pid} on ")

    def test_the_lock_of_a_dead_process_is_taken_over(self):
        first = self.started("iter-01/sft")
        first.kill(), first.communicate()
        self.goes_on()

    def test_without_locks_in_the_file_system_the_note_of_the_holder_counts(self):
        no_locks = {"CAI_FAULT_FOLDER": str(self.run_folder), "CAI_FAULT": "ENOLCK=flock"}
        first = self.started("iter-01/ppo/stage.json")
        second = self.setup.train(self.run_folder, env=no_locks)
        first.kill(), first.communicate()
        self.told(second, 1, f"is in use by process {first.pid} on ", "this file system does not support locks")
        shutil.rmtree(self.run_folder)
        self.run_folder.mkdir()
        (self.run_folder / ".lock").write_text("process 999999 on elsewhere, started at tick 1")
        self.told(self.setup.train(self.run_folder, env=no_locks), 1, "in use by process 999999 on elsewhere")
        (self.run_folder / ".lock").write_text(f"process {os.getpid()} on {os.uname().nodename}, started at tick 1")  # the number is in use again
        self.assertEqual(self.setup.train(self.run_folder, env=no_locks).returncode, 0)

    def test_one_command_of_a_single_stage_at_a_time(self):
        out = self.run_folder
        command = ["generate", "--model", str(self.setup.model), "--prompts", str(self.setup.prompts), "--out", str(out), "--max-new-tokens", "4"]
        lock = (self.folder / ".run.lock").open("w")
        import fcntl
        fcntl.flock(lock, fcntl.LOCK_EX)
        self.told(self.setup.cai(*command), 1, "is in use by")
        lock.close()
        self.told(self.setup.cai(*command), 0)

    # --- signals ---

    def test_a_signal_stops_at_the_next_durable_point(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if FULL else (signal.SIGTERM, signal.SIGHUP):
            for stage in ["iter-01/sft", "iter-01/ppo/state/position.json"] if FULL else ["iter-01/ppo/state/position.json"]:
                shutil.rmtree(self.run_folder, ignore_errors=True)
                process = self.started(stage)
                process.send_signal(number)
                _, errors = process.communicate(timeout=120)
                self.assertEqual(process.returncode, 75, errors[-600:])
                self.assertIn(f"train --out {self.run_folder}", errors)
        self.goes_on_with_other_updates()

    def goes_on_with_other_updates(self):
        """`started` asks for more updates of PPO than the whole run has: only that stage and the later ones are made again."""
        self.goes_on()

    def test_a_second_signal_stops_at_once_without_loss(self):
        rng = random.Random(SEED)
        for _ in range(20 if FULL else 2):
            shutil.rmtree(self.run_folder, ignore_errors=True)
            process = subprocess.Popen(self.setup.command(self.run_folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
            time.sleep(rng.uniform(0.3, self.seconds))
            process.send_signal(signal.SIGINT), process.send_signal(signal.SIGINT)
            self.assertIn(process.wait(30), (0, 75, -signal.SIGINT))  # -2: before the handlers were there
            self.goes_on()

    # --- limits ---

    def limited(self, what, soft):
        return self.setup.train(self.run_folder, preexec_fn=lambda: resource.setrlimit(what, (soft, soft)))

    def test_a_file_size_limit_is_an_error_not_a_death(self):
        for limit in [0, 500, 5_000, 20_000, 40_000] if FULL else [500, 20_000]:
            shutil.rmtree(self.run_folder, ignore_errors=True)
            self.told(self.limited(resource.RLIMIT_FSIZE, limit), 1, "File too large")
            self.goes_on(f"file size {limit}")

    def test_few_descriptors_are_an_error_in_one_line(self):
        for limit in range(3, 24) if FULL else (8, 11):
            shutil.rmtree(self.run_folder, ignore_errors=True)
            result = self.limited(resource.RLIMIT_NOFILE, limit)
            self.assertIn(result.returncode, (0, 1, 2, 127), result.stderr)  # 127: too few for the loader itself
            self.assertNotIn("internal error", result.stderr)
            self.goes_on(f"{limit} descriptors")

    def test_little_memory_is_told_before_the_start_or_in_one_line(self):
        for megabytes in range(200, 1400, 50) if FULL else (300, 900):
            shutil.rmtree(self.run_folder, ignore_errors=True)
            result = subprocess.run([BINARY, *self.setup.command(self.run_folder)[1:]], capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
                                    preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20)))
            self.assertIn(result.returncode, (0, 1, 2), result.stderr)
            self.assertEqual(result.stderr.count("\n"), 1 if result.returncode == 1 else result.stderr.count("\n"), result.stderr)
            self.assertNotIn("internal error", result.stderr)
            if result.returncode == 2:
                self.assertIn("of memory", result.stderr)
                self.assertFalse(self.run_folder.exists())
            self.goes_on(f"{megabytes} MB")

    def test_a_disk_that_is_too_small_is_told_before_the_start(self):
        plan = self.setup.cai("plan", "--model", self.setup.model, "--constitution", self.setup.constitution, "--prompts", self.setup.prompts,
                              "--out", "/proc/none/run")
        self.told(plan, 2)
        self.assertFalse(pathlib.Path("/proc/none").exists())

    def test_a_folder_that_cannot_be_written(self):
        read_only = {"CAI_FAULT_FOLDER": str(self.run_folder), "CAI_FAULT": "EROFS@1+"}
        self.told(self.setup.train(self.run_folder, env=read_only), 1, "Read-only file system")
        if os.getuid() == 0:  # and in earnest: as a user who may not write there
            closed = self.folder / "closed"
            closed.mkdir(exist_ok=True)
            self.folder.chmod(0o755)
            result = subprocess.run(self.setup.command(closed / "run"), capture_output=True, text=True,
                                    preexec_fn=lambda: (os.setgid(65534), os.setuid(65534)), env={**os.environ, "OMP_NUM_THREADS": "1"})
            if "Permission denied: " not in result.stderr and result.returncode != 127:
                self.told(result, 1, "Permission denied")

    def test_the_clock_may_jump(self):
        """Nothing that is kept depends on the time of day: files dated 1970 or 2100 change nothing."""
        process = self.started("iter-01/ppo/stage.json")
        process.kill(), process.communicate()
        for i, path in enumerate(p for p in self.run_folder.rglob("*") if p.is_file()):
            os.utime(path, (0, 0) if i % 2 else (4102444800, 4102444800))
        self.goes_on()

    # --- damage, from outside ---

    def test_a_flipped_bit_anywhere_is_told_or_without_effect(self):
        """In a stopped and in a finished run: `verify` tells it, or the run goes on, and what it ends with is right or it says what is damaged."""
        rng = random.Random(SEED)
        stopped = self.folder / "stopped"
        result = self.setup.train(self.run_folder, env={"CAI_FAULT_FOLDER": str(self.run_folder), "CAI_FAULT": "kill@900"})
        self.assertEqual(result.returncode, -signal.SIGKILL)
        shutil.copytree(self.run_folder, stopped)
        detected = harmless = 0
        for i in range(200 if FULL else 8):
            source = stopped if i % 2 else self.whole
            files = sorted(p.relative_to(source) for p in source.rglob("*") if p.is_file() and p.stat().st_size > 0 and p.name != ".lock")
            name = rng.choice(files)
            shutil.rmtree(self.run_folder, ignore_errors=True)
            shutil.copytree(source, self.run_folder)
            content = bytearray((self.run_folder / name).read_bytes())
            at, bit = rng.randrange(len(content)), rng.randrange(8)
            content[at] ^= 1 << bit
            (self.run_folder / name).write_bytes(content)
            result = self.setup.train(self.run_folder)
            where = f"{name}, bit {bit} of byte {at}, {'stopped' if i % 2 else 'finished'}: exit {result.returncode} {result.stderr[-300:]}"
            different = tiny.differences(self.expected, tiny.snapshot(self.run_folder))
            if result.returncode == 0 and not different:
                harmless += 1
                continue
            if result.returncode == 0:  # a finished stage is not read again: verify must tell
                result = self.setup.cai("verify", self.run_folder)
                self.assertIn(result.returncode, (1, 2), where + str(different))
            else:
                self.assertIn(result.returncode, (1, 2), where)
            self.assertIn(name.name, result.stdout + result.stderr, where)
            detected += 1
        print(f"flips in a run: {detected} told, {harmless} without effect", file=sys.stderr)

    # --- the same again ---

    def test_the_config_of_a_run_repeats_it(self):
        result = self.setup.cai("train", "--config", self.whole / "config.yaml", "--out", self.run_folder)
        self.told(result, 0)
        compared = self.setup.cai("verify", self.whole, self.run_folder)
        self.assertEqual(compared.returncode, 0, compared.stdout + compared.stderr)

    def test_verify_says_what_differs_first(self):
        result = self.setup.train(self.run_folder, settings={"candidates.temperature": 0.9})
        self.assertEqual(result.returncode, 0, result.stderr[-600:])
        compared = self.setup.cai("verify", self.whole, self.run_folder)
        self.assertEqual(compared.returncode, 1)
        self.assertEqual(len(compared.stdout.strip().splitlines()), 1, compared.stdout)
        self.assertRegex(compared.stdout, r"^iter-01/candidates/00000\.jsonl differs: line \d+ \(id [^)]*\), field candidates")

    def test_batch_width_has_no_effect_and_threads_have_a_key(self):
        self.assertEqual(self.setup.train(self.run_folder, settings={"engine.max_sequences": 3}).returncode, 0)
        self.assertEqual([n for n in tiny.differences(self.expected, tiny.snapshot(self.run_folder)) if "manifest" in n or n.endswith(("jsonl", "safetensors"))], [])
        plan = json.loads(self.setup.cai("plan", "--json", "--out", self.run_folder, "--set", "engine.threads=2").stdout)
        changed = [step["stage"] for step in plan["steps"] if step["state"] == "changed"]
        self.assertEqual(changed[0], "sft")
        self.assertIn("threads 1 -> 2", next(step["why"] for step in plan["steps"] if step["stage"] == "sft"))

    def test_all_cores_means_what_it_meant_when_the_run_began(self):
        """The whole run began with one thread; where there are more cores, 0 goes on with one."""
        self.assertEqual(json.loads((self.whole / "run.json").read_text())["threads"], 1)
        plan = self.setup.cai("plan", "--json", "--out", self.whole, "--set", "engine.threads=0")
        self.assertEqual({step["state"] for step in json.loads(plan.stdout)["steps"]}, {"done"})

    def test_healthy_training_raises_no_alarm(self):
        for seed in range(20 if FULL else 2):
            out = self.folder / f"healthy-{seed}"
            result = self.setup.train(out, settings={"seed": seed, "ppo.updates": 12})
            self.assertEqual(result.returncode, 0, f"seed {seed}: {result.stderr[-400:]}")
            shutil.rmtree(out)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + [a for a in sys.argv[2:] if a.startswith("Limits")], verbosity=2)
