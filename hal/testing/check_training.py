"""Checks of what training rests on: differentiation, compilation, optimizers, batches on their way to the device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from hal.contract import Backend
from hal.contract.device import Device
from hal.contract.plan import Plan
from hal.errors import UnsupportedError
from hal.tensor import Ops
from hal.tensor.optimizers import HYPER, Slots
from hal.testing.base import ConformanceBase
from hal.testing.case import drawn, floats
from hal.testing.optimizer_oracle import optimizer_step
from hal.testing.tolerances import TOLERANCES
from hal.types import Array

__all__ = ["TrainingChecks"]

_TOLERANCE = TOLERANCES["fp32"].gradients
_HYPERS: tuple[tuple[str, Mapping[str, float]], ...] = (
    *((name, {}) for name in HYPER),
    ("sgd", {"momentum": 0.0}),
    ("sgd", {"momentum": 0.5, "weight_decay": 0.1}),
    ("adam", {"beta1": 0.5, "beta2": 0.8, "epsilon": 1e-3, "weight_decay": 0.1}),
    ("adamw", {"weight_decay": 0.3}),
    ("rmsprop", {"decay": 0.5, "epsilon": 1e-2, "weight_decay": 0.1}),
)


def _tree(name: str) -> dict[str, Any]:
    kernel, bias, *rest = drawn([floats(3, 2, 2, 4), floats(4), floats(2, 3), floats(1)], name)
    return {"layer": {"kernel": kernel, "bias": bias}, "rest": rest}


_PARAMS = _tree("optimizer/params")
_GRADS = [_tree(f"optimizer/gradients-{step}") for step in range(4)]
_AXES = {(3, 2, 2, 4): "HWIO", (2, 3): "IO"}
_LR = 0.0625


def _hyper_id(value: Any) -> str:
    return (
        value if isinstance(value, str) else ",".join(f"{key}={number}" for key, number in value.items()) or "default"
    )


def _flat(tree: Any) -> list[Any]:
    """Leaves of nested dicts and lists, in order of their keys."""
    if isinstance(tree, Mapping):
        return [leaf for key in sorted(tree) for leaf in _flat(tree[key])]
    if isinstance(tree, (list, tuple)):
        return [leaf for part in tree for leaf in _flat(part)]
    return [tree]


class TrainingChecks(ConformanceBase):
    """value_and_grad, compile, optimizer, prefetch."""

    def _place(self, backend: Backend, device: Device, tree: Any, storage: str = "nhwc") -> Any:
        if isinstance(tree, Mapping):
            return {key: self._place(backend, device, part, storage) for key, part in tree.items()}
        if isinstance(tree, (list, tuple)):
            return [self._place(backend, device, part, storage) for part in tree]
        return self.put(backend, device, tree.copy(), axes=_AXES.get(tree.shape, ""), storage=storage)

    def _assert_tree(
        self, backend: Backend, actual: Any, expected: Any, what: str, tolerance: float = _TOLERANCE
    ) -> None:
        found, wanted = _flat(actual), _flat(expected)
        assert len(found) == len(wanted), f"{what}: {len(found)} arrays, should be {len(wanted)}"
        for index, (a, b) in enumerate(zip(found, wanted, strict=True)):
            self.assert_array(backend, a, np.asarray(b), f"{what}, array {index}", tolerance=tolerance)

    # Differentiation

    @pytest.mark.usefixtures("trains")
    def test_value_and_grad(self, backend: Backend, device: Device, ops: Ops) -> None:
        """Loss, aux and gradients in nested trees; parameters that are not used get zeros."""
        host: Any = {
            "a": [np.array([1.0, -2.0], np.float32), np.array(3.0, np.float32)],
            "b": {"unused": np.ones((2, 3), np.float32)},
        }
        x = np.array([0.5, 4.0], np.float32)

        def loss(params: Any, x: Array, scale: float) -> tuple[Array, Any]:
            y = params["a"][0] * x * params["a"][1]
            return ops.sum(y) * scale, {"y": y, "more": [x, (ops.sum(x),)]}

        (value, aux), gradients = backend.value_and_grad(loss)(
            self._place(backend, device, host), backend.from_host(x, device), 2.0
        )
        y = host["a"][0] * x * 3
        self.assert_array(backend, value, np.asarray(2 * y.sum()), "loss")
        self._assert_tree(backend, [aux["y"], aux["more"][0], aux["more"][1][0]], [y, x, x.sum()], "aux")
        assert set(gradients) == {"a", "b"}
        assert isinstance(gradients["a"], list)
        expected = [6 * x, np.asarray(2 * (host["a"][0] * x).sum()), np.zeros((2, 3))]
        self._assert_tree(backend, [*gradients["a"], gradients["b"]["unused"]], expected, "gradients")

    @pytest.mark.usefixtures("trains")
    def test_results_are_detached(self, backend: Backend, device: Device, ops: Ops) -> None:
        """Loss and aux are constants: using them in another function adds nothing to its gradient."""
        x = backend.from_host(np.array([1.0, 2.0], np.float32), device)
        inner = backend.value_and_grad(lambda p: (ops.sum(p * p), {"p": p * 3}))

        def outer(p: Array) -> tuple[Array, Any]:
            (value, aux), _ = inner(p)
            return ops.sum(p) + value + ops.sum(aux["p"]), ()

        (_, _), gradient = backend.value_and_grad(outer)(x)
        self.assert_array(backend, gradient, np.ones(2), "gradient")
        (value, aux), _ = inner(x)
        self._assert_tree(backend, [value, aux["p"]], [np.asarray(5.0), np.array([3.0, 6.0])], "results")

    @pytest.mark.usefixtures("trains")
    def test_stop_gradient(self, backend: Backend, device: Device, ops: Ops) -> None:
        """What is stopped counts as a constant."""
        x = backend.from_host(np.array([1.0, 2.0], np.float32), device)
        _, gradient = backend.value_and_grad(lambda p: (ops.sum(p * ops.stop_gradient(p)), ()))(x)
        self.assert_array(backend, gradient, np.array([1.0, 2.0]), "gradient")

    @pytest.mark.usefixtures("trains")
    def test_constant_loss(self, backend: Backend, device: Device, ops: Ops) -> None:
        """A loss in which no parameter takes part has zeros for gradients, as each single unused parameter has."""
        params = {"a": backend.from_host(np.ones(2, np.float32), device)}
        x = backend.from_host(np.full(3, 2.0, np.float32), device)
        (value, _), gradients = backend.value_and_grad(lambda p, x: (ops.sum(x), ()))(params, x)
        self._assert_tree(backend, [value, gradients["a"]], [np.asarray(6.0), np.zeros(2)], "constant loss")

    def test_unscale(self, backend: Backend, device: Device) -> None:
        """Gradients divided by the loss scale, those that were given left alone; one infinite value is found."""
        host: Any = {
            "a": [np.array([[2.0, -4.0]], np.float32), np.array(1.0, np.float32)],
            "b": np.array([8.0], np.float32),
        }
        factor = backend.from_host(np.array(2.0, np.float32), device)
        for value, finite in ((8.0, 1.0), (np.inf, 0.0), (np.nan, 0.0)):
            grads = self._place(backend, device, {**host, "b": np.array([value], np.float32)})
            divided, found = backend.unscale(grads, factor)
            wanted = [host["a"][0] / 2, host["a"][1] / 2, np.array([value / 2])]
            self._assert_tree(backend, [*divided["a"], divided["b"]], wanted, "quotients")
            self._assert_tree(backend, grads["a"], host["a"], "gradients")
            assert not self.values or bool(backend.to_host(found)) == bool(finite)

    @pytest.mark.usefixtures("trains")
    def test_gradients_leave_parameters_alone(self, backend: Backend, device: Device, ops: Ops) -> None:
        """Differentiating changes neither the parameters nor what the caller may do with them."""
        host = np.array([1.0, 2.0], np.float32)
        x = backend.from_host(host, device)
        differentiate = backend.value_and_grad(lambda p: (ops.sum(ops.exp(p)), ()))
        for _ in range(2):
            _, gradient = differentiate(x)
            self.assert_array(backend, gradient, np.exp(host.astype(np.float64)), "gradient")
        self.assert_array(backend, x, host, "parameter", tolerance=0.0)
        self.assert_array(backend, x + 1, host + 1, "parameter + 1")

    @pytest.mark.usefixtures("trains")
    def test_errors_pass_through(self, backend: Backend, device: Device, ops: Ops) -> None:
        """An exception of the function reaches the caller as it is."""

        def fails(p: Array) -> tuple[Array, Any]:
            raise KeyError("mine")

        x = backend.from_host(np.ones(2, np.float32), device)
        with pytest.raises(KeyError, match="mine"):
            backend.value_and_grad(fails)(x)
        self.assert_array(backend, ops.exp(x), np.exp(np.ones(2)), "after the exception")

    # Compilation

    def _check_compiled(self, backend: Backend, device: Device, ops: Ops, plan: Plan) -> None:
        host = np.array([[1.0, -2.0], [0.5, 3.0]], np.float32)

        def step(params: Any, x: Array, key: Any) -> Any:
            kept = ops.dropout(x, 0.5, key)
            return {"w": params["w"] - 0.5 * ops.sum(x, axis=0)}, ops.matmul(x, params["w"]), kept

        compiled = backend.compile(step, plan, donate=(0,))
        key, other = backend.rng(1, device), backend.rng(2, device)
        big = np.ones((32, 32), np.float32)
        masks = []
        for k in (key, key, other):
            params = {"w": backend.from_host(np.array([1.0, 2.0], np.float32), device)}
            new, y, _ = compiled(params, backend.from_host(host, device), k)
            self._assert_tree(backend, [new["w"], y], [np.array([0.25, 1.5]), np.array([-3.0, 6.5])], "compiled")
            draw = backend.compile(lambda x, k: ops.dropout(x, 0.5, k), plan)
            masks.append(backend.to_host(draw(backend.from_host(big, device), k)) if self.values else big)
        assert np.array_equal(masks[0], masks[1])
        assert not self.values or not np.array_equal(masks[0], masks[2])

        if not device.capabilities.trains:
            return

        def loss(params: Any, x: Array) -> tuple[Array, Any]:
            return ops.sum(ops.linear(x, params["w"]) ** 2), {"x": x}

        params = {"w": backend.from_host(np.array([[1.0], [2.0]], np.float32), device)}
        differentiate = backend.value_and_grad(loss, plan)
        if not backend.compiles_gradients:
            differentiate = backend.compile(differentiate, plan)
        (value, _), gradient = differentiate(params, backend.from_host(host, device))
        y = host @ np.array([[1.0], [2.0]])
        self._assert_tree(backend, [value, gradient["w"]], [(y**2).sum(), 2 * host.T @ y], "compiled gradient")

    def test_eager(self, backend: Backend, device: Device, ops: Ops) -> None:
        """``compile=eager`` computes the same, with keys that are followed and donated arguments."""
        self._check_compiled(backend, device, ops, self.plan(device, compile="eager"))

    @pytest.mark.slow
    def test_compile(self, backend: Backend, device: Device, ops: Ops) -> None:
        """So does the first mode beyond eager that the device offers."""
        modes = [mode for mode in device.capabilities.compile if mode != "eager"]
        if not modes:
            pytest.skip(f"{device} offers compile=eager alone")
        self._check_compiled(backend, device, ops, self.plan(device, compile=modes[0]))

    def test_modes_that_are_not_offered(self, device: Device) -> None:
        """A plan with a mode that the device does not offer is refused."""
        for mode in {"eager", "default", "max"} - set(device.capabilities.compile):
            with pytest.raises(UnsupportedError, match=f"compile={mode} is not supported"):
                self.plan(device, compile=mode)

    # Optimizers

    @pytest.mark.usefixtures("trains")
    @pytest.mark.parametrize("storage", ["nhwc", "nchw", "reversed"])
    @pytest.mark.parametrize(("name", "hyper"), _HYPERS, ids=_hyper_id)
    def test_optimizer(
        self, backend: Backend, device: Device, name: str, hyper: Mapping[str, float], storage: str
    ) -> None:
        """Parameters and state follow the float64 reference for several steps, in any storage order."""
        if storage not in (*device.capabilities.layouts, "reversed"):
            pytest.skip(f"{device} does not offer layout={storage}")
        optimizer = backend.optimizer(name, hyper)
        params = self._place(backend, device, _PARAMS, storage)
        state = optimizer.init(params)
        assert set(state) == {"step", *Slots[name]}
        constants = {**HYPER[name], **hyper}
        expected: list[np.ndarray] = [p.astype(np.float64) for p in _flat(_PARAMS)]
        slots: list[dict[str, np.ndarray]] = [{s: np.zeros_like(p) for s in Slots[name]} for p in expected]
        for step, grads in enumerate(_GRADS, start=1):
            params, state = optimizer.update(self._place(backend, device, grads), state, params, _LR / step)
            for index, g in enumerate(_flat(grads)):
                expected[index], slots[index] = optimizer_step(
                    name, constants, expected[index], g.astype(np.float64), slots[index], lr=_LR / step, step=step
                )
            self._assert_tree(backend, params, expected, f"{name}, parameters after step {step}")
            # Without momentum the velocity is never read, so an optimizer need not keep it.
            for slot in Slots[name] if constants.get("momentum") != 0 else ():
                # A kernel may compute 1 - beta in fp32.
                beta = constants.get({"mean": "beta1", "square": "beta2"}[slot], 0.0) if "beta2" in constants else 0.0
                self._assert_tree(
                    backend,
                    state[slot],
                    [s[slot] for s in slots],
                    f"{name}, {slot} after step {step}",
                    tolerance=_TOLERANCE + 2.0**-24 / (1 - beta),
                )
            self.assert_array(backend, state["step"], np.asarray(float(step)), "step")
        assert set(params) == {"layer", "rest"}

    @pytest.mark.usefixtures("trains")
    @pytest.mark.parametrize("name", sorted(HYPER))
    def test_optimizer_skips(self, backend: Backend, device: Device, name: str) -> None:
        """``skip`` leaves parameters and state as they are, whatever the gradients; false changes nothing."""
        optimizer, control = backend.optimizer(name, {}), backend.optimizer(name, {})
        params, kept = (self._place(backend, device, _PARAMS) for _ in range(2))
        state, kept_state = optimizer.init(params), control.init(kept)
        bad = self._place(backend, device, _GRADS[1])
        bad["layer"]["bias"] = backend.from_host(np.array([np.nan, np.inf, 0, 1], np.float32), device)
        for grads, skip in ((_GRADS[0], False), (None, True), (_GRADS[2], False)):
            flag = backend.from_host(np.asarray(skip), device)
            given = bad if grads is None else self._place(backend, device, grads)
            params, state = optimizer.update(given, state, params, _LR, skip=flag)
            if grads is not None:
                kept, kept_state = control.update(self._place(backend, device, grads), kept_state, kept, _LR)
            expected = [self._host(backend, leaf) for leaf in _flat([kept, kept_state])]
            self._assert_tree(backend, [params, state], expected, f"{name}, skip={skip}")

    def _host(self, backend: Backend, array: Array) -> np.ndarray:
        return backend.to_host(array) if self.values else np.zeros(tuple(array.shape), np.float32)

    @pytest.mark.usefixtures("trains")
    def test_optimizer_lowers_a_loss(self, backend: Backend, device: Device, ops: Ops) -> None:
        """Differentiation and each optimizer together fit a line."""
        rng = np.random.default_rng(0)
        x = rng.standard_normal((16, 3)).astype(np.float32)
        y = x @ np.array([[1.0], [-2.0], [0.5]], np.float32)

        def loss(params: Any, x: Array, y: Array) -> tuple[Array, Any]:
            return ops.mean(ops.squared_error(ops.linear(x, params["kernel"], params["bias"]), y)), ()

        differentiate = backend.value_and_grad(loss)
        batch = [backend.from_host(a, device) for a in (x, y)]
        for name in HYPER:
            optimizer = backend.optimizer(name, {})

            def step(params: Any, state: Any, *batch: Array, update: Any = optimizer.update) -> tuple[Any, Any, Any]:
                (value, _), gradients = differentiate(params, *batch)
                return (value, *update(gradients, state, params, 0.05))

            if not backend.compiles_gradients:
                step = backend.compile(step, self.plan(device))
            params = self._place(
                backend, device, {"kernel": np.zeros((3, 1), np.float32), "bias": np.zeros(1, np.float32)}
            )
            state, losses = optimizer.init(params), []
            for _ in range(25):
                value, params, state = step(params, state, *batch)
                losses.append(float(backend.to_host(value)) if self.values else 0.0)
            assert not self.values or losses[-1] < 0.5 * losses[0], f"{name}: {losses}"

    @pytest.mark.usefixtures("trains")
    def test_unknown_optimizer(self, backend: Backend) -> None:
        """An unknown optimizer or constant is refused, with those that are known."""
        with pytest.raises(UnsupportedError, match="sgd, adam, adamw, rmsprop"):
            backend.optimizer("adamm", {})
        with pytest.raises(UnsupportedError, match="adam has no momentum"):
            backend.optimizer("adam", {"momentum": 0.9})

    # Batches

    def test_prefetch(self, backend: Backend, device: Device) -> None:
        """Batches arrive in order, none is lost, and iteration may be abandoned."""

        def put(batch: Mapping[str, np.ndarray]) -> Any:
            return {key: backend.from_host(value, device) for key, value in batch.items()}

        batches = [{"x": np.full((2, 2), i, np.float32), "y": np.array([i])} for i in range(7)]
        for index, batch in enumerate(backend.prefetch(iter(batches), put, device)):
            self._assert_tree(backend, batch, batches[index], f"batch {index}", tolerance=0.0)
        assert index == 6
        assert list(backend.prefetch(iter([]), put, device)) == []
        abandoned = iter(backend.prefetch(iter(batches), put, device))
        next(abandoned)
        abandoned.close()

    def test_prefetch_raises(self, backend: Backend, device: Device) -> None:
        """What reading raises reaches the consumer, after the batches before it."""

        def broken() -> Iterator[Mapping[str, np.ndarray]]:
            yield {"x": np.zeros(2, np.float32)}
            raise OSError("disk")

        arrived: list[Array] = []
        with pytest.raises(OSError, match="disk"):
            arrived.extend(backend.prefetch(broken(), lambda batch: backend.from_host(batch["x"], device), device))
        assert len(arrived) <= 1
