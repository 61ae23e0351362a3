"""PyTorch's fallback to the processor for operations without a kernel for the accelerator, which hal does not allow."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterator, Mapping

from hal.contract import Unavailable
from hal.errors import UnsupportedError

__all__ = ["no_fallback", "refuse_fallback", "unsupported_operation"]

_FALLS_BACK = (
    r"The operator '(.*?)'? ?(?:is not currently supported )?on the \w+ backend (?:is falling|and will fall) back",
    r"Aten Op fallback from XPU to CPU",
)
"""Beginnings of PyTorch's warnings; the longer one names the operation."""
_MISSING = r"The operator '(.*?)' is not currently implemented for the \w+ device"


def refuse_fallback(variable: str, environ: Mapping[str, str]) -> Unavailable | None:
    """Why a device is not used while the user lets PyTorch fall back; None: the user does not.

    Args:
        variable: the environment variable that lets it.
        environ: the environment.
    """
    if environ.get(variable, "0") in ("", "0"):
        return None
    return Unavailable(
        f"{variable}={environ[variable]} lets PyTorch compute on the processor whatever the GPU cannot, so that "
        "neither results nor measurements would be those of the GPU",
        f"unset {variable}",
    )


@contextlib.contextmanager
def no_fallback() -> Iterator[None]:
    """Let PyTorch raise within where it would compute on the processor; may be nested.

    Some operations fall back whatever the environment says, with a warning at the first call in a process.
    """
    import torch

    before = torch.is_warn_always_enabled()
    with warnings.catch_warnings():
        for words in _FALLS_BACK:
            warnings.filterwarnings("error", message=words)
        torch.set_warn_always(True)
        try:
            yield
        finally:
            torch.set_warn_always(before)


def unsupported_operation(error: BaseException, gpus: str) -> UnsupportedError | None:
    """The error of hal for an operation without a kernel; None if the exception says nothing of the kind.

    Args:
        error: what was raised.
        gpus: whose, for example ``Apple GPUs``.
    """
    if not isinstance(error, (NotImplementedError, UserWarning)):
        return None
    found = next((found for words in (_MISSING, *_FALLS_BACK) if (found := re.search(words, str(error)))), None)
    if found is None:
        return None
    operation = found[1] if found.groups() else "one of the operations"
    return UnsupportedError(
        f"PyTorch cannot compute {operation} on {gpus}, and hal does not let it fall back to the processor in silence",
        fix="use backend=cpu, a newer version of torch, or other layers",
    )
