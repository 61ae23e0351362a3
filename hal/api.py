"""What Python users call: the commands of hal as functions, with the same keys.

>>> import hal
>>> record = hal.train(model="cnn", backend="cpu", steps=2, out="runs/first")  # doctest: +SKIP
>>> record.results["accuracy"]  # doctest: +SKIP
0.12
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hal import registry
from hal.contract import Available, Unavailable
from hal.contract.device import Device
from hal.errors import UnavailableError
from hal.util.links import links_explained

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from hal import tuner
    from hal.parity import Verification
    from hal.run import Bench, Record, RunObserver
    from hal.targets.compile import Compilation

__all__ = ["BackendStatus", "bench", "compile", "devices", "predict", "train", "tune", "verify"]


@dataclass(frozen=True)
class BackendStatus:
    """What one backend sees here: devices, or the reason why it sees none."""

    backend: str
    state: Available | Unavailable
    devices: tuple[Device, ...]


def devices() -> tuple[BackendStatus, ...]:
    """What each registered backend sees, or why it sees nothing and what fixes that."""
    found = []
    for name in registry.names():
        try:
            backend = registry.backend(name)
        except UnavailableError as error:
            found.append(BackendStatus(name, Unavailable(error.message, error.fix or ""), ()))
            continue
        state = backend.probe()
        found.append(BackendStatus(name, state, tuple(backend.devices()) if isinstance(state, Available) else ()))
    return tuple(found)


def train(observer: RunObserver | None = None, **keys: Any) -> Record:
    """Train, evaluate and save, as ``hal run`` does.

    Args:
        observer: is told what happens while it runs; a subclass of :class:`hal.run.RunObserver`.
        **keys: the keys of ``hal run``; sections as dicts: ``model={"name": "rnn", "cell": "gru"}``.

    Returns:
        The record, also written to the run's folder.

    Raises:
        HalError: see :mod:`hal.errors`.
    """
    from hal.run import resumed, run

    return run(resumed(keys), observer)


def predict(folder: str | Path, inputs: np.ndarray, **keys: Any) -> np.ndarray:
    """Outputs of the model that a run trained, on any backend.

    Args:
        folder: of a run, or of one checkpoint.
        inputs: (batch, ...), as the model's data source gives them: images in [0, 1].
        **keys: keys of ``hal run`` that differ from the run's: ``backend="rocm"``, ``precision="bf16"``.

    Returns:
        What the model's ``predict`` gives: logits (batch, classes) of a cnn.

    Raises:
        HalError: see :mod:`hal.errors`.
    """
    from hal import run

    return run.predict(folder, inputs, keys)


def bench(**keys: Any) -> Bench | None:
    """Measure one plan, or two in turn, as ``hal bench`` does.

    Args:
        **keys: the keys of ``hal bench``; sections as dicts: ``versus={"precision": "bf16"}``.

    Returns:
        What was found; None in a process that a launcher started with a rank above 0.

    Raises:
        HalError: see :mod:`hal.errors`.
    """
    from hal import run
    from hal.config import build
    from hal.run.config import BenchConfig

    return run.bench(build(BenchConfig, keys))


def tune(observer: tuner.Observer | None = None, **keys: Any) -> tuner.Tuning:
    """Find the best plan for a device and remember it, as ``hal tune`` does.

    Args:
        observer: who is told while it runs.
        **keys: the keys of ``hal tune``; sections as dicts: ``space={"batch": [64, 128]}``. ``resume`` names the folder
            of a tuning to go on with.

    Returns:
        All trials and the winner, also written to the tuning's folder. ``hal.train(..., plan="tuned")`` uses it.

    Raises:
        HalError: see :mod:`hal.errors`.
    """
    with links_explained():
        from hal.tuner import resumed
        from hal.tuner import tune as search

    return search(resumed(keys), observer)


def compile(**keys: Any) -> Compilation:
    """Build a model's step for hardware that is not here, as ``hal compile`` does.

    Args:
        **keys: the keys of ``hal compile``: ``model="cnn", target="tpu-v5e:2x2"``.

    Returns:
        Whether it builds and fits, the largest batch, and what a step costs. A compiler that was not done when the time
        was up goes on in a thread.

    Raises:
        HalError: see :mod:`hal.errors`.
    """
    from hal.config import build
    from hal.targets.compile import compile_for_target
    from hal.targets.config import CompileConfig

    return compile_for_target(build(CompileConfig, keys))


def verify(**keys: Any) -> Verification:
    """Compare what a model computes on several devices, op by op, as ``hal verify`` does.

    Args:
        **keys: the keys of ``hal verify``: ``model="cnn", backends=["cpu", "jax"]``.

    Raises:
        HalError: see :mod:`hal.errors`.
    """
    from hal import parity
    from hal.config import build
    from hal.parity.config import VerifyConfig

    return parity.verify(build(VerifyConfig, keys))
