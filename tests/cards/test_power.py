"""Power caps on a backend that is made up: they are tried, and what was set before is restored, also after a kill."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

import hal
from hal import registry
from hal.cards import sweep as sweeping
from hal.cards.certificate import Sweep
from hal.cards.sweep import sweep_power
from hal.contract import Telemetry
from hal.errors import ConfigError, UnsupportedError

ROOT = Path(__file__).parents[2]
DEVICE = hal.device("cpu")
KNOWN = Telemetry(power_limit_w=700.0, power_limit_range_w=(200.0, 700.0))

BACKEND = '''
import json, os
from pathlib import Path

from hal.backends.cpu import CpuBackend
from hal.contract import Telemetry

CAPS = Path(os.environ["CAPS"])


class CappedBackend(CpuBackend):
    """The processor, with a power cap that is a line in a file."""

    name = "capped"

    def devices(self):
        import dataclasses
        return [dataclasses.replace(device, backend="capped") for device in super().devices()]

    def telemetry(self, device):
        return Telemetry(power_limit_w=700.0, power_limit_range_w=(200.0, 700.0), power_w=100.0)

    def limit_power(self, device, watts):
        with CAPS.open("a") as file:
            file.write(f"{watts:g}\\n")
'''

SWEEP = """
import time
import hal
from hal import registry
from hal.cards.sweep import restored

device = hal.device("capped")
backend = registry.backend("capped")
with restored(backend, device, 700.0):
    backend.limit_power(device, 300.0)
    print("capped", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def world(tmp_path):
    """An environment in which the made-up backend is installed, and the file with its caps."""
    (tmp_path / "capped_backend.py").write_text(textwrap.dedent(BACKEND))
    info = tmp_path / "capped_backend-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: capped-backend\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[hal.backends]\ncapped = capped_backend:CappedBackend\n")
    caps = tmp_path / "caps"
    paths = os.pathsep.join([str(tmp_path), str(ROOT), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": paths, "CAPS": str(caps)}, caps


def started(world):
    environment, caps = world
    process = subprocess.Popen([sys.executable, "-c", SWEEP], env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "capped\n"
    assert caps.read_text() == "300\n"
    return process, caps


def waits_for(caps, text):
    end = time.monotonic() + 60
    while caps.read_text() != text and time.monotonic() < end:
        time.sleep(0.05)
    assert caps.read_text() == text


def test_restored_after_a_kill(world):
    """Nothing in the process that is killed can do it, so another process has to."""
    process, caps = started(world)
    process.kill()
    process.wait()
    process.stdout.close()
    waits_for(caps, "300\n700\n")


def test_restored_once_after_an_interrupt(world):
    process, caps = started(world)
    process.send_signal(signal.SIGINT)
    process.wait()
    process.stdout.close()
    waits_for(caps, "300\n700\n")


class Capped:
    """A processor whose backend notes what it is asked to do."""

    def __init__(self, refuses=False):
        self.caps = []
        self.refuses = refuses
        self.real = registry.backend("cpu")

    def __getattr__(self, name):
        return getattr(self.real, name)

    def telemetry(self, device):
        return Telemetry(power_w=100.0 + len(self.caps), energy_j=time.perf_counter() * 100)

    def limit_power(self, device, watts):
        if self.refuses:
            raise UnsupportedError("the driver refused", fix="run as root")
        self.caps.append(watts)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr("hal.cards.work._LONG_ENOUGH_S", 0.0)
    monkeypatch.setattr(sweeping, "_SECONDS", 0.1)


def test_every_cap_is_tried_and_the_first_restored(quick):
    backend = Capped()
    found = sweep_power(backend, DEVICE, (300.0, 500.0), KNOWN)
    assert backend.caps == [700.0, 300.0, 500.0, 700.0]
    assert [each.limit_w for each in found.limits] == [300.0, 500.0]
    assert found.best_w in (300.0, 500.0)
    assert Sweep.model_validate(json.loads(found.model_dump_json())) == found


@pytest.mark.parametrize(
    ("before", "limits", "error", "said"),
    [
        (Telemetry(), (300.0,), UnsupportedError, "does not tell its power limit"),
        (KNOWN, (100.0,), ConfigError, "power_limits=100 is outside"),
        (KNOWN, (300.0, 900.0), ConfigError, "power_limits=900 is outside"),
    ],
)
def test_refused_before_anything_is_set(before, limits, error, said):
    backend = Capped()
    with pytest.raises(error, match=said):
        sweep_power(backend, DEVICE, limits, before)
    assert backend.caps == []


def test_without_rights(quick):
    with pytest.raises(UnsupportedError, match="the driver refused"):
        sweep_power(Capped(refuses=True), DEVICE, (300.0,), KNOWN)


def test_a_backend_that_cannot():
    with pytest.raises(UnsupportedError, match="cannot cap the power"):
        registry.backend("cpu").limit_power(DEVICE, 100.0)
