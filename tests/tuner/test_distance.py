"""How far apart plans are: numbers by their logarithm, everywhere alike."""

from typing import Annotated, Literal

import numpy as np
import pytest
from pydantic import Field
from tuner_helpers import description

from hal.config import PlanKeys
from hal.contract.plan import KeyTraits, Plan
from hal.tuner import distance as module
from hal.tuner.config import SpaceSection
from hal.tuner.distance import Distance, rank_of
from hal.tuner.space import Space


def apart(key, one, two, units=8):
    """The distance of two values of a key."""
    distance = Distance((key,), units)
    a, b = distance.codes([Plan(**{key: one}), Plan(**{key: two})])[:, 0]
    return float(np.sqrt(distance.tables()[0][a, b]))


@pytest.mark.parametrize(
    ("key", "one", "two", "far"),
    [
        ("batch", 64, 128, 1),
        ("batch", 1024, 512, 1),
        ("batch", 16, 1024, 6),
        ("accumulate", 1, 4, 2),
        ("threads", 2, 8, 2),
        ("threads", None, 8, 1),  # the framework takes all 8 cores, but may do more than set their number
        ("threads", None, 4, 2**0.5),
        ("parallel", "dp=2", "dp=8", 2),
        ("parallel", "none", "dp=4", 5**0.5),
        ("parallel", "dp=4", "fsdp=4", 1),
        ("precision", "fp16", "fp32", 1),
        ("precision", "bf16", "fp16", 1),
        ("layout", "nhwc", "nhwc", 0),
    ],
)
def test_of_two_values(key, one, two, far):
    assert apart(key, one, two) == pytest.approx(far)
    assert apart(key, two, one) == pytest.approx(far)


def test_every_key_of_integers_is_ordered():
    assert {key for key in Plan.model_fields if Plan.ordered(key)} == {"batch", "threads", "accumulate", "parallel"}


class Tiled(Plan):
    """A plan with keys that a backend could add."""

    tile: Annotated[Literal["auto", "8x8", "16x8", "64x64"], KeyTraits(ordered=True)] = "auto"
    unroll: int = Field(default=0, ge=0)
    width: Literal[1, 4, 16] = 1


def test_keys_that_backends_add(monkeypatch):
    monkeypatch.setattr(module, "Plan", Tiled)
    distance = Distance(("tile", "unroll", "width"), 1)
    plans = [
        Tiled(tile="8x8", unroll=0, width=1),
        Tiled(tile="16x8", unroll=1, width=4),
        Tiled(tile="64x64", unroll=2, width=16),
    ]
    codes = distance.codes(plans)
    tile, unroll, width = (np.sqrt(t) for t in distance.tables())
    assert tile[codes[0, 0], codes[1, 0]] == pytest.approx(1)
    assert tile[codes[0, 0], codes[2, 0]] == pytest.approx(18**0.5)
    assert unroll[codes[0, 1], codes[1, 1]] == pytest.approx(1), "zero is one step below one"
    assert width[codes[0, 2], codes[2, 2]] == pytest.approx(4)


def test_the_nearest_plan():
    plans = list(Space(description(), PlanKeys(), SpaceSection(), ("throughput",)).plans.values())
    wanted = Plan(batch=100, precision="bf16", layout="nhwc", compile="eager", threads=2)
    found = Distance(tuple(Plan.model_fields), 4).nearest(wanted, plans)
    assert (found.batch, found.precision, found.compile, found.threads) == (128, "bf16", "eager", 2)


def test_codes_of_values_that_come_later():
    """A plan outside of the space, as the default can be, is compared like the others."""
    distance = Distance(("batch",), 1)
    first = distance.codes([Plan(batch=64)])
    assert distance.tables()[0].shape == (1, 1)
    later = distance.codes([Plan(batch=256)])
    assert distance.tables()[0][first[0, 0], later[0, 0]] == 4


def test_order_of_values():
    """One order, whatever order they were listed in."""
    for key, values in {
        "threads": [None, 1, 2, 16],
        "parallel": ["none", "dp=2", "fsdp=2", "dp=16"],
        "batch": [8, 64, 512],
    }.items():
        backwards = values[::-1]
        assert sorted(backwards, key=lambda value, key=key: rank_of(key, value)) == values
