"""Starts JAX: on which platforms, with how much of their memory, and in which group of processes.

What is set here cannot be restored, since JAX reads it once, before its first device. So it is set only where neither
the user's environment nor the user's code has chosen.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hal.util.messages import first_line

__all__ = ["Started", "accelerators", "prepare_devices", "start"]

_INSTALL = "pip install 'hal-tensor[jax]'"
# Files that a driver makes for its hardware; without any of them JAX need not look for more than the processor.
_NODES = ("accel[0-9]*", "vfio/[0-9]*", "nvidia[0-9]*", "kfd", "dxg")


@dataclass(frozen=True)
class Started:
    """JAX's devices that this process can use, by platform, the best platform first; or why there are none."""

    platforms: Mapping[str, tuple[Any, ...]]
    version: str = ""
    problem: str = ""
    fix: str = ""


def accelerators(dev: Path = Path("/dev")) -> bool:
    """Whether the kernel has a node for an accelerator."""
    return any(next(dev.glob(pattern), None) is not None for pattern in _NODES)


_wanted: dict[str, str] = {}


def prepare_devices(devices: int) -> None:
    """Let JAX make so many devices of the processor when it starts; of several processes each has one."""
    if devices > 1 and int(os.environ.get("WORLD_SIZE", "1")) == 1:
        _wanted["JAX_NUM_CPU_DEVICES"] = str(devices)


@functools.cache
def start() -> Started:
    """Import JAX and let it find its devices; never raises."""
    if importlib.util.find_spec("jax") is None:
        return Started({}, problem="jax is not installed", fix=_INSTALL)
    quiet = {} if accelerators() else {"JAX_PLATFORMS": "cpu"}
    try:
        with _unless_set({"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_CPP_MIN_LOG_LEVEL": "2", **quiet, **_wanted}):
            import jax

            _join(jax)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                first = jax.devices()
                found = {first[0].platform: tuple(jax.local_devices())}
                if "cpu" not in found:
                    with contextlib.suppress(RuntimeError):  # JAX_PLATFORMS may leave the processor out
                        found["cpu"] = tuple(jax.local_devices(backend="cpu"))
    except Exception as error:  # noqa: BLE001 - whatever somebody's installation raises is the reason
        said = first_line(error)
        return Started({}, problem=f"jax is installed but cannot be started: {said}", fix=f"reinstall JAX: {_INSTALL}")
    return Started(found, version=f"jax {jax.__version__}")


@contextlib.contextmanager
def _unless_set(variables: Mapping[str, str]) -> Iterator[None]:
    """Environment variables for the time of a block, those that the user has set excepted."""
    own = {name: value for name, value in variables.items() if name not in os.environ}
    os.environ.update(own)
    try:
        yield
    finally:
        for name in own:
            os.environ.pop(name, None)


def _join(jax: Any) -> None:
    """Join the other processes of a run, where a launcher says that there are any; hal itself starts none for JAX."""
    env = os.environ
    if jax.distributed.is_initialized() or int(env.get("WORLD_SIZE", "1")) < 2 or "MASTER_ADDR" not in env:
        return
    jax.distributed.initialize(
        coordinator_address=f"{env['MASTER_ADDR']}:{env['MASTER_PORT']}",
        num_processes=int(env["WORLD_SIZE"]),
        process_id=int(env["RANK"]),
    )
