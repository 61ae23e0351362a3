"""The commands of hal as Python functions, with the same keys.

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
    from hal.after.exporting import Export
    from hal.after.trained import Trained
    from hal.cards.certificate import Certificate
    from hal.cards.choice import Choice
    from hal.parity import Verification
    from hal.run import Bench, Record, RunObserver
    from hal.targets.compile import Compilation

__all__ = [
    "BackendStatus",
    "bench",
    "card",
    "choose",
    "compile",
    "devices",
    "export",
    "load",
    "predict",
    "train",
    "tune",
    "verify",
]


@dataclass(frozen=True)
class BackendStatus:
    """The devices that one backend finds, or the reason why it finds none."""

    backend: str
    state: Available | Unavailable
    devices: tuple[Device, ...]


def devices() -> tuple[BackendStatus, ...]:
    """The devices that each registered backend finds, or why it finds none and how to change that."""
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
    """Train a model, evaluate it and save it, as ``hal run`` does.

    Args:
        observer: a subclass of :class:`hal.run.RunObserver`, whose methods are called during the run.
        **keys: the keys of ``hal run``. Sections are dicts: ``model={"name": "rnn", "cell": "gru"}``.

    Returns:
        The record of the run, which is also written to the run's folder.

    Raises:
        HalError: see :mod:`hal.errors`.
    """
    from hal.run import resumed, run

    return run(resumed(keys), observer)


def predict(folder: str | Path, inputs: np.ndarray, **keys: Any) -> np.ndarray:
    """Compute the outputs of the model that a run trained, on any backend.

    Args:
        folder: the folder of a run or of one checkpoint.
        inputs: (batch, ...): arrays of NumPy, PyTorch or JAX, or lists. Integers are pixels from 0 to 255, floats are
            taken as they are; images of any size are resized.
        **keys: keys that differ from those of the run: ``backend="rocm"``, ``precision="bf16"``.

    Returns:
        What the model's ``predict`` returns, for example logits (batch, classes) for a cnn.

    Raises:
        HalError: see :mod:`hal.errors`.
    """
    from hal.after.trained import load as load_trained

    return load_trained(folder, **keys)(inputs)


def load(run: str | Path, **keys: Any) -> Trained:
    """Load the model that a run trained, to use it on new inputs on any backend.

    Args:
        run: the folder of a run or of one checkpoint; nothing else is needed, neither the data nor a tuned plan.
        **keys: ``backend``, ``device``, keys of a plan that differ from those of the run, and ``model`` for the code of
            a model in a file.

    Returns:
        An object that predicts classes with their names (``predict``), gives the model's own outputs when it is called,
        continues texts (``write``) and makes samples (``samples``).

    Raises:
        HalError: see :mod:`hal.errors`.
    """
    from hal.after.trained import load as load_trained

    return load_trained(run, **keys)


def export(run: str | Path, to: str, **keys: Any) -> Export:
    """Write the model that a run trained to files for other runtimes, and prove them, as ``hal export`` does.

    Args:
        run: the folder of a run or of one checkpoint.
        to: onnx, torch, stablehlo or safetensors.
        **keys: the keys of ``hal export``: ``precision="int8"``.

    Returns:
        The files, and how far they agree with the model.

    Raises:
        HalError: see :mod:`hal.errors`.
    """
    from hal.after.config import ExportConfig
    from hal.after.exporting import export as export_trained
    from hal.config import build

    return export_trained(run, to, build(ExportConfig, keys))


def bench(**keys: Any) -> Bench | None:
    """Measure one plan, or two in turn, as ``hal bench`` does.

    Args:
        **keys: the keys of ``hal bench``. Sections are dicts: ``versus={"precision": "bf16"}``.

    Returns:
        The measurements; None in a process that a launcher started with a rank above 0.

    Raises:
        HalError: see :mod:`hal.errors`.
    """
    from hal import run
    from hal.config import build
    from hal.run.config import BenchConfig

    return run.bench(build(BenchConfig, keys))


def tune(observer: tuner.TuneObserver | None = None, **keys: Any) -> tuner.Tuning:
    """Find the best plan for a device and store it, as ``hal tune`` does.

    Args:
        observer: a subclass of :class:`hal.tuner.TuneObserver`, whose methods are called during the tuning.
        **keys: the keys of ``hal tune``. Sections are dicts: ``space={"batch": [64, 128]}``. ``resume`` is the folder
            of a tuning to continue.

    Returns:
        All trials and the winner, which are also written to the tuning's folder. ``hal.train(..., plan="tuned")`` uses
        the winner.

    Raises:
        HalError: see :mod:`hal.errors`.
    """
    with links_explained():
        from hal.tuner import resumed
        from hal.tuner import tune as search

    return search(resumed(keys), observer)


def card(**keys: Any) -> Certificate:
    """Examine a device: does it compute right, is it fast, does it hold its speed; as ``hal card`` does.

    Args:
        **keys: the keys of ``hal card``: ``device="cuda:0", seconds=45``.

    Returns:
        The certificate, which is also kept unless ``keep=False``.

    Raises:
        HalError: see :mod:`hal.errors`.
    """
    from hal.cards.certify import certify
    from hal.cards.config import CardConfig
    from hal.config import build

    return certify(build(CardConfig, keys))


def choose(**keys: Any) -> Choice:
    """Find hardware for a workload, as ``hal choose`` does.

    Args:
        **keys: the keys of ``hal choose``: ``model="cnn", mode="infer", watts=300``.

    Returns:
        All devices of the catalogue with their predicted throughput, or why each was left out.

    Raises:
        HalError: see :mod:`hal.errors`.
    """
    from hal.cards.choose import choose as find_hardware
    from hal.cards.choose_config import ChooseConfig
    from hal.config import build

    return find_hardware(build(ChooseConfig, keys))


def compile(**keys: Any) -> Compilation:
    """Compile a model's step for hardware that is not present, as ``hal compile`` does.

    Args:
        **keys: the keys of ``hal compile``: ``model="cnn", target="tpu-v5e:2x2"``.

    Returns:
        Whether the step compiles and fits in memory, the largest batch, and the cost of a step. A compilation that has
        not finished when the time limit is reached continues in a thread.

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

    Returns:
        The comparison with each device, or the folder of the trace that was recorded.

    Raises:
        HalError: see :mod:`hal.errors`.
    """
    from hal import parity
    from hal.config import build
    from hal.parity.config import VerifyConfig

    return parity.verify(build(VerifyConfig, keys))
