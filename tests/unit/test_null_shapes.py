"""Shapes that the null backend gives, against NumPy, and what it refuses."""

import operator

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from null_helpers import BACKEND, DEVICE, XP, agree, f32, few, form, i64, many, put, some

import hal.ops
from hal.backends.null import standard
from hal.errors import ShapeError, UnsupportedError
from hal.tensor import Key

UNARY = [
    "abs",
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atanh",
    "ceil",
    "conj",
    "cos",
    "cosh",
    "exp",
    "expm1",
    "floor",
    "imag",
    "isfinite",
    "isinf",
    "isnan",
    "log",
    "log10",
    "log1p",
    "log2",
    "logical_not",
    "negative",
    "positive",
    "real",
    "reciprocal",
    "round",
    "sign",
    "signbit",
    "sin",
    "sinh",
    "sqrt",
    "square",
    "tan",
    "tanh",
    "trunc",
]
BINARY = [
    "add",
    "atan2",
    "copysign",
    "divide",
    "equal",
    "floor_divide",
    "greater",
    "greater_equal",
    "hypot",
    "less",
    "less_equal",
    "logaddexp",
    "logical_and",
    "logical_or",
    "logical_xor",
    "maximum",
    "minimum",
    "multiply",
    "nextafter",
    "not_equal",
    "pow",
    "remainder",
    "subtract",
]
BITS = ["bitwise_and", "bitwise_left_shift", "bitwise_or", "bitwise_right_shift", "bitwise_xor"]


@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning", "ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("name", UNARY)
def test_unary(name):
    agree(name, np.full((2, 1, 3), 0.5, np.float32))


@pytest.mark.parametrize("name", [*BINARY, *BITS])
def test_binary_broadcasts(name):
    make = i64 if name in BITS else f32

    @given(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=4))
    @few
    def check(found):
        agree(name, *(make(*s) for s in found.input_shapes))

    check()


@given(hnp.mutually_broadcastable_shapes(num_shapes=3, max_dims=4, max_side=4))
@some
def test_where_and_clip_broadcast(found):
    a, b, c = found.input_shapes
    agree("where", np.ones(a, bool), f32(*b), f32(*c))
    agree("clip", f32(*found.result_shape), f32(*b), f32(*c))


@given(hnp.array_shapes(max_dims=3, max_side=3), hnp.array_shapes(max_dims=3, max_side=3))
@some
def test_what_does_not_broadcast_is_refused(a, b):
    try:
        np.broadcast_shapes(a, b)
    except ValueError:
        with pytest.raises(ShapeError, match="do not broadcast"):
            put(f32(*a)) + put(f32(*b))


def shapes_and_axes(min_side=1):
    def with_axes(shape):
        ndim = len(shape)
        one = st.integers(-ndim, ndim - 1)
        several = st.lists(st.integers(0, ndim - 1), max_size=ndim, unique=True).map(tuple)
        return st.tuples(st.just(shape), st.one_of(st.none(), one, several), st.booleans())

    return hnp.array_shapes(min_dims=1, max_dims=4, min_side=min_side, max_side=4).flatmap(with_axes)


@pytest.mark.parametrize("name", ["all", "any", "max", "mean", "min", "prod", "std", "sum", "var"])
def test_reductions(name):
    @given(shapes_and_axes())
    @few
    def check(case):
        shape, axis, keepdims = case
        agree(name, f32(*shape), axis=axis, keepdims=keepdims)

    check()


def test_reductions_of_integers_use_the_default_integer():
    for dtype in (np.int8, np.uint8, np.int32, np.bool_):
        agree("sum", np.ones((2, 3), dtype), axis=0)
        agree("prod", np.ones((2, 3), dtype))
        agree("cumulative_sum", np.ones((2, 3), dtype), axis=1)
    agree("sum", np.ones((2, 3), np.int8), dtype=np.float32)


@given(hnp.array_shapes(min_dims=1, max_dims=4, max_side=4), st.data())
@some
def test_functions_along_one_axis(shape, data):
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    x = f32(*shape)
    for name in ("argmax", "argmin", "count_nonzero"):
        agree(name, x, axis=axis, keepdims=data.draw(st.booleans()))
    for name in ("sort", "argsort", "cumulative_sum", "cumulative_prod", "flip", "diff", "unstack", "expand_dims"):
        agree(name, x, axis=axis)
    agree("cumulative_sum", x, axis=axis, include_initial=True)
    agree("roll", x, 1, axis=axis)
    agree("repeat", x, 3, axis=axis)
    agree("take", x, i64(5), axis=axis)
    agree("moveaxis", x, axis, data.draw(st.integers(-len(shape), len(shape) - 1)))
    agree("permute_dims", x, tuple(data.draw(st.permutations(range(len(shape))))))
    other = list(shape)
    other[axis] = data.draw(st.integers(0, 3))
    agree("concat", [x, f32(*other)], axis=axis)
    agree("stack", [x, x], axis=axis)
    agree("take_along_axis", x, i64(*other), axis=axis)
    agree("squeeze", np.expand_dims(x, axis), axis=axis)
    agree("diff", x, axis=axis, n=2, prepend=f32(*other))


