"""Backends on the processor: one that is right in another way, and some that are wrong in one way each."""

from dataclasses import replace
from typing import Any

import array_api_compat.torch as standard
import torch

import hal
from hal import registry
from hal.backends._torch.ops import TorchOps
from hal.tensor import Ops
from hal.tensor.optimizers import Optimizer, neutral_optimizer

_Cpu: Any = type(registry.backend("cpu"))

CNN = {"model": {"name": "cnn", "filters": [4, 6, 4], "dense": 8, "size": 20}, "data": "synthetic:80", "steps": 3}
WORDS = (
    "model=cnn",
    "model.filters=[4,6,4]",
    "model.dense=8",
    "model.size=20",
    "data=synthetic:80",
    "steps=3",
)
"""The same for the command line."""

GAN = {"model": {"name": "gan", "size": 20, "width": 8, "noise": 8}, "data": "synthetic:40", "batch": 4, "steps": 2}
TRANSFER = {
    "model": {"name": "transfer", "weights": "random", "blocks": 4, "size": 32, "unfreeze": 2},
    "data": "synthetic:40",
    "batch": 4,
    "steps": 2,
}


def _transformer(**keys):
    model = {"name": "transformer", "width": 8, "length": 12, **keys}
    return {"model": model, "data": "synthetic:80", "batch": 8, "steps": 2}


TRANSFORMERS = {
    "writer": _transformer(layers=2, heads=4),
    "encoder": _transformer(task="classify", layers=1, heads=2, norm="post", positions="learned"),
}


def rnn(task, cell):
    model = {"name": "rnn", "task": task, "cell": cell, "units": 8}
    if task == "text":
        model |= {"embedding": 8, "length": 12}
    return {"model": model, "data": "synthetic:80", "batch": 8, "steps": 2}


def compared(keys, **more):
    """The comparison of the backend ``other`` with the processor."""
    found = hal.verify(**keys, backends="cpu,other", **more)
    assert found.agrees == found.comparisons[0].agrees
    return found.comparisons[0]


class OtherCpu(_Cpu):
    """The processor under another name, with ops of its own."""

    name = "other"
    shared: Ops = TorchOps(torch.device("cpu"))

    def devices(self):
        return [replace(device, backend="other") for device in super().devices()]

    def ops(self, device):
        return self.shared


def with_ops(ops_class):
    return type("Other", (OtherCpu,), {"shared": ops_class(torch.device("cpu"))})


class _DefaultOps(Ops):
    """Nothing but hal's defaults: convolutions as products of patches, recurrences as loops, losses from logarithms."""

    def __init__(self, device):
        super().__init__(standard, device)

    def _stop_gradient(self, x):
        return x.detach()

    def _placed(self, like):
        return {"device": like.device}


class Defaults(OtherCpu):
    """Sound, and different in every op and in the optimizer."""

    shared = _DefaultOps(torch.device("cpu"))

    def optimizer(self, name, hyper):
        return neutral_optimizer(name, hyper)


# Wrong ones


class OnePercent(TorchOps):
    def _linear(self, x, kernel, bias):
        return super()._linear(x, kernel, bias) * 1.01


class OnePercentOfTheGradient(TorchOps):
    def _relu(self, x):
        y = super()._relu(x)
        return 1.01 * y - 0.01 * y.detach()


class OneLayerInBf16(TorchOps):
    def _conv2d(self, x, kernel, bias, *options):
        if kernel.shape[3] != 6:
            return super()._conv2d(x, kernel, bias, *options)
        narrow = [part.to(torch.bfloat16) for part in (x, kernel, bias)]
        return super()._conv2d(*narrow, *options).to(x.dtype)


class OneLayerStaysInBf16(TorchOps):
    def _conv2d(self, x, kernel, bias, *options):
        y = super()._conv2d(x, kernel, bias, *options)
        return y.to(torch.bfloat16) if kernel.shape[3] == 6 else y

    def _max_pool2d(self, x, *options):
        return super()._max_pool2d(x, *options).to(torch.float32)


class OddPixelFirst(TorchOps):
    """One convolution pads above and to the left where it should below and to the right."""

    def _conv2d(self, x, kernel, bias, strides, pads, *options):
        if kernel.shape[3] == 128:
            pads = tuple(pair[::-1] for pair in pads)
        return super()._conv2d(x, kernel, bias, strides, pads, *options)


class LeakyStop(TorchOps):
    def _stop_gradient(self, x):
        return x * 1.0


class NotANumber(TorchOps):
    def tanh(self, x):
        return torch.tanh(x) * float("nan")


class WholeGradientsOff(OtherCpu):
    """Each op differentiates well; what the gradients of a tree of parameters become is wrong."""

    def value_and_grad(self, fn, plan=None):
        import optree

        inner = super().value_and_grad(fn, plan)

        def differentiate(params, *args):
            result, gradients = inner(params, *args)
            factor = 1.01 if isinstance(params, dict) else 1.0
            return result, optree.tree_map(lambda g: g * factor, gradients)

        return differentiate


class _Hasty(Optimizer):
    def __init__(self, inner):
        self.inner = inner

    def init(self, params):
        return self.inner.init(params)

    def update(self, grads, state, params, lr, *, skip=None):
        return self.inner.update(grads, state, params, lr * 1.01, skip=skip)


class OptimizerOff(OtherCpu):
    def optimizer(self, name, hyper):
        return _Hasty(super().optimizer(name, hyper))


def spoiled(op: str, kind: str) -> type:
    """Ops of which one is one percent off: all of its result, only its gradient, or one element of its result."""

    def spoil(y: Any) -> Any:
        if not isinstance(y, torch.Tensor) or not y.dtype.is_floating_point:
            return y
        if kind == "forward":
            return y * 1.01
        if kind == "gradient":
            return y * 1.01 - 0.01 * y.detach()
        flat = torch.zeros(y.numel(), dtype=y.dtype)
        flat[y.numel() // 2] = 0.01 * y.detach().abs().max()
        return y + flat.reshape(y.shape)

    class Spoiled(TorchOps):
        def __getattribute__(self, name: str) -> Any:
            try:
                found = super().__getattribute__(name)
            except AttributeError:
                found = super().__getattr__(name)
            if name != op:
                return found

            def call(*args: Any, **kwargs: Any) -> Any:
                result = found(*args, **kwargs)
                return (spoil(result[0]), *result[1:]) if isinstance(result, tuple) else spoil(result)

            return call

    return Spoiled
