"""Tunings on workers that compute nothing."""

import json
import sys
from pathlib import Path

from hal.config import build
from hal.contract.device import Capabilities, Device, Precision
from hal.contract.plan import Plan
from hal.job.stored_plans import Fingerprint
from hal.measure import Environment
from hal.tuner import TuneObserver, tune
from hal.tuner.config import TuneConfig
from hal.tuner.messages import Description
from hal.workload import Workload

FAKE = (sys.executable, str(Path(__file__).parent / "fake_worker.py"))


def device(**changes):
    can = {
        "precisions": {
            "fp32": Precision(True, True),
            "tf32": Precision(False, False),
            "bf16": Precision(True, True),
            "fp16": Precision(True, False),
        },
        "layouts": ("nhwc",),
        "compile": ("eager", "default"),
        "threads": True,
        **changes,
    }
    return Device(
        backend="fake",
        index=0,
        vendor="nobody",
        name="Fake 1",
        arch="f1",
        memory_bytes=8 << 30,
        compute_units=4,
        capabilities=Capabilities(**can),
    )


def description(mode="train", batch=64, samples=1024, **changes):
    here = device(**changes)
    return Description(
        workload=Workload(model="cnn", data="digits", mode=mode, input_shape=(28, 28, 1)),
        device=here,
        devices=1,
        fingerprint=Fingerprint(
            backend="fake",
            vendor="nobody",
            arch="f1",
            name="Fake 1",
            compute_units=4,
            memory_bytes=8 << 30,
            facts={},
            versions={},
            model="cnn",
            mode=mode,
            input_shape=(28, 28, 1),
            structure="0",
        ),
        environment=Environment.read(),
        default=Plan(batch=batch).resolve(here),
        samples=samples,
        images=True,
    )


def environment(folder, faults=None, seconds=0.0, described=None):
    """What the fake workers read."""
    folder.mkdir(exist_ok=True)
    (folder / "description.json").write_text((described or description()).model_dump_json())
    return {
        "FAKE_DESCRIPTION": str(folder / "description.json"),
        "FAKE_FAULTS": json.dumps(faults or {}),
        "FAKE_LOG": str(folder / "log.txt"),
        "FAKE_SECONDS": str(seconds),
        "HAL_CACHE": str(folder / "cache"),
    }


SMALL = {"threads": [None]}
"""A third of the plans that the fake device can run, since SQLite takes most of the time of a tuning that computes
nothing."""

UNHURRIED = {"budget": 100_000.0, "limit": 1000.0}
"""A budget and a limit that no machine reaches, so that nothing depends on its speed; a search then tries all plans."""


def config(**keys):
    return build(TuneConfig, {"model": {"name": "cnn"}, "backend": "cpu", **UNHURRIED, **keys})


def fake_tune(monkeypatch, tmp_path, faults=None, observer=None, described=None, **keys):
    for name, value in environment(tmp_path / "fake", faults, described=described).items():
        monkeypatch.setenv(name, value)
    keys = {"out": str(tmp_path / "out"), "space": SMALL, **keys}
    return tune(config(**keys), observer, command=FAKE)


def launched(tmp_path, word="begin"):
    """Plans of the trials that began, in order."""
    path = tmp_path / "fake" / "log.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    return [line.partition(" ")[2] for line in lines if line.startswith(word)]


class Seen(TuneObserver):
    """Keeps what it is told."""

    def __init__(self):
        self.trials, self.notes, self.numbers = [], [], []

    def note(self, text):
        self.notes.append(text)

    def trial(self, trial, progress):
        self.trials.append(trial)
