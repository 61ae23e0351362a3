"""Every accelerator; a backend that sees none skips with its own reason."""

import pytest

import hal
from hal.contract import Unavailable

_NOT_HERE = ("cpu", "null")


def _devices():
    for seen in hal.devices():
        if seen.backend in _NOT_HERE:
            continue
        if isinstance(seen.state, Unavailable):
            reason = f"{seen.backend}: {seen.state.reason}"
            yield pytest.param(None, id=seen.backend, marks=pytest.mark.skip(reason=reason))
        for device in seen.devices:
            if device.kind == "cpu":
                continue
            yield pytest.param(device, id=str(device))


def pytest_generate_tests(metafunc):
    if "device" in metafunc.fixturenames:
        metafunc.parametrize("device", list(_devices()))
