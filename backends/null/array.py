"""Arrays without values, and the one function that makes them, counts their cost and notes their gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, Literal, NoReturn, TypeAlias

import numpy as np

from hal.backends.null import shapes
from hal.backends.null.cost import Storage, record, see
from hal.backends.null.device import DEVICE
from hal.backends.null.dtypes import DType, promote
from hal.backends.null.rules import RULES
from hal.backends.null.tape import Node, Parent, Spec
from hal.contract.device import Device
from hal.errors import ShapeError, UnsupportedError

__all__ = ["NullArray", "Saves", "elementwise", "operate", "operate_many", "view"]

Saves: TypeAlias = Literal["nothing", "inputs", "others", "output", "both"] | Sequence["NullArray"]
"""What a backward step reads: nothing, all inputs, those inputs beside which another one needs a gradient, the
first output, inputs and output both, or certain arrays."""

_SCALARS = (int, float, complex, np.generic)


def _operator(name: str) -> tuple[Callable[[NullArray, Any], NullArray], Callable[[NullArray, Any], NullArray]]:
    def forward(self: NullArray, other: Any) -> NullArray:
        return elementwise(name, self, other) if isinstance(other, (NullArray, *_SCALARS)) else NotImplemented

    def reflected(self: NullArray, other: Any) -> NullArray:
        return elementwise(name, other, self) if isinstance(other, _SCALARS) else NotImplemented

    return forward, reflected


class NullArray:
    """The shape and type of an array, the memory it would take and how it was made; no values."""

    __slots__ = ("__weakref__", "node", "slot", "spec", "storage")
    # NumPy's scalars leave their operators to this class.
    __array_ufunc__ = None

    namespace: ClassVar[Any] = None
    """The functions of the standard on these arrays; their module sets it, since it is written on top of this one."""

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

    @property
    def ndim(self) -> int:
        """Count of axes."""
        return len(self.spec.shape)

    @property
    def size(self) -> int:
        """Count of elements."""
        return self.spec.size

    @property
    def nbytes(self) -> int:
        """Bytes of the elements, also where the memory is shared or repeated."""
        return self.spec.nbytes

    @property
    def T(self) -> NullArray:
        """The transpose of a matrix."""
        if self.ndim != 2:
            raise ShapeError(f".T of shape {self.shape}: the array must have two axes; use permute_dims or .mT")
        return self.mT

    @property
    def mT(self) -> NullArray:
        """The last two axes swapped."""
        if self.ndim < 2:
            raise ShapeError(f".mT of shape {self.shape}: the array must have at least two axes")
        return view("matrix_transpose", self, (*self.shape[:-2], self.shape[-1], self.shape[-2]))

    def detached(self) -> NullArray:
        """The same memory, as a constant for differentiation."""
        return NullArray(self.spec, self.storage)

    def to_device(self, device: Any, /, *, stream: Any = None) -> NullArray:
        """This array; there is one device."""
        if device != DEVICE:
            raise UnsupportedError(f"device={device} is not a device of the null backend", fix=f"use device={DEVICE}")
        return self

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        return self.namespace

    def __repr__(self) -> str:
        return f"NullArray(shape={self.shape}, dtype={self.dtype})"

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("an array without axes has no len()")
        return self.shape[0]

    def __iter__(self) -> Iterator[NullArray]:
        return (self[i] for i in range(len(self)))

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
    __hash__ = object.__hash__

    def __abs__(self) -> NullArray:
        return elementwise("abs", self)

    def __neg__(self) -> NullArray:
        return elementwise("negative", self)

    def __pos__(self) -> NullArray:
        return elementwise("positive", self)

    def __invert__(self) -> NullArray:
        return elementwise("bitwise_invert", self)

    def __matmul__(self, other: NullArray) -> NullArray:
        product: NullArray = self.namespace.matmul(self, other) if isinstance(other, NullArray) else NotImplemented
        return product

    __add__, __radd__ = _operator("add")
    __sub__, __rsub__ = _operator("subtract")
    __mul__, __rmul__ = _operator("multiply")
    __truediv__, __rtruediv__ = _operator("divide")
    __floordiv__, __rfloordiv__ = _operator("floor_divide")
    __mod__, __rmod__ = _operator("remainder")
    __pow__, __rpow__ = _operator("pow")
    __and__, __rand__ = _operator("bitwise_and")
    __or__, __ror__ = _operator("bitwise_or")
    __xor__, __rxor__ = _operator("bitwise_xor")
    __lshift__, __rlshift__ = _operator("bitwise_left_shift")
    __rshift__, __rrshift__ = _operator("bitwise_right_shift")
    __lt__ = _operator("less")[0]
    __le__ = _operator("less_equal")[0]
    __gt__ = _operator("greater")[0]
    __ge__ = _operator("greater_equal")[0]
    __eq__ = _operator("equal")[0]  # type: ignore[assignment]
    __ne__ = _operator("not_equal")[0]  # type: ignore[assignment]


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
    dtype = rule.result(name, promote(*(operands[rule.typed :])))
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
