"""PyTorch's exceptions by the names that hal has for them.

Types and codes decide where there are any. Vendors' libraries raise bare RuntimeErrors, which are known by the name of
the status in their words.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from hal.errors import DeviceLostError, HalError, OutOfMemoryError, UnsupportedError

__all__ = ["causes", "classify", "is_out_of_memory"]

_MEMORY_ALLOCATION = 2
"""``cudaErrorMemoryAllocation`` and ``hipErrorOutOfMemory``."""

_CAPTURE = range(900, 909)
"""``cudaErrorStreamCapture...`` and ``hipErrorStreamCapture...``: what a graph that is being recorded cannot hold."""

_NO_MEMORY = (
    "DefaultCPUAllocator",
    "BLAS_STATUS_ALLOC_FAILED",  # cuBLAS and hipBLAS
    "BLAS_STATUS_NOT_INITIALIZED",  # the handle's own memory could not be had
    "CUDNN_STATUS_ALLOC_FAILED",
    "DEVICE_ALLOCATION_FAILED",  # cuDNN
    "miopenStatusAllocFailed",
    "UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY",  # SYCL's runtime
    "UR_RESULT_ERROR_OUT_OF_HOST_MEMORY",
    "MPS backend out of memory",
    "Invalid buffer size",  # of Metal: a single array is larger than the largest buffer
    # cuDNN and MIOpen leave out algorithms whose workspace does not fit: on a full card none is left.
    "unable to find an engine to execute this computation",
    "Unable to find a valid cuDNN algorithm",
)
"""Words of bare RuntimeErrors that say that memory was lacking."""

_LACKING = {
    "InvalidCxxCompiler": ("a C++ compiler", "install g++ or clang"),
    "TritonMissing": ("Triton", "install the package triton of the version that this build of torch names"),
}
"""What TorchInductor says that it lacks, by the name of its exception: what that is, and how to get it."""


def classify(error: BaseException, backend: str) -> HalError | None:
    """The hal error for an exception of PyTorch; None if there is none.

    Args:
        error: what was raised.
        backend: name of the backend in whose use it was raised.
    """
    line = _first_line(error)
    if any(map(is_out_of_memory, causes(error))):
        return OutOfMemoryError(
            f"{backend} ran out of memory: {line}",
            fix="use a smaller batch=, or split the batch with accumulate=",
        )
    # gloo raises a bare RuntimeError too; its words begin with the place in its source.
    if isinstance(error, torch.distributed.DistError) or (type(error) is RuntimeError and "/gloo/" in line):
        return DeviceLostError(
            f"communication with another process of this run failed: {line}",
            fix="read the output of that process, and continue from the last checkpoint with resume=",
        )
    if isinstance(error, torch.AcceleratorError):
        if getattr(error, "error_code", None) in _CAPTURE:
            return UnsupportedError(f"launch=graph is not possible here: {line}", fix="use launch=kernels")
        return DeviceLostError(f"{backend} failed: {line}", fix="run: hal devices")
    for cause in causes(error):
        name = type(cause).__name__
        if name == "GPUTooOldForTriton":
            return UnsupportedError(
                f"compile= is not supported on this GPU: {_first_line(cause)}", fix="use compile=eager"
            )
        if name in _LACKING:
            what, step = _LACKING[name]
            return UnsupportedError(f"compile= needs {what}, but none was found", fix=f"{step}, or use compile=eager")
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that the device or the host had no memory left."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    words = str(error)
    if isinstance(error, torch.AcceleratorError):
        code = getattr(error, "error_code", None)  # exceptions that code of PyTorch in Python raises have none
        return code == _MEMORY_ALLOCATION or (code is None and "out of memory" in words)
    if isinstance(error, torch.distributed.DistError):  # what a library that exchanges met on the device
        return "out of memory" in words
    return type(error) is RuntimeError and any(each in words for each in _NO_MEMORY)


def causes(error: BaseException) -> Iterator[BaseException]:
    """An exception and those that it was raised for; the compiler wraps its own in others."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = getattr(seen, "inner_exception", None) or seen.__cause__


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
