"""PyTorch's global switches for GPUs: precision of fp32 products, search for convolution algorithms, advice."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import torch

from hal.contract.plan import Plan

__all__ = ["switched"]

_ADVICE = (
    # TorchInductor, of every fp32 plan on a GPU that has TF32; whether to use it is what the plan says.
    "TensorFloat32 tensor cores for float32 matrix multiplication available but not enabled",
    # cuDNN, of every recurrent layer: hal keeps each array of a layer on its own, as optimizers and checkpoints want
    # it, so each call copies the layer's weights into one buffer, once for all steps of its sequence.
    "RNN module weights are not part of single contiguous chunk of memory",
    # TorchInductor about its own code, where it tries kernels for compile=max.
    "TypedStorage is deprecated",
    # The older setters, which are used below for a reason.
    "Please use the new API settings to control TF32 behavior",
)
"""Beginnings of warnings that say nothing which a user of hal could act on."""


@contextlib.contextmanager
def switched(plan: Plan) -> Iterator[None]:
    """Compute as a plan says within; may be nested."""
    cudnn: Any = torch.backends.cudnn
    before = cudnn.benchmark
    with warnings.catch_warnings():
        for words in _ADVICE:
            warnings.filterwarnings("ignore", message=words)
        with _fp32_products("tf32" if plan.precision == "tf32" else "ieee"):
            cudnn.benchmark = plan.conv == "search"
            try:
                yield
            finally:
                cudnn.benchmark = before


@contextlib.contextmanager
def _fp32_products(precision: str) -> Iterator[None]:
    """Compute products of fp32 arrays in ``tf32`` or ``ieee`` within.

    PyTorch has two sets of switches, and a getter of the older one raises where the newer one was used alone.
    TorchInductor asks the older one. The older setters set both.
    """
    matmul, convolution = _matmul_precision(), _cudnn_allows_tf32()
    held = _reset()
    try:
        torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
        torch.backends.cudnn.allow_tf32 = precision == "tf32"
        yield
    finally:
        _reset()
        torch.set_float32_matmul_precision(matmul)
        torch.backends.cudnn.allow_tf32 = convolution
        for switch, value in held:
            switch.fp32_precision = value


def _reset() -> list[tuple[Any, str]]:
    """Clear the newer switches and give each with the value that it had.

    Those that others inherit from come first, so that the others show values of their own.
    """
    backends: Any = torch.backends
    cudnn = backends.cudnn
    held = []
    for switch in (backends, cudnn, backends.cuda.matmul, cudnn.conv, cudnn.rnn, backends.mkldnn.matmul):
        held.append((switch, switch.fp32_precision))
        switch.fp32_precision = "none"
    return held


def _matmul_precision() -> str:
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:  # the newer switches were used alone: the older one is as it was at the start
        return "highest"


def _cudnn_allows_tf32() -> bool:
    try:
        return bool(torch.backends.cudnn.allow_tf32)
    except RuntimeError:
        return True
