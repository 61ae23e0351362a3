"""Makes parity_helpers importable here; gives backends a name, and records traces to compare with."""

import shutil
import sys
from pathlib import Path

import pytest

import hal
from hal import registry

sys.path.append(str(Path(__file__).parent))

from parity_helpers import CNN


@pytest.fixture
def other(monkeypatch):
    """``other(Class)``: from now on ``backend=other`` is that one."""
    real = registry.backend

    def register(cls):
        made = cls()
        monkeypatch.setattr(registry, "backend", lambda name: made if name == "other" else real(name))
        monkeypatch.setattr(registry, "names", lambda: ("cpu", "null", "other"))

    return register


@pytest.fixture(scope="session")
def recorded(tmp_path_factory):
    """A trace of a small cnn, which tests do not change."""
    folder = tmp_path_factory.mktemp("traces") / "cnn"
    found = hal.verify(**CNN, backend="cpu", record=str(folder))
    assert (found.agrees, found.comparisons, found.recorded) == (True, (), str(folder))
    return folder


@pytest.fixture
def trace(recorded, tmp_path):
    """A trace to spoil."""
    return shutil.copytree(recorded, tmp_path / "trace")