@given(hnp.array_shapes(min_dims=0, max_dims=4, max_side=4), st.data())
@some
def test_shape_functions(shape, data):
    x = f32(*shape)
    agree("tile", x, tuple(data.draw(st.lists(st.integers(0, 3), max_size=5))))
    agree("reshape", x, (-1,))
    agree("reshape", x, (*shape, 1))
    agree("repeat", x, 2)
    agree("roll", x, 2)
    agree("flip", x)
    agree("broadcast_to", x, (2, *shape))
    agree("zeros_like", x)
    agree("empty_like", x)
    agree("full_like", x, 3)
    agree("ones_like", x)
    if len(shape) >= 2:
        for name in ("tril", "triu", "matrix_transpose"):
            agree(name, x)


def indices(shape):
    """Basic keys, some of them with arrays of integers that broadcast."""

    @st.composite
    def draw(draw):
        key = draw(hnp.basic_indices(shape, allow_newaxis=True, allow_ellipsis=True))
        parts = list(key) if isinstance(key, tuple) else [key]
        if draw(st.booleans()) and all(shape):
            wanted = iter(draw(hnp.mutually_broadcastable_shapes(num_shapes=4, max_dims=2, max_side=3)).input_shapes)
            for i, part in enumerate(parts):
                if isinstance(part, int | slice) and draw(st.booleans()):
                    parts[i] = i64(*next(wanted))
        return tuple(parts)

    return draw()


@given(hnp.array_shapes(max_dims=4, max_side=4).flatmap(lambda s: st.tuples(st.just(s), indices(s))))
@many
@example(((1, 1), (None, None, np.zeros((2, 1), np.int64), ..., 0)))
def test_indexing(case):
    shape, key = case
    wanted = np.ones(shape, np.float32)[key]
    assert put(f32(*shape))[put(key)].shape == wanted.shape


def test_indexing_errors():
    x = put(f32(2, 3))
    for key in (2, (0, -4), (0, 0, 0), (..., ...)):
        with pytest.raises(ShapeError):
            x[key]
    with pytest.raises(ShapeError, match="integer"):
        x[put(f32(2))]
    for mask in (put(np.ones(2, bool)), True):
        with pytest.raises(UnsupportedError, match="depends on values"):
            x[mask]
    assert x[np.int64(1)].shape == (3,)
    assert [row.shape for row in x] == [(3,), (3,)]
    assert len(x) == 2


@given(
    st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4)),
    hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=2, max_side=3),
)
@some
def test_products(sizes, leading):
    n, k, m = sizes
    a, b = leading.input_shapes
    agree("matmul", f32(*a, n, k), f32(*b, k, m))
    agree("matmul", f32(k), f32(*b, k, m))
    agree("matmul", f32(*a, n, k), f32(k))
    agree("matmul", f32(k), f32(k))
    agree("vecdot", f32(*a, n, k), f32(*b, n, k))
    agree("vecdot", f32(*a, k, n), f32(*b, k, n), axis=-2)
    agree("tensordot", f32(n, k, m), f32(k, m, n), axes=2)
    agree("tensordot", f32(n, k), f32(m), axes=0)
    agree("tensordot", f32(n, k, m), f32(m, n), axes=((0, 2), (1, 0)))


def test_products_that_do_not_fit():
    for name, a, b in (
        ("matmul", (2, 3), (2, 3)),
        ("matmul", (), (2,)),
        ("vecdot", (2,), (3,)),
        ("tensordot", (2,), (3,)),
    ):
        arguments = {"axes": 1} if name == "tensordot" else {}
        with pytest.raises(ShapeError):
            getattr(hal.ops, name)(put(f32(*a)), put(f32(*b)), **arguments)


