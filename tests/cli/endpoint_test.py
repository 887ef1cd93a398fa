#!/usr/bin/env python3
"""Labels from an OpenAI-compatible endpoint: a server on loopback that answers, stumbles and lies as such servers do."""
import http.server
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import unittest

BINARY = sys.argv.pop(1) if len(sys.argv) > 1 else "build/cai"
ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
KEY = "sk-secret-0123456789"


class Server(http.server.BaseHTTPRequestHandler):
    """Prefers the answer that holds the word "good"; `faults` are what the first requests get instead."""
    protocol_version = "HTTP/1.1"
    faults = []
    bodies = []

    def log_message(self, *_):
        pass

    def reply(self, status, body, headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            self.wfile.write(body)
        except BrokenPipeError:  # the program has stopped at another request's answer
            self.close_connection = True

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        Server.bodies.append((body, self.headers.get("Authorization")))
        fault = Server.faults.pop(0) if Server.faults else ""
        if fault == "429":
            return self.reply(429, b"{}", [("Retry-After", "0")])
        if fault == "500":
            return self.reply(500, b"<html>oops</html>")
        if fault == "401":
            return self.reply(401, json.dumps({"error": {"message": f"wrong key {KEY}"}}).encode())
        if fault == "drop":
            self.close_connection = True
            return self.connection.close()
        if fault == "half":
            self.send_response(200)
            self.send_header("Content-Length", "5000")
            self.end_headers()
            self.wfile.write(b'{"choices": [')
            self.close_connection = True
            return None
        if fault == "not json":
            return self.reply(200, b"\x1b[31mhello")
        if fault == "no choices":
            return self.reply(200, b'{"choices": []}')
        question = body["messages"][-2 if body["messages"][-1]["role"] == "assistant" else -1]["content"]
        first = question.split("Answer A:")[1].split("Answer B:")[0]
        better, other = (" A", " B") if "good" in first else (" B", " A")
        top = [{"token": better, "logprob": -0.1}, {"token": other, "logprob": -3.0}]
        if fault == "no letters":
            top = [{"token": "Well", "logprob": -0.1}]
        answer = {"choices": [{"message": {"role": "assistant", "content": better}, "finish_reason": "stop", "logprobs": {"content": [{"token": top[0]["token"], "logprob": -0.1, "top_logprobs": top}]}}],
                  "usage": {"prompt_tokens": 100, "completion_tokens": 1}}
        return self.reply(200, json.dumps(answer).encode())


class Endpoint(unittest.TestCase):
    def setUp(self):
        Server.faults, Server.bodies = [], []
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.keeper = tempfile.TemporaryDirectory()
        self.folder = pathlib.Path(self.keeper.name)
        pairs = [{"id": f"p{i}", "prompt": f"Question {i}?", "a": "a good answer" if i % 2 else "a poor answer", "b": "a poor answer" if i % 2 else "a good answer", "human": float(i % 2)} for i in range(6)]
        (self.folder / "pairs.jsonl").write_text("".join(json.dumps(p) + "\n" for p in pairs))

    def tearDown(self):
        self.server.shutdown()
        self.server.server_close()
        self.keeper.cleanup()

    def label(self, *more):
        command = [BINARY, "label", "--model", f"http://127.0.0.1:{self.server.server_port}/v1", "--constitution", str(ROOT / "constitutions/harmless.yaml"), "--pairs", str(self.folder / "pairs.jsonl"),
                   "--out", str(self.folder / "labels"), "--set", "label.method=choice", "--set", "label.principles=1", "--set", "endpoint.timeout_seconds=5", *more]
        return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "CAI_API_KEY": KEY})

    def records(self):
        return [json.loads(line) for line in (self.folder / "labels/00000.jsonl").read_text().splitlines()]

    def everything_written(self):
        return b"".join(f.read_bytes() for f in self.folder.rglob("*") if f.is_file()).decode(errors="replace")

    def check_right(self):
        for r in self.records():
            self.assertEqual(r["p"] > 0.5, "good" in r["a"], r)
            self.assertEqual(r["human"] > 0.5, "good" in r["a"], r)
            self.assertTrue(r["orders_agree"] and r["reason"] and r["principle"], r)

    def test_labels_are_right_and_both_orders_are_asked(self):
        result = self.label()
        self.assertEqual(result.returncode, 0, result.stderr)
        self.check_right()
        self.assertEqual(len(Server.bodies), 12)
        self.assertTrue(all(key == f"Bearer {KEY}" for _, key in Server.bodies))
        self.assertNotIn(KEY, result.stderr + result.stdout + self.everything_written())

    def test_faults_that_pass_leave_no_trace_in_the_labels(self):
        Server.faults = ["429", "500", "drop", "half", "not json", "no choices"]
        result = self.label("--set", "endpoint.concurrency=2")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.check_right()
        self.assertEqual(len(Server.bodies), 18)
        self.assertNotIn("\x1b", result.stderr)

    def test_a_refused_key_is_one_line_without_the_key(self):
        Server.faults = ["401"] * 20
        result = self.label()
        self.assertEqual(result.returncode, 1)
        self.assertIn("CAI_API_KEY", result.stderr)
        self.assertNotIn(KEY, result.stderr + result.stdout)

    def test_an_answer_without_letters_is_kept_with_its_reason(self):
        Server.faults = ["no letters"] * 2
        result = self.label("--set", "endpoint.concurrency=1")
        self.assertEqual(result.returncode, 0, result.stderr)
        problems = [r["problem"] for r in self.records()]
        self.assertEqual(problems.count("no choice"), 1, problems)

    def test_a_budget_stops_and_what_is_done_is_not_paid_again(self):
        (self.folder / "pairs.jsonl").write_text("".join(json.dumps({"id": f"p{i}", "prompt": f"Q{i}?", "a": "a good answer", "b": "a poor answer"}) + "\n" for i in range(100)))
        result = self.label("--set", "endpoint.max_tokens_total=15000", "--set", "endpoint.concurrency=1")
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertIn("max_tokens_total", result.stderr)
        paid = len(Server.bodies)
        kept = len(self.records())
        self.assertEqual(kept, 64)
        result = self.label("--set", "endpoint.max_tokens_total=0", "--set", "endpoint.concurrency=1")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(len(self.records()), 100)
        self.assertEqual(len(Server.bodies) - paid, 2 * (100 - kept))


if __name__ == "__main__":
    unittest.main(verbosity=2)
