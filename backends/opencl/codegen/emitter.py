"""C expressions for elements of the graph: what a kernel reads through, computes and loads for one index.

An index is one C expression an axis, made of the loop variables of a kernel. Each value and each costly index becomes a
variable, which is declared in the outermost loop that it does not change in.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence

from hal.backends.opencl.array import OpenclArray
from hal.backends.opencl.codegen.expressions import compute_type, expression, literal, load

__all__ = ["Emitter", "added", "joined", "linear", "scaled", "split"]

Index = tuple[str, ...]
_TOKEN = re.compile(r"[A-Za-z_]\w*")


def scaled(index: str, factor: int) -> str:
    """``index * factor``."""
    if index == "0" or factor == 0:
        return "0"
    if _number(index):
        return str(int(index) * factor)
    return index if factor == 1 else f"({index})*{factor}"


def added(*terms: str) -> str:
    """The sum of terms."""
    numbers = sum(int(term) for term in terms if _number(term))
    others = [term for term in terms if not _number(term)]
    if numbers or not others:
        others.append(str(numbers) if numbers >= 0 else f"({numbers})")
    return "+".join(others)


def _number(text: str) -> bool:
    return text.isdigit() or (text[:1] == "-" and text[1:].isdigit())


def linear(index: Sequence[str], shape: Sequence[int]) -> str:
    """The position of an index in memory."""
    terms, stride = [], 1
    for i, n in zip(reversed(index), reversed(shape), strict=True):
        if n != 1:
            terms.append(scaled(i, stride))
        stride *= n
    return added(*reversed(terms)) if terms else "0"


def split(position: str, shape: Sequence[int]) -> list[str]:
    """The index of a position in memory."""
    if _number(position):
        rest, found = int(position), []
        for n in reversed(shape):
            found.append(str(rest % n))
            rest //= n
        return found[::-1]
    found, stride = [], math.prod(shape)
    first = True
    for n in shape:
        stride //= n
        if n == 1:
            found.append("0")
            continue
        quotient = f"({position})" if stride == 1 else f"({position})/{stride}"
        found.append(quotient if first else f"({quotient})%{n}")
        first = False
    return found


def joined(index: Sequence[str], shape: Sequence[int], other: Sequence[int]) -> list[str]:
    """The index of the same element in another shape. Axes that the shapes share stay apart."""
    result = ["0"] * len(other)
    i = j = 0
    while i < len(shape) or j < len(other):
        mine: list[int] = []
        theirs: list[int] = []
        left = right = 1
        while True:
            if (left <= right and i < len(shape)) or j >= len(other):
                mine.append(i)
                left *= shape[i]
                i += 1
            else:
                theirs.append(j)
                right *= other[j]
                j += 1
            if left == right and mine and theirs:
                break
            if i >= len(shape) and j >= len(other):
                break
        position = linear([index[k] for k in mine], [shape[k] for k in mine])
        for k, value in zip(theirs, split(position, [other[k] for k in theirs]), strict=True):
            result[k] = value
    return result


class Emitter:
    """Collects the declarations of a kernel's values, by the loop that they belong to.

    Args:
        stored: the array whose memory holds a node's values, if any does.
        wide: whether indices need 64 bits.
    """

    def __init__(self, stored: Callable[[OpenclArray], OpenclArray | None], wide: bool) -> None:
        self.stored = stored
        self.index_type = "long" if wide else "int"
        self.buffers: dict[int, tuple[str, OpenclArray]] = {}
        self.lines: list[list[str]] = [[]]
        self.depths: dict[str, int] = {}
        self.given: dict[int, str] = {}
        self.numbers: dict[object, tuple[str, int]] = {}
        self._known: dict[tuple[object, ...], str] = {}
        self._names: dict[tuple[int, str], str] = {}

    def loop(self, variable: str) -> str:
        """Enter a loop within the last one, or add a variable to it where it has none yet; gives the variable back."""
        self.lines.append([])
        self.depths[variable] = len(self.lines) - 1
        return variable

    def buffer(self, node: OpenclArray) -> str:
        """The kernel's name of an array's memory."""
        if id(node) not in self.buffers:
            self.buffers[id(node)] = (f"b{len(self.buffers)}", node)
        return self.buffers[id(node)][0]

    def number(self, key: object, value: int) -> str:
        """A parameter for a number, so that one kernel serves all slices of an array. Zero is written as it is."""
        if value == 0:
            return "0"
        if key not in self.numbers:
            self.numbers[key] = (f"q{len(self.numbers)}", value)
        return self.numbers[key][0]

    def bound(self, c_type: str, text: str) -> str:
        """A variable with the value of an expression."""
        depth = max((self.depths.get(token, 0) for token in _TOKEN.findall(text)), default=0)
        if (depth, c_type + text) not in self._names:
            name = f"v{len(self._names)}"
            self._names[depth, c_type + text] = name
            self.depths[name] = depth
            self.lines[depth].append(f"{c_type} {name}={text};")
        return self._names[depth, c_type + text]

    def index(self, text: str) -> str:
        """A variable for an index that divides, else the index itself."""
        return self.bound(f"const {self.index_type}", text) if "/" in text or "%" in text or "?" in text else text

    def value(self, node: OpenclArray, index: Sequence[str], *, compute: bool = False) -> str:
        """The value of a node at an index, as a variable or constant.

        Args:
            node: the node.
            index: one expression an axis.
            compute: compute it even where memory holds it, for the kernel that writes it there.
        """
        if id(node) in self.given:
            return self.given[id(node)]
        key = (id(node), tuple(index), compute)
        if key not in self._known:
            self._known[key] = self._value(node, tuple(index), compute)
        return self._known[key]

    def _value(self, node: OpenclArray, index: Index, compute: bool) -> str:
        if node.size == 1:
            index = ("0",) * node.ndim
        if node.op == "constant":
            return literal(node.attributes, node.dtype)
        held = None if compute else self.stored(node)
        if held is not None:
            text = load(node.dtype, self.buffer(held), self._position(index, node.shape))
            return self.bound(f"const {compute_type(node.dtype)}", text)
        if node.op == "iota":
            return self.bound(f"const {compute_type(node.dtype)}", f"({compute_type(node.dtype)})({index[0]})")
        if node.op == "map":
            arguments = [self.value(source, index) for source in node.sources]
            text = expression(node.attributes, [s.dtype for s in node.sources], node.dtype, arguments)
            return self.bound(f"const {compute_type(node.dtype)}", text)
        source = node.sources[0]
        if node.op in ("detach", "custom"):
            return self.value(source, index)
        if node.op == "gather":
            return self._gathered(node, index)
        inner, inside = self._moved(node, index)
        if inside is None:
            return self.value(source, inner)
        fill = literal(node.attributes[2] if node.op == "pad" else 0, node.dtype)
        if source.size == 0:
            return fill
        text = f"({inside}?{self.value(source, inner)}:{fill})"
        return self.bound(f"const {compute_type(node.dtype)}", text)

    @staticmethod
    def _position(index: Index, shape: tuple[int, ...]) -> str:
        """Where an element lies; a single index stands for the position itself."""
        return index[0] if len(index) == 1 != len(shape) else linear(index, shape)

    def _moved(self, node: OpenclArray, index: Index) -> tuple[list[str], str | None]:
        """Where a movement takes an element from, and the condition under which it is there at all."""
        source = node.sources[0]
        if source.size == 1 and node.op not in ("pad", "unwindows"):
            return ["0"] * source.ndim, None
        if node.op == "reshape":
            return [self.index(i) for i in joined(index, node.shape, source.shape)], None
        if node.op == "permute":
            inner = ["0"] * len(index)
            for axis, i in zip(node.attributes, index, strict=True):
                inner[axis] = i
            return inner, None
        if node.op == "expand":
            return ["0" if n == 1 else i for i, n in zip(index, source.shape, strict=True)], None
        if node.op == "cut":
            starts, steps = node.attributes
            firsts = [self.number((id(node), axis), start) for axis, start in enumerate(starts)]
            return [added(scaled(i, k), a) for i, a, k in zip(index, firsts, steps, strict=True)], None
        if node.op == "windows":
            (sh, sw), (dh, dw) = node.attributes
            n, row, kh, column, kw, c = index
            return [n, added(scaled(row, sh), scaled(kh, dh)), added(scaled(column, sw), scaled(kw, dw)), c], None
        if node.op == "unwindows":
            (sh, sw), (dh, dw) = node.attributes
            n, row, kh, column, kw, c = index
            rows, first = self._into(added(row, scaled(kh, -dh)), sh, source.shape[1])
            columns, second = self._into(added(column, scaled(kw, -dw)), sw, source.shape[3])
            return [n, rows, kh, columns, kw, c], self._all([first, second])
        low, between, _ = node.attributes
        inner, conditions = [], []
        for place, before, more, size, grown in zip(index, low, between, source.shape, node.shape, strict=True):
            if grown == size and not before:
                inner.append(place)
                continue
            there, condition = self._into(added(place, str(-before)), more + 1, size)
            inner.append(there)
            conditions.append(condition)
        return inner, self._all(conditions)

    def _into(self, shifted: str, step: int, size: int) -> tuple[str, str]:
        """A position within an axis for a shifted index, and whether that is where the element is."""
        at = self.bound(f"const {self.index_type}", shifted)
        if step == 1:
            inside = self.bound("const int", f"{at}>=0&&{at}<{size}")
            return self.bound(f"const {self.index_type}", f"{inside}?{at}:0"), inside
        inside = self.bound("const int", f"{at}>=0&&{at}%{step}==0&&{at}<{size * step}")
        return self.bound(f"const {self.index_type}", f"{inside}?{at}/{step}:0"), inside

    @staticmethod
    def _all(conditions: Sequence[str]) -> str | None:
        return "&&".join(conditions) if conditions else None

    def _gathered(self, node: OpenclArray, index: Index) -> str:
        table, positions = node.sources
        at = self.value(positions, index[: positions.ndim])
        missing = literal(float("nan") if node.dtype.kind in "fc" else 0, node.dtype)
        if table.size == 0:
            return missing
        bounds = f"{at}<{table.shape[0]}" if positions.dtype.kind == "u" else f"{at}>=0&&{at}<{table.shape[0]}"
        inside = self.bound("const int", bounds)
        row = self.bound(f"const {self.index_type}", f"{inside}?({self.index_type}){at}:0")
        taken = self.value(table, (row, *index[positions.ndim :]))
        return self.bound(f"const {compute_type(node.dtype)}", f"({inside}?{taken}:{missing})")
