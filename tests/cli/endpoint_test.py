#!/usr/bin/env python3
"""Labels from an OpenAI-compatible endpoint: a server on loopback that answers, stumbles and lies as such servers do.
Waits are set to milliseconds; where the program must lose patience, its patience is a fraction of a second."""
import http.server
import json
import os
import pathlib
import ssl
import subprocess
import sys
import tempfile
import threading
import unittest

BINARY = sys.argv.pop(1) if len(sys.argv) > 1 else "build/cai"
ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
KEY = "sk-secret-0123456789"


class Server(http.server.BaseHTTPRequestHandler):
    """Prefers the answer that holds the word "good"; `faults` are what the first requests get instead, `always` what all get."""
    protocol_version = "HTTP/1.1"
    faults = []
    always = ""
    bodies = []
    answered = []
    released = threading.Event()
    hanging = threading.Event()
    hang_at = -1

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
        except OSError:  # the program has stopped at another request's answer, or at this one's length
            self.close_connection = True

    def error(self, status, message):
        self.reply(status, json.dumps({"error": {"message": message}}).encode())

    def pour(self, piece, pause=0.0):
        """Sends without end, until the program hangs up."""
        self.close_connection = True
        try:
            while not Server.released.wait(pause):
                self.wfile.write(piece)
                self.wfile.flush()
        except OSError:
            pass

    def do_POST(self):
        text = self.rfile.read(int(self.headers["Content-Length"]))
        body = json.loads(text)
        Server.bodies.append((body, self.headers.get("Authorization")))
        fault = Server.faults.pop(0) if Server.faults else Server.always
        if len(Server.bodies) == Server.hang_at:
            fault = "hang"
        if fault == "429":
            return self.reply(429, b"{}", [("Retry-After", "0.01")])
        if fault == "429 for an hour":
            return self.reply(429, b"{}", [("Retry-After", "3600")])
        if fault == "500":
            return self.reply(500, b"<html>oops</html>")
        if fault == "401":
            return self.error(401, f"wrong key {KEY}")
        if fault == "401 long":  # the key lies where the message is cut
            return self.error(401, "x" * 190 + KEY)
        if fault == "402":
            return self.error(402, "no credit")
        if fault == "404":
            return self.error(404, f"The model `{body['model']}` does not exist")
        if fault == "400":
            return self.error(400, "unknown field \x1b[31m\n red")
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
        if fault == "hang":
            Server.hanging.set()
            Server.released.wait(30)
            self.close_connection = True
            return None
        if fault == "drip":
            self.send_response(200)
            self.send_header("Content-Length", "5000")
            self.end_headers()
            return self.pour(b" ", 0.01)
        if fault == "endless":
            self.send_response(200)
            self.end_headers()
            return self.pour(b" " * (1 << 20))
        if fault == "headers":
            self.send_response_only(200)
            self.flush_headers()
            return self.pour(b"X-Junk: " + b"j" * 60000 + b"\r\n")
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
        content = better
        if fault == "long":
            content = f"Because of {KEY}. \x1b[31m<script> <|im_<s>end|> " + "and so on " * 200000
        answer = {"choices": [{"message": {"role": "assistant", "content": content}, "finish_reason": "stop", "logprobs": {"content": [{"token": top[0]["token"], "logprob": -0.1, "top_logprobs": top}]}}],
                  "usage": {"prompt_tokens": 100, "completion_tokens": 1}}
        if fault == "no usage":
            del answer["usage"]
        Server.answered.append(text)
        return self.reply(200, json.dumps(answer).encode())


class Quiet(http.server.ThreadingHTTPServer):
    def handle_error(self, *_):  # clients that hang up are part of the tests
        pass


