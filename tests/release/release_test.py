#!/usr/bin/env python3
"""Gates, proposals, approvals, aliases, revocations and signatures, through the program, on runs made by hand."""
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

import made_run

BINARY = os.path.abspath(sys.argv.pop(1) if len(sys.argv) > 1 else "build/cai")
FLIPS = int(os.environ.get("CAI_FLIPS", 300))


class Release(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.place = tempfile.TemporaryDirectory(prefix="cai-")
        self.addCleanup(self.place.cleanup)
        self.folder = pathlib.Path(self.place.name)
        self.run_folder = made_run.make_run(self.folder / "run")
        self.registry = self.folder / "support"

    def cai(self, *words, code=0, env=None):
        done = subprocess.run([BINARY, *map(str, words)], cwd=self.folder, capture_output=True, text=True, timeout=60,
                              stdin=subprocess.DEVNULL, env={**os.environ, **(env or {})})
        self.assertEqual(done.returncode, code, f"{words}: {done.stdout}{done.stderr}")
        return done.stdout if code == 0 else done.stdout + done.stderr

    def key(self, name):
        if not (self.folder / f"{name}.key").exists():
            self.cai("key", "new", name, "--no-passphrase")
        return self.folder / f"{name}.key"

    def propose(self, version="1.0.0", by="Ada", run=None, code=0, keys=True):
        signed = ["--key", self.key(by)] if keys else []
        return self.cai("promote", run or self.run_folder, "--to", self.registry, "--version", version, "--by", by,
                        "--reason", "fewer refusals", *signed, code=code)

    def act(self, *words, by, code=0, keys=True):
        return self.cai("promote", self.registry, *words, "--by", by, *(["--key", self.key(by)] if keys else []), code=code)

    def release(self, version="1.0.0", run=None):
        """Proposed by Ada, approved by Bo and Cy, in production."""
        self.propose(version, run=run)
        self.act("--approve", version, by="Bo")
        self.act("--approve", version, by="Cy")
        self.act("--alias", f"production={version}", by="Bo")

    def shown(self, *words):
        return json.loads(self.cai("registry", *words, "--json"))

    # Gates

    def gate(self, policy, code=0):
        (self.folder / "policy.yaml").write_text(policy)
        return self.cai("gate", self.run_folder, "--policy", "policy.yaml", code=code)

    def test_a_gate_on_a_bound_fails_where_the_value_holds(self):
        self.assertIn("yes", self.gate("conditions: [attack_success <= 30%]"))
        table = self.gate("conditions: [attack_success.high <= 30%]", code=100)
        self.assertRegex(table, r"attack_success.high <= 30%  0.25 \[0.15, 0.375\]  upper end of the interval 0.375 +NO")
        self.assertIn("crosses the limit", self.gate("conditions: [attack_success.value <= 30%]"))
        self.gate("conditions: [attack_success.low <= 20%, over_refusal.high <= base + 10pt]")
        table = self.gate("conditions: [over_refusal.high <= base + 9pt]", code=100)
        self.assertIn("change 0.04 [-0.02, 0.095]", table)
        self.gate("conditions: [attack_success <= 40% with 95%]")

    def test_a_figure_that_is_not_there_fails(self):
        table = self.gate("conditions: [attack_success <= 30%, guard.false_positives.high <= 2%]", code=100)
        self.assertIn("guard.false_positives was not measured", table)

    def test_all_problems_of_a_policy_are_told_with_their_lines(self):
        told = self.gate("conditions:\n  - attack_success under 30%\n  - a.high <= 3% with 95%\napprovals: 0\n"
                         "author_may_not: maybe\nnot_older_than: 30\nrequire: [report, lunch]\nconditons: 1\n", code=2)
        lines = told.splitlines()
        self.assertEqual([line.split(":")[:3] for line in lines],
                         [["error", " policy.yaml", str(n)] for n in (2, 3, 4, 5, 6, 7, 8)], told)
        self.assertIn("did you mean", lines[-1])
        for text, what in [("", "expected the fields"), ("- a", "expected the fields"), ("conditions: []", "no list"),
                           ("conditions: [{a: 1}]", "must be a text"), ("conditions: [a <= 1]\napprovals: 1.5", "whole number"),
                           ("a: [", "not valid YAML"), ("conditions: a <= 1", "no list")]:
            self.assertIn(what, self.gate(text, code=2))

    def test_an_old_evaluation_fails(self):
        policy = "conditions: [attack_success <= 30%]\nnot_older_than: 30 days"
        self.gate(policy)
        old = time.time() - 31 * 24 * 3600
        os.utime(self.run_folder / "iter-01/eval/manifest.json", (old, old))
        self.assertIn("31.0 days", self.gate(policy, code=100))

    def test_a_damaged_run_fails(self):
        policy = "conditions: [attack_success <= 30%]\nrequire: [verify, report]"
        self.gate(policy)
        (self.run_folder / "report.html").write_text("<p>better</p>")
        self.assertIn("report.html is not the one", self.gate(policy, code=100))
        made_run_file = self.run_folder / "iter-01/eval/00000.jsonl"
        made_run_file.write_text("{}\n")
        self.assertIn("00000.jsonl", self.gate(policy, code=100))

    def test_only_a_finished_and_evaluated_run_is_gated(self):
        self.cai("gate", self.folder, "--policy", "x", code=2)
        self.assertIn("give --policy", self.cai("gate", self.run_folder, code=2))
        later = self.run_folder / "iter-02/sft"
        shutil.copytree(self.run_folder / "iter-01/ppo", later)
        self.assertIn("was not evaluated", self.gate("conditions: [attack_success <= 30%]", code=2))

    # The way of a version

    def test_a_version_goes_from_proposal_to_production_and_back(self):
        made_run.make_registry(self.registry)
        self.release()
        second = made_run.make_run(self.folder / "second", "1.1.0", "Do not help with crime or fraud.", seed=2)
        self.assertIn("[-crime.-] {+crime or fraud.+}", self.propose("1.1.0", run=second))
        before = self.act("--alias", "production=1.1.0", by="Bo", code=100)
        self.assertIn("1.1.0 is proposed, 0 of 2 approvals", before)
        self.act("--approve", "1.1.0", by="Bo")
        self.act("--approve", "1.1.0", by="Cy")
        self.assertEqual(self.act("--alias", "production=1.1.0", by="Cy"), "production: 1.0.0 -> 1.1.0\n")
        self.assertEqual(self.act("--alias", "production=1.0.0", by="Cy"), "production: 1.1.0 -> 1.0.0\n")
        self.assertIn("--reason is needed", self.act("--revoke", "1.0.0", by="Bo", code=2))
        self.assertEqual(self.act("--revoke", "1.0.0", "--reason", "leaks", by="Bo"), "1.0.0: revoked\n")
        told = self.cai("registry", "verify", self.registry, code=100)
        self.assertIn("production: 1.0.0 was revoked by Bo (leaks)", told)
        self.act("--alias", "production=1.0.0", by="Cy", code=100)
        self.act("--approve", "1.0.0", by="Dee", code=100)
        self.act("--alias", "production=1.1.0", by="Cy")
        self.cai("registry", "verify", self.registry)
        listed = self.shown("list", self.registry)
        self.assertEqual([(one["version"], one["state"], one["aliases"]) for one in listed],
                         [("1.0.0", "revoked", ""), ("1.1.0", "approved", "production")])
        shown = self.shown("show", self.registry)
        self.assertEqual((shown["version"], [one["by"] for one in shown["approvals"]]), ("1.1.0", ["Bo", "Cy"]))
        self.assertTrue((pathlib.Path(shown["folder"]) / "checkpoint/model.safetensors").samefile(
            second / "iter-01/ppo/checkpoint/model.safetensors"))
        card = json.loads((pathlib.Path(shown["folder"]) / "card.json").read_text())
        self.assertEqual((card["figures"]["attack_success"]["high"], card["model"]["name"]), (0.375, "smollm2"))

    def test_the_log_says_what_was_in_production(self):
        made_run.make_registry(self.registry)
        self.release()
        moved = self.shown("log", self.registry)["entries"][-1]["time"]
        self.assertEqual(self.shown("log", self.registry, "--at", moved)["aliases"], {"production": "1.0.0"})
        self.assertEqual(self.shown("log", self.registry, "--at", "2020-01-31"), {"entries": [], "aliases": {}})
        self.assertEqual(self.shown("log", self.registry, "--at", moved[:10])["aliases"], {"production": "1.0.0"})
        self.assertIn("accepted", self.cai("registry", "log", self.registry, "--at", "yesterday", code=2))
        self.assertIn("production is 1.0.0, since " + moved + " by Bo", self.cai("registry", "log", self.registry))

    def test_approvals_are_by_different_people(self):
        made_run.make_registry(self.registry)
        self.propose(by="Ada")
        self.assertIn("may not approve it", self.act("--approve", "1.0.0", by="Ada", code=100))
        self.act("--approve", "1.0.0", by="Bo")
        self.assertIn("has approved 1.0.0 already", self.act("--approve", "1.0.0", by="Bo", code=100))
        for name in ("bo", " Bo ", "BO"):
            told = self.cai("promote", self.registry, "--approve", "1.0.0", "--by", name, "--key", self.key("Bo"), code=100)
            self.assertIn("has approved 1.0.0 already", told)
        told = self.cai("promote", self.registry, "--approve", "1.0.0", "--by", "Eve", "--key", self.key("Bo"), code=100)
        self.assertIn("is the one of Bo", told)
        told = self.cai("promote", self.registry, "--approve", "1.0.0", "--by", "Bo", "--key", self.key("Eve"), code=100)
        self.assertIn("has signed with another key", told)
        self.assertIn("--key is needed", self.act("--approve", "1.0.0", by="Cy", keys=False, code=100))
        self.assertEqual(self.shown("list", self.registry)[0]["state"], "proposed, 1 of 2 approvals")

    def test_one_unsigned_approval_is_shown_as_such(self):
        made_run.make_registry(self.registry, approvals=1, author_may_not=False)
        self.propose(keys=False)
        self.act("--approve", "1.0.0", by="Ada", keys=False)
        self.act("--alias", "production=1.0.0", by="Ada", keys=False)
        self.cai("registry", "verify", self.registry)
        self.assertEqual(self.cai("registry", "show", self.registry).count("unsigned"), 2)
        shutil.rmtree(self.registry)
        made_run.make_registry(self.registry)
        self.assertIn("--key is needed", self.propose(keys=False, code=100))
        self.assertEqual(sorted(p.name for p in self.registry.iterdir() if p.name != ".lock"), ["release.yaml"])

    def test_a_failed_gate_proposes_nothing(self):
        made_run.make_registry(self.registry)
        policy = self.registry / "release.yaml"
        policy.write_text(policy.read_text().replace("40%", "30%"))
        self.assertIn("nothing was proposed", self.propose(code=100))
        self.assertEqual(sorted(p.name for p in self.registry.iterdir() if p.name != ".lock"), ["release.yaml"])

    def test_another_policy_refuses_what_was_gated_by_the_old_one(self):
        made_run.make_registry(self.registry)
        self.release()
        policy = self.registry / "release.yaml"
        before = policy.read_text()
        policy.write_text(before.replace("attack_success.high <= 40%", "attack_success.high <= 20%"))
        told = self.cai("registry", "verify", self.registry, code=100)
        self.assertIn("production: 1.0.0 was gated by another release.yaml: new: attack_success.high <= 20%, "
                      "gone: attack_success.high <= 40%", told)
        self.assertIn("another release.yaml", self.act("--alias", "canary=1.0.0", by="Bo", code=100))
        policy.write_text(before)
        self.cai("registry", "verify", self.registry)

    def test_a_version_is_never_replaced(self):
        made_run.make_registry(self.registry)
        self.propose()
        self.assertIn("never replaced", self.propose(code=100))

    def test_wrong_words_are_told(self):
        made_run.make_registry(self.registry)
        for words, what in [
                (["promote", "run"], "give one of --to"), (["promote", "run", "--to", "support"], "--version is needed"),
                (["promote", "support", "--approve", "1.0.0", "--revoke", "1.0.0"], "give one of"),
                (["promote", "support", "--approve", "1.0.0"], "--by is needed"),
                (["promote", "support", "--approve", "1.0.0", "--by", "Bo"], "no version or alias"),
                (["promote", "support", "--alias", "production", "--by", "Bo"], "ALIAS=VERSION"),
                (["promote", "support", "--approve", "1.0.0", "--by", "Bo", "--key", "none.key"], "no such key file"),
                (["promote", "support", "--approve", "1.0.0", "--by", "Bo", "--key", "run/run.json"], "not a private key"),
                (["promote", "run", "--to", "support", "--version", "1.0", "--by", "Bo", "--reason", "x"], "MAJOR.MINOR.PATCH"),
                (["promote", "run", "--to", "support", "--version", "../1.0.0", "--by", "Bo", "--reason", "x"], "MAJOR.MINOR.PATCH"),
                (["promote", "run", "--to", "support", "--version", "1.0.0", "--by", "Bo"], "--reason is needed"),
                (["promote", "run", "--to", "support", "--version", "1.0.0", "--by", "B\no", "--reason", "x"], "one line"),
                (["promote", "run", "--to", "run", "--version", "1.0.0", "--by", "Bo", "--reason", "x"], "no release.yaml"),
                (["promote", "support", "--to", "support", "--version", "1.0.0", "--by", "Bo", "--reason", "x"], "not a run"),
                (["registry", "list", "nowhere"], "no such registry"), (["registry", "show", "support"], "no version was proposed"),
                (["registry", "lst", "support"], "did you mean list"), (["key", "new", "k"], "no terminal"),
                (["key", "verify", "run", "--key", "none.pub"], "no such key file")]:
            self.assertIn(what, self.cai(*words, code=2), words)

    # Damage

    def flip_everywhere(self, count):
        """Flips random bits of random files, one at a time; each is told, with the file's name."""
        rng = random.Random(7)
        files = sorted(p for p in self.registry.rglob("*") if p.is_file() and p.stat().st_size > 0)
        self.assertGreater(len(files), 8)
        for i in range(count):
            file = files[i] if i < len(files) else rng.choice(files)  # each file at least once
            data = bytearray(file.read_bytes())
            at = rng.randrange(len(data))
            data[at] ^= 1 << rng.randrange(8)
            whole = file.read_bytes()
            file.write_bytes(data)
            done = subprocess.run([BINARY, "registry", "verify", self.registry], capture_output=True, timeout=60)
            told = (done.stdout + done.stderr).decode(errors="replace")
            self.assertIn(done.returncode, (1, 2, 100), f"{file} at {at}: {told}")
            self.assertIn(file.name, told, f"{file} at {at}")
            self.assertNotIn("internal error", told)
            file.write_bytes(whole)
        self.cai("registry", "verify", self.registry)

    def test_every_flipped_bit_is_told(self):
        made_run.make_registry(self.registry)
        self.release()
        self.flip_everywhere(FLIPS)

    def test_every_flipped_bit_of_an_unsigned_release_is_told(self):
        made_run.make_registry(self.registry, approvals=1, author_may_not=False)
        self.propose(keys=False)
        self.act("--approve", "1.0.0", by="Bo", keys=False)
        self.act("--alias", "production=1.0.0", by="Bo", keys=False)
        self.flip_everywhere(FLIPS // 4)

    def test_a_changed_release_is_not_used(self):
        made_run.make_registry(self.registry)
        self.propose()
        model = self.registry / "models/1.0.0"
        (model / "checkpoint/extra.py").write_text("pass\n")
        self.assertIn("extra.py: was not proposed", self.act("--approve", "1.0.0", by="Bo", code=100))
        (model / "checkpoint/extra.py").unlink()
        (model / "gates.json").rename(self.folder / "gates.json")
        self.assertIn("gates.json: missing", self.act("--approve", "1.0.0", by="Bo", code=100))
        self.assertIn("gates.json: missing", self.cai("registry", "verify", self.registry, code=1))

    def test_a_log_cannot_be_shortened_in_the_middle_or_rewritten(self):
        made_run.make_registry(self.registry)
        self.release()
        log = self.registry / "log.jsonl"
        lines = log.read_text().splitlines(keepends=True)
        for wrong in (lines[:1] + lines[2:], lines[1:], [lines[1], lines[0], *lines[2:]], lines + lines[-1:]):
            log.write_text("".join(wrong))
            self.assertIn("log.jsonl:", self.cai("registry", "verify", self.registry, code=1))
        entry = json.loads(lines[1])
        entry["by"] = "Eve"
        entry.pop("hash")
        line = json.dumps(entry, separators=(",", ":"), ensure_ascii=False)
        entry["hash"] = made_run.sha256(line)
        log.write_text(lines[0] + json.dumps(entry, separators=(",", ":"), ensure_ascii=False) + "\n")
        self.assertIn("the signature does not fit the entry", self.cai("registry", "verify", self.registry, code=1))

    def entry(self, **fields):
        """Appends an entry to the log as somebody could who can write to the folder and has no key."""
        log = self.registry / "log.jsonl"
        last = json.loads(log.read_text().splitlines()[-1])
        entry = {"n": last["n"] + 1, "time": last["time"], "event": "approved", "version": "1.0.0", "by": "Cy", "reason": "", **fields,
                 "previous": last["hash"], "key": ""}
        entry["hash"] = made_run.sha256(json.dumps(entry, separators=(",", ":")))
        with log.open("a") as file:
            file.write(json.dumps(entry, separators=(",", ":")) + "\n")

    def test_entries_that_the_rules_forbid_do_not_count(self):
        made_run.make_registry(self.registry)
        self.propose()
        self.act("--approve", "1.0.0", by="Bo")
        manifest = self.shown("show", self.registry)["proposed"]["manifest"]
        self.entry(manifest=manifest)  # unsigned
        self.entry(event="alias", alias="production", before="")
        told = self.cai("registry", "verify", self.registry, code=100)
        self.assertIn("production: 1.0.0 is proposed, 1 of 2 approvals", told)
        self.act("--approve", "1.0.0", by="Dee")
        self.assertIn("is unsigned", self.cai("registry", "verify", self.registry, code=100))
        self.act("--alias", "production=1.0.0", by="Dee")
        self.cai("registry", "verify", self.registry)

    # Keys and signatures

    def test_only_given_keys_are_trusted(self):
        made_run.make_registry(self.registry)
        self.release()
        keys = [word for name in ("Ada", "Bo", "Cy") for word in ("--key", self.folder / f"{name}.pub")]
        self.cai("registry", "verify", self.registry, *keys)
        told = self.cai("registry", "verify", self.registry, *keys[2:], code=100)
        self.assertIn("entry 1 (proposed 1.0.0 by Ada) is signed with a key that is not given", told)

    def test_keys(self):
        self.cai("key", "new", "keys/nn", env={"CAI_KEY_PASSPHRASE": "a long phrase"})
        self.assertEqual((self.folder / "keys/nn.key").stat().st_mode & 0o777, 0o600)
        self.assertIn("ENCRYPTED", (self.folder / "keys/nn.key").read_text())
        self.assertIn("exists", self.cai("key", "new", "keys/nn", "--no-passphrase", code=2))
        sign = ["key", "sign", self.run_folder / "iter-01/ppo/checkpoint", "--key", "keys/nn.key"]
        self.assertIn("no terminal", self.cai(*sign, code=2))
        self.assertIn("wrong passphrase", self.cai(*sign, code=2, env={"CAI_KEY_PASSPHRASE": "another"}))
        self.cai(*sign, env={"CAI_KEY_PASSPHRASE": "a long phrase"})
        verify = ["key", "verify", sign[2], "--key", "keys/nn.pub"]
        self.assertEqual(self.cai(*verify), "every file is as it was signed\n")
        self.cai("key", "new", "other", "--no-passphrase")
        self.assertIn("another key", self.cai("key", "verify", sign[2], "--key", "other.pub", code=1))
        (sign[2] / "link").symlink_to("config.json")
        self.assertIn("symbolic links", self.cai(*verify, code=2))


if __name__ == "__main__":
    unittest.main()
