"""What PyTorch raises where an Apple GPU lacks an operation or a type."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterator

import torch

from hal.errors import UnsupportedError

__all__ = ["no_fallback", "unsupported"]

_FALLS_BACK = r"The operator '(.*?)' is not currently supported on the MPS backend and will fall back to run on the CPU"
_MISSING = r"The operator '(.*?)' is not currently implemented for the MPS device"
_NO_TYPE = r"(?:Cannot convert a MPS Tensor to|Trying to convert) (\w+)"


@contextlib.contextmanager
def no_fallback() -> Iterator[None]:
    """Let PyTorch raise within where it would compute on the processor.

    A few operations fall back whatever the environment says, with a warning at the first call in a process.
    """
    before = torch.is_warn_always_enabled()
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=_FALLS_BACK)
        torch.set_warn_always(True)
        try:
            yield
        finally:
            torch.set_warn_always(before)


def unsupported(error: BaseException) -> UnsupportedError | None:
    """The error of hal for what the device lacks; None if the exception says nothing of the kind."""
    if not isinstance(error, (NotImplementedError, UserWarning, TypeError, RuntimeError)):
        return None
    words = str(error)
    if found := re.search(_FALLS_BACK, words) or re.search(_MISSING, words):
        return UnsupportedError(
            f"PyTorch {torch.__version__} cannot compute {found[1]} on Apple GPUs, and hal does not let it fall back "
            "to the processor in silence",
            fix="use backend=cpu, a newer version of torch, or other layers",
        )
    if isinstance(error, TypeError) and (found := re.search(_NO_TYPE, words)):
        return UnsupportedError(
            f"Apple GPUs do not have the type {found[1]}", fix="use float32, or backend=cpu, which has it"
        )
    return None
