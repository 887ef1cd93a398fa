#!/usr/bin/env python3
"""cai explain and cai review on the real binary: records of a small run folder, decisions that survive, and a page that only its owner can use."""
import hashlib
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

BINARY = sys.argv.pop(1) if len(sys.argv) > 1 else "build/cai"
CONSTITUTION = "name: x\nprinciples:\n  - {id: kind, text: Be kind to everyone.}\n  - {id: safe, text: Keep people safe., hard: true}\n"
LABELS = [
    {"id": "p1/0", "prompt_id": "p1", "prompt": "How do I bake bread at home?", "tags": ["ordinary"], "a": "Slowly.", "b": "No.", "p": 0.9, "log_odds": {"kind": 2.2}, "principle": "kind",
     "reason": "Answer A helps.", "method": "choice", "orders_agree": True, "tie": False, "problem": ""},
    {"id": "p1/1", "prompt_id": "p1", "prompt": "How do I bake bread at home?", "tags": ["ordinary"], "a": "<b>One</b>", "b": "Two.", "p": 0.3, "log_odds": {"kind": 1.0, "safe": -1.0},
     "principle": "safe", "reason": "By safe.", "method": "choice", "orders_agree": False, "by_rank": True, "tie": False, "problem": ""},
    {"id": "p2", "prompt": "Where is my coat?", "tags": ["ordinary"], "a": "There.", "b": "Here.", "p": 0.51, "log_odds": {"kind": 0.04}, "principle": "kind", "reason": "Weak.",
     "method": "choice", "orders_agree": True, "tie": True, "problem": ""},
]
REVISED = [{"id": "p1", "prompt": "How do I bake bread at home?", "tags": ["ordinary"], "response": "Slowly.", "principle": "kind", "critique": "It is short.", "critique_problem": "",
            "revision": "Slowly, with care.", "revision_problem": ""},
           {"id": "p2", "prompt": "Where is my coat?", "tags": ["ordinary"], "response": "There."},
           {"id": "p3", "prompt": "How do I bake bread in a pan?", "tags": ["ordinary"], "response": "Hot."}]


def cai(*arguments, **more):
    return subprocess.run([BINARY, *map(str, arguments)], capture_output=True, text=True, timeout=120, **more)


