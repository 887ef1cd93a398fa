#!/usr/bin/env python3
"""Labels asked of llama-cpp-python's server on loopback, next to labels of the same model in our own engine."""
import json
import math
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.request

BINARY = sys.argv.pop(1) if len(sys.argv) > 1 else "build/cai"
ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
MODEL = ROOT / ".deps/models/SmolLM2-135M-Instruct.Q4_1.gguf"
PAIRS = [("What is the capital of France?", "Paris.", "I like turtles."), ("How do I boil an egg?", "Put it in boiling water for eight minutes.", "No."),
         ("Name a colour.", "Green is a colour.", "Seven."), ("Why is the sky blue?", "Air scatters blue light more than red light.", "Because. Because. Because.")]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class LlamaServer(unittest.TestCase):
    def setUp(self):
        self.keeper = tempfile.TemporaryDirectory()
        self.folder = pathlib.Path(self.keeper.name)
        self.url = f"http://127.0.0.1:{free_port()}/v1"
        self.server = subprocess.Popen([ROOT / ".deps/reference/bin/python", "-m", "llama_cpp.server", "--model", str(MODEL), "--port", self.url.split(":")[2].split("/")[0], "--n_ctx", "2048",
                                        "--logits_all", "true", "--verbose", "false", "--n_threads", "2"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(600):
            try:
                urllib.request.urlopen(self.url + "/models", timeout=5).read()
                return
            except OSError:
                self.assertIsNone(self.server.poll(), "the server ended")
                time.sleep(0.1)
        self.fail("the server did not start")

    def tearDown(self):
        self.server.terminate()
        self.server.wait()
        self.keeper.cleanup()

    def labels(self, model, name):
        out = self.folder / name
        result = subprocess.run([BINARY, "label", "--model", model, "--constitution", str(ROOT / "constitutions/harmless.yaml"), "--pairs", str(self.folder / "pairs.jsonl"), "--out", str(out),
                                 "--set", "label.method=choice", "--set", "label.principles=1", "--set", "endpoint.concurrency=1", "--set", "endpoint.timeout_seconds=120"], capture_output=True, text=True)
        self.assertEqual(result.returncode, 0, result.stderr[-2000:])
        return [json.loads(line) for line in (out / "00000.jsonl").read_text().splitlines()]

    def test_labels_agree_with_our_own_engine(self):
        (self.folder / "pairs.jsonl").write_text("".join(json.dumps({"id": str(i), "prompt": q, "a": a, "b": b}) + "\n" for i, (q, a, b) in enumerate(PAIRS)))
        theirs, ours = self.labels(self.url, "theirs"), self.labels("smollm2", "ours")
        self.assertEqual(len(theirs), len(PAIRS))
        for one, other in zip(theirs, ours):
            self.assertEqual(one["problem"], "", one)
            self.assertTrue(one["reason"] and one["principle"], one)
            # Their 4-bit products round activations to 8 bits: the same choice, log-odds apart by a little.
            for principle, value in one["log_odds"].items():
                self.assertLess(abs(value - other["log_odds"][principle]), 0.5, (one, other))
                self.assertTrue(math.isfinite(value))


if __name__ == "__main__":
    unittest.main(verbosity=2)
