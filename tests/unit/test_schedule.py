"""How the learning rate changes, against PyTorch's own schedulers."""

import pytest
import torch

from hal.run.config import ScheduleSection
from hal.run.schedule import lr_factor


def factors(name, total, per_epoch=10, **keys):
    section = ScheduleSection(**keys)
    return [lr_factor(name, section, done, total, per_epoch) for done in range(total)]


def theirs(make, total):
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    schedule = make(optimizer)
    found = []
    for _ in range(total):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


@pytest.mark.parametrize("total", [2, 3, 10, 97])
@pytest.mark.parametrize("rise", [0.1, 0.3, 0.5])
def test_one_cycle(total, rise):
    schedulers = torch.optim.lr_scheduler
    expected = theirs(lambda o: schedulers.OneCycleLR(o, 1.0, total_steps=total + 1, pct_start=rise), total + 1)
    assert factors("onecycle", total + 1, rise=rise) == pytest.approx(expected, abs=1e-6)


def test_cosine():
    expected = theirs(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 20, eta_min=0.1), 20)
    assert factors("cosine", 20, least=0.1) == pytest.approx(expected)


def test_step():
    expected = theirs(lambda o: torch.optim.lr_scheduler.StepLR(o, 20, gamma=0.5), 60)
    assert factors("step", 60, every=2, factor=0.5) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["constant", "cosine", "step"])
def test_warm_up(name):
    found = factors(name, 40, warmup=4)
    assert found[:4] == [0.25, 0.5, 0.75, 1.0]
    assert max(found[4:]) == 1.0
    if name == "cosine":
        assert found[4:] == factors("cosine", 36)


@pytest.mark.parametrize("name", ["constant", "cosine", "step", "onecycle"])
@pytest.mark.parametrize("total", [1, 2, 7])
@pytest.mark.parametrize("warmup", [0, 3, 50])
def test_always_a_factor(name, total, warmup):
    assert all(0 <= factor <= 1 for factor in factors(name, total, per_epoch=1, warmup=warmup, every=1))
