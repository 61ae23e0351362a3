"""``hal card`` on whatever accelerators are here: quick, and without a verdict about their speed."""

import pytest

from hal import registry
from hal.cards.certify import certify
from hal.cards.config import CardConfig


def test_the_certificate(device, monkeypatch):
    monkeypatch.setattr("hal.cards.work._LARGEST_PRODUCT", 512)
    monkeypatch.setattr("hal.cards.work._LONG_ENOUGH_S", 0.0)
    monkeypatch.setattr("hal.cards.work._TRANSFER_BYTES", 2**24)
    monkeypatch.setattr("hal.backends._torch.loads._SIZE", 256)
    monkeypatch.setattr("hal.backends._torch.loads._COPY_BYTES", 2**24)
    found = certify(CardConfig.model_construct(device=str(device), seconds=1.0, keep=False))
    assert [check for check in found.checks if not check.agrees] == []
    assert {check.precision for check in found.checks} == set(device.capabilities.supported_precisions())
    assert found.correct == "yes"
    assert {figure.group for figure in found.figures} >= {"product", "memory", "transfer", "launch", "model"}
    assert all(figure.low <= figure.median <= figure.high for figure in found.figures)
    for name in ("power_w", "temperature_c", "clock_mhz", "power_limit_w"):  # what a driver leaves out is unknown
        value = found.counters.get(name)
        assert value is None or value > 0


@pytest.mark.parametrize("watts", [1e6])
def test_a_cap_that_no_card_has_is_refused(device, watts):
    from hal.errors import HalError

    backend = registry.backend(device.backend)
    with pytest.raises(HalError):
        backend.limit_power(device, watts)
