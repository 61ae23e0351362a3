"""Backends that are wrong on purpose, each in one way; test_broken.py says which checks must notice."""

import contextlib
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from hal import registry
from hal.backends._torch.ops import TorchOps
from hal.contract import Available, Unavailable
from hal.tensor.optimizers import Optimizer, neutral_optimizer
from hal.testing import BackendConformance

_Cpu: Any = type(registry.backend("cpu"))


def _with_ops(ops_class: type[TorchOps]) -> Any:
    shared = ops_class()
    return type("Broken", (_Cpu,), {"ops": lambda self, device: shared})


_FEW = (
    "conv2d/same-stride2-even conv2d/valid linear/matrix softmax/first softmax/last softmax/hard-9984 "
    "batch_norm/training batch_norm/inference relu/matrix gelu/matrix"
).split()


class _Suite(BackendConformance):
    backend_name = "cpu"
    cases = tuple(case for case in BackendConformance.cases if str(case) in _FEW)
    broken: Any

    @classmethod
    def make_backend(cls) -> Any:
        return cls.broken()

    def settings(self) -> dict[str, Any]:
        import torch

        return {"threads": torch.get_num_threads()}


class _OddPixelFirst(TorchOps):
    def _conv2d(self, x, kernel, bias, strides, pads, dilation, groups):
        return super()._conv2d(x, kernel, bias, strides, tuple(pair[::-1] for pair in pads), dilation, groups)


class TestPadding(_Suite):
    broken = _with_ops(_OddPixelFirst)


class _OnePercent(TorchOps):
    def _linear(self, x, kernel, bias):
        return super()._linear(x, kernel * 1.01, bias)


class TestLinear(_Suite):
    broken = _with_ops(_OnePercent)


class _LastAxis(TorchOps):
    def _softmax(self, x, axis=-1):
        return super()._softmax(x, -1)


class TestSoftmax(_Suite):
    broken = _with_ops(_LastAxis)


class _NaiveSoftmax(TorchOps):
    def _softmax(self, x, axis=-1):
        e = self.exp(x)
        return e / self.sum(e, axis=axis, keepdims=True)


class TestNaiveSoftmax(_Suite):
    broken = _with_ops(_NaiveSoftmax)


class _BiasedVariance(TorchOps):
    def _batch_norm(self, x, scale, offset, mean, variance, training, momentum, epsilon):
        y, next_mean, unbiased = super()._batch_norm(x, scale, offset, mean, variance, training, momentum, epsilon)
        count = x.numel() // x.shape[-1]
        if training and count > 1:
            unbiased = momentum * variance + (unbiased - momentum * variance) * (count - 1) / count
        return y, next_mean, unbiased


class TestVariance(_Suite):
    broken = _with_ops(_BiasedVariance)


class _Widens(TorchOps):
    def _relu(self, x):
        return super()._relu(x).float()


class TestDtype(_Suite):
    broken = _with_ops(_Widens)


class _OneMask(TorchOps):
    def _dropout(self, x, rate, key):
        return super()._dropout(x, rate, replace(key, seed=0))


class TestDropoutKey(_Suite):
    broken = _with_ops(_OneMask)


class _MaskOfRows(TorchOps):
    def _dropout(self, x, rate, key):
        return x * super()._dropout(self.ones_like(x[..., :1]), rate, key)


class TestDropoutRows(_Suite):
    broken = _with_ops(_MaskOfRows)


class _StopsInGelu(TorchOps):
    def _gelu(self, x, exact):
        return 0.5 * x * (1 + self.tanh(0.7978845608028654 * self.stop_gradient(x + 0.044715 * x**3)))


class TestOneGradient(_Suite):
    broken = _with_ops(_StopsInGelu)


class _ScaledGradients(_Cpu):
    def value_and_grad(self, fn, plan=None):
        import optree

        inner = super().value_and_grad(fn, plan)

        def differentiate(params, *args):
            result, gradients = inner(params, *args)
            return result, optree.tree_map(lambda g: g * 1.001, gradients)

        return differentiate


class TestGradients(_Suite):
    broken = _ScaledGradients


class _Uncorrected(Optimizer):
    """Adam whose bias correction is that of a very late step."""

    def __init__(self, name, hyper):
        self.inner = neutral_optimizer(name, hyper)

    def init(self, params):
        return self.inner.init(params)

    def update(self, grads, state, params, lr, *, skip=None):
        step = state["step"]
        params, new = self.inner.update(grads, {**state, "step": step + 1e6}, params, lr, skip=skip)
        return params, {**new, "step": step + 1}


class _NoBiasCorrection(_Cpu):
    def optimizer(self, name, hyper):
        return _Uncorrected(name, hyper) if name.startswith("adam") else super().optimizer(name, hyper)


class TestBiasCorrection(_Suite):
    broken = _NoBiasCorrection


class _NeverSkips(_Cpu):
    def optimizer(self, name, hyper):
        inner = super().optimizer(name, hyper)
        outer = type("Outer", (Optimizer,), {"init": lambda self, p: inner.init(p), "update": None})
        outer.update = lambda self, g, s, p, lr, *, skip=None: inner.update(g, s, p, lr)
        outer.__abstractmethods__ = frozenset()
        return outer()


class TestSkip(_Suite):
    broken = _NeverSkips


class _ForgetsSettings(_Cpu):
    @contextlib.contextmanager
    def settings(self, plan, device):
        import torch

        threads = torch.get_num_threads()
        torch.set_num_threads(plan.threads or threads)
        yield
        torch.set_num_threads(threads)


class TestSettings(_Suite):
    broken = _ForgetsSettings


class _Aliases(_Cpu):
    def to_host(self, array):
        copied = super().to_host(array)
        return array.detach().numpy() if array.is_contiguous() and str(array.dtype) == "torch.float32" else copied


class TestAliases(_Suite):
    broken = _Aliases


class _DeadHardware(_Cpu):
    def from_host(self, array: np.ndarray, device: Any, **options: Any) -> Any:
        raise RuntimeError("the device does not answer")


class TestDeadHardware(_Suite):
    broken = _DeadHardware


class _Absent(_Cpu):
    def probe(self) -> Available | Unavailable:
        return Unavailable("no such card", "buy one")

    def devices(self):
        return []


class TestAbsent(_Suite):
    broken = _Absent


class TestExclusions(_Suite):
    broken = _Cpu
    cannot: ClassVar = {"linear": "to be skipped", "no_such_op": "names nothing"}
    not_yet: ClassVar = {"test_values[relu/matrix-fp32-*": "passes, so that the run must fail"}
