"""Checks of every function of the neutral API: values, dtypes and gradients against the oracle."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np
import pytest

from hal import ops as dispatched
from hal.contract import Backend
from hal.contract.device import PRECISIONS, Device
from hal.contract.plan import Plan
from hal.errors import ShapeError
from hal.tensor import Ops, namespace
from hal.testing.base import ConformanceBase, Variant, dtype_of, probed
from hal.testing.case import Case, leaves, map_leaves
from hal.testing.cases_standard import STANDARD_CASES
from hal.testing.ops import CASES, ORACLE, WRONG_SHAPES
from hal.testing.oracle import numeric_gradient
from hal.testing.tolerances import TOLERANCES, assert_close
from hal.types import Array

__all__ = ["OpsChecks"]

_ELEMENTWISE_UP_TO = 24
_DIRECTIONS = 3
_CHOICES = {"conv2d": "conv", "max_pool2d": "pool", "avg_pool2d": "pool", "translate2d": "crop"}
_ORDINARY = 64.0
_COMPILED_AT_MOST = 16
_COMPILED: dict[tuple[Backend, str, Case, Plan], Callable[..., Any]] = {}
_REFERENCES: dict[str, dict[tuple[int, int], tuple[np.ndarray, np.ndarray]]] = {}


def _variants(cases: tuple[Case, ...], device: Device | None) -> Iterator[Variant]:
    """Each case in every precision of the device; in fp32 also in every storage order and by every algorithm."""
    precisions = device.capabilities.supported_precisions() if device else PRECISIONS[:1]
    layouts = device.capabilities.layouts if device else ("nhwc",)
    for case in cases:
        for precision in precisions:
            if precision in case.precisions:
                yield Variant(case, precision, layouts[0])
        if case.axes or case.op in ("attention", "layer_norm", "softmax"):
            for storage in (*layouts[1:], "reversed"):
                yield Variant(case, "fp32", storage)
        key = _CHOICES.get(case.op)
        offered = device.capabilities.algorithms.get(key, ()) if device and key else ()
        if device and key and len(offered) > 1:
            for algorithm in offered:
                needs = device.capabilities.needs.get(f"{key}={algorithm}", {})
                yield Variant(case, "fp32", needs.get("layout", layouts)[0], {key: algorithm})


def _narrow_by_turns(variants: list[Variant]) -> list[Variant]:
    """Leave each case one of bf16 and fp16, by turns from case to case of an op.

    A wrong cast shows in each case of an op, and the values of all cases are checked in both precisions. Both are left
    to an op with one case, and to inputs so large that fp16 may overflow where bf16 does not.
    """
    here = {(variant.case, variant.precision) for variant in variants}
    by_turns: dict[str, list[Case]] = {}
    for case in dict.fromkeys(variant.case for variant in variants):
        if {(case, "bf16"), (case, "fp16")} <= here and _largest(case) < _ORDINARY:
            by_turns.setdefault(case.op, []).append(case)

    def kept(variant: Variant) -> bool:
        cases = by_turns.get(variant.case.op, [])
        if variant.precision not in ("bf16", "fp16") or variant.case not in cases or len(cases) == 1:
            return True
        return variant.precision == ("bf16", "fp16")[cases.index(variant.case) % 2]

    return [variant for variant in variants if kept(variant)]


def _largest(case: Case) -> float:
    arrays = [leaf for leaf in leaves(case.args) if isinstance(leaf, np.ndarray) and leaf.dtype.kind == "f"]
    return max((float(np.abs(array).max(initial=0.0)) for array in arrays), default=0.0)


def _compiled_once(
    backend: Backend, variant: Variant, plan: Plan, what: str, build: Callable[[], Callable[..., Any]]
) -> Callable[..., Any]:
    """What ``build`` compiles, once for all storage orders and equal plans of a case.

    A compiled function knows its arguments by shape and dtype, so that the program of another order is the same one.
    """
    if plan.compile == "eager":
        return build()
    key = (backend, what, variant.case, plan)
    if key not in _COMPILED:
        if len(_COMPILED) >= _COMPILED_AT_MOST:
            _COMPILED.clear()
        _COMPILED[key] = build()
    return _COMPILED[key]


class OpsChecks(ConformanceBase):
    """Values, dtypes and gradients."""

    cases: ClassVar[tuple[Case, ...]] = CASES + STANDARD_CASES
    """What is computed; a subclass may add cases of its own."""

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Parametrise by cases; which precisions and layouts there are, the device says."""
        if "variant" in metafunc.fixturenames:
            variants = list(_variants(self.cases, probed(type(self))[1]))
            if metafunc.function.__name__ == "test_gradients":
                variants = [v for v in variants if v.case.gradient and v.case.differentiable()]
                variants = _narrow_by_turns(variants)
            metafunc.parametrize("variant", variants, ids=str)

    def _arguments(self, backend: Backend, device: Device, variant: Variant) -> tuple[list[Any], dict[str, Any]]:
        ops, case = backend.ops(device), variant.case

        def convert(axes: str = "", wide: bool = False) -> Callable[[Any], Any]:
            def to_device(leaf: Any) -> Any:
                if not isinstance(leaf, np.ndarray):
                    return leaf
                array = self.put(backend, device, leaf, axes=axes, storage=variant.storage)
                narrow = leaf.dtype == np.float32 and not wide
                return ops.cast(array, dtype_of(ops, variant.precision)) if narrow else array

            return to_device

        meanings = itertools.chain(case.axes, itertools.repeat(""))
        args = [
            map_leaves(convert(axes, index in case.wide), arg)
            for index, (arg, axes) in enumerate(zip(case.args, meanings, strict=False))
        ]
        kwargs = {key: convert()(value) for key, value in case.kwargs.items()}
        return args, kwargs

    def test_values(self, backend: Backend, device: Device, ops: Ops, variant: Variant) -> None:
        """Results have the oracle's values, and the dtype that the contract promises."""
        case = variant.case
        args, kwargs = self._arguments(backend, device, variant)
        # The standard's functions are single calls, and what some of them give depends on values.
        mode = {"compile": "eager"} if case.result == "numpy" else {}
        plan = self.plan(device, **{**variant.keys(backend), **mode})

        def call(arrays: list[Array]) -> Any:
            given = iter(arrays)
            filled = [map_leaves(lambda leaf: next(given) if hasattr(leaf, "dtype") else leaf, arg) for arg in args]
            return case.run(ops, filled, kwargs)

        with backend.settings(plan, device):
            compiled = _compiled_once(backend, variant, plan, "values", lambda: backend.compile(call, plan))
            results = leaves(compiled([x for arg in args for x in leaves(arg) if hasattr(x, "dtype")]))
        expected = leaves(case.run(ORACLE, _widened(case), case.kwargs))
        natural = leaves(case.run(ORACLE, case.args, case.kwargs)) if case.result == "numpy" else expected
        assert len(results) == len(expected)
        for index, (actual, wanted, host) in enumerate(zip(results, expected, natural, strict=True)):
            what = f"{variant}, result {index}"
            tolerance = TOLERANCES[variant.precision].values * self._coarser(variant)
            if variant.precision in ("bf16", "fp16") and case.result == "same,fp32" and index > 0:
                tolerance = TOLERANCES["fp32"].values  # statistics are taken in fp32 of inputs that are exact
            if case.result == "numpy":
                self._assert_kind(ops, actual, np.asarray(host), what)
                dtype = None
            else:
                narrow = case.result == "same" or (case.result == "same,fp32" and index == 0)
                dtype = dtype_of(ops, variant.precision if narrow else "fp32")
            self.assert_array(
                backend, actual, np.asarray(wanted), what, tolerance=tolerance, dtype=dtype, scale=case.scale
            )

    def _coarser(self, variant: Variant) -> float:
        return self.coarser.get(variant.case.op, 1.0) if variant.precision == "fp32" else 1.0

    @staticmethod
    def _assert_kind(ops: Ops, actual: Array, expected: np.ndarray, what: str) -> None:
        kinds = {"b": "bool", "i": "integral", "u": "integral", "f": "real floating", "c": "complex floating"}
        if expected.dtype == np.float32:
            assert actual.dtype == ops.float32, f"{what}: dtype is {actual.dtype}, should be {ops.float32}"
        assert ops.isdtype(actual.dtype, kinds[expected.dtype.kind]), f"{what}: {actual.dtype}, not {expected.dtype}"

    @pytest.mark.usefixtures("trains")
    def test_gradients(self, backend: Backend, device: Device, ops: Ops, variant: Variant) -> None:
        """Gradients agree with central differences of the oracle, elementwise if few, else along directions."""
        case = variant.case
        args, kwargs = self._arguments(backend, device, variant)
        weights = [backend.from_host(w.astype(np.float32), device) for w in _weights(case)]
        positions = case.differentiable()

        def loss(params: dict[str, Any], weights: list[Array]) -> tuple[Array, Any]:
            given = [params.get(str(index), arg) for index, arg in enumerate(args)]
            results = _differentiated(case, case.run(ops, given, kwargs))
            parts = [ops.sum(ops.cast(y, ops.float32) * w) for y, w in zip(results, weights, strict=True)]
            total = parts[0]
            for part in parts[1:]:
                total = total + part
            return total, ()

        params = {str(index): args[index] for index in positions}
        plan = self.plan(device, **variant.keys(backend))
        with backend.settings(plan, device):

            def build() -> Callable[..., Any]:
                differentiate = backend.value_and_grad(loss, plan)
                # As a training step is compiled.
                return differentiate if backend.compiles_gradients else backend.compile(differentiate, plan)

            _, gradients = _compiled_once(backend, variant, plan, "gradients", build)(params, weights)
        references = _reference_gradients(case)
        tolerance = TOLERANCES[variant.precision].gradients * self._coarser(variant)
        for index in positions:
            found = leaves(gradients[str(index)])
            assert len(found) == len(leaves(args[index]))
            for place, (array, gradient) in enumerate(zip(leaves(args[index]), found, strict=True)):
                what = f"{variant}, gradient of argument {index}.{place}"
                assert tuple(gradient.shape) == tuple(array.shape), what
                assert gradient.dtype == array.dtype, f"{what}: dtype {gradient.dtype}, should be {array.dtype}"
                if self.values:
                    directions, slopes = references[index, place]
                    host = backend.to_host(gradient)
                    _assert_slopes(host, directions, slopes, tolerance=tolerance, what=what, scale=case.scale)

    def test_wrong_shapes(self, backend: Backend, device: Device, ops: Ops) -> None:
        """A call whose shapes do not fit says what they should be."""
        for name, arguments, kwargs, message in WRONG_SHAPES:
            args = [
                a if name.endswith("pool2d") and i else self._of_shape(backend, device, a)
                for i, a in enumerate(arguments)
            ]
            with pytest.raises(ShapeError, match=re.escape(message)):
                getattr(ops, name)(*args, **kwargs)

    def _of_shape(self, backend: Backend, device: Device, argument: Any) -> Any:
        """Ones for a shape, the array itself for one, and what else is given as it is."""
        if isinstance(argument, np.ndarray):
            return backend.from_host(argument, device)
        if not isinstance(argument, tuple):
            return argument
        if all(isinstance(part, int) for part in argument):
            return backend.from_host(np.ones(argument, np.float32), device)
        return tuple(self._of_shape(backend, device, part) for part in argument)

    def test_created_in_likeness(self, backend: Backend, device: Device, ops: Ops) -> None:
        """``filled`` and ``zeros_as`` follow the dtype of an array; ``positions`` are integers beside it."""
        beside = backend.from_host(np.ones(2, np.float32), device)
        for counted in (ops.positions(3, like=beside), dispatched.positions(3, like=beside)):
            assert ops.isdtype(counted.dtype, "integral")
            self.assert_array(backend, counted, np.arange(3), "positions")
        for dtype in (np.float32, np.int32):
            like = backend.from_host(np.ones(2, dtype), device)
            for actual, expected in (
                (ops.filled((2, 3), 3, like=like), np.full((2, 3), 3, dtype)),
                (ops.zeros_as((0, 3), like=like), np.zeros((0, 3), dtype)),
                (ops.zeros_as((), like=like), np.zeros((), dtype)),
                (dispatched.filled((2,), 3, like=like), np.full((2,), 3, dtype)),
            ):
                self.assert_array(backend, actual, expected, "filled", dtype=like.dtype)

    def test_cast(self, backend: Backend, device: Device, ops: Ops) -> None:
        """``cast`` rounds to nearest and keeps what has the dtype already."""
        host = np.array([1 / 3, -2.5, 70000.0 / 3], np.float32)
        x = backend.from_host(host, device)
        for precision in device.capabilities.supported_precisions():
            y = ops.cast(x, dtype_of(ops, precision))
            half = {"bf16": 2.0**-9, "fp16": 2.0**-12}.get(precision, 0.0)
            assert y.dtype == dtype_of(ops, precision)
            if self.values:
                assert (np.abs(backend.to_host(ops.cast(y, ops.float32)) - host) <= 2 * half * np.abs(host)).all()
        self.assert_array(backend, ops.cast(x, ops.int32), np.trunc(host).astype(np.int32), "cast", dtype=ops.int32)

    def test_creation(self, backend: Backend, device: Device, ops: Ops) -> None:
        """Creation functions of the device's namespace."""
        for actual, expected in (
            (ops.zeros((2, 3)), np.zeros((2, 3))),
            (ops.ones((2,)), np.ones(2)),
            (ops.full((2, 2), 0.5), np.full((2, 2), 0.5)),
            (ops.arange(5), np.arange(5)),
            (ops.arange(1, 7, 2, dtype=ops.float32), np.arange(1.0, 7, 2)),
            (ops.eye(3), np.eye(3)),
            (ops.linspace(0.0, 1.0, 5), np.linspace(0, 1, 5)),
            (ops.asarray([[1.0, 2.0], [3.0, 4.0]]), np.array([[1.0, 2.0], [3.0, 4.0]])),
        ):
            self.assert_array(backend, actual, expected, "creation")

    def test_dispatch(self, backend: Backend, device: Device, ops: Ops) -> None:
        """``hal.ops`` finds this backend's ops by the type of its arrays."""
        host = np.array([[-1.0, 2.0]], np.float32)
        x = backend.from_host(host, device)
        assert type(namespace(x)) is type(backend.ops(device))
        self.assert_array(backend, dispatched.relu(x), np.maximum(host, 0), "relu", dtype=ops.float32)
        self.assert_array(backend, dispatched.exp(x), np.exp(host), "exp", dtype=ops.float32)
        self.assert_array(backend, dispatched.concat([x, x], axis=0), np.concat([host, host]), "concat")

    def test_max_pool2d_keeps_nan(self, backend: Backend, device: Device, ops: Ops) -> None:
        """A window that holds NaN gives NaN, in every layout: a run that has diverged must not look sound."""
        if not self.values:
            pytest.skip("this backend computes no values")
        host = np.arange(2 * 4 * 4 * 3, dtype=np.float32).reshape(2, 4, 4, 3)
        host[1, 2, 1, 2] = np.nan
        for layout in device.capabilities.layouts:
            pooled = backend.to_host(ops.max_pool2d(backend.from_host(host, device, axes="NHWC", layout=layout)))
            assert np.argwhere(np.isnan(pooled)).tolist() == [[1, 1, 0, 2]], f"{layout}: {pooled}"

    def test_scan(self, backend: Backend, device: Device, ops: Ops) -> None:
        """``scan`` carries a tree, and can be differentiated."""
        host = np.array([[0.5, -1.0], [1.5, 0.25], [-0.75, 1.0]], np.float32)

        def run(xp: Any, w: Any, xs: Any, zero: Any) -> Any:
            def step(carry: Any, x: Any) -> Any:
                total, product = carry["total"] + w * x, carry["product"] * (1 + x)
                return {"total": total, "product": product}, total * product

            return xp.scan(step, {"total": zero, "product": zero + 1}, xs)

        def of_carry(carry: Any, ys: Any) -> Any:
            return carry["total"], carry["product"], ys

        w, xs, zero = (
            backend.from_host(a, device) for a in (np.full(2, 0.5, np.float32), host, np.zeros(2, np.float32))
        )
        expected = of_carry(*run(ORACLE, np.full(2, 0.5), host.astype(np.float64), np.zeros(2)))
        for actual, wanted in zip(of_carry(*run(ops, w, xs, zero)), expected, strict=True):
            self.assert_array(backend, actual, wanted, "scan")
        if not device.capabilities.trains:
            return
        _, gradient = backend.value_and_grad(lambda w, xs, zero: (ops.sum(run(ops, w, xs, zero)[1]), ()))(w, xs, zero)
        slopes = numeric_gradient(
            lambda w: float(run(ORACLE, w, host.astype(np.float64), np.zeros(2))[1].sum()),
            np.full(2, 0.5),
            list(np.eye(2)),
        )
        self.assert_array(backend, gradient, slopes, "gradient", tolerance=TOLERANCES["fp32"].gradients)


