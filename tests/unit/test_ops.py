"""hal.ops: its names, and how it finds the backend of an array."""

import subprocess
import sys

import pytest

from hal import ops, registry
from hal.errors import UnsupportedError
from hal.tensor import OPS, Ops, dispatch

NAMES = ops.__all__  # pinned in test_laws.py, with all public names


class Array:
    """An array of a framework that is not here."""


class Served:
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


def test_each_op_of_hal_is_among_them() -> None:
    assert set(OPS) < set(NAMES)


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
    served, x = Served(), Array()
    dispatch.register(Array, served)
    assert ops.conv2d(x, "kernel", strides=2) == "conv2d"
    assert served.calls == [("conv2d", (x, "kernel"), {"strides": 2})]


def test_like_decides(table: dict[type, object]) -> None:
    served, x = Served(), Array()
    dispatch.register(Array, served)
    ops.normal("key", (2,), like=x)
    assert served.calls == [("normal", ("key", (2,)), {"like": x})]
    with pytest.raises(TypeError, match="like"):
        ops.normal("key", (2,))


def test_first_element_decides(table: dict[type, object]) -> None:
    served, x = Served(), Array()
    dispatch.register(Array, served)
    ops.concat([x, x], axis=1)
    ops.scan(len, 0, x)
    assert [name for name, *_ in served.calls] == ["concat", "scan"]


def test_unknown_type_names_those_served(table: dict[type, object]) -> None:
    dispatch.register(Array, Served())
    with pytest.raises(TypeError, match=r"was given a int, but no loaded backend uses this type; .*\bArray\b"):
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

    served = Served()
    dispatch.register(Array, served)
    assert ops.namespace(MoreSpecial()) is served
    assert table[MoreSpecial] is served
    assert Special not in table
    own = Served()
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


@pytest.mark.parametrize("name", OPS)
def test_an_op_checks_and_its_hook_computes(name: str) -> None:
    """Every op has a hook of its name with an underscore, which a backend overrides."""
    assert callable(getattr(Ops, f"_{name}"))
    with pytest.raises(
        UnsupportedError, match=rf"Broken overrides the op {name}.*\n.*override the hook _{name} instead"
    ):
        type("Broken", (Ops,), {name: lambda self, *args: None})
    assert issubclass(type("Sound", (Ops,), {f"_{name}": lambda self, *args: None}), Ops)


def test_an_override_by_a_mixin_is_refused_too() -> None:
    class Mixin:
        def conv2d(self, x: object, kernel: object) -> object:
            return x

    with pytest.raises(UnsupportedError, match="overrides the op conv2d"):
        type("Broken", (Mixin, Ops), {})


def test_functions_of_the_standard_may_be_overridden() -> None:
    assert issubclass(type("Sound", (Ops,), {"tanh": lambda self, x: x}), Ops)
