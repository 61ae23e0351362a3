"""Products on processors: a work-item computes a block of the result, tile by tile, with sums in vector registers.

The rows of b that a block needs are copied to private memory first, in the order in which the tiles read them, for so
long a part of the sums that the copy stays in a core's cache. The strides of a and b are therefore free. No built-in
function of OpenCL is called in the inner loop: on PoCL each is a call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hal.backends.opencl.array import OpenclArray
from hal.backends.opencl.codegen.choices import Choices
from hal.backends.opencl.codegen.emitter import Emitter, added, scaled, split
from hal.backends.opencl.codegen.expressions import compute_type, load, storage_type, store
from hal.backends.opencl.codegen.kernel import Facts, Kernel, Stored, signature
from hal.backends.opencl.codegen.product import FUSED, Axis, Product, parts_of

__all__ = ["register_tile_kernel", "results_of_a_block"]

_COLUMNS = 64
"""A block has about so many columns at most."""
_BLOCKS_OF_A_UNIT = 4
_FEWEST_TILES = 4


@dataclass(frozen=True)
class _Block:
    """What a work-item computes.

    Attributes:
        rows: of a tile.
        vectors: of columns in a tile.
        lanes: columns of a vector.
        down: tiles in a column of the block.
        across: tiles in a row of the block.
    """

    rows: int
    vectors: int
    lanes: int
    down: int
    across: int

    @property
    def height(self) -> int:
        """Rows of the block."""
        return self.rows * self.down

    @property
    def width(self) -> int:
        """Columns of the block."""
        return self.columns * self.across

    @property
    def columns(self) -> int:
        """Columns of a tile."""
        return self.vectors * self.lanes


def _block_of(rows: int, columns: int, batches: int, choices: Choices, facts: Facts) -> _Block:
    """The block of a product: as many tiles as a plan allows, but enough blocks for all cores.

    Args:
        rows: of the result.
        columns: likewise.
        batches: how many products are computed side by side.
        choices: of the plan.
        facts: of the device.
    """
    lanes = facts.vector
    high, wide = choices.tile[0], max(choices.tile[1] // lanes, 1)
    cells, needed = high * wide, -(-columns // lanes)
    vectors = max(min(wide, needed), 1)
    height = max(min(cells // vectors, rows), 1)
    if rows < high:
        vectors = max(min(cells // height, needed), 1)
    tiles_across, tiles_down = -(-columns // (vectors * lanes)), -(-rows // height)
    blocks_across = -(-tiles_across // max(_COLUMNS // (vectors * lanes), 1))
    across = max(-(-tiles_across // max(blocks_across, 1)), 1)
    wanted = _BLOCKS_OF_A_UNIT * facts.units
    blocks_down = max(-(-tiles_down // choices.group), -(-wanted // max(blocks_across * batches, 1)), 1)
    return _Block(height, vectors, lanes, max(-(-tiles_down // blocks_down), 1), across)


def results_of_a_block(rows: int, columns: int, choices: Choices, facts: Facts) -> int:
    """How many results a work-item computes at least: a few tiles, so that the copy of b is read more than once."""
    block = _block_of(rows, columns, 1, choices, facts)
    return min(_FEWEST_TILES * block.rows, rows) * min(block.width, columns)


def register_tile_kernel(
    product: Product, out: OpenclArray, stored: Stored, facts: Facts, choices: Choices, *, wide: bool
) -> Kernel:
    """A kernel for a product.

    Args:
        product: what to compute.
        out: what follows from it element by element, or itself.
        stored: which nodes are in memory.
        facts: of the device.
        choices: its tile, and how many tiles in a column a work-item computes at most.
        wide: whether indices need 64 bits.
    """
    node = product.node
    block = _block_of(product.rows, product.columns, product.batches, choices, facts)
    parts = -(-product.depth // facts.products_of_a_part)
    depth = -(-product.depth // parts)
    emitter = Emitter(stored, wide)
    c_type, kind = compute_type(node.dtype), emitter.index_type
    a, b = emitter.buffer(product.a.base), emitter.buffer(product.b.base)
    head = [f"const {kind} n0=get_global_id(0)*{block.width}, m0=get_global_id(1)*{block.height}, z=get_global_id(2);"]
    for view, place, name in ((product.a, 1, "az"), (product.b, 2, "bz")):
        terms = _terms("z", product.batch, place)
        head.append(f"const {kind} {name}={added(*terms, emitter.number(name, view.offset))};")
    # The last block of a row may have fewer panels: what would be read of others lies behind the end of b.
    lanes, panels = block.columns, str(block.across)
    if -(-product.columns // lanes) % block.across:
        panels = "pn"
        left = f"({product.columns + lanes - 1}-n0)/{lanes}"
        head.append(f"const int pn={left}<{block.across}?{left}:{block.across};")
    vector = f"{c_type}{block.lanes}"
    head.append(f"{vector} s[{block.height * block.width // block.lanes}], w[{depth * block.width // block.lanes}];")
    head.append(f"{kind} at[{depth}];")
    sums = (
        f"for ({kind} k0=0; k0<{product.depth}; k0+={depth}) {{ "
        f"const int kn={depth}<{product.depth}-k0?{depth}:{product.depth}-k0; "
        f"{_copied(product, block, depth, panels, b, c_type, kind)} "
        f"{_tiles(product, block, depth, panels, a, c_type, kind)} }}"
    )
    write = _written(product, block, out, emitter, c_type, kind)
    return Kernel(
        signature([out], emitter),
        f"{' '.join(head)} {' '.join(emitter.lines[0])} {{{FUSED}{sums} }} {write}",
        tuple(buffer for _, buffer in emitter.buffers.values()),
        (-(-product.columns // block.width), -(-product.rows // block.height), product.batches),
        (1, 1, 1),
        f"product {product.batches}x{product.rows}x{product.depth}x{product.columns}",
        tuple(value for _, value in emitter.numbers.values()),
        product.flops,
    )


def _terms(position: str, axes: Sequence[Axis], place: int) -> list[str]:
    """What a position among the elements of some axes adds to an address."""
    return [scaled(i, axis[place]) for i, axis in zip(split(position, [a[0] for a in axes]), axes, strict=True)]


def _copied(product: Product, block: _Block, depth: int, panels: str, b: str, c_type: str, kind: str) -> str:
    """Statements that copy rows of b, and note where the columns of a are that belong to them."""
    names = [f"x{i}" for i in range(len(product.inner))]
    first = split("k0", [axis[0] for axis in product.inner])
    begin = "".join(f"{kind} {name}={value}; " for name, value in zip(names, first, strict=True))
    in_a, in_b = (
        added(*(scaled(name, axis[place]) for name, axis in zip(names, product.inner, strict=True))) for place in (1, 2)
    )
    deeper = [f"if (++{x}=={axis[0]}) {{ {x}=0; " for x, axis in zip(names[1:], product.inner[1:], strict=True)]
    step = "".join(reversed(deeper)) + (f"++{names[0]};" if names else "") + " }" * len(deeper)
    walk = f"{begin}for (int k=0; k<kn; k++) {{ at[k]={in_a}; const {kind} q=bz+{in_b}; "
    lanes = block.columns
    each = f"for (int p=0; p<{panels}; p++)"
    panel = f"{c_type} *t=({c_type} *)w+p*{depth * lanes}"

    def column(at: str, row: str) -> str:
        return load(product.b.base.dtype, b, added(row, *_terms(at, product.right, 1)))

    if product.right and product.right[-1][1] != 1:  # neighbors in memory are in other rows, or nowhere
        last = product.columns - 1
        return (
            f"{kind} from[{depth}]; {walk}from[k]=q; {step} }} {each} {{ {panel}; for (int j=0; j<{lanes}; j++) {{ "
            f"const {kind} n=n0+p*{lanes}+j, c=n<{last}?n:{last}; "
            f"for (int k=0; k<kn; k++) t[k*{lanes}+j]={column('c', 'from[k]')}; }} }}"
        )
    place = f"n0+p*{lanes}"
    some = f"for (int j=0; j<{lanes}; j++) t[j]={place}+j<{product.columns}?{column(f'({place}+j)', 'q')}:0;"
    whole = f"for (int j=0; j<{lanes}; j++) t[j]={column(f'({place}+j)', 'q')};"
    if c_type in ("float", "double") and len(product.right) == 1:
        vector = f"hal_{c_type}{block.lanes}"
        whole = f"__global const {vector} *v=(__global const {vector} *)({b}+q+{place}); "
        whole += "".join(f"(({c_type}{block.lanes} *)t)[{i}]=v[{i}]; " for i in range(block.vectors))
    if product.columns % lanes == 0:
        some = whole
    elif product.columns > lanes:
        some = f"if ({place}+{lanes}<={product.columns}) {{ {whole} }} else {some}"
    return f"{walk}{each} {{ {panel}+k*{lanes}; {some} }} {step} }}"


def _tiles(product: Product, block: _Block, depth: int, panels: str, a: str, c_type: str, kind: str) -> str:
    """Statements that add a part of the sums to those of each tile."""
    rows, vectors, last = block.rows, block.vectors, product.rows - 1
    in_row, vector = block.width // block.lanes, f"{c_type}{block.lanes}"
    cells = [(i, j) for i in range(rows) for j in range(vectors)]
    dtype = product.a.base.dtype
    head = f"for (int y=0; y<{block.down}; y++) {{ const {kind} m=m0+y*{rows}; if (m>={product.rows}) break; "
    for i in range(rows):
        place = added("az", *_terms(f"r{i}", product.left, 1))
        head += f"const {kind} r{i}=m+{i}<{last}?m+{i}:{last}; "
        head += f"__global const {storage_type(dtype)} *a{i}={a}+{place}; "
    begin = "".join(f"{vector} c{i}_{j}=0; " for i, j in cells)
    cell = {(i, j): f"s[(y*{rows}+{i})*{in_row}+p*{vectors}+{j}]" for i, j in cells}
    before = "".join(f"c{i}_{j}={cell[i, j]}; " for i, j in cells)
    before = f"if (k0) {{ {before}}} " if product.depth > depth else ""
    loads = "".join(f"const {vector} b{j}_=v[k*{vectors}+{j}]; " for j in range(vectors))
    step = "".join(
        f"{{ const {c_type} a_={load(dtype, f'a{i}', 'q')}; "
        + "".join(f"c{i}_{j}+=a_*b{j}_; " for j in range(vectors))
        + "} "
        for i in range(rows)
    )
    end = "".join(f"{cell[i, j]}=c{i}_{j}; " for i, j in cells)
    return (
        f"{head}for (int p=0; p<{panels}; p++) {{ const {vector} *v=w+p*{depth * vectors}; "
        f"{begin}{before}for (int k=0; k<kn; k++) {{ const long q=at[k]; {loads}{step}}} {end}}} }}"
    )


def _written(product: Product, block: _Block, out: OpenclArray, emitter: Emitter, c_type: str, kind: str) -> str:
    """Statements that write the block, or what follows from it."""
    node = product.node
    emitter.loop("i")
    emitter.loop("j")
    emitter.depths.update(m=1, n=2, z=0)
    where = f"(z*{product.rows}+m)*{product.columns}+n"
    value = f"(({c_type} *)s)[i*{block.width}+j]"
    if out is not node:
        emitter.depths["s"] = 2
        emitter.given[id(node)] = value
        index = [i for part, size in zip(("z", "m", "n"), parts_of(node), strict=True) for i in split(part, size)]
        value = emitter.value(out, [emitter.index(i) for i in index], compute=True)
    written = store(out.dtype, "out", where, value)
    width = block.width
    return (
        f"const int nn={width}<{product.columns}-n0?{width}:{product.columns}-n0; "
        f"for (int i=0; i<{block.height}; i++) {{ const {kind} m=m0+i; if (m>={product.rows}) break; "
        f"{' '.join(emitter.lines[1])} "
        f"for (int j=0; j<nn; j++) {{ const {kind} n=n0+j; {' '.join(emitter.lines[2])} {written} }} }}"
    )