def _widened(case: Case) -> list[Any]:
    return [
        map_leaves(lambda a: a.astype(np.float64) if isinstance(a, np.ndarray) and a.dtype.kind == "f" else a, arg)
        for arg in case.args
    ]


def _differentiated(case: Case, result: Any) -> list[Any]:
    return leaves(result)[:1] if case.gradient == "first" else leaves(result)


def _weights(case: Case) -> list[np.ndarray]:
    """Factors with which the results add up to the loss, so that no two of them count alike."""
    rng = np.random.default_rng(case.seed())
    results = _differentiated(case, case.run(ORACLE, _widened(case), case.kwargs))
    return [(2 * rng.integers(-16, 16, np.shape(y)) + 1) / 16 for y in results]


def _reference_gradients(case: Case) -> dict[tuple[int, int], tuple[np.ndarray, np.ndarray]]:
    """For each array that is differentiated: directions and the oracle's slopes along them."""
    if str(case) in _REFERENCES:
        return _REFERENCES[str(case)]
    rng, weights, found = np.random.default_rng(case.seed()), _weights(case), {}
    for index in case.differentiable():
        args = _widened(case)
        for place, array in enumerate(leaves(args[index])):

            def loss(moved: np.ndarray, index: int = index, array: np.ndarray = array, args: Any = args) -> float:
                given = [map_leaves(lambda a: moved if a is array else a, arg) for arg in args]
                results = _differentiated(case, case.run(ORACLE, given, case.kwargs))
                return float(sum((y * w).sum() for y, w in zip(results, weights, strict=True)))

            if array.size <= _ELEMENTWISE_UP_TO:
                directions = np.eye(array.size).reshape(array.size, *array.shape)
            else:
                directions = rng.choice([-1.0, 1.0], (_DIRECTIONS, *array.shape))
            found[index, place] = (directions, numeric_gradient(loss, array, list(directions)))
    _REFERENCES[str(case)] = found
    return found


def _assert_slopes(
    gradient: np.ndarray,
    directions: np.ndarray,
    slopes: np.ndarray,
    *,
    tolerance: float,
    what: str,
    scale: float | None,
) -> None:
    """Assert that a gradient has the slopes along directions, each of ones and minus ones or a single one."""
    wide = gradient.astype(np.float64)
    assert np.isfinite(wide).all(), f"{what} is not finite"
    found = np.asarray([np.sum(wide * d) for d in directions])
    if wide.size <= _ELEMENTWISE_UP_TO:
        assert_close(found, slopes, tolerance, what, scale=scale)
        return
    # Errors of single elements add up like a random walk: sqrt(count) times, and three deviations of that.
    magnitude = float(np.abs(wide).max()) if scale is None else scale + float(np.abs(wide).max())
    allowed = 3 * tolerance * magnitude * wide.size**0.5
    worst = float(np.abs(found - slopes).max())
    assert worst <= allowed, f"{what}: slopes along random directions {found} should be {slopes}"
