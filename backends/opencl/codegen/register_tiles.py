"""Products on processors: tiles that are held in vector registers.

A work-item computes a tile of some rows and some vectors of columns. No built-in function of OpenCL is called in the
inner loop: on PoCL each is a call, and a vector is loaded through a pointer to a vector type of the compiler.
"""

from __future__ import annotations

from collections.abc import Callable

from hal.backends.opencl.array import OpenclArray
from hal.backends.opencl.codegen.choices import Choices
from hal.backends.opencl.codegen.emitter import Emitter, added, scaled, split
from hal.backends.opencl.codegen.expressions import compute_type, load, store
from hal.backends.opencl.codegen.kernel import Kernel, Stored, signature
from hal.backends.opencl.codegen.product import FUSED, Product, parts_of

__all__ = ["register_tile_kernel"]

_WIDTH = 8


def register_tile_kernel(product: Product, out: OpenclArray, stored: Stored, choices: Choices, *, wide: bool) -> Kernel:
    """A kernel for a product.

    Args:
        product: what to compute; the columns of b lie side by side.
        out: what follows from it element by element, or itself.
        stored: which nodes are in memory.
        choices: its tile, whose columns are whole vectors, and how many tiles a core computes in turn.
        wide: whether indices need 64 bits.
    """
    node, dtype = product.node, product.node.dtype
    c_type, kind = compute_type(dtype), "long" if wide else "int"
    rows = min(choices.tile[0], product.rows)
    vectors = max(min(choices.tile[1] // _WIDTH, -(-product.columns // _WIDTH)), 1)
    columns = vectors * _WIDTH
    emitter = Emitter(stored, wide)
    a, b = emitter.buffer(product.a.base), emitter.buffer(product.b.base)
    fast = dtype.name in ("float32", "float64") and product.columns >= _WIDTH
    fast = fast and (not product.right or product.right[-1][1] == 1) and len(product.right) <= 1
    names = [f"k{i}" for i in range(len(product.inner))]
    in_a = added(*(scaled(name, axis[1]) for name, axis in zip(names, product.inner, strict=True))) or "0"
    in_b = added(*(scaled(name, axis[2]) for name, axis in zip(names, product.inner, strict=True))) or "0"
    nest = "".join(f"for ({kind} {k}=0; {k}<{axis[0]}; {k}++) " for k, axis in zip(names, product.inner, strict=True))

    head = [f"{kind} n0=get_global_id(0)*{columns}, m0=get_global_id(1)*{rows}, z=get_global_id(2);"]
    head.append(f"if (m0>={product.rows}) return;")
    for view, place, name in ((product.a, 1, "az"), (product.b, 2, "bz")):
        at = split("z", [axis[0] for axis in product.batch])
        terms = [scaled(i, axis[place]) for i, axis in zip(at, product.batch, strict=True)]
        head.append(f"const {kind} {name}={added(*terms, emitter.number(name, view.offset))};")
    for i in range(rows):
        at = split(f"r{i}", [axis[0] for axis in product.left])
        terms = [scaled(j, axis[1]) for j, axis in zip(at, product.left, strict=True)]
        last = product.rows - 1
        head.append(f"const {kind} r{i}=m0+{i}<{last}?m0+{i}:{last}, o{i}=az+{added(*terms) if terms else '0'};")
    head.append(
        f"{c_type} s[{rows}][{columns}]; const int nn={columns}<{product.columns}-n0?{columns}:{product.columns}-n0;"
    )

    def load_a(i: int) -> str:
        return load(product.a.base.dtype, a, f"o{i}+{in_a}")

    def load_b(column: str) -> str:
        at = split(column, [axis[0] for axis in product.right])
        terms = [scaled(j, axis[1]) for j, axis in zip(at, product.right, strict=True)]
        return load(product.b.base.dtype, b, f"bz+{added(in_b, *terms)}")

    slow = (
        f"for (int i=0; i<{rows}; i++) for (int j=0; j<{columns}; j++) s[i][j]=0; {nest} for (int j=0; j<nn; j++) "
        f"{{ const {c_type} w={load_b('(n0+j)')}; " + "".join(f"s[{i}][j]+={load_a(i)}*w; " for i in range(rows)) + "}"
    )
    sums = slow
    if fast:
        sums = _vectors(product, rows, vectors, nest, load_a, f"{b}+bz+{in_b}+n0", c_type)
        if product.columns % columns:
            sums = f"if (nn=={columns}) {{ {sums} }} else {{ {slow} }}"
    emitter.loop("i")
    emitter.loop("j")
    emitter.depths.update(m=1, n=2, z=0)
    where = f"(z*{product.rows}+m)*{product.columns}+n"
    if out is node:
        written = store(out.dtype, "out", where, "s[i][j]")
    else:
        emitter.depths["s"] = 2
        emitter.given[id(node)] = "s[i][j]"
        sizes = parts_of(node)
        index = [i for part, size in zip(("z", "m", "n"), sizes, strict=True) for i in split(part, size)]
        written = store(out.dtype, "out", where, emitter.value(out, [emitter.index(i) for i in index], compute=True))
    write = (
        f"for (int i=0; i<{rows}; i++) {{ const {kind} m=m0+i; if (m>={product.rows}) break; "
        f"{' '.join(emitter.lines[1])} "
        f"for (int j=0; j<nn; j++) {{ const {kind} n=n0+j; {' '.join(emitter.lines[2])} {written} }} }}"
    )
    across, down = -(-product.columns // columns), -(-product.rows // rows)
    local = _local(across, down, choices.group)
    down = -(-down // local[1]) * local[1]
    return Kernel(
        signature(out, emitter),
        f"{' '.join(head)} {' '.join(emitter.lines[0])} {{{FUSED}{sums} }} {write}",
        tuple(buffer for _, buffer in emitter.buffers.values()),
        (across, down, product.batches),
        local,
        f"product {product.batches}x{product.rows}x{product.depth}x{product.columns}",
        tuple(value for _, value in emitter.numbers.values()),
        product.flops,
    )


def _vectors(
    product: Product, rows: int, vectors: int, nest: str, load_a: Callable[[int], str], pointer: str, c_type: str
) -> str:
    vector = f"hal_{c_type}{_WIDTH}"
    cells = [(i, j) for i in range(rows) for j in range(vectors)]
    begin = "".join(f"{c_type}{_WIDTH} c{i}_{j}=0; " for i, j in cells)
    loads = f"__global const {vector} *w=(__global const {vector} *)({pointer}); "
    loads += "".join(f"const {c_type}{_WIDTH} b{j}_=w[{j}]; " for j in range(vectors))
    step = "".join(
        f"{{ const {c_type} a_={load_a(i)}; " + "".join(f"c{i}_{j}+=a_*b{j}_; " for j in range(vectors)) + "} "
        for i in range(rows)
    )
    end = "".join(f"*({vector} *)(&s[{i}][{j * _WIDTH}])=c{i}_{j}; " for i, j in cells)
    return f"{begin}{nest}{{ {loads}{step}}} {end}"


def _local(across: int, down: int, most: int) -> tuple[int, int, int]:
    """Tiles that one core computes in turn: all columns of some rows, but enough groups for several cores.

    Args:
        across: tiles in a row.
        down: tiles in a column.
        most: rows of tiles at most; 1: single tiles.
    """
    side = across if across <= 8 and most > 1 else 1
    for rows in (32, 16, 8, 4, 2):
        if rows <= most and down >= 8 * rows:
            return side, rows, 1
    return side, 1, 1
