"""PyTorch's global switch for products on Intel GPUs, which oneDNN computes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

__all__ = ["onednn_products"]


@contextlib.contextmanager
def onednn_products(precision: str) -> Iterator[None]:
    """Compute products and convolutions of fp32 arrays in ``tf32`` or ``ieee`` within; may be nested."""
    onednn: Any = torch.backends.mkldnn
    before = onednn.allow_tf32
    try:
        onednn.allow_tf32 = precision == "tf32"
        yield
    finally:
        onednn.allow_tf32 = before
