"""The null backend against NumPy's shapes, against costs worked out by hand, and in what it refuses."""

import copy
import gc
import operator
import threading

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import hal.ops
from hal.backends import null
from hal.backends.null import dtypes, standard
from hal.contract import Available
from hal.errors import HalError, ShapeError, UnsupportedError
from hal.plan import Plan
from hal.tensor import Key, Ops

BACKEND = null.NullBackend()
DEVICE = BACKEND.devices()[0]
XP = BACKEND.ops(DEVICE)

# Times say nothing on a shared machine.
few, some, many = (settings(deadline=None, max_examples=n) for n in (15, 60, 300))


class NumpyOps(Ops):
    """The defaults of the neutral API on NumPy: the oracle for shapes."""

    def __init__(self):
        super().__init__(np)

    def stop_gradient(self, x):
        return x


NUMPY = NumpyOps()


def put(x):
    """The null form of a tree of NumPy arrays."""
    if isinstance(x, list | tuple):
        return type(x)(put(e) for e in x)
    return BACKEND.from_host(x, DEVICE) if isinstance(x, np.ndarray) else x


def f32(*shape):
    return np.ones(shape, np.float32)


def i64(*shape):
    return np.zeros(shape, np.int64)


def form(x):
    """Shapes and type names of a tree of arrays."""
    if isinstance(x, list | tuple):
        return [form(e) for e in x]
    return tuple(x.shape), str(x.dtype)


def agree(name, *args, types=True, **kwargs):
    """Check one function of the API against NumPy's form, through hal.ops."""
    wanted = form(getattr(NUMPY, name)(*args, **kwargs))
    # A new dict, for arrays may be passed by name.
    got = form(getattr(hal.ops, name)(*put(args), **{k: put(v) for k, v in kwargs.items()}))
    assert got == wanted or (not types and shape_of(got) == shape_of(wanted))


def shape_of(x):
    return [shape_of(e) for e in x] if isinstance(x, list) else x[0]


# Shapes against NumPy

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
    assert info.dtypes(kind="real floating").keys() == {"bfloat16", "float16", "float32", "float64"}
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
        with pytest.raises(UnsupportedError, match="without values"):
            ask(x)
    with pytest.raises(TypeError):
        x[0] = 1
    with pytest.raises(TypeError):
        x + "a"


# Types


@pytest.mark.parametrize(
    ("a", "b", "wanted"),
    [
        ("float32", "float64", "float64"),
        ("float16", "float32", "float32"),
        ("bfloat16", "float16", "float32"),
        ("bfloat16", "float32", "float32"),
        ("bfloat16", "bfloat16", "bfloat16"),
        ("bfloat16", "int64", "bfloat16"),
        ("int64", "float32", "float32"),
        ("int8", "uint8", "int16"),
        ("bool", "int8", "int8"),
        ("float64", "complex64", "complex128"),
        ("float32", "complex64", "complex64"),
    ],
)
def test_promotion(a, b, wanted):
    types = [getattr(XP, name) for name in (a, b)]
    assert XP.result_type(*types) == XP.result_type(*types[::-1]) == getattr(XP, wanted)
    assert (XP.ones(2, dtype=types[0]) + XP.ones(2, dtype=types[1])).dtype == getattr(XP, wanted)
    assert XP.can_cast(types[0], getattr(XP, wanted))


def test_scalars_are_weak():
    for name in ("bfloat16", "float16", "float64"):
        x = XP.ones(2, dtype=getattr(XP, name))
        for y in (x * 2, 2.5 * x, x + True, 1 / x, np.float64(2.0) * x, np.float32(2) - x, x**2, -x, abs(x)):
            assert y.dtype == getattr(XP, name)
    ids = XP.ones(2, dtype=XP.int32)
    assert (ids + 1).dtype == XP.int32
    assert (ids * 0.5).dtype == (ids / 2).dtype == XP.float32
    assert (ids == 1).dtype == (ids > 1).dtype == XP.bool
    assert (~ids & 1 | 2 ^ ids << 1).dtype == XP.int32
    assert XP.where(ids > 0, 1.0, 0.0).dtype == XP.float32
    assert (XP.ones(2, dtype=XP.float64) * 1j).dtype == XP.complex128
    with pytest.raises(UnsupportedError, match="integers and booleans"):
        XP.ones(2) & 1
    with pytest.raises(UnsupportedError, match="no common type"):
        XP.ones(2, dtype=XP.uint64) + XP.ones(2, dtype=XP.int64)


