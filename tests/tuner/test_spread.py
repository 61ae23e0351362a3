"""A worker that tries a plan of several processes, which follow it."""

from pathlib import Path

import psutil
import pytest

from hal.config import JobConfig, build
from hal.tuner.messages import Order
from hal.tuner.trial import TrialRunner
from hal.tuner.trial_result import Outcome

KEYS = {
    "model": {"name": f"{Path(__file__).parents[1] / 'run' / 'normalised.py'}:Normalised"},
    "backend": "cpu",
    "data": {"name": "synthetic:256"},
    "batch": 16,
    "threads": 1,
}


def workers():
    """Those of this process; other tests may have other children."""
    return [child for child in psutil.Process().children() if "hal.processes.worker" in child.cmdline()]


@pytest.fixture(scope="module")
def runner():
    return TrialRunner(build(JobConfig, KEYS), "train", lambda phase: None)


def order(runner, parallel="dp=2", **keys):
    plan = runner.describe().default.model_copy(update={"parallel": parallel})
    return Order(plan=plan, seconds=0.2, **keys)


@pytest.mark.parametrize("parallel", ["dp=2", "fsdp=2"])
def test_trial(runner, parallel):
    answer = runner.run(order(runner, parallel, to_loss=True))
    assert (answer.outcome, answer.message) == (Outcome.OK, "")
    assert answer.measurement.throughput.median > 0
    assert answer.guard.passed
    assert answer.guard.loss_error < 1e-5, "the same batches, statistics and draws as one process"
    assert answer.samples_to_loss % 16 == 0
    assert workers() == []


def test_blocks_in_turn(runner):
    steps = runner.hold(order(runner))
    assert steps >= 1
    assert all(runner.block(steps) > 0 for _ in range(3))
    assert len(workers()) == 1
    runner.release()
    assert workers() == []


def test_impossible(runner):
    plan = runner.describe().default.model_copy(update={"parallel": "dp=3"})
    answer = runner.run(Order(plan=plan, seconds=0.2))
    assert answer.outcome is Outcome.UNSUPPORTED
    assert "cannot be divided evenly" in answer.message