def test_creation():
    for name, args in (
        ("arange", (5,)),
        ("arange", (1, 8, 3)),
        ("arange", (5, 0, -2)),
        ("full", ((2, 3), 7)),
        ("full", ((2,), True)),
        ("asarray", ([[1, 2], [3, 4]],)),
        ("asarray", ([True, False],)),
    ):
        assert form(getattr(XP, name)(*args)) == form(getattr(np, name)(*args))
    for name in ("zeros", "ones", "empty"):
        assert form(getattr(XP, name)((2, 3))) == ((2, 3), "float32")
        assert form(getattr(XP, name)(4, dtype=XP.int16)) == ((4,), "int16")
    assert form(XP.eye(3)) == ((3, 3), "float32")
    assert form(XP.eye(3, 4, k=1, dtype=XP.int8)) == ((3, 4), "int8")
    assert form(XP.linspace(0, 1, 5)) == ((5,), "float32")
    assert form(XP.asarray(1.5)) == ((), "float32")
    assert form(XP.asarray([])) == ((0,), "float32")
    assert form(XP.asarray(np.ones(3))) == ((3,), "float64")
    assert form(XP.arange(0, 1, 0.25)) == ((4,), "float32")
    assert form(list(XP.meshgrid(XP.ones(2), XP.ones(3)))) == form([np.ones((3, 2), np.float32)] * 2)
    assert form(XP.from_dlpack(np.ones((2, 3), np.float32))) == ((2, 3), "float32")
    assert XP.ones(3).device is DEVICE


def test_hal_ops_is_complete():
    missing = [name for name in hal.ops.__all__ if name != "namespace" and not hasattr(XP, name)]
    assert not missing
    assert hal.ops.namespace(XP.ones(2)) is XP
    assert XP.__array_api_version__ == "2024.12"
    info = XP.__array_namespace_info__()
    assert info.dtypes(kind="real floating").keys() == {"float32", "float64"}
    assert info.default_dtypes()["indexing"] == XP.int64
    assert set(standard.__all__) <= set(dir(standard))
    assert XP.ones(1).__array_namespace__() is standard


@pytest.mark.parametrize("name", ["nonzero", "unique_all", "unique_counts", "unique_inverse", "unique_values"])
def test_shapes_that_depend_on_values(name):
    with pytest.raises(UnsupportedError, match="depends on values"):
        getattr(hal.ops, name)(put(f32(3)))


def test_repeat_by_an_array_depends_on_values():
    with pytest.raises(UnsupportedError, match="depends on values"):
        hal.ops.repeat(put(f32(3)), put(i64(3)))


@pytest.mark.parametrize(
    "call",
    [
        lambda x: hal.ops.reshape(x, (4,)),
        lambda x: hal.ops.reshape(x, (-1, -1)),
        lambda x: hal.ops.permute_dims(x, (0,)),
        lambda x: hal.ops.permute_dims(x, (0, 0)),
        lambda x: hal.ops.squeeze(x, axis=0),
        lambda x: hal.ops.sum(x, axis=2),
        lambda x: hal.ops.sum(x, axis=(0, 0)),
        lambda x: hal.ops.concat([x, x[:, :2]], axis=0),
        lambda x: hal.ops.stack([x, x[:, :2]], axis=0),
        lambda x: hal.ops.broadcast_to(x, (3,)),
        lambda x: hal.ops.cumulative_sum(x),
        lambda x: hal.ops.take(x, put(i64(2))),
        lambda x: hal.ops.take(x, x, axis=0),
        lambda x: hal.ops.take_along_axis(x, put(i64(2)), axis=0),
        lambda x: hal.ops.max(x[:0], axis=0),
        lambda x: hal.ops.argmax(x[:0]),
        lambda x: hal.ops.moveaxis(x, 0, (0, 1)),
        lambda x: hal.ops.searchsorted(x, x),
        lambda x: hal.ops.roll(x, (1, 2), axis=0),
        lambda x: hal.ops.tril(x[0]),
        lambda x: x[0].mT,
        lambda x: XP.zeros((-1,)),
        lambda x: XP.arange(1, 2, 0),
        lambda x: XP.asarray([[1], [2, 3]]),
        lambda x: hal.ops.dropout(x, 1.0, Key(0)),
        lambda x: hal.ops.softmax(x, axis=2),
        lambda x: hal.ops.linear(x, x),
        lambda x: hal.ops.cross_entropy(x, put(i64(3))),
    ],
)
def test_shapes_that_do_not_fit(call):
    with pytest.raises(ShapeError):
        call(put(f32(2, 3)))


def test_values_are_refused():
    x = put(f32(1))
    for ask in (float, bool, int, complex, operator.index, np.asarray, lambda a: a.item(), BACKEND.to_host):
        with pytest.raises(UnsupportedError, match="computes only shapes"):
            ask(x)
    with pytest.raises(TypeError):
        x[0] = 1
    with pytest.raises(TypeError):
        x + "a"
