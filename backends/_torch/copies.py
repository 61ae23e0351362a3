"""Copies to a device that overlap with what it computes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import optree

from hal.types import Tree

if TYPE_CHECKING:
    import torch

__all__ = ["CopyStream"]


class CopyStream:
    """Copies on a stream of their own where the device has streams; otherwise a plain call."""

    def __init__(self, device: torch.device) -> None:
        import torch

        streams: Any = torch.cuda
        self.device = device
        self.stream = streams.Stream(device) if device.type == "cuda" else None

    def run(self, put: Callable[[Any], Tree], batch: Any) -> tuple[Tree, Any]:
        """In the reader's thread: start the copy; the event says when it is done."""
        if self.stream is None:
            return put(batch), None
        import torch

        with torch.cuda.stream(self.stream):
            return put(batch), self.stream.record_event()

    def receive(self, item: tuple[Tree, Any]) -> Tree:
        """In the consumer's thread: let its stream wait for the copy and keep the memory until it has used it."""
        tree, event = item
        if event is not None:
            import torch

            current = torch.cuda.current_stream(self.device)
            current.wait_event(event)
            for tensor in optree.tree_leaves(tree):
                tensor.record_stream(current)
        return tree
