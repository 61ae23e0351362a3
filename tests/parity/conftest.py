"""Makes parity_helpers importable here; gives backends that are right or wrong on purpose a name."""

import sys
from pathlib import Path

import pytest

from hal import registry

sys.path.append(str(Path(__file__).parent))


@pytest.fixture
def other(monkeypatch):
    """``other(Class)``: from now on ``backend=other`` is that one."""
    real = registry.backend

    def register(cls):
        made = cls()
        monkeypatch.setattr(registry, "backend", lambda name: made if name == "other" else real(name))
        monkeypatch.setattr(registry, "names", lambda: ("cpu", "null", "other"))

    return register
