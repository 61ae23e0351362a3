"""The guard lets sound plans through and stops wrong ones."""

from pathlib import Path

import numpy as np
import pytest

from hal.config import JobConfig, build
from hal.contract.plan import Plan
from hal.tuner.guard import Curve, GuardTolerance, compare_curves, compare_outputs, tolerance
from hal.tuner.messages import Order
from hal.tuner.trial import TrialRunner
from hal.tuner.trial_result import Outcome

ALLOWED = GuardTolerance(loss=0.1, cosine=0.95, output=0.05)
DIRECTION = np.linspace(-1, 1, 50, dtype=np.float32)


def curve(losses=(2.0, 1.5, 1.2), direction=DIRECTION, **noise):
    return Curve(tuple(losses), direction, **noise)


@pytest.mark.parametrize(
    ("found", "passed"),
    [
        (curve(), True),
        (curve((2.05, 1.55, 1.1)), True),
        (curve((2.0, 1.5, 1.5)), False),
        (curve((2.0, 1.5, float("nan"))), False),
        (curve((2.0, 1.5, float("inf"))), False),
        (curve(direction=-DIRECTION), False),
        (curve(direction=3 * DIRECTION), True),
    ],
)
def test_curves(found, passed):
    guard = compare_curves(found, curve(), ALLOWED)
    assert guard.passed is passed
    assert bool(guard.message) is not passed


def test_random_draws_widen_the_limits():
    other = DIRECTION + np.random.default_rng(0).normal(0, 0.4, 50).astype(np.float32)
    assert not compare_curves(curve(direction=other), curve(), ALLOWED).passed
    noisy = curve(noise_loss=0.05, noise_cosine=0.8)
    assert compare_curves(curve((2.2, 1.7, 1.4), other), noisy, ALLOWED).passed


def test_outputs():
    rng = np.random.default_rng(0)
    right = rng.normal(size=(4, 10))
    assert compare_outputs(right * 1.01, right, ALLOWED).passed
    assert not compare_outputs(-right, right, ALLOWED).passed
    assert not compare_outputs(right * np.nan, right, ALLOWED).passed


def test_lower_precisions_may_be_further_away():
    fp32, bf16 = tolerance(Plan()), tolerance(Plan(precision="bf16"))
    assert fp32.loss < bf16.loss
    assert fp32.cosine > bf16.cosine


@pytest.mark.parametrize(
    ("model", "data"),
    [
        ({"name": "cnn", "filters": [4, 4], "dense": 8, "size": 12}, "synthetic:64"),
        ({"name": "rnn", "task": "classify", "units": 8}, "synthetic:64"),
        ({"name": "gan", "size": 20, "width": 4, "noise": 4}, "synthetic:64"),
    ],
)
@pytest.mark.parametrize("plan", [{"precision": "bf16"}, {"precision": "fp16"}, {"accumulate": 2}, {"layout": "nchw"}])
def test_sound_plans_pass(model, data, plan):
    keys = {"model": model, "backend": "cpu", "data": {"name": data}, "batch": 16, "threads": 1}
    runner = TrialRunner(build(JobConfig, keys), "train", lambda phase: None)
    order = Order(plan=runner.describe().default.model_copy(update=plan), seconds=0.05)
    answer = runner.run(order)
    assert answer.outcome is Outcome.OK, answer.message
    assert answer.guard.passed


NORMALISED = str(Path(__file__).parents[1] / "run" / "normalised.py") + ":Normalised"


@pytest.mark.parametrize("parts", [2, 4])
def test_parts_of_batch_statistics(parts):
    """With batch statistics, a plan in parts is compared with a reference in as many parts."""
    keys = {"model": {"name": NORMALISED}, "backend": "cpu", "data": {"name": "synthetic:64"}, "batch": 16}
    runner = TrialRunner(build(JobConfig, {**keys, "threads": 1}), "train", lambda phase: None)
    answer = runner.run(Order(plan=runner.describe().default.model_copy(update={"accumulate": parts}), seconds=0.05))
    assert answer.outcome is Outcome.OK, answer.message
    assert answer.guard.cosine > 0.9999
    assert answer.guard.loss_error < 1e-4
