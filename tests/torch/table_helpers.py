"""What the tests of the table share: arguments in short form, and one op by PyTorch and by the table."""

import dataclasses

import numpy as np
import torch

from hal.tensor import namespace
from hal.torch.node import DType, Node
from hal.torch.table import TABLE, Call

RANDOM_SEED = 0


@dataclasses.dataclass(frozen=True)
class X:
    """Floating-point numbers, which are differentiated."""

    shape: tuple
    low: float = -2.0
    high: float = 2.0

    def made(self, random):
        return torch.tensor(random.uniform(self.low, self.high, self.shape)).requires_grad_()


@dataclasses.dataclass(frozen=True)
class K(X):
    """Floating-point numbers, which are constants."""

    def made(self, random):
        return super().made(random).detach()


@dataclasses.dataclass(frozen=True)
class I:  # noqa: E742 - as short as the others
    """Integers from low to below high."""

    shape: tuple
    high: int
    low: int = 0

    def made(self, random):
        return torch.tensor(random.integers(self.low, self.high, self.shape))


@dataclasses.dataclass(frozen=True)
class B:
    """Booleans."""

    shape: tuple

    def made(self, random):
        return torch.tensor(random.integers(0, 2, self.shape).astype(bool))


@dataclasses.dataclass(frozen=True)
class V:
    """Values as they stand; floating-point ones are differentiated if they are not constant."""

    values: object
    constant: bool = False

    def made(self, random):
        tensor = torch.tensor(self.values, dtype=torch.float64 if "." in repr(self.values) else None)
        return tensor.requires_grad_() if tensor.is_floating_point() and not self.constant else tensor


@dataclasses.dataclass(frozen=True)
class Case:
    """One call of an op."""

    op: str
    args: tuple
    kwargs: dict

    @property
    def entry(self):
        return f"aten::{self.op}" if "." in self.op else f"aten::{self.op}.default"

    def __str__(self):
        return self.op


def case(op, *args, **kwargs):
    return Case(op, args, kwargs)


def walked(value, function):
    """A value with each leaf of its lists and tuples replaced."""
    if isinstance(value, (list, tuple)):
        return type(value)(walked(inner, function) for inner in value)
    if isinstance(value, dict):
        return {name: walked(inner, function) for name, inner in value.items()}
    return function(value)


def arguments(of, dtype=torch.float64):
    """The tensors of a case, in its arguments."""
    random = np.random.default_rng(RANDOM_SEED)

    def made(value):
        if not hasattr(value, "made"):
            return value
        tensor = value.made(random)
        wide = tensor.is_floating_point() and tensor.dtype != dtype
        return tensor.detach().to(dtype).requires_grad_(tensor.requires_grad) if wide else tensor

    return walked(of.args, made), walked(of.kwargs, made)


def by_torch(of, args, kwargs):
    packet, _, overload = of.entry.removeprefix("aten::").partition(".")
    return getattr(getattr(torch.ops.aten, packet), overload)(*args, **kwargs)


def by_table(of, expected, args, kwargs, key=None, put=lambda x: x):
    """The same by the entry in the table; ``put`` places tensors on a backend."""

    def given(value):
        if isinstance(value, torch.dtype):
            return DType(str(value).removeprefix("torch."))
        if isinstance(value, list):
            return tuple(given(inner) for inner in value)
        return put(value) if isinstance(value, torch.Tensor) else value

    placed, named = given(list(args)), {name: given(value) for name, value in kwargs.items()}
    arrays = [value for value in leaves((placed, named)) if hasattr(value, "dtype")]
    like = arrays[0] if arrays else put(torch.zeros(1))
    dtype = str(expected.dtype).removeprefix("torch.") if isinstance(expected, torch.Tensor) else None
    call = Call(namespace(like), like, Node(0, of.entry, (), {}, dtype), key)
    return TABLE[of.entry](call, *placed, **named)


def leaves(value):
    """All leaves of nested lists, tuples and dicts, in order."""
    if isinstance(value, (list, tuple)):
        return [leaf for inner in value for leaf in leaves(inner)]
    if isinstance(value, dict):
        return leaves(list(value.values()))
    return [value]


def weighted(outputs):
    """One number of all floating-point outputs, each element with a weight of its own."""
    total = None
    for position, leaf in enumerate(outputs):
        if isinstance(leaf, torch.Tensor) and leaf.is_floating_point() and leaf.requires_grad:
            weights = torch.sin(torch.arange(leaf.numel(), dtype=leaf.dtype) + position)
            part = (leaf.reshape(-1) * weights).sum()
            total = part if total is None else total + part
    return total
