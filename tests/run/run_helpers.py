"""Small runs, and how to compare two of them."""

import signal
from pathlib import Path

import numpy as np
from typer.testing import CliRunner

import hal
from hal.cli.app import app
from hal.run import RunObserver
from hal.run.checkpoint import Checkpoint, latest, load

CNN = {
    "model": {"name": "cnn", "filters": [4, 4, 4], "dense": 8, "size": 20},
    "backend": "cpu",
    "data": {"name": "synthetic:80"},
    "batch": 16,
    "threads": 1,
}
"""Four steps an epoch, with the model's own augmentation."""

RNN_CLASSIFY = {
    "model": {"name": "rnn", "task": "classify", "units": 8},
    "backend": "cpu",
    "data": {"name": "synthetic:80"},
    "batch": 16,
    "threads": 1,
}


def train(out=None, observer=None, base=CNN, **keys):
    return hal.train(observer, **base, **keys, **({} if out is None else {"out": str(out)}))


def command(*words):
    """``hal`` in this process: exit_code, stdout and stderr."""
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "200"})


def pairs(keys):
    """Keys as a user writes them on the command line."""
    found = []
    for key, value in keys.items():
        if isinstance(value, dict):
            found += [f"{key}={v}" if k == "name" else f"{key}.{k}={_word(v)}" for k, v in value.items()]
        else:
            found.append(f"{key}={_word(value)}")
    return found


def _word(value):
    return "[" + ",".join(map(str, value)) + "]" if isinstance(value, (list, tuple)) else str(value)


def flat(tree, prefix=""):
    found = {}
    for name, value in tree.items():
        found |= flat(value, f"{prefix}{name}/") if isinstance(value, dict) else {prefix + name: value}
    return found


def last(folder):
    return load(latest(Path(folder)))


def assert_same_end(first, second):
    """The last checkpoints of two runs are equal bit for bit, and so are the numbers of their epochs."""
    a, b = last(first), last(second)
    assert a.step == b.step
    arrays, others = flat(a.carry), flat(b.carry)
    assert arrays.keys() == others.keys()
    assert any(name.startswith("params/") for name in arrays)
    assert any(name.startswith("optimizers/") for name in arrays)
    for name, array in arrays.items():
        assert np.array_equal(array, others[name]), f"{name} differs"
    timed = ("seconds", "samples_per_s")
    epochs = [[{k: v for k, v in e.items() if k not in timed} for e in c.meta["epochs"]] for c in (a, b)]
    assert epochs[0] == epochs[1]


class SignalAt(RunObserver):
    """Sends this process a signal after some steps of all."""

    def __init__(self, *steps, number=signal.SIGINT):
        self.steps, self.number, self.done = steps, number, 0

    def step(self, epoch, step, steps, samples, loss):
        self.done += 1
        if self.done in self.steps:
            signal.raise_signal(self.number)


class Watching(RunObserver):
    """Keeps what it is told."""

    def __init__(self):
        self.notes, self.epochs, self.steps, self.resumed = [], [], 0, None

    def started(self, job, folder, epochs, resumed_step):
        self.job, self.folder, self.resumed = job, folder, resumed_step

    def note(self, text):
        self.notes.append(text)

    def step(self, epoch, step, steps, samples, loss):
        self.steps += 1

    def epoch(self, epoch):
        self.epochs.append(epoch)


def content(folder):
    """Every file in a folder, byte for byte."""
    return {
        str(path.relative_to(folder)): path.read_bytes() for path in sorted(Path(folder).rglob("*")) if path.is_file()
    }


def made(step=3, **meta):
    rng = np.random.default_rng(step)
    carry = {
        "params": {"body": {"kernel": rng.standard_normal((3, 4)).astype(np.float32), "bias": np.zeros(4, np.float32)}},
        "state": {},
        "optimizers": {"classify": {"step": np.float32(step), "mean": {"body": rng.standard_normal(5)}}},
        "scale": {"factor": np.array(8.0, np.float32)},
    }
    return Checkpoint(step, carry, {"config": {"model": {"name": "cnn"}}, "position": {"sums": {"loss": 0.1}}, **meta})


def steps(folder):
    return sorted(path.name for path in folder.iterdir())
