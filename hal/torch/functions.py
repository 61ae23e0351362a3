"""Notices torch.autograd.Function, whose own backward torch.export loses without a word."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator
from typing import Any

import torch

from hal.torch.node import Place
from hal.torch.places import own_line
from hal.torch.refusals import Refusal

__all__ = ["noticed_functions"]


@contextlib.contextmanager
def noticed_functions() -> Iterator[list[Refusal]]:
    """Collect a refusal for each torch.autograd.Function that is applied in the meantime, PyTorch's own excepted."""
    found: list[Refusal] = []
    kind: Any = torch.autograd.Function
    own = kind.__dict__["apply"]

    def apply(cls: type, *args: Any, **kwargs: Any) -> Any:
        if not cls.__module__.startswith("torch."):
            found.append(
                Refusal(
                    f"torch.autograd.Function {cls.__name__}",
                    "its backward is lost in the capture, so that training would be wrong; write it with PyTorch's "
                    "ops, whose derivatives are known",
                    Place(line=own_line(traceback.extract_stack()[:-1])),
                )
            )
        elif cls.__name__ == "CheckpointFunction":
            found.append(
                Refusal(
                    "torch.utils.checkpoint",
                    "with use_reentrant=True its gradients are lost in the capture; pass use_reentrant=False",
                    Place(line=own_line(traceback.extract_stack()[:-1])),
                )
            )
        return own.__func__(cls, *args, **kwargs)

    kind.apply = classmethod(apply)
    try:
        yield found
    finally:
        kind.apply = own
