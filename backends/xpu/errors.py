"""What SYCL's runtime raises through PyTorch, by the names of its statuses."""

from __future__ import annotations

from hal.errors import DeviceLostError, HalError, UnsupportedError
from hal.util.messages import first_line

__all__ = ["lost_or_unsupported"]


def lost_or_unsupported(error: BaseException, backend: str) -> HalError | None:
    """The error of hal for a device that stopped answering or lacks a type; None if it says nothing of the kind.

    Args:
        error: what was raised.
        backend: name of the backend.
    """
    words = str(error)
    if not isinstance(error, RuntimeError):
        return None
    if "UR_RESULT_ERROR_DEVICE_LOST" in words:
        return DeviceLostError(f"{backend} failed: {first_line(error)}", fix="run: hal devices")
    if "fp64" in words and "not supported" in words:
        return UnsupportedError(
            "this GPU does not have the type float64", fix="use float32, or backend=cpu, which has it"
        )
    return None
