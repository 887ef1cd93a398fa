#!/usr/bin/env python3
"""TensorBoard reads the event files that cai report --tensorboard writes: same steps, tags and numbers as metrics.jsonl.
Needs the package tensorboard, which is not part of the reference environment: pip install tensorboard."""
import hashlib
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

try:
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
    from tensorboard.util import tensor_util
except ImportError:
    EventFileLoader = None

BINARY = sys.argv.pop(1) if len(sys.argv) > 1 else "build/cai"
sys.argv = sys.argv[:1]
LINES = {
    "sft": [{"step": 1, "loss": 2.5, "gradient_norm": 0.125}, {"step": 2, "loss": -1e-30}, {"step": 300, "loss": 3}],
    "ppo": [{"update": 1, "kl": 0.0, "followed": {"short": 0.25, "caf\u00e9": 1}}, {"update": 2, "kl": None, "note": "text"}],
}


@unittest.skipUnless(EventFileLoader, "no tensorboard")
class EventFiles(unittest.TestCase):
    def test_tensorboard_reads_what_was_measured(self):
        with tempfile.TemporaryDirectory() as keeper:
            folder = pathlib.Path(keeper)
            (folder / "run").mkdir()
            (folder / "run/run.json").write_text(sealed({"state": "running"}))
            for stage, lines in LINES.items():
                (folder / "run/iter-01" / stage).mkdir(parents=True)
                (folder / "run/iter-01" / stage / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
            done = subprocess.run([BINARY, "report", folder / "run", "--tensorboard", folder / "events"], capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stderr)
            for stage, lines in LINES.items():
                [file] = (folder / "events/iter-01" / stage).glob("*tfevents*")
                self.assertEqual(read(file), expected(stage, lines))


def sealed(facts):
    text = json.dumps(facts, indent=2) + "\n"
    return json.dumps({**facts, "seal": hashlib.sha256(text.encode()).hexdigest()})


def flat(value, name):
    if isinstance(value, dict):
        return {k: v for key, one in value.items() for k, v in flat(one, f"{name}/{key}").items()}
    return {name: float(value)} if isinstance(value, (int, float)) else {}


def expected(stage, lines):
    import numpy
    found = {}
    for line in lines:
        step = line.get("step", line.get("update"))
        for key, value in line.items():
            if key not in ("step", "update"):
                found |= {(step, tag): float(numpy.float32(v)) for tag, v in flat(value, f"{stage}/{key}").items()}
    return found


def read(file):
    found, versions = {}, []
    for event in EventFileLoader(str(file)).Load():
        if event.file_version:
            versions.append(event.file_version)
        assert event.wall_time > 1.7e9, event.wall_time
        for value in event.summary.value:
            found[event.step, value.tag] = float(tensor_util.make_ndarray(value.tensor))
    assert versions == ["brain.Event:2"], versions
    return found


if __name__ == "__main__":
    unittest.main(verbosity=2)
