"""hal.ops: its names, and how it finds the backend of an array."""

import subprocess
import sys

import pytest

from hal import ops, registry
from hal.tensor import dispatch

NAMES = """
abs acos acosh add all any argmax argmin argsort asin asinh astype atan atan2 atanh attention avg_pool2d
batch_norm bitwise_and bitwise_invert bitwise_left_shift bitwise_or bitwise_right_shift bitwise_xor broadcast_to
cast ceil clip concat conj conv2d conv2d_transpose copysign cos cosh count_nonzero cross_entropy cumulative_prod
cumulative_sum diff divide dropout elu embedding empty_like equal exp expand_dims expm1 filled flip floor
floor_divide fold_in full_like gelu greater greater_equal gru hypot imag isfinite isinf isnan layer_norm
leaky_relu less less_equal linear log log10 log1p log2 log_softmax logaddexp logical_and logical_not logical_or
logical_xor lstm matmul matrix_transpose max max_pool2d maximum mean min minimum moveaxis multiply namespace
negative nextafter nonzero normal not_equal ones_like permute_dims positions positive pow prod real reciprocal relu
remainder repeat reshape rnn roll round scan searchsorted sigmoid sigmoid_cross_entropy sign signbit silu sin
sinh softmax softplus sort split_key sqrt square squared_error squeeze stack std stop_gradient subtract sum take
take_along_axis tan tanh tensordot tile translate2d tril triu trunc uniform unique_all unique_counts unique_inverse
unique_values unstack var vecdot where zeros_as zeros_like
""".split()


class Array:
    """An array of a framework that is not here."""


class Ops:
    """What serves it."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []

    def __getattr__(self, name: str) -> object:
        def call(*args: object, **kwargs: object) -> str:
            self.calls.append((name, args, kwargs))
            return name

        return call


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> dict[type, object]:
    """The table of types, to be changed at will."""
    copy = dict(dispatch._OPS)
    monkeypatch.setattr(dispatch, "_OPS", copy)
    return copy


def test_names_are_pinned() -> None:
    assert ops.__all__ == NAMES
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_a_documented_function(name: str) -> None:
    function = getattr(ops, name)
    assert callable(function)
    assert function.__name__ == name
    assert function.__doc__


@pytest.mark.parametrize("backend", ["cpu", "null"])
def test_every_name_is_served(backend: str) -> None:
    xp = registry.device(backend).xp
    assert [name for name in NAMES if name != "namespace" and not callable(getattr(xp, name, None))] == []


def test_import_loads_no_framework() -> None:
    code = "import sys, hal, hal.ops, hal.testing; assert not {'torch', 'jax', 'tensorflow'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_first_argument_decides(table: dict[type, object]) -> None:
    served, x = Ops(), Array()
    dispatch.register(Array, served)
    assert ops.conv2d(x, "kernel", strides=2) == "conv2d"
    assert served.calls == [("conv2d", (x, "kernel"), {"strides": 2})]


def test_like_decides(table: dict[type, object]) -> None:
    served, x = Ops(), Array()
    dispatch.register(Array, served)
    ops.normal("key", (2,), like=x)
    assert served.calls == [("normal", ("key", (2,)), {"like": x})]
    with pytest.raises(TypeError, match="like"):
        ops.normal("key", (2,))


def test_first_element_decides(table: dict[type, object]) -> None:
    served, x = Ops(), Array()
    dispatch.register(Array, served)
    ops.concat([x, x], axis=1)
    ops.scan(len, 0, x)
    assert [name for name, *_ in served.calls] == ["concat", "scan"]


def test_unknown_type_names_those_served(table: dict[type, object]) -> None:
    dispatch.register(Array, Ops())
    with pytest.raises(TypeError, match=r"was given a int, which no loaded backend serves; served: .*\bArray\b"):
        ops.relu(3)


def test_no_backend_yet(table: dict[type, object]) -> None:
    table.clear()
    with pytest.raises(TypeError, match="none, since no backend is loaded yet"):
        ops.relu(3)


def test_subclasses_are_served_and_remembered(table: dict[type, object]) -> None:
    class Special(Array):
        pass

    class MoreSpecial(Special):
        pass

    served = Ops()
    dispatch.register(Array, served)
    assert ops.namespace(MoreSpecial()) is served
    assert table[MoreSpecial] is served
    assert Special not in table
    own = Ops()
    dispatch.register(Special, own)
    assert ops.namespace(Special()) is own


def test_parameters_of_a_torch_module_are_served() -> None:
    torch = pytest.importorskip("torch")
    registry.device("cpu")
    assert ops.relu(torch.nn.Linear(2, 3).weight).shape == (3, 2)


def test_keys_are_served_without_a_backend() -> None:
    key = registry.backend("null").rng(3, registry.device("null"))
    assert ops.fold_in(key, 1) == ops.fold_in(key, 1) != key
    assert len(ops.split_key(key, 4)) == 4


@pytest.mark.parametrize(
    ("wrong", "near"), [("conv2", "conv2d"), ("sofmax", "softmax"), ("layernorm", "layer_norm"), ("reduce_sum", None)]
)
def test_did_you_mean(wrong: str, near: str | None) -> None:
    with pytest.raises(AttributeError, match=f"hal.ops has no function '{wrong}'") as caught:
        getattr(ops, wrong)
    assert (f"did you mean {near}?" in str(caught.value)) == (near is not None)
