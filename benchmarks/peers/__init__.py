"""The candidates, each in a module with a function ``serve(task, use)``.

``serve`` builds the candidate, calls ``use(peer)`` and takes the candidate down when that returns. It is a function and
not an object because Lightning's loop cannot be left in the middle: its steps are taken from within ``Trainer.fit``.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.task import Task

__all__ = ["DEFAULT", "PEERS", "Peer", "Serve", "serve", "together"]


class Peer(NamedTuple):
    """A candidate that is ready to train.

    Attributes:
        step: takes the next batch and updates the parameters; gives the loss, to be read with ``float``.
        parameters: how many numbers are trained.
        versions: of what it runs on.
        wait: returns when every step has been done.
    """

    step: Callable[[], Any]
    parameters: int
    versions: Mapping[str, str]
    wait: Callable[[], Any] = lambda: None


Serve = Callable[[Task, Callable[[Peer], None]], None]

PEERS: Mapping[str, tuple[str, str, str]] = {
    "torch": ("benchmarks.peers.torch_native", "serve", "torch"),
    "hal": ("benchmarks.peers.hal_peer", "serve", "torch"),
    "keras": ("benchmarks.peers.keras_peer", "serve", "keras"),
    "lightning": ("benchmarks.peers.lightning_peer", "serve", "lightning"),
    "jax": ("benchmarks.peers.jax_native", "serve", "jax"),
    "jax-naive": ("benchmarks.peers.jax_native", "naive", "jax"),
    "hal-jax": ("benchmarks.peers.hal_peer", "on_jax", "jax"),
    "hal-opencl": ("benchmarks.peers.hal_peer", "on_opencl", "pyopencl"),
    "tinygrad": ("benchmarks.peers.tinygrad_peer", "serve", "tinygrad"),
    "torch-gan": ("benchmarks.peers.torch_gan", "serve", "torch"),
    "keras-jax": ("benchmarks.peers.keras_peer", "on_jax", "keras"),
}
"""Module and function of each candidate, and the package that it needs. Keras takes one runtime a process."""

DEFAULT = ("torch", "hal", "keras", "lightning")
"""Those that run unless the user says otherwise."""


def serve(name: str) -> Serve:
    """The function of a candidate; its framework is imported now."""
    module, function, _ = PEERS[name]
    return getattr(importlib.import_module(module), function)  # type: ignore[no-any-return]


def together(task: Task, names: Sequence[str], use: Callable[[dict[str, Peer]], None]) -> None:
    """Build several candidates in one process and call a function with all of them."""
    functions = {name: serve(name) for name in names}

    def build(rest: Sequence[str], built: dict[str, Peer]) -> None:
        if not rest:
            use(built)
            return
        functions[rest[0]](task, lambda peer: build(rest[1:], {**built, rest[0]: peer}))

    build(list(names), {})
