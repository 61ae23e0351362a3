"""Makes the helpers here importable, and a host that is never busy."""

import sys
from pathlib import Path

import pytest

from hal.measure import Environment

sys.path.append(str(Path(__file__).parent))


@pytest.fixture
def quiet_host(monkeypatch):
    """The host that runs the tests may be busy; the one in the tests is not."""

    class Watch:
        def __init__(self, versions):
            quiet = {"load_1min_start": 0.0, "cpu_clock_start_mhz": None}
            self.environment = Environment.read(versions).model_copy(update=quiet)

        def stop(self):
            return self.environment

    for module in ("timing", "comparison"):
        monkeypatch.setattr(f"hal.measure.{module}.EnvironmentWatch", Watch)
