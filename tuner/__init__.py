"""The autotuner: finds the fastest correct plan for a workload on a device, and stores it."""

if __name__ != "hal.tuner":
    raise ImportError(
        f"this package was imported as {__name__!r}; import it as 'hal.tuner', "
        "so that no class exists twice in one process"
    )

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hal.tuner.engine import tune
    from hal.tuner.files import resumed
    from hal.tuner.observer import TuneObserver, TuningProgress
    from hal.tuner.result import Tuning

__all__ = ["TuneObserver", "Tuning", "TuningProgress", "resumed", "tune"]

_HOMES = {
    "TuneObserver": "hal.tuner.observer",
    "TuningProgress": "hal.tuner.observer",
    "Tuning": "hal.tuner.result",
    "resumed": "hal.tuner.files",
    "tune": "hal.tuner.engine",
}


def __getattr__(name: str) -> Any:
    # A worker loads only the protocol when it starts; everything else is loaded when a request needs it.
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'hal.tuner' has no attribute {name!r}")