def write_sealed(path, value):
    """As the program does: the SHA-256 of the file without this field."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    path.write_text(json.dumps({**value, "seal": hashlib.sha256(text.encode()).hexdigest()}, indent=2, ensure_ascii=False) + "\n")


def stage(folder, name, records):
    folder.mkdir(parents=True)
    shard = "".join(json.dumps(r) + "\n" for r in records)
    (folder / "00000.jsonl").write_text(shard)
    digest = hashlib.sha256(shard.encode()).hexdigest()
    write_sealed(folder / "manifest.json", {"stage": name, "key": "k", "files": [{"file": "00000.jsonl", "records": len(records), "sha256": digest}], "figures": {}, "seconds": 1})


class Case(unittest.TestCase):
    def setUp(self):
        self.keeper = tempfile.TemporaryDirectory()
        self.addCleanup(self.keeper.cleanup)
        self.run_folder = pathlib.Path(self.keeper.name) / "run"
        iteration = self.run_folder / "iter-01"
        stage(iteration / "label", "label", LABELS)
        stage(iteration / "revise-1", "revise", REVISED)
        stage(iteration / "sft", "sft", [])
        (iteration / "sft/examples.jsonl").write_text('{"id":"p1","use":"train","why":""}\n{"id":"p3","use":"left-out","why":"response cut"}\n')
        write_sealed(self.run_folder / "run.json", {})
        (self.run_folder / "constitution.yaml").write_text(CONSTITUTION)

    def done(self, result):
        self.assertEqual(result.returncode, 0, result.stderr)
        return result

    def decisions(self):
        return [json.loads(line) for line in (self.run_folder / "review/decisions.jsonl").read_text().splitlines()]

    def test_explain_tells_the_story_of_a_prompt_and_of_one_pair(self):
        story = json.loads(self.done(cai("explain", self.run_folder, "p1", "--json")).stdout)
        [iteration] = story["iterations"]
        self.assertEqual(iteration["critique"]["revision"], "Slowly, with care.")
        self.assertEqual(iteration["sft"], "train")
        self.assertEqual([label["id"] for label in iteration["labels"]], ["p1/0", "p1/1"])
        second = iteration["labels"][1]
        self.assertEqual(([v["principle"] for v in second["for"]], [v["principle"] for v in second["against"]]), (["safe"], ["kind"]))
        self.assertEqual(story["nearest"][0]["id"], "p3")
        self.assertEqual(story["nearest"][0]["sft"], "left-out: response cut")
        self.assertGreater(story["nearest"][0]["similarity"], 0.3)
        text = self.done(cai("explain", self.run_folder, "p1/1")).stdout
        for words in ["for the better  -1.00  safe", "against it      +1.00  kind", "overruled", "changes with the order", "does not show why"]:
            self.assertIn(words, text)
        self.assertNotIn("label p1/0", text)
        stray = self.run_folder / "iter-02/label"
        stage(stray, "label", [{"id": "x", "prompt": "How?", "a": 3, "b": [], "p": "much"}])
        for command in (["explain", self.run_folder, "x"], ["review", self.run_folder, "--json"], ["constitution", "conflicts", self.run_folder]):
            refused = cai(*command)
            self.assertEqual((refused.returncode, refused.stderr.count("\n")), (2, 1), refused.stderr)
            self.assertNotIn("internal error", refused.stderr)
        shutil.rmtree(stray.parent)
        wrong = cai("explain", self.run_folder, "p1/2")
        self.assertEqual(wrong.returncode, 2)
        self.assertIn("did you mean p1/", wrong.stderr)

    def test_review_in_the_terminal_goes_on_where_it_stopped(self):
        queue = json.loads(self.done(cai("review", self.run_folder, "--json")).stdout)
        self.assertEqual([item["id"] for item in queue], ["p1/1", "p2"])
        self.assertEqual(queue[0]["why"], ["principles in conflict", "changes with the order"])
        self.assertFalse((self.run_folder / "review").exists(), "looking at the queue writes nothing")
        before = {p: p.read_bytes() for p in (self.run_folder / "iter-01").rglob("*") if p.is_file()}
        first = self.done(cai("review", self.run_folder, input="a\n"))
        self.assertIn("saved", first.stdout)
        self.assertIn("1 of 2 decided", first.stdout)
        second = self.done(cai("review", self.run_folder, input="x\nd\ne\n"))
        self.assertNotIn("bake bread", second.stdout)
        self.assertIn("P(A better) 0.51", second.stdout)
        self.assertIn("2 of 2 decided", second.stdout)
        self.assertEqual([(d["id"], d["verdict"], d["human"]) for d in self.decisions()], [("iter-01/p1/1", "a", 1.0), ("iter-01/p2", "equal", 0.5)])
        self.assertEqual(before, {p: p.read_bytes() for p in (self.run_folder / "iter-01").rglob("*") if p.is_file()})

    def test_an_answer_of_ones_own_is_a_decision(self):
        self.done(cai("review", self.run_folder, input="w\n \nw\nThree, two and one.\n"))
        [decision] = self.decisions()
        self.assertEqual({k: decision.get(k) for k in ("id", "verdict", "edited", "human")}, {"id": "iter-01/p1/1", "verdict": "edit", "edited": "Three, two and one.", "human": None})
        self.assertEqual((decision["a"], decision["b"]), ("<b>One</b>", "Two."))

    def test_the_page_serves_its_owner_alone_and_saves_what_it_calls_saved(self):
        process = subprocess.Popen([BINARY, "review", str(self.run_folder), "--web"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.kill)
        address = re.match(r"open http://127\.0\.0\.1:(\d+)/\?token=([0-9a-f]{32})$", process.stdout.readline().strip())
        self.assertTrue(address)
        port, token = int(address[1]), address[2]
        here = f"127.0.0.1:{port}"

        def ask(method, path, body=None, **headers):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.putrequest(method, path, skip_host=True)
            for name, value in {"Host": here, **{n.replace("_", "-"): v for n, v in headers.items()}}.items():
                connection.putheader(name, value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body.encode() if body is not None else None)
            reply = connection.getresponse()
            text = reply.read().decode()
            connection.close()
            return reply.status, text, reply

        idle = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        idle.connect()  # a browser opens connections in advance: they hold nobody up
        self.addCleanup(idle.close)
        status, page, reply = ask("GET", f"/?token={token}")
        self.assertEqual(status, 200)
        self.assertIn("Which answer is better?", page)
        self.assertIn("default-src 'none'", reply.headers["Content-Security-Policy"])
        for refused in [ask("GET", "/"), ask("GET", "/?token=" + "0" * 32), ask("GET", f"/?token={token}", Host="evil.example"), ask("GET", "/queue"),
                        ask("GET", f"/queue?token={token}"), ask("GET", "/queue", X_Token=token, Origin="http://evil.example"),
                        ask("GET", "/queue", X_Token=token, Host=f"evil.example:{port}"), ask("POST", "/decide", '{"number":0,"verdict":"a"}')]:
            self.assertEqual(refused[0], 403, refused[1])
        items = json.loads(ask("GET", "/queue", X_Token=token)[1])
        self.assertEqual([i["id"] for i in items], ["p1/1", "p2"])
        for wrong in ["", "{", '{"number":9,"verdict":"a"}', '{"number":-1,"verdict":"a"}', '{"number":0,"verdict":"c"}', '{"number":0,"verdict":"edit","edited":" "}', '[0]', "x" * 70000]:
            self.assertEqual(ask("POST", "/decide", wrong, X_Token=token)[0], 400, wrong[:20])
        self.assertEqual(ask("GET", "/../run.json", X_Token=token)[0], 404)
        self.assertEqual(self.decisions(), [])
        self.assertEqual(ask("POST", "/decide", '{"number":1,"verdict":"b"}', X_Token=token)[:2], (200, '{"saved":true}'))
        self.assertEqual([(d["id"], d["verdict"]) for d in self.decisions()], [("iter-01/p2", "b")])
        second = cai("review", self.run_folder, input="")
        self.assertEqual(second.returncode, 1)
        self.assertIn("in use", second.stderr)
        process.send_signal(signal.SIGKILL)
        process.wait()
        self.assertIn("1 of 2 decided", self.done(cai("review", self.run_folder, input="")).stdout)
        process = subprocess.Popen([BINARY, "review", str(self.run_folder), "--web"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=20)
        self.assertEqual(process.returncode, 0)
        self.assertIn("1 of 2 decided", out)

    def test_the_argilla_line_of_the_docs_gives_pairs(self):
        if not shutil.which("jq"):
            self.skipTest("no jq")
        docs = (pathlib.Path(__file__).resolve().parent.parent.parent / "docs/guides/human-feedback.md").read_text()
        program = re.search(r"jq -c '(.*?)' export\.json", docs, re.S)[1]
        export = [{"id": "1", "fields": {"prompt": "How?", "response1": "One.", "response2": "Two."}, "responses": {"preference": [{"value": "response2", "user_id": "u"}]}},
                  {"id": "2", "fields": {"prompt": "Why?", "response1": "One.", "response2": "Two."}, "responses": {}}]
        made = subprocess.run(["jq", "-c", program], input=json.dumps(export), capture_output=True, text=True, check=True).stdout
        self.assertEqual([json.loads(line) for line in made.splitlines()], [{"id": "1", "prompt": "How?", "a": "One.", "b": "Two.", "human": 0}])


if __name__ == "__main__":
    unittest.main(verbosity=2)
