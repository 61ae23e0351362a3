"""Copies to a device that overlap with what it computes."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import optree

from hal.types import Tree

if TYPE_CHECKING:
    import torch

__all__ = ["CopyStream", "copying_ahead"]

_thread = threading.local()


def copying_ahead() -> bool:
    """Whether this thread copies batches that are used later.

    Only then is host memory pinned: a copy from other memory holds up the thread, and PyTorch keeps what it has pinned,
    rounded up to a power of two.
    """
    return getattr(_thread, "copying", False)


class CopyStream:
    """Copies on a stream of their own.

    Args:
        device: what is copied to; None: it has no streams, and a copy is a plain call.
    """

    def __init__(self, device: torch.device | None) -> None:
        import torch

        self.device = device
        self.stream = None if device is None else torch.Stream(device)

    def run(self, put: Callable[[Any], Tree], batch: Any) -> tuple[Tree, Any]:
        """In the reader's thread: start the copy; the event says when it is done."""
        if self.device is None or self.stream is None:
            return put(batch), None
        import torch

        # What is the current device is a matter of each thread.
        with torch.accelerator.device_index(self.device.index), self.stream, _copying():
            return put(batch), self.stream.record_event()

    def receive(self, item: tuple[Tree, Any]) -> Tree:
        """In the consumer's thread: let its stream wait for the copy and keep the memory until it has used it."""
        tree, event = item
        if event is not None:
            import torch

            current = torch.accelerator.current_stream(self.device)
            current.wait_event(event)
            for leaf in optree.tree_leaves(tree):
                if isinstance(leaf, torch.Tensor) and leaf.device == self.device:
                    leaf.record_stream(current)
        return tree


@contextlib.contextmanager
def _copying() -> Iterator[None]:
    _thread.copying = True
    try:
        yield
    finally:
        _thread.copying = False
