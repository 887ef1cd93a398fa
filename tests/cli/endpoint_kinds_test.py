#!/usr/bin/env python3
"""Judges behind servers of different kinds (strict_server.py): what each refuses is learned from once, and the labels are right."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

from strict_server import StrictServer

BINARY = sys.argv.pop(1) if len(sys.argv) > 1 else "build/cai"
ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


class Kinds(unittest.TestCase):
    def setUp(self):
        self.keeper = tempfile.TemporaryDirectory()
        self.folder = pathlib.Path(self.keeper.name)
        self.servers = []
        self.write_pairs(4)

    def tearDown(self):
        for server in self.servers:
            server.shutdown()
            server.server_close()
        self.keeper.cleanup()

    def serve(self, kind):
        self.servers.append(StrictServer(kind))
        return self.servers[-1]

    def write_pairs(self, n):
        pairs = [{"id": f"p{i}", "prompt": f"Question {i}?", "a": "a good answer" if i % 2 else "a poor answer", "b": "a poor answer" if i % 2 else "a good answer"} for i in range(n)]
        (self.folder / "pairs.jsonl").write_text("".join(json.dumps(p) + "\n" for p in pairs))

    def command(self, url, *more):
        return [BINARY, "label", "--model", url, "--constitution", str(ROOT / "constitutions/harmless.yaml"), "--pairs", str(self.folder / "pairs.jsonl"), "--out", str(self.folder / "labels"),
                "--set", "label.method=choice", "--set", "label.principles=1", "--set", "endpoint.model=judge", "--set", "endpoint.timeout_seconds=5",
                "--set", "endpoint.first_wait_seconds=0.01", "--set", "endpoint.longest_wait_seconds=0.02", *more]

    def run_label(self, url, *more, env=None):
        result = subprocess.run(self.command(url, *more), capture_output=True, text=True, timeout=60, env={**os.environ, **(env or {})})
        self.assertNotIn("internal error", result.stderr)
        return result

    def label(self, url, *more, env=None):
        result = self.run_label(url, *more, env=env)
        self.assertEqual(result.returncode, 0, result.stderr)
        return result

    def failed(self, result, *words):
        self.assertEqual(result.returncode, 1, result.stderr)
        lines = [line for line in result.stderr.splitlines() if not line.startswith(("label  ", "info: "))]
        self.assertEqual(len(lines), 1, result.stderr)
        for word in words:
            self.assertIn(word, lines[0])

    def records(self):
        return [json.loads(line) for line in (self.folder / "labels/00000.jsonl").read_text().splitlines()]

    def figures(self):
        return json.loads((self.folder / "labels/manifest.json").read_text())["figures"]

    def check_right(self, n=4):
        self.assertEqual(len(self.records()), n)
        for r in self.records():
            self.assertEqual(r["problem"], "", r)
            self.assertEqual(r["p"] > 0.5, "good" in r["a"], r)
            self.assertTrue(r["orders_agree"], r)


class Servers(Kinds):
    def test_each_kind_gives_right_labels_and_what_it_refuses_is_said_once(self):
        # kind: refusals that it takes to learn, words of the log, whether verdicts are sampled
        kinds = {"strict": (1, ["add_generation_prompt"], False), "limit-5": (1, ["top_logprobs is 5"], False), "no-logprobs": (0, ["no log-probabilities"], True),
                 "mistral": (3, ["log-probabilities are not asked for", "seed is left out"], True), "reasoning": (4, ["max_completion_tokens is sent"], True),
                 "thinking": (0, [], False), "thinker": (0, ["it is asked not to", "thinking_tokens"], True)}
        for kind, (refusals, words, is_sampled) in kinds.items():
            with self.subTest(kind):
                shutil.rmtree(self.folder / "labels", ignore_errors=True)
                server = self.serve(kind)
                result = self.label(server.url, "--set", "endpoint.concurrency=4", "--out", str(self.folder / "labels"))
                self.check_right()
                for word in words:
                    self.assertEqual(result.stderr.count(word), 1, result.stderr)
                self.assertLessEqual(server.refusals, refusals)
                self.assertEqual(self.figures()["from_samples"], 4 if is_sampled else 0)
                self.assertGreater(self.figures()["mean_mass"], 0.9)

    def test_a_hybrid_model_is_asked_not_to_think_where_it_would(self):
        server = self.serve("thinking")
        self.label(server.url, "--set", "endpoint.prefill=no")
        self.check_right()
        self.assertEqual(server.bodies[-1]["chat_template_kwargs"], {"enable_thinking": False})

    def test_prefill_thinking_and_extra_fields_can_be_set(self):
        server = self.serve("limit-5")
        self.label(server.url, "--set", "endpoint.prefill=no", "--set", "endpoint.thinking=off", "--set", 'endpoint.extra={top_k: 3, n: null, chat_template_kwargs: {x: "1"}}')
        self.check_right()
        body = server.bodies[-1]
        self.assertEqual(body["top_k"], 3)
        self.assertNotIn("n", body)
        self.assertNotIn("continue_final_message", body)
        self.assertEqual(body["chat_template_kwargs"], {"enable_thinking": False, "x": "1"})
        self.assertEqual(body["messages"][-1]["role"], "user")

    def test_chain_of_thought_asks_for_reasons_and_keeps_those_of_both_orders(self):
        for kind in ("limit-5", "strict", "thinker"):
            with self.subTest(kind):
                server = self.serve(kind)
                self.label(server.url, "--set", "label.chain_of_thought=true")
                self.assertTrue(any("Think step by step" in b["messages"][-1]["content"] for b in server.bodies))
                for r in self.records():
                    self.assertEqual(r["problem"], "")
                    self.assertEqual(r["p"] > 0.5, "good" in r["a"])
                    self.assertEqual([one["shown_first"] for one in r["reasoning"]], ["a", "b"])
                    self.assertTrue(all(one["words"].startswith("I like answer") for one in r["reasoning"]), r)
                    self.assertIn(f"I like answer {'A' if r['p'] > 0.5 else 'B'}.", r["reason"])
                shutil.rmtree(self.folder / "labels")

    def test_what_is_off_format_is_no_verdict(self):
        server = self.serve("off-format")
        result = self.label(server.url)
        self.assertEqual([r["problem"] for r in self.records()], ["off format"] * 4)
        self.assertEqual(self.figures()["problems"], {"off format": 4})
        self.assertIn("none of 4 pairs could be judged", result.stderr)


class Looks(Kinds):
    def test_what_cannot_be_used_is_one_line_before_the_first_question(self):
        model = self.serve("no-model")
        self.failed(self.run_label(model.url), "judge", "it has other, jugde", 'did you mean "jugde"?')
        self.assertEqual(len(model.bodies), 1)
        server = self.serve("strict")
        self.failed(self.run_label(server.url.removesuffix("/v1")), "/models", f"use {server.url}")
        key = self.serve("key")
        self.failed(self.run_label(key.url, env={"CAI_API_KEY": ""}), "the key was refused", "CAI_API_KEY", "which is not set")
        self.label(key.url, env={"CAI_API_KEY": "abc"})
        self.failed(self.run_label("http://127.0.0.1:9/v1"), "no answer", "start the server")

    def test_a_server_that_takes_other_names_than_it_lists_is_used(self):
        server = self.serve("strict")
        self.label(server.url, "--set", "endpoint.model=alias")
        self.assertEqual(server.bodies[0]["model"], "alias")

    def test_a_run_looks_before_its_first_stage_and_plan_does_not(self):
        prompts = self.folder / "prompts.txt"
        prompts.write_text("".join(f"How do I sort a list of {i} names?\n" for i in range(20)))
        server = self.serve("no-model")
        settings = ["--prompts", str(prompts), "--out", str(self.folder / "run"), "--set", f"label.feedback={server.url}", "--set", "endpoint.model=judge", "--set", "label.method=choice"]
        plan = subprocess.run([BINARY, "plan", *settings], capture_output=True, text=True, timeout=60)
        self.assertEqual((plan.returncode, server.looks), (0, 0), plan.stderr)
        result = subprocess.run([BINARY, "train", *settings], capture_output=True, text=True, timeout=120)
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertIn("it does not answer for the model", result.stderr)
        self.assertFalse((self.folder / "run/iter-01/generate").exists())
        contrast = subprocess.run([BINARY, "plan", *settings, "--set", "label.method=contrast"], capture_output=True, text=True, timeout=60)
        self.assertEqual(contrast.returncode, 2)
        self.assertIn("does not ask an endpoint", contrast.stderr)


class Failures(Kinds):
    def test_questions_without_an_answer_are_asked_again_by_the_same_command(self):
        server = self.serve("limit-5")
        server.never = ["Question 2?"]
        more = ["--set", "endpoint.retries=1"]
        result = self.run_label(server.url, *more)
        self.assertEqual(result.returncode, 1)
        self.assertIn("2 of 8 questions got no answer (HTTP 503", result.stderr)
        asked = len(server.bodies)
        server.never = []
        self.label(server.url, *more)
        self.check_right()
        self.assertEqual(len(server.bodies) - asked, 2)  # nothing that was answered is asked again

    def test_they_are_left_out_where_the_settings_say_so(self):
        server = self.serve("limit-5")
        server.never = ["Question 2?"]
        self.label(server.url, "--set", "endpoint.retries=0", "--set", "endpoint.failed=skip")
        self.assertEqual([r["problem"] for r in self.records()], ["", "", "no answer", ""])
        self.assertIn("HTTP 503", self.records()[2]["reason"])
        server.never, asked = [], len(server.bodies)
        self.label(server.url, "--set", "endpoint.retries=0")  # again: the default
        self.check_right()
        self.assertEqual(len(server.bodies) - asked, 2)

    def test_requests_are_spread_over_servers_and_a_dead_one_is_dropped(self):
        self.write_pairs(20)
        one, two = self.serve("limit-5"), self.serve("limit-5")
        result = self.label(one.url, "--set", f"endpoint.urls={two.url},http://127.0.0.1:9/v1")
        self.check_right(20)
        self.assertGreater(min(len(one.bodies), len(two.bodies)), 8)
        self.assertIn("127.0.0.1:9", result.stderr)

    def test_a_window_of_requests_is_kept_full(self):
        self.write_pairs(200)
        server = self.serve("limit-5")
        server.delay = 0.3
        self.label(server.url, "--set", "endpoint.concurrency=64")
        self.check_right(200)
        self.assertGreaterEqual(server.most_in_flight, 40)


class Json(Kinds):
    def lines(self, result):
        return [json.loads(line) for line in result.stderr.splitlines()]

    def test_stderr_is_lines_of_json(self):
        server = self.serve("strict")
        result = self.label(server.url, "--json")
        lines = self.lines(result)
        self.assertTrue(all("level" in line and "message" in line for line in lines), lines)
        self.assertTrue({"warning", "progress"} <= {line["level"] for line in lines})
        self.assertEqual(json.loads(result.stdout)["judged"], 4)
        again = self.label(server.url, "--json")
        self.assertIn("nothing to do", self.lines(again)[-1]["message"])

    def test_errors_are_too_with_quotes_and_escapes(self):
        for arguments in (["label", "--nonsense", "--json"], ["train", "--constitution", 'no"such\\\n\x1b', "--json"], ["config", "explain", "a\tb", "--json"]):
            result = subprocess.run([BINARY, *arguments], capture_output=True, text=True, timeout=60)
            self.assertEqual(result.returncode, 2)
            self.assertTrue(all(line["level"] == "error" for line in self.lines(result)), result.stderr)
            self.assertEqual(result.stdout, "")


if __name__ == "__main__":
    unittest.main(verbosity=2)
