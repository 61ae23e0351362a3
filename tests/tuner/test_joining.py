"""Who joins a study: the same plans, however they were listed; others are told so."""

import pytest
from tuner_helpers import Seen, description, fake_tune

from hal.config import PlanKeys
from hal.errors import ConfigError
from hal.tuner import resumed
from hal.tuner.config import SpaceSection
from hal.tuner.space import Space, key_of

FIRST = {"batch": [64, 128], "precision": ["fp32", "bf16"], "threads": [None, 1]}


@pytest.mark.parametrize(
    "space",
    [
        {**FIRST, "batch": [128, 64]},
        {**FIRST, "batch": ["64", "128"]},
        {**FIRST, "batch": [6.4e1, 128.0]},
        {**FIRST, "batch": [64, 128, 64]},
        {**FIRST, "threads": [1, None]},
        {"threads": [None, 1], "precision": ["bf16", "fp32"], "batch": [128, 64]},
        {**FIRST, "batch": [64, 128, 4096]},  # there are only 1,024 samples, so no plan has this batch
    ],
)
def test_the_same_plans_join(monkeypatch, tmp_path, space):
    storage = f"sqlite:///{tmp_path}/shared.db"
    first = fake_tune(monkeypatch, tmp_path, storage=storage, space=FIRST, trials=3)
    seen = Seen()
    again = fake_tune(
        monkeypatch, tmp_path, storage=storage, space=space, trials=6, out=str(tmp_path / "b"), observer=seen
    )
    assert again.trials[:3] == first.trials
    assert len(again.trials) == 6
    assert len({key_of(t.plan) for t in again.trials}) == 6
    assert not any("chooses from other plans" in note for note in seen.notes)


def test_a_fixed_key_is_a_list_of_one(monkeypatch, tmp_path):
    storage = f"sqlite:///{tmp_path}/shared.db"
    fixed = {"batch": [64], "precision": ["fp32", "bf16"]}
    first = fake_tune(monkeypatch, tmp_path, storage=storage, space=fixed, trials=2)
    del fixed["batch"]
    again = fake_tune(monkeypatch, tmp_path, storage=storage, batch=64, space=fixed, trials=3, out=str(tmp_path / "b"))
    assert again.trials[:2] == first.trials


@pytest.mark.parametrize("space", [{**FIRST, "batch": [64]}, {**FIRST, "batch": [64, 256]}])
def test_other_plans_are_another_study(monkeypatch, tmp_path, space):
    """Their trials are kept apart, and a note says so."""
    storage = f"sqlite:///{tmp_path}/shared.db"
    fake_tune(monkeypatch, tmp_path, storage=storage, space=FIRST, trials=2)
    seen = Seen()
    again = fake_tune(
        monkeypatch, tmp_path, storage=storage, space=space, trials=2, out=str(tmp_path / "b"), observer=seen
    )
    assert len(again.trials) == 2
    assert any("chooses from other plans" in note for note in seen.notes)


def test_resumed_in_another_order(monkeypatch, tmp_path):
    first = fake_tune(monkeypatch, tmp_path, space=FIRST, trials=2)
    keys = resumed({"resume": str(tmp_path / "out"), "trials": 4, "space": {"batch": [128, 64, 64]}})
    again = fake_tune(monkeypatch, tmp_path, **keys.model_dump(exclude_unset=True), out=None)
    assert again.trials[:2] == first.trials
    with pytest.raises(ConfigError, match="space= cannot change"):
        resumed({"resume": str(tmp_path / "out"), "space": {"batch": [64]}})


@pytest.mark.parametrize(
    ("listed", "said"),
    [
        ({"batch": ["6.4e1"]}, "space.batch=6.4e1: input should be a valid integer"),
        ({"batch": [64.5]}, "space.batch=64.5: input should be a valid integer"),
        ({"batch": [True]}, "space.batch=[True]: true and false are not values"),
        ({"parallel": ["dp=02"]}, "dp=02: write none, dp=N"),
        ({"parallel": ["DP=2"]}, "DP=2: write none, dp=N"),
        ({"precision": ["FP32"]}, "space.precision=FP32"),
    ],
)
def test_spellings_that_are_refused(monkeypatch, tmp_path, listed, said):
    with pytest.raises(ConfigError) as caught:
        fake_tune(monkeypatch, tmp_path, space=listed)
    assert said in caught.value.message


def test_values_that_plans_have_in_one_order():
    def varied(**listed):
        return Space(description(), PlanKeys(), SpaceSection(**listed), ("throughput",)).varied

    assert varied(batch=[512, 16, 16], threads=[2, None, 1]) == varied(batch=[16, 512], threads=[None, 1, 2])
    assert varied(batch=[512, 16])["batch"] == (16, 512)
