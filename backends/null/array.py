"""Arrays without values, and the one function that makes them, counts their cost and notes their gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NoReturn, TypeAlias

import numpy as np

from hal.backends._traced import shapes
from hal.backends._traced.array import TracedArray
from hal.backends._traced.dtypes import DType
from hal.backends._traced.results import result_of
from hal.backends.null.cost import Storage, record, see
from hal.backends.null.device import DEVICE
from hal.backends.null.rules import RULES
from hal.backends.null.tape import Node, Parent, Spec
from hal.contract.device import Device
from hal.errors import UnsupportedError

__all__ = ["NullArray", "Saves", "elementwise", "operate", "operate_many", "view"]

Saves: TypeAlias = Literal["nothing", "inputs", "others", "output", "both"] | Sequence["NullArray"]
"""What a backward step reads: nothing, all inputs, those inputs beside which another one needs a gradient, the
first output, inputs and output both, or certain arrays."""


class NullArray(TracedArray):
    """The shape and type of an array, the memory it would take and how it was made; no values."""

    __slots__ = ("node", "slot", "spec", "storage")

    def __init__(self, spec: Spec, storage: Storage | None = None, node: Node | None = None, slot: int = 0) -> None:
        self.spec = spec
        self.storage = Storage(spec.nbytes) if storage is None else storage
        self.node = node
        self.slot = slot

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes."""
        return self.spec.shape

    @property
    def dtype(self) -> Any:
        """Data type: NumPy's, or bfloat16 of this backend."""
        return self.spec.dtype

    @property
    def device(self) -> Device:
        """The only device."""
        return DEVICE

    def detached(self) -> NullArray:
        """The same memory, as a constant for differentiation."""
        return NullArray(self.spec, self.storage)

    def to_device(self, device: Any, /, *, stream: Any = None) -> NullArray:
        """This array; there is one device."""
        if device != DEVICE:
            raise UnsupportedError(f"device={device} is not a device of the null backend", fix=f"use device={DEVICE}")
        return self

    def __getitem__(self, key: Any) -> NullArray:
        shape, gathers = shapes.index(self.shape, key)
        if not gathers:
            return view("getitem", self, shape)
        arrays = [k for k in (key if isinstance(key, tuple) else (key,)) if isinstance(k, NullArray)]
        out = Spec(shape, self.dtype)
        size = out.nbytes + sum(a.nbytes for a in arrays)
        return operate("getitem", (self, *arrays), shape, self.dtype, read=size, saves=arrays, backward_flops=out.size)

    def _no_value(self, *_: Any, **__: Any) -> NoReturn:
        raise UnsupportedError(
            f"a value of {self!r} was asked for, but the null backend computes only shapes",
            fix="base decisions on shapes, use where(), or run on another backend",
        )

    __bool__ = __float__ = __int__ = __index__ = __complex__ = __array__ = __dlpack__ = item = tolist = _no_value


def operate_many(
    name: str,
    inputs: Sequence[NullArray],
    outputs: Sequence[Spec],
    *,
    flops: int = 0,
    read: int | None = None,
    write: int | None = None,
    shares: NullArray | None = None,
    saves: Saves = "inputs",
    keeps: int = 0,
    backward_flops: int | None = None,
    passes: int = 0,
    differentiable: bool = True,
) -> tuple[NullArray, ...]:
    """Run one op: allocate its outputs, record its cost, and note what its backward step will need.

    Args:
        name: the op's name in the neutral API.
        inputs: arrays that it reads.
        outputs: what it makes.
        flops: its operations.
        read: bytes that it reads, if not each input once.
        write: bytes that it writes, if not each output once.
        shares: the array that the outputs are views of; then nothing is allocated.
        saves: what the backward step reads.
        keeps: bytes that it stores for the backward step beside that.
        backward_flops: operations of the backward step, if not as many as its own.
        passes: how many of the first inputs get the output's gradient as it is, unless broadcast.
        differentiable: false where the gradient is zero everywhere.
    """
    for x in inputs:
        see(x.storage)
    made = [NullArray(spec, None if shares is None else shares.storage) for spec in outputs]
    if differentiable and any(x.node is not None for x in inputs):
        saved = _saved(saves, inputs, made)
        if keeps:
            saved.append(Storage(keeps))
        parents = [Parent(x.node, x.slot, x.spec, i < passes) for i, x in enumerate(inputs) if x.node is not None]
        node = Node(name, parents, saved, flops if backward_flops is None else backward_flops)
        for slot, y in enumerate(made):
            if y.dtype.kind in "fc":
                y.node, y.slot = node, slot
    if read is None:
        read = sum({id(x): min(x.nbytes, x.storage.nbytes) for x in inputs}.values())
    moved = read + (sum(y.nbytes for y in made) if write is None else write)
    ins, outs = [x.shape for x in inputs], [y.shape for y in made]
    record(name, "forward", ins, outs, dtype=made[0].dtype.name, flops=flops, bytes_moved=moved)
    return tuple(made)


def _saved(saves: Saves, inputs: Sequence[NullArray], outputs: Sequence[NullArray]) -> list[Storage]:
    if saves == "nothing":
        arrays: Sequence[NullArray] = ()
    elif saves == "inputs":
        arrays = inputs
    elif saves == "both":
        arrays = (*inputs, outputs[0])
    elif saves == "output":
        arrays = outputs[:1]
    elif saves == "others":
        needing = [i for i, x in enumerate(inputs) if x.node is not None]
        arrays = [x for i, x in enumerate(inputs) if any(j != i for j in needing)]
    else:
        arrays = saves
    return list({id(x.storage): x.storage for x in arrays}.values())


def operate(name: str, inputs: Sequence[NullArray], shape: tuple[int, ...], dtype: DType, **facts: Any) -> NullArray:
    """Run one op with one output; see :func:`operate_many`."""
    return operate_many(name, inputs, (Spec(shape, dtype),), **facts)[0]


def view(name: str, x: NullArray, shape: tuple[int, ...], **facts: Any) -> NullArray:
    """Another look at an array's memory."""
    return operate(name, (x,), shape, x.dtype, read=0, write=0, shares=x, saves="nothing", passes=1, **facts)


def elementwise(name: str, *operands: Any) -> NullArray:
    """Run an op of :data:`~hal.backends.null.rules.RULES` on arrays and scalars that broadcast."""
    rule = RULES[name]
    operands = tuple(x.item() if isinstance(x, np.generic) else x for x in operands)
    arrays = [x for x in operands if isinstance(x, NullArray)]
    if not arrays or any(not isinstance(x, NullArray | int | float | complex) for x in operands):
        kinds = ", ".join(type(x).__name__ for x in operands)
        raise UnsupportedError(
            f"{name} was given {kinds}", fix="pass arrays of the null backend and scalars, at least one array"
        )
    shape = shapes.broadcast(*(x.shape for x in arrays))
    dtype = result_of(name, *operands)[1]
    spec = Spec(shape, dtype)
    saves: Saves
    if rule.saves == "first":
        saves = arrays[:1]
    elif rule.saves == "divisor":
        top, bottom = operands
        saves = [x for x in (bottom, top if getattr(bottom, "node", None) else None) if isinstance(x, NullArray)]
    else:
        saves = rule.saves
    return operate(
        name,
        arrays,
        shape,
        dtype,
        flops=rule.flops * spec.size,
        saves=saves,
        # A scalar in front shifts the arrays, and what is subtracted from it gets its gradient negated.
        passes=rule.passes - sum(not isinstance(x, NullArray) for x in operands[: rule.passes]),
        differentiable=rule.differentiable,
    )


NullArray.elementwise = staticmethod(elementwise)
