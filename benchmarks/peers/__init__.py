"""The candidates, each in a module with a function ``serve(task, use)``.

``serve`` builds the candidate, calls ``use(peer)`` and takes the candidate down when that returns. It is a function and
not an object because Lightning's loop cannot be left in the middle: its steps are taken from within ``Trainer.fit``.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.task import Task

__all__ = ["PEERS", "Peer", "Serve", "serve", "together"]


class Peer(NamedTuple):
    """A candidate that is ready to train.

    Attributes:
        step: takes the next batch and updates the parameters; gives the loss, to be read with ``float``.
        parameters: how many numbers are trained.
        versions: of what it runs on.
    """

    step: Callable[[], Any]
    parameters: int
    versions: Mapping[str, str]


Serve = Callable[[Task, Callable[[Peer], None]], None]

PEERS: Mapping[str, tuple[str, str]] = {
    "torch": ("benchmarks.peers.torch_native", "torch"),
    "hal": ("benchmarks.peers.hal_peer", "torch"),
    "keras": ("benchmarks.peers.keras_peer", "keras"),
    "lightning": ("benchmarks.peers.lightning_peer", "lightning"),
}
"""Module of each candidate and the package that it needs."""


def serve(name: str) -> Serve:
    """The function of a candidate; its framework is imported now."""
    return importlib.import_module(PEERS[name][0]).serve  # type: ignore[no-any-return]


def together(task: Task, names: Sequence[str], use: Callable[[dict[str, Peer]], None]) -> None:
    """Build several candidates in one process and call a function with all of them."""
    functions = {name: serve(name) for name in names}

    def build(rest: Sequence[str], built: dict[str, Peer]) -> None:
        if not rest:
            use(built)
            return
        functions[rest[0]](task, lambda peer: build(rest[1:], {**built, rest[0]: peer}))

    build(list(names), {})