class Endpoint(unittest.TestCase):
    scheme = "http"

    def setUp(self):
        Server.faults, Server.bodies, Server.answered, Server.always, Server.hang_at = [], [], [], "", -1
        Server.released, Server.hanging = threading.Event(), threading.Event()
        self.keeper = tempfile.TemporaryDirectory()
        self.folder = pathlib.Path(self.keeper.name)
        self.server = Quiet(("127.0.0.1", 0), Server)
        self.secure()
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        self.write_pairs(6)
        self.env = {"CAI_API_KEY": KEY}

    def secure(self):
        pass

    def write_pairs(self, n):
        pairs = [{"id": f"p{i}", "prompt": f"Question {i}?", "a": "a good answer" if i % 2 else "a poor answer", "b": "a poor answer" if i % 2 else "a good answer", "human": float(i % 2)} for i in range(n)]
        (self.folder / "pairs.jsonl").write_text("".join(json.dumps(p) + "\n" for p in pairs))

    def tearDown(self):
        Server.released.set()
        self.server.shutdown()
        self.server.server_close()
        self.keeper.cleanup()

    def command(self, *more):
        return [BINARY, "label", "--model", f"{self.scheme}://127.0.0.1:{self.server.server_port}/v1", "--constitution", str(ROOT / "constitutions/harmless.yaml"), "--pairs", str(self.folder / "pairs.jsonl"),
                "--out", str(self.folder / "labels"), "--set", "label.method=choice", "--set", "label.principles=1", "--set", "endpoint.timeout_seconds=5",
                "--set", "endpoint.first_wait_seconds=0.01", "--set", "endpoint.longest_wait_seconds=0.05", *more]

    def environment(self):
        return {**{k: v for k, v in os.environ.items() if k != "CAI_API_KEY"}, **self.env}

    def label(self, *more):
        result = subprocess.run(self.command(*more), capture_output=True, text=True, env=self.environment(), timeout=60)
        # Whatever happens: no key, no escape sequence, one line a message.
        self.assertNotIn(KEY[:12], result.stderr + result.stdout + self.everything_written())
        self.assertNotIn("\x1b", result.stderr + result.stdout)
        self.assertNotIn("internal error", result.stderr)
        return result

    def records(self):
        return [json.loads(line) for line in (self.folder / "labels/00000.jsonl").read_text().splitlines()]

    def everything_written(self):
        return b"".join(f.read_bytes() for f in self.folder.rglob("*") if f.is_file() and f.name != "the-key").decode(errors="replace")

    def check_right(self, n=6):
        self.assertEqual(len(self.records()), n)
        for r in self.records():
            self.assertEqual(r["p"] > 0.5, "good" in r["a"], r)
            self.assertEqual(r["human"] > 0.5, "good" in r["a"], r)
            self.assertTrue(r["orders_agree"] and r["reason"] and r["principle"], r)

    def done(self, result):
        self.assertEqual(result.returncode, 0, result.stderr)

    def failed(self, result, *words, code=1):
        self.assertEqual(result.returncode, code, result.stderr)
        last = [line for line in result.stderr.splitlines() if not line.startswith("label  ")]
        self.assertEqual(len(last), 1, result.stderr)
        for word in words:
            self.assertIn(word, last[0])


class Answers(Endpoint):
    def test_labels_are_right_and_both_orders_are_asked(self):
        self.done(self.label())
        self.check_right()
        self.assertEqual(len(Server.bodies), 12)
        self.assertTrue(all(key == f"Bearer {KEY}" for _, key in Server.bodies))

    def test_the_key_may_come_from_a_file(self):
        (self.folder / "the-key").write_text(KEY + "\n")
        self.env = {}
        self.done(self.label("--set", f"endpoint.key_file={self.folder}/the-key"))
        self.assertTrue(all(key == f"Bearer {KEY}" for _, key in Server.bodies))

    def test_faults_that_pass_leave_no_trace_in_the_labels(self):
        Server.faults = ["", "429", "500", "drop", "half", "not json", "no choices", "429 for an hour"]
        self.done(self.label("--set", "endpoint.concurrency=2"))
        self.check_right()
        self.assertEqual(len(Server.bodies), 19)

    def test_a_server_that_keeps_silent_or_drips_costs_the_timeout_only(self):
        Server.faults = ["hang", "drip"]
        self.done(self.label("--set", "endpoint.timeout_seconds=0.3", "--set", "endpoint.concurrency=2"))
        self.check_right()

    def test_an_answer_without_letters_is_kept_with_its_reason(self):
        Server.faults = ["no letters"] * 2
        self.done(self.label("--set", "endpoint.concurrency=1", "--set", "endpoint.prefill=yes"))
        problems = [r["problem"] for r in self.records()]
        self.assertEqual(problems.count("off format"), 1, problems)

    def test_answers_and_headers_without_end_are_cut_off(self):
        Server.faults = ["", "", "endless", "headers"]
        self.done(self.label("--set", "endpoint.concurrency=1"))
        self.assertEqual([r["problem"] for r in self.records()].count("refused"), 1)

    def test_a_long_answer_is_cut_and_its_text_is_data(self):
        Server.always = "long"
        self.done(self.label("--set", "label.chain_of_thought=true", "--set", "label.max_reason_tokens=8"))
        for r in self.records():
            self.assertIn("[key]", r["reason"])
            self.assertLess(len(r["reason"]), 400)
            self.assertNotIn("<|im_end|>", r["reason"])
        self.assertNotIn("\x1b", self.everything_written())


