"""What PyTorch raises, as the types and words that its sources have, and what hal calls it."""

from types import SimpleNamespace

import pytest
import torch
from torch._inductor import exc

from hal import registry
from hal.errors import DeviceLostError, OutOfMemoryError, UnsupportedError
from hal.tuner.outcomes import outcome_of
from hal.tuner.result import Outcome


def accelerator(words, code=None):
    error = torch.AcceleratorError(words)
    if code is not None:
        error.error_code = code
    return error


def wrapped(inner):
    """As Dynamo hands on what a compiler raised."""
    error = torch._dynamo.exc.BackendCompilerFailed(lambda: None, inner, None)
    error.__cause__ = inner
    return error


CREATE = "when calling `cublasCreate(handle)`"
NCCL = "NCCL error in: NCCLUtils.hpp:121, unhandled cuda error, NCCL version 2.27.3\n"
OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    MemoryError("2 GiB"),
    accelerator("CUDA error: out of memory\nCUDA kernel errors might be reported later", 2),
    accelerator("HIP error: out of memory", 2),
    accelerator("CUDA error: out of memory"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
    RuntimeError(f"CUDA error: CUBLAS_STATUS_ALLOC_FAILED {CREATE}"),
    RuntimeError(f"CUDA error: CUBLAS_STATUS_NOT_INITIALIZED {CREATE}"),
    RuntimeError("CUDA error: HIPBLAS_STATUS_ALLOC_FAILED when calling `hipblasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    RuntimeError("miopenStatusAllocFailed"),
    RuntimeError("GET was unable to find an engine to execute this computation"),
    RuntimeError("Unable to find a valid cuDNN algorithm to run convolution"),
    torch.distributed.DistBackendError(f"{NCCL}Last error:\nCuda failure 2 'out of memory'"),
    wrapped(torch.OutOfMemoryError("CUDA out of memory.")),
]
LOST = [
    accelerator("CUDA error: an illegal memory access was encountered", 700),
    accelerator("CUDA error: unspecified launch failure"),
    torch.distributed.DistBackendError(f"{NCCL}Last error:\nCuda failure 700 'an illegal memory access'"),
    torch.distributed.DistNetworkError("connection lost"),
]


@pytest.fixture(params=["cuda", "rocm", "cpu"])
def backend(request):
    return registry.backend(request.param)


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: str(error)[:60])
def test_out_of_memory(error, backend):
    named = backend.classify(error)
    assert isinstance(named, OutOfMemoryError)
    assert "smaller batch=" in named.fix
    assert outcome_of(named)[0] == Outcome.OOM, "so that the tuner asks for nothing larger"


@pytest.mark.parametrize("error", LOST, ids=lambda error: str(error)[:60])
def test_a_lost_device(error, backend):
    assert isinstance(backend.classify(error), DeviceLostError)


OLD_CARD = SimpleNamespace(name="GTX 1080", major=6, minor=1)


@pytest.mark.parametrize(
    ("error", "words", "fix"),
    [
        (exc.TritonMissing(None), "compile= needs Triton", "install the package triton"),
        (exc.GPUTooOldForTriton(OLD_CARD, None), "compile= is not supported on this GPU", "use compile=eager"),
        (exc.InvalidCxxCompiler("g++"), "compile= needs a C\\+\\+ compiler", "install g++ or clang"),
    ],
)
@pytest.mark.parametrize("through", [lambda error: error, wrapped], ids=["bare", "wrapped"])
def test_what_a_compiler_lacks(error, words, fix, through, backend):
    named = backend.classify(through(error))
    with pytest.raises(UnsupportedError, match=words) as caught:
        raise named
    assert caught.value.fix.startswith(fix)
    assert caught.value.fix.endswith("use compile=eager")
    assert outcome_of(named)[0] == Outcome.UNSUPPORTED


@pytest.mark.parametrize(
    "error", [RuntimeError("shapes differ"), RuntimeError("cuDNN error: CUDNN_STATUS_BAD_PARAM"), ValueError("engine")]
)
def test_other_errors_have_no_name(error, backend):
    assert backend.classify(error) is None