def test_type_facts():
    assert XP.bfloat16 not in {XP.float32, XP.float16}
    assert XP.isdtype(XP.bfloat16, ("integral", "real floating"))
    assert not XP.isdtype(XP.int8, "unsigned integer")
    assert XP.isdtype(XP.bool, XP.bool)
    assert XP.finfo(XP.bfloat16).max == 3.3895313892515355e38
    assert XP.finfo(XP.float16).bits == 16
    assert XP.finfo(XP.complex64).dtype == XP.float32
    assert XP.iinfo(XP.int8).max == 127
    assert XP.ones(2, dtype=XP.bfloat16).nbytes == 4
    assert XP.astype(XP.ones(2), XP.bfloat16).dtype == XP.bfloat16
    assert copy.deepcopy(XP.bfloat16) == XP.bfloat16
    assert dtypes.as_dtype("torch.bfloat16") is XP.bfloat16
    for wrong in ("float8", object):
        with pytest.raises(UnsupportedError, match="known"):
            XP.ones(2, dtype=wrong)
    with pytest.raises(UnsupportedError, match="known"):
        XP.isdtype(XP.int8, "integer")


# Layers' ops against the defaults on NumPy


@st.composite
def convolutions(draw):
    groups = draw(st.sampled_from([1, 1, 2]))
    size = st.integers(1, 9)
    x = (draw(st.integers(1, 2)), draw(size), draw(size), groups * draw(st.integers(1, 2)))
    window = (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    kernel = (*window, x[3] // groups, groups * draw(st.integers(1, 3)))
    explicit = st.tuples(*[st.tuples(st.integers(0, 2), st.integers(0, 2))] * 2)
    facts = {
        "strides": draw(st.one_of(st.integers(1, 3), st.tuples(st.integers(1, 3), st.integers(1, 3)))),
        "padding": draw(st.one_of(st.sampled_from(["same", "valid"]), explicit)),
        "dilation": draw(st.integers(1, 2)),
        "groups": groups,
    }
    return x, kernel, facts


def same_outcome(name, *args, **kwargs):
    """Both backends give the same form, or both refuse."""
    try:
        wanted = form(getattr(NUMPY, name)(*args, **kwargs))
    except ShapeError:
        with pytest.raises(ShapeError):
            getattr(hal.ops, name)(*put(args), **kwargs)
        return
    assert form(getattr(hal.ops, name)(*put(args), **kwargs)) == wanted


@given(convolutions(), st.booleans())
@many
def test_conv2d(case, bias):
    x, kernel, facts = case
    same_outcome("conv2d", f32(*x), f32(*kernel), f32(kernel[3]) if bias else None, **facts)


@given(convolutions())
@some
def test_conv2d_transpose(case):
    x, kernel, facts = case
    kernel = (*kernel[:2], x[3], kernel[3])
    padding = facts["padding"] if isinstance(facts["padding"], str) else "same"
    same_outcome("conv2d_transpose", f32(*x), f32(*kernel), strides=facts["strides"], padding=padding)


@given(convolutions(), st.sampled_from(["max_pool2d", "avg_pool2d"]))
@some
def test_pooling(case, name):
    x, kernel, facts = case
    same_outcome(name, f32(*x), kernel[:2], strides=facts["strides"], padding=facts["padding"])


def test_conv2d_shapes_by_hand():
    x, kernel = put(f32(8, 28, 28, 3)), put(f32(3, 3, 3, 16))
    assert hal.ops.conv2d(x, kernel).shape == (8, 28, 28, 16)
    assert hal.ops.conv2d(x, kernel, padding="valid").shape == (8, 26, 26, 16)
    assert hal.ops.conv2d(x, kernel, strides=2).shape == (8, 14, 14, 16)
    assert hal.ops.conv2d(x, kernel, strides=2, padding="valid").shape == (8, 13, 13, 16)
    assert hal.ops.conv2d(x, kernel, dilation=2, padding="valid").shape == (8, 24, 24, 16)
    assert hal.ops.conv2d(x, put(f32(3, 3, 1, 6)), groups=3).shape == (8, 28, 28, 6)
    assert hal.ops.conv2d_transpose(x, kernel, strides=2).shape == (8, 56, 56, 16)
    assert hal.ops.conv2d_transpose(x, kernel, strides=2, padding="valid").shape == (8, 57, 57, 16)
    assert hal.ops.conv2d_transpose(x, put(f32(2, 2, 3, 4)), strides=3, padding="valid").shape == (8, 84, 84, 4)


def test_network_ops():
    x = f32(2, 5, 6)
    for name in ("relu", "leaky_relu", "elu", "gelu", "sigmoid", "silu", "softplus", "softmax", "log_softmax"):
        agree(name, x)
        assert getattr(hal.ops, name)(XP.ones((2, 3), dtype=XP.bfloat16)).dtype == XP.bfloat16
    agree("linear", x, f32(6, 4), f32(4))
    agree("embedding", f32(10, 7), i64(2, 3))
    agree("layer_norm", x, f32(6), f32(6))
    agree("batch_norm", x, f32(6), f32(6), f32(6), f32(6), training=True)
    agree("batch_norm", x, f32(6), f32(6), f32(6), f32(6), training=False)
    agree("cross_entropy", f32(4, 3, 10), i64(4, 3))
    agree("sigmoid_cross_entropy", f32(4, 3), f32(4, 3))
    agree("squared_error", f32(4, 3), f32(4, 3))
    agree("attention", f32(2, 4, 5, 8), f32(2, 4, 7, 8), f32(2, 4, 7, 3))
    agree("attention", f32(2, 4, 5, 8), f32(2, 1, 5, 8), f32(2, 1, 5, 3), causal=True)
    agree("attention", f32(2, 4, 5, 8), f32(2, 4, 7, 8), f32(2, 4, 7, 3), mask=np.ones((5, 7), bool))
    agree("dropout", x, 0.5, Key(1))
    agree("rnn", x, None, f32(6, 3), f32(3, 3), f32(3))
    agree("lstm", x, None, f32(6, 12), f32(3, 12), f32(12))
    agree("lstm", x, (f32(2, 3), f32(2, 3)), f32(6, 12), f32(3, 12), f32(12))
    agree("gru", x, f32(2, 3), f32(6, 9), f32(3, 9), f32(9), f32(9))
    agree("squeeze", f32(1, 3, 1), axis=(0, 2))
    agree("searchsorted", f32(5), f32(2, 3))
    agree("astype", x, np.float64)
    assert hal.ops.cross_entropy(XP.ones((2, 3), dtype=XP.bfloat16), XP.zeros(2, dtype=XP.int64)).dtype == XP.float32
    assert form(hal.ops.normal(Key(0), (3, 4), like=put(x))) == ((3, 4), "float32")
    assert form(hal.ops.uniform(Key(0), (3,), like=put(x))) == ((3,), "float32")


def test_network_ops_that_do_not_fit():
    x = put(f32(2, 5, 6))
    with pytest.raises(ShapeError, match=r"initial state|bias"):
        hal.ops.rnn(x, put(f32(3, 3)), put(f32(6, 3)), put(f32(3, 3)), put(f32(3)))
    with pytest.raises(UnsupportedError, match="cast them"):
        hal.ops.linear(x, XP.ones((6, 2), dtype=XP.bfloat16))
    with pytest.raises(ShapeError, match="broadcast"):
        hal.ops.attention(*[put(f32(1, 2, 3, 4))] * 3, mask=put(np.ones((2, 2), bool)))


def test_scan():
    def step(carry, x):
        carry = carry + x
        return carry, hal.ops.sum(carry)

    carry, ys = hal.ops.scan(step, put(f32(3)), put(f32(7, 3)))
    assert (carry.shape, ys.shape) == ((3,), (7,))


# Costs by hand


def flops_of(fn):
    with null.count() as cost:
        fn()
    return cost.flops


def test_flops_of_products():
    a, b = put(f32(5, 8, 16)), put(f32(16, 4))
    assert flops_of(lambda: a @ b) == 2 * 5 * 8 * 16 * 4
    assert flops_of(lambda: hal.ops.linear(a, b, put(f32(4)))) == 2 * 5 * 8 * 16 * 4 + 5 * 8 * 4
    assert flops_of(lambda: hal.ops.vecdot(put(f32(3, 7)), put(f32(7)))) == 2 * 3 * 7
    assert flops_of(lambda: hal.ops.tensordot(put(f32(2, 3, 4)), put(f32(3, 4, 5)), axes=2)) == 2 * 2 * 12 * 5


def test_flops_of_a_convolution():
    # The first layer of a ResNet: 7x7 stride 2 on 224x224x3 gives 112x112x64, 118 million multiply-adds.
    x, kernel = put(f32(1, 224, 224, 3)), put(f32(7, 7, 3, 64))
    with null.count() as cost:
        y = hal.ops.conv2d(x, kernel, strides=2)
    assert cost.flops == 2 * 118_013_952
    (op,) = cost.records
    assert (op.name, op.phase, op.dtype) == ("conv2d", "forward", "float32")
    assert op.inputs == ((1, 224, 224, 3), (7, 7, 3, 64))
    assert op.outputs == (y.shape,)
    assert op.bytes_moved == 4 * (224 * 224 * 3 + 7 * 7 * 3 * 64 + 112 * 112 * 64)
    assert op.live_bytes == cost.peak_live_bytes == op.bytes_moved


def test_flops_of_other_layers():
    x = put(f32(2, 8, 8, 4))
    assert flops_of(lambda: hal.ops.conv2d(x, put(f32(3, 3, 2, 6)), groups=2)) == 2 * (2 * 8 * 8 * 6) * 9 * 2
    assert flops_of(lambda: hal.ops.conv2d_transpose(x, put(f32(3, 3, 4, 5)), strides=2)) == 2 * x.size * 9 * 5
    assert flops_of(lambda: hal.ops.max_pool2d(x)) == 2 * 4 * 4 * 4 * 4
    assert flops_of(lambda: hal.ops.softmax(x)) == 5 * x.size
    q = put(f32(2, 3, 5, 8))
    assert flops_of(lambda: hal.ops.attention(q, q, q)) == 2 * 3 * 5 * 5 * (2 * (8 + 8) + 6)
    weights = [put(w) for w in (f32(8, 12), f32(3, 12), f32(12))]
    assert flops_of(lambda: hal.ops.lstm(put(f32(2, 5, 8)), None, *weights)) == 2 * 10 * 12 * (8 + 3) + 17 * 2 * 5 * 3
    assert flops_of(lambda: hal.ops.sum(x)) == x.size
    assert flops_of(lambda: hal.ops.embedding(put(f32(10, 7)), put(i64(2, 3)))) == 0


def test_bytes():
    x = put(f32(10, 10))
    for fn, wanted in (
        (lambda: x + 1, 800),
        (lambda: x * x, 800),
        (lambda: x + x[0], 400 + 40 + 400),
        (lambda: x + hal.ops.broadcast_to(x[:1], (10, 10)), 400 + 400 + 400),
        (lambda: hal.ops.reshape(x, (100,)).shape, 0),
        (lambda: x.T, 0),
        (lambda: hal.ops.take(x, put(i64(3)), axis=0), 24 + 120 + 120),
        (lambda: hal.ops.astype(x, XP.bfloat16), 600),
    ):
        with null.count() as cost:
            fn()
        assert cost.bytes_moved == wanted


def test_totals_by_op():
    x = put(f32(10))
    with null.count() as cost:
        y = x + 1
        z = y + x
    assert cost.by_op() == {("add", "forward"): (2, 20, 80 + 120)}
    assert z.shape == (10,)


def test_counts_nest_and_stay_in_their_thread():
    x = put(f32(10))
    with null.count() as outer:
        a = x + 1
        with null.count() as inner:
            b = a + 1
        thread = threading.Thread(target=lambda: x + 1)
        thread.start()
        thread.join()
    x + 1
    assert (len(outer.records), len(inner.records)) == (2, 1)
    assert (outer.peak_live_bytes, inner.peak_live_bytes) == (120, 80)
    assert b.shape == (10,)


# Live memory by hand, in bytes of arrays of 1000 fp32 numbers

KB4 = 4000


def test_peak_without_gradient():
    x = put(f32(1000))
    with null.count() as cost:
        y = x + 1  # x y
        y = y + 1  # x y y'
        y = y + 1  # the first y has been released
        total = hal.ops.sum(y)
    assert cost.peak_live_bytes == 3 * KB4
    assert cost.live_bytes == 2 * KB4 + 4
    assert [op.live_bytes for op in cost.records] == [2 * KB4, 3 * KB4, 3 * KB4, 2 * KB4 + 4]
    del x, y, total
    assert cost.live_bytes == 0


def test_what_is_found_late_was_alive_all_along():
    x, late = put(f32(1000)), put(f32(5000))
    with null.count() as cost:
        y = x + 1
        total = hal.ops.sum(y) + hal.ops.sum(late)
    assert cost.records[0].live_bytes == 7 * KB4
    assert cost.peak_live_bytes == 7 * KB4 + 4 + 4 + total.nbytes


def test_views_share_memory():
    x = put(f32(10, 100))
    with null.count() as cost:
        y = x + 1
        part = hal.ops.reshape(y.T, (1000,))[::2]
        del y
        assert cost.live_bytes == 2 * KB4
        del part
    assert cost.live_bytes == KB4
    assert cost.peak_live_bytes == 2 * KB4


def test_arrays_that_were_not_used_do_not_count():
    unused = put(f32(1000))
    with null.count() as cost:
        XP.ones(10)
    assert cost.peak_live_bytes == 40
    assert unused.size == 1000


def test_process_memory():
    gc.collect()
    before = BACKEND.memory(DEVICE).allocated_bytes
    x = put(f32(1000))
    BACKEND.reset_peak_memory(DEVICE)
    y = x + 1
    del y
    use = BACKEND.memory(DEVICE)
    assert (use.allocated_bytes - before, use.peak_bytes - before) == (KB4, 2 * KB4)


def gradient(fn, params, *args):
    with null.count() as cost:
        (loss, aux), grads = BACKEND.value_and_grad(fn)(params, *args)
    assert loss.node is None
    return cost, loss, aux, grads


def test_gradient_of_a_product():
    x, w = put(f32(32, 100)), put(f32(100, 10))  # 12800 and 4000 bytes

    def fn(params, x):
        return hal.ops.sum(x @ params["w"]), None

    cost, _, _, grads = gradient(fn, {"w": w}, x)
    assert form(grads["w"]) == ((100, 10), "float32")
    backward = [op for op in cost.records if op.phase == "backward"]
    assert [op.name for op in backward] == ["sum", "matmul"]
    # x is data, so that the product is differentiated for w alone.
    assert backward[1].flops == 2 * 32 * 100 * 10
    # x and w, the loss, the gradient of the product (1280 bytes) and that of w. The product itself is gone when its
    # gradient comes, and the gradient of the loss when that of w comes.
    assert backward[0].live_bytes == 12800 + 4000 + 4 + 4 + 1280
    assert cost.peak_live_bytes == backward[1].live_bytes == 12800 + 4000 + 4 + 1280 + 4000
    assert cost.live_bytes == 12800 + 4000 + 4000


def test_both_factors_cost_a_product_each():
    def fn(params):
        return hal.ops.sum(params[0] @ params[1]), None

    cost, *_ = gradient(fn, [put(f32(4, 5)), put(f32(5, 6))])
    products = [op.flops for op in cost.records if op.name == "matmul"]
    assert products == [2 * 4 * 5 * 6, 2 * 2 * 4 * 5 * 6]


def test_tape_keeps_what_the_backward_step_reads():
    def chain(op):
        def fn(params):
            y = params
            for _ in range(4):
                y = op(y)
            return hal.ops.sum(y), None

        return gradient(fn, put(f32(1000)))[0].peak_live_bytes

    # Sums keep nothing: parameter, loss, and two arrays at a time; passing gradients on takes one.
    assert chain(lambda y: y + 1) == 3 * KB4
    # Scalars are constants, so that their products keep nothing; gradients are new arrays.
    assert chain(lambda y: y * 2) == 3 * KB4 + 4
    # Each exponential keeps its result: parameter, four results and the loss; going back, two gradients beside them.
    assert chain(hal.ops.exp) == KB4 + 4 * KB4 + 2 * KB4 + 4
    # Each sine keeps its input, the first of which is the parameter.
    assert chain(hal.ops.sin) == KB4 + 3 * KB4 + 2 * KB4 + 4


def test_inference_keeps_nothing():
    x = put(f32(1000))
    with null.count() as cost:
        y = x
        for _ in range(10):
            y = hal.ops.exp(y)
    assert cost.peak_live_bytes == 3 * KB4


def test_stop_gradient_ends_the_tape():
    def fn(params):
        y = hal.ops.stop_gradient(hal.ops.exp(params[0]))
        return hal.ops.sum(y * params[1]), None

    cost, _, _, grads = gradient(fn, [put(f32(1000)), put(f32(1000))])
    assert [op.name for op in cost.records if op.phase == "backward"] == ["sum", "multiply"]
    assert form(grads) == [((1000,), "float32")] * 2


def test_gradients_add_up():
    def fn(params):
        y = hal.ops.exp(params)
        return hal.ops.sum(y * y + y), None

    cost, *_ = gradient(fn, put(f32(10)))
    # y has three uses: both factors and the sum.
    assert sum(op.name == "accumulate" for op in cost.records) == 2
    doubled, *_ = gradient(lambda p: (hal.ops.sum(p + p), None), put(f32(1000)))
    # Both gradients are the same memory, so that their sum needs its own; the parameter and the loss are there too.
    assert doubled.records[-1].name == "accumulate"
    assert doubled.records[-1].live_bytes == 3 * KB4 + 4


def test_broadcasting_is_summed_back():
    def fn(params, x):
        return hal.ops.sum(x + params["b"]), None

    cost, _, _, grads = gradient(fn, {"b": put(f32(10))}, put(f32(100, 10)))
    (add,) = [op for op in cost.records if (op.name, op.phase) == ("add", "backward")]
    assert (add.flops, add.outputs, grads["b"].shape) == (1000, ((10,),), (10,))


def test_a_network_with_everything():
    params = {
        "conv": put(f32(3, 3, 3, 4)),
        "scale": put(f32(4)),
        "offset": put(f32(4)),
        "up": put(f32(3, 3, 4, 2)),
        "lstm": [put(f32(32, 20)), put(f32(5, 20)), put(f32(20))],
        "gru": [put(f32(5, 15)), put(f32(5, 15)), put(f32(15)), put(f32(15))],
        "rnn": [put(f32(5, 5)), put(f32(5, 5)), put(f32(5))],
        "table": put(f32(11, 5)),
        "unused": put(f32(7)),
    }

    def fn(p, images, labels, key):
        y = hal.ops.max_pool2d(hal.ops.conv2d(images, p["conv"]))
        y, mean, variance = hal.ops.batch_norm(
            y, p["scale"], p["offset"], hal.ops.zeros_like(p["scale"]), p["scale"], training=True
        )
        y = hal.ops.dropout(hal.ops.relu(hal.ops.conv2d_transpose(y, p["up"], strides=2)), 0.1, key)
        y = hal.ops.reshape(hal.ops.avg_pool2d(y, (2, 1)), (2, 4, 32))
        y, _ = hal.ops.lstm(y, None, *p["lstm"])
        y, _ = hal.ops.gru(y, None, *p["gru"])
        y, last = hal.ops.rnn(y, None, *p["rnn"])
        y = y + hal.ops.embedding(p["table"], labels)[:, None, :] + hal.ops.expand_dims(last, axis=1)
        q = hal.ops.reshape(y, (2, 1, 4, 5))
        y = hal.ops.layer_norm(hal.ops.attention(q, q, q)[:, 0], p["scale"][0] + hal.ops.zeros_like(y[0, 0]), y[0, 0])
        _, ys = hal.ops.scan(lambda c, x: (c + x, c * x), y[:, 0], hal.ops.permute_dims(y, (1, 0, 2)))
        loss = hal.ops.mean(hal.ops.cross_entropy(ys[-1], labels))
        return loss, {"logits": ys, "mean": mean, "variance": variance, "name": "kept"}

    gc.collect()
    start = BACKEND.memory(DEVICE).allocated_bytes
    cost, loss, aux, grads = gradient(fn, params, put(f32(2, 16, 8, 3)), put(i64(2)), Key(0))
    assert form(grads["lstm"]) == form(params["lstm"])
    assert {k: form(v) for k, v in grads.items()} == {k: form(v) for k, v in params.items()}
    assert (loss.shape, aux["logits"].shape, aux["name"]) == ((), (4, 2, 5), "kept")
    assert all(aux[name].node is None for name in ("logits", "mean", "variance"))
    names = {op.name for op in cost.records if op.phase == "backward"}
    assert {"conv2d", "conv2d_transpose", "batch_norm", "lstm", "gru", "rnn", "attention", "layer_norm"} <= names
    assert {"embedding", "dropout", "max_pool2d", "avg_pool2d", "cross_entropy", "unstack", "stack"} <= names
    # Gradients, loss and aux are all that is left.
    ours = sum(g.nbytes for g in [*grads["lstm"], *grads["gru"], *grads["rnn"]])
    ours += sum(g.nbytes for g in grads.values() if isinstance(g, null.NullArray))
    ours += loss.nbytes + aux["logits"].nbytes + aux["mean"].nbytes + aux["variance"].nbytes
    assert BACKEND.memory(DEVICE).allocated_bytes - start == ours


def test_nested_gradients_are_separate():
    def inner(params, outer):
        return hal.ops.sum(params * outer), None

    def fn(params):
        (loss, _), grads = BACKEND.value_and_grad(inner)(put(f32(3)), hal.ops.exp(params))
        return hal.ops.sum(hal.ops.exp(params)) + loss, grads

    _, _, aux, grads = gradient(fn, put(f32(3)))
    assert (aux.shape, grads.shape) == ((3,), (3,))


def test_a_long_tape_can_be_dropped():
    def fn(params):
        y = params
        for _ in range(10_000):
            y = y * y
        return hal.ops.sum(params), None

    gradient(fn, put(f32(1)))


def test_gradient_errors():
    with pytest.raises(ShapeError, match="scalar"):
        BACKEND.value_and_grad(lambda p: (p, None))(put(f32(2)))
    with pytest.raises(UnsupportedError, match="floating"):
        BACKEND.value_and_grad(lambda p: (p, None))(put(i64(2)))
    (_, _), zeros = BACKEND.value_and_grad(lambda p: (XP.zeros(()), None))(put(f32(2)))
    assert zeros.shape == (2,)


# The contract


def test_contract():
    assert isinstance(BACKEND.probe(), Available)
    assert (BACKEND.name, BACKEND.priority, DEVICE.vendor, DEVICE.memory_bytes) == ("null", -1, "none", None)
    for precision in ("fp32", "tf32", "bf16", "fp16"):
        for level in ("eager", "default", "max"):
            for layout in ("nhwc", "nchw"):
                plan = Plan(precision=precision, compile=level, layout=layout, threads=2).resolve(DEVICE)
                assert BACKEND.compile(len, plan) is len
    with pytest.raises(HalError):
        Plan(parallel="dp=2").resolve(DEVICE)
    assert not any(entry.accelerated for entry in DEVICE.capabilities.precisions.values())
    assert BACKEND.classify(ValueError()) is None
    assert BACKEND.ops(DEVICE) is XP
    x = BACKEND.from_host(np.ones((2, 3), np.int8), DEVICE, axes="IO", layout="nchw")
    assert form(x) == ((2, 3), "int8")
    assert x.to_device(DEVICE) is x
    with pytest.raises(UnsupportedError, match="device"):
        XP.ones(2, device="cuda")


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "rmsprop"])
def test_optimizers(name):
    params = {"w": put(f32(3, 4)), "b": [put(f32(4))]}
    optimizer = BACKEND.optimizer(name, {})
    state = optimizer.init(params)
    new, after = optimizer.update(params, state, params, 0.1, skip=XP.asarray(False))
    assert form(new["w"]) == form(params["w"])
    assert form(new["b"]) == form(params["b"])
    assert after.keys() == state.keys()
    assert form(after["step"]) == ((), "float32")
