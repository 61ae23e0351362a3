"""Products on cards: tiles of both operands in local memory, and a tile of the results in each work-item's registers.

A work-group copies the operands together. Every register has a name of its own, because an array whose index the
compiler cannot resolve would lie in memory.
"""

from __future__ import annotations

from dataclasses import dataclass

from hal.backends.opencl.array import OpenclArray
from hal.backends.opencl.codegen.choices import Choices
from hal.backends.opencl.codegen.emitter import Emitter, added, scaled, split
from hal.backends.opencl.codegen.expressions import compute_type, load, store
from hal.backends.opencl.codegen.kernel import Facts, Kernel, Stored, signature
from hal.backends.opencl.codegen.product import FUSED, Product, parts_of

__all__ = ["group_of", "local_tile_kernel", "results_of_a_group"]

_DEPTH = 16
"""So many products are added up between two copies at most."""
_UNROLLED = "\n#pragma unroll 4\n"
"""With the whole loop unrolled, compilers load early and hold up to half as many registers again."""


def group_of(facts: Facts, choices: Choices) -> tuple[int, int]:
    """Rows and columns of work-items of a work-group: as square as powers of two allow, wider than high."""
    size = 1 << (min(choices.group, facts.local_size).bit_length() - 1)
    rows = 1 << ((size.bit_length() - 1) // 2)
    return rows, size // rows


def results_of_a_group(facts: Facts, choices: Choices) -> int:
    """How many results a work-group computes."""
    rows, columns = group_of(facts, choices)
    return rows * columns * choices.tile[0] * choices.tile[1]


@dataclass(frozen=True)
class _Operand:
    """How a work-group copies a tile of an operand.

    Attributes:
        name: ``a`` or ``b``.
        width: rows of a, columns of b that the tile has.
        size: that the operand has.
        deep: whether neighbors in memory lie along the sums rather than along the width.
    """

    name: str
    width: int
    size: int
    deep: bool


def local_tile_kernel(
    product: Product, out: OpenclArray, stored: Stored, facts: Facts, choices: Choices, *, wide: bool
) -> Kernel:
    """A kernel for a product.

    Args:
        product: what to compute.
        out: what follows from it element by element, or itself.
        stored: which nodes are in memory.
        facts: of the device.
        choices: its tile and work-group.
        wide: whether indices need 64 bits.
    """
    node = product.node
    c_type, kind = compute_type(node.dtype), "long" if wide else "int"
    group_rows, group_columns = group_of(facts, choices)
    tile_rows = _fitting(choices.tile[0], group_rows, product.rows)
    tile_columns = _fitting(choices.tile[1], group_columns, product.columns)
    items, depth = group_rows * group_columns, min(_DEPTH, product.depth)
    emitter = Emitter(stored, wide)
    a, b = emitter.buffer(product.a.base), emitter.buffer(product.b.base)
    inner = [axis[0] for axis in product.inner]
    operands = (
        _Operand("a", group_rows * tile_rows, product.rows, not product.inner or product.inner[-1][1] == 1),
        _Operand("b", group_columns * tile_columns, product.columns, bool(product.right and product.right[-1][1] != 1)),
    )
    views, axes, buffers = (product.a, product.b), (product.left, product.right), (a, b)

    head = [f"const int x=get_local_id(0), y=get_local_id(1), l=y*{group_columns}+x;"]
    head.append(
        f"const {kind} m0=get_group_id(1)*{operands[0].width}, n0=get_group_id(0)*{operands[1].width}, "
        "z=get_global_id(2);"
    )
    copies = []
    for place, (operand, view, outer, buffer) in enumerate(zip(operands, views, axes, buffers, strict=True), start=1):
        name = operand.name
        head.append(f"__local {c_type} {name}l[{depth}][{operand.width}];")
        batch = split("z", [axis[0] for axis in product.batch])
        terms = [scaled(i, axis[place]) for i, axis in zip(batch, product.batch, strict=True)]
        head.append(f"const {kind} {name}z={added(*terms, emitter.number(f'{name}z', view.offset))};")
        for number in range(-(-depth * operand.width // items)):
            element = f"(l+{number * items})"
            if operand.deep:
                across, along = f"{element}/{depth}", f"{element}%{depth}"
            else:
                across, along = f"{element}%{operand.width}", f"{element}/{operand.width}"
            w, k = f"{name}w{number}", f"{name}k{number}"
            row = split(f"{w}c", [axis[0] for axis in outer])
            offset = added(*(scaled(i, axis[1]) for i, axis in zip(row, outer, strict=True))) if outer else "0"
            first = "m0" if name == "a" else "n0"
            last = operand.size - 1
            head.append(f"const int {w}={across}, {k}={along};")
            head.append(f"const {kind} {w}c={first}+{w}<{last}?{first}+{w}:{last}, {w}o={name}z+{offset};")
            position = split(f"(k0+{k})", inner)
            steps = added(*(scaled(i, axis[place]) for i, axis in zip(position, product.inner, strict=True))) or "0"
            value = load(view.base.dtype, buffer, f"{w}o+{steps}")
            if product.depth % depth:
                value = f"k0+{k}<{product.depth}?{value}:0"
            copy = f"{name}l[{k}][{w}]={value};"
            whole = (number + 1) * items <= depth * operand.width
            copies.append(copy if whole else f"if (l+{number * items}<{depth * operand.width}) {{ {copy} }}")
    cells = [(i, j) for i in range(tile_rows) for j in range(tile_columns)]
    sums = "".join(f"{c_type} c{i}_{j}=0; " for i, j in cells)
    steps = "".join(f"const {c_type} a{i}=al[k][y+{i * group_rows}]; " for i in range(tile_rows))
    steps += "".join(f"const {c_type} b_{j}=bl[k][x+{j * group_columns}]; " for j in range(tile_columns))
    steps += "".join(f"c{i}_{j}+=a{i}*b_{j}; " for i, j in cells)
    fence = "barrier(CLK_LOCAL_MEM_FENCE);"
    loop = (
        f"for ({kind} k0=0; k0<{product.depth}; k0+={depth}) {{ {' '.join(copies)} {fence} "
        f"{_UNROLLED}for (int k=0; k<{depth}; k++) {{{FUSED}{steps}}} {fence} }}"
    )
    written = _written(product, out, emitter)
    write = "".join(
        f"{{ const {kind} m=m0+y+{i * group_rows}, n=n0+x+{j * group_columns}; const {c_type} s=c{i}_{j}; "
        f"if (m<{product.rows} && n<{product.columns}) {{ {written} }} }} "
        for i, j in cells
    )
    groups = -(-product.columns // operands[1].width), -(-product.rows // operands[0].width)
    return Kernel(
        signature([out], emitter),
        f"{' '.join(head)} {' '.join(emitter.lines[0])} {sums}{loop} {write}",
        tuple(buffer for _, buffer in emitter.buffers.values()),
        (groups[0] * group_columns, groups[1] * group_rows, product.batches),
        (group_columns, group_rows, 1),
        f"product {product.batches}x{product.rows}x{product.depth}x{product.columns}",
        tuple(value for _, value in emitter.numbers.values()),
        product.flops,
    )


def _fitting(tile: int, group: int, size: int) -> int:
    """A tile that is no larger than what a product has for the work-items of a group."""
    while tile > 1 and group * (tile // 2) >= size:
        tile //= 2
    return tile


def _written(product: Product, out: OpenclArray, emitter: Emitter) -> str:
    """Statements that write one result, the variable s at row m and column n of z."""
    node, where = product.node, f"(z*{product.rows}+m)*{product.columns}+n"
    if out is node:
        return store(out.dtype, "out", where, "s")
    emitter.loop("m")
    depth = emitter.depths["m"]
    emitter.depths.update(n=depth, s=depth)
    emitter.given[id(node)] = "s"
    index = [i for part, sizes in zip(("z", "m", "n"), parts_of(node), strict=True) for i in split(part, sizes)]
    value = emitter.value(out, [emitter.index(i) for i in index], compute=True)
    return f"{' '.join(emitter.lines[depth])} {store(out.dtype, 'out', where, value)}"
