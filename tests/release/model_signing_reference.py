#!/usr/bin/env python3
"""Signatures of model folders against the OpenSSF's own program (PyPI: model-signing, pyOpenSSL): it verifies ours, we verify its, and
both refuse the same wrong ones. Run by a Python that has it: model_signing_reference.py CAI"""
import base64
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

BINARY = os.path.abspath(sys.argv.pop(1) if len(sys.argv) > 1 else "build/cai")


def run(*words):
    return subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=120)


class ModelSigning(unittest.TestCase):
    def setUp(self):
        place = tempfile.TemporaryDirectory(prefix="cai-")
        self.addCleanup(place.cleanup)
        self.folder = pathlib.Path(place.name)
        self.model = self.folder / "model"
        for name, text in [("config.json", "{}"), ("a/b/c.bin", "x" * 5000), ("a.txt", "1"), ("a/é.txt", "2"), (".gitignore", "x")]:
            (self.model / name).parent.mkdir(parents=True, exist_ok=True)
            (self.model / name).write_text(text)
        for name in ("k", "other"):
            self.assertEqual(run(BINARY, "key", "new", self.folder / name, "--no-passphrase").returncode, 0)

    def ours(self, key="k"):
        return run(BINARY, "key", "verify", self.model, "--key", self.folder / f"{key}.pub")

    def theirs(self, key="k"):
        return run(sys.executable, "-m", "model_signing", "verify", "key", self.model, "--signature", self.model / "model.sig",
                   "--public_key", self.folder / f"{key}.pub")

    def sign(self, by):
        if by == "ours":
            done = run(BINARY, "key", "sign", self.model, "--key", self.folder / "k.key")
        else:
            done = run(sys.executable, "-m", "model_signing", "sign", "key", self.model, "--private_key", self.folder / "k.key",
                       "--signature", self.model / "model.sig")
        self.assertEqual(done.returncode, 0, done.stderr)

    def both(self, good, what):
        for name, done in [("ours", self.ours()), ("theirs", self.theirs())]:
            self.assertEqual(done.returncode == 0, good, f"{what}, verified by {name}: {done.stdout}{done.stderr}")

    def change(self, edit):
        """Edits the bundle; `edit` gets it and its statement, which is put back unsigned."""
        file = self.model / "model.sig"
        bundle = json.loads(file.read_text())
        envelope = bundle["dsseEnvelope"]
        statement = json.loads(base64.b64decode(envelope["payload"]))
        edit(bundle, statement)
        if edit.__name__ == "statement":
            envelope["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
        file.write_text(json.dumps(bundle))

    def test_each_verifies_the_other(self):
        for by in ("ours", "theirs"):
            self.sign(by)
            self.both(True, f"signed by {by}")
            self.assertNotEqual((self.ours("other").returncode, self.theirs("other").returncode), (0, 0))
            self.assertNotEqual(self.ours("other").returncode, 0)
            self.assertNotEqual(self.theirs("other").returncode, 0)

    def test_keys_of_other_curves(self):
        for curve in ("P-384", "P-521"):
            for name, words in [("k.key", ["genpkey", "-algorithm", "EC", "-pkeyopt", f"ec_paramgen_curve:{curve}"]),
                                ("k.pub", ["pkey", "-in", self.folder / "k.key", "-pubout"])]:
                self.assertEqual(run("openssl", *words, "-out", self.folder / name).returncode, 0)
            for by in ("ours", "theirs"):
                self.sign(by)
                self.both(True, f"{curve}, signed by {by}")

    def test_both_refuse_what_is_wrong(self):
        def changed_file(model):
            (model / "a.txt").write_text("3")

        def missing_file(model):
            (model / "a/b/c.bin").unlink()

        def added_file(model):
            (model / "a/new.py").write_text("pass")

        def moved_file(model):
            (model / "a.txt").rename(model / "b.txt")

        def statement(bundle, payload):
            payload["predicate"]["resources"][0]["digest"] = "0" * 64

        def signature(bundle, payload):
            text = bundle["dsseEnvelope"]["signatures"][0]["sig"]
            bundle["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(bytes(reversed(base64.b64decode(text)))).decode()

        def payload_type(bundle, payload):
            bundle["dsseEnvelope"]["payloadType"] = "text/plain"

        def media_type(bundle, payload):
            bundle["mediaType"] = "application/json"

        def hint(bundle, payload):
            bundle["verificationMaterial"]["publicKey"]["hint"] = "0" * 64

        whole = self.folder / "whole"
        for by in ("ours", "theirs"):
            self.sign(by)
            shutil.rmtree(whole, ignore_errors=True)
            shutil.copytree(self.model, whole)
            for change in (changed_file, missing_file, added_file, moved_file, statement, signature, payload_type, media_type, hint):
                if change in (changed_file, missing_file, added_file, moved_file):
                    change(self.model)
                else:
                    self.change(change)
                self.both(False, f"signed by {by}, {change.__name__}")
                shutil.rmtree(self.model)
                shutil.copytree(whole, self.model)
            self.both(True, f"signed by {by}, whole again")

    def test_what_git_keeps_is_not_signed(self):
        for by in ("ours", "theirs"):
            self.sign(by)
            (self.model / ".git").mkdir(exist_ok=True)
            (self.model / ".git/HEAD").write_text("x")
            self.both(True, f"signed by {by}, with .git")


if __name__ == "__main__":
    unittest.main()