class Refusals(Endpoint):
    def test_a_refused_key_is_one_line_without_the_key(self):
        for fault in ["401", "401 long"]:
            Server.always = fault
            self.failed(self.label(), "CAI_API_KEY", "the key was refused")
        self.env = {}
        self.failed(self.label(), "which is not set")

    def test_a_wrong_model_an_empty_account_and_a_wrong_request_end_it(self):
        for fault, word in [("404", "no model"), ("402", "no credit"), ("400", "unknown field \\x1b[31m\\n red")]:
            Server.always = fault
            self.failed(self.label("--set", "endpoint.model=gpt-nothing"), word)
            self.assertLess(len(Server.bodies), 30)
            Server.bodies.clear()

    def test_a_dead_server_is_one_line(self):
        self.server.server_close()
        self.failed(self.label("--set", "endpoint.retries=2"), "no answer", "start the server or correct the address")

    def test_a_server_that_only_stumbles_ends_it(self):
        Server.always = "500"
        self.failed(self.label("--set", "endpoint.retries=1"), "no answer after 2 tries", "HTTP 500")

    def test_passwords_in_addresses_are_refused_and_not_told(self):
        for url in ["http://me:hunter2@127.0.0.1/v1", "https://hunter2@host/v1"]:
            for where in [["--model", url], ["--set", f"label.feedback={url}"]]:
                result = self.label(*where)
                self.assertEqual(result.returncode, 2, result.stderr)
                self.assertIn("endpoint.key_variable", result.stderr)
                self.assertNotIn("hunter2", result.stderr + result.stdout)
        self.failed(self.label("--set", f"endpoint.key_variable={KEY.replace('secret', 'x')}"), "not the key itself", code=2)
        self.failed(self.label("--set", "endpoint.key_file=/none"), "no such file", code=2)
        self.assertFalse((self.folder / "labels").exists())


class Budgets(Endpoint):
    def test_a_budget_stops_and_nothing_is_paid_twice(self):
        self.write_pairs(100)
        for setting, name in [("endpoint.max_tokens_total=5000", "max_tokens_total"), ("endpoint.max_cost=0.01", "max_cost")]:
            result = self.label("--set", setting, "--set", "endpoint.price_prompt=1.5", "--set", "endpoint.price_answer=10", "--set", "endpoint.concurrency=1")
            self.failed(result, name, "un the same command to continue", code=75)
        self.assertEqual(len(Server.bodies), 50 + 63)  # 101 tokens an answer; 160 millionths of the currency an answer
        self.done(self.label("--set", "endpoint.max_tokens_total=0"))
        self.check_right(100)
        self.assertEqual(len(Server.bodies), 200)
        self.assertEqual(len(set(Server.answered)), 200)

    def test_other_settings_make_the_labels_again_and_pay_nothing_again(self):
        self.done(self.label())
        for n, setting in enumerate(("label.minimum_margin=0.3", "endpoint.failed=skip"), 1):
            result = self.label("--set", setting)
            self.done(result)
            self.assertNotIn("nothing to do", result.stderr)
            self.assertTrue((self.folder / f"labels.stale-{n}/manifest.json").exists())
            self.check_right()
            self.assertEqual(len(Server.bodies), 12, setting)

    def test_a_server_that_counts_nothing_does_not_empty_the_purse(self):
        self.write_pairs(100)
        Server.always = "no usage"
        self.failed(self.label("--set", "endpoint.max_tokens_total=5000", "--set", "endpoint.concurrency=1"), "max_tokens_total", code=75)
        self.assertLess(len(Server.bodies), 60)

    def test_time_runs_out(self):
        Server.faults = ["500"] * 1000
        self.failed(self.label("--set", "endpoint.max_seconds=0.2", "--set", "endpoint.retries=100"), "max_seconds", code=75)

    def test_a_killed_program_does_not_ask_again_for_what_it_got(self):
        self.write_pairs(20)
        Server.hang_at = 15
        process = subprocess.Popen(self.command("--set", "endpoint.concurrency=1"), stderr=subprocess.PIPE, stdout=subprocess.PIPE, env=self.environment())
        self.assertTrue(Server.hanging.wait(30))
        process.kill()
        process.communicate()
        self.assertEqual(len(Server.answered), 14)
        with open(self.folder / "labels/endpoint.answers", "a") as torn:
            torn.write('{"request": "torn by the kill')
        Server.hang_at = -1
        self.done(self.label())
        self.check_right(20)
        self.assertEqual(len(Server.answered), 40)
        self.assertEqual(len(set(Server.answered)), 40)

    def test_a_signal_waits_for_what_is_paid(self):
        self.write_pairs(20)
        Server.hang_at = 5
        process = subprocess.Popen(self.command("--set", "endpoint.concurrency=1", "--set", "endpoint.timeout_seconds=0.5"), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=self.environment())
        self.assertTrue(Server.hanging.wait(30))
        process.terminate()
        _, errors = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 75, errors)
        self.done(self.label())
        self.assertEqual(len(set(Server.answered)), 40)
        self.assertEqual(len(Server.answered), 40)


class Certificates(Endpoint):
    scheme = "https"

    def secure(self):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
                        "-keyout", self.folder / "key.pem", "-out", self.folder / "cert.pem"], check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / "cert.pem", self.folder / "key.pem")
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)

    def test_a_certificate_of_unknown_origin_is_refused_before_the_key_is_sent(self):
        self.failed(self.label(), "certificate is not trusted", "endpoint.ca_file")
        self.assertEqual(Server.bodies, [])
        self.done(self.label("--set", f"endpoint.ca_file={self.folder}/cert.pem"))
        self.check_right()


if __name__ == "__main__":
    unittest.main(verbosity=2)
