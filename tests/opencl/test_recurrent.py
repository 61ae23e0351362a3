"""Recurrent layers of processors, one launch for all steps, against another backend's."""

import numpy as np
import pytest

from hal import registry
from hal.contract.plan import Plan

GATES = {"lstm": 4, "gru": 3, "tanh": 1, "relu": 1}
SIZES = [(5, 4, 3, 10, True), (1, 1, 2, 3, True), (40, 3, 6, 33, False)]
"""Batch, steps, features, units, and whether a first state is given."""


@pytest.fixture
def processor(runtime, monkeypatch):
    from hal.backends.opencl.codegen.kernel import Facts

    monkeypatch.setattr(runtime, "facts", Facts(cpu=True, units=2, local_size=64))


def outputs(xp, cell, p):
    """h at each step, the last h, and the last c where there is one."""
    if cell == "lstm":
        state = (p["h"], p["c"]) if "h" in p else None
        ys, (h, c) = xp.lstm(p["x"], state, p["kernel"], p["recurrent"], p["bias"])
        return ys, h, c
    if cell == "gru":
        return xp.gru(p["x"], p.get("h"), p["kernel"], p["recurrent"], p["bias"], p["inner"])
    return xp.rnn(p["x"], p.get("h"), p["kernel"], p["recurrent"], p["bias"], activation=cell)


def arrays(cell, batch, steps, features, units, *, initial):
    rng, gates = np.random.default_rng(0), GATES[cell] * units
    shapes = {"x": (batch, steps, features), "kernel": (features, gates), "recurrent": (units, gates), "bias": (gates,)}
    if cell == "gru":
        shapes["inner"] = (gates,)
    if initial:
        shapes |= {"h": (batch, units), **({"c": (batch, units)} if cell == "lstm" else {})}
    return {name: (rng.standard_normal(shape) * 0.4).astype(np.float32) for name, shape in shapes.items()}


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize(("cell", "sizes"), [*((cell, SIZES[0]) for cell in GATES), *(("lstm", s) for s in SIZES[1:])])
def test_values_and_gradients(backend, device, processor, cell, sizes):
    *sizes, initial = sizes
    host = arrays(cell, *sizes, initial=initial)
    weights = np.random.default_rng(1).standard_normal((sizes[0], sizes[1], sizes[3])).astype(np.float32)

    def computed(backend, device):
        def loss(p, weights):
            xp = backend.ops(device)
            ys, *last = outputs(xp, cell, p)
            return xp.sum(ys * weights) + sum(xp.sum(x * x) for x in last), ()

        step = backend.compile(backend.value_and_grad(loss), Plan().resolve(device))
        given = {name: backend.from_host(x, device) for name, x in host.items()}
        (value, _), gradients = step(given, backend.from_host(weights, device))
        return backend.to_host(value), {name: backend.to_host(g) for name, g in gradients.items()}

    value, gradients = computed(backend, device)
    other = registry.backend("cpu")
    expected, others = computed(other, other.devices()[0])
    np.testing.assert_allclose(value, expected, rtol=1e-4)
    for name, gradient in gradients.items():
        np.testing.assert_allclose(gradient, others[name], rtol=1e-4, atol=1e-4, err_msg=name)


@pytest.mark.usefixtures("processor")
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_half_precision(backend, device, xp, cell):
    host = arrays(cell, 3, 4, 5, 6, initial=True)
    narrow, wide = (
        outputs(xp, cell, {name: backend.from_host(x.astype(kind), device) for name, x in host.items()})
        for kind in (np.float16, np.float32)
    )
    for found, expected in zip(narrow, wide, strict=True):
        assert found.dtype == xp.float16
        np.testing.assert_allclose(backend.to_host(found), backend.to_host(expected), atol=4e-3)


@pytest.mark.usefixtures("processor")
def test_all_steps_are_one_launch(xp, runtime):
    from hal.backends.opencl.schedule import schedule

    host = arrays("lstm", 3, 20, 5, 6, initial=True)
    ys, _, _ = outputs(xp, "lstm", {name: xp.asarray(x) for name, x in host.items()})
    assert len(schedule([ys], runtime.facts, fuse=True).launches) < 6


@pytest.mark.parametrize(
    ("value", "units", "one"), [("auto", 12, True), ("auto", 13, False), ("whole", 13, True), ("steps", 12, False)]
)
def test_steps_are_launches_where_the_plan_says_so_or_one_would_leave_units_idle(
    xp, runtime, monkeypatch, value, units, one
):
    from hal.backends.opencl.codegen.choices import choosing
    from hal.backends.opencl.codegen.kernel import Facts
    from hal.backends.opencl.schedule import schedule

    monkeypatch.setattr(runtime, "facts", Facts(cpu=True, units=units, local_size=64))
    host = arrays("gru", 3, 20, 5, 6, initial=True)
    with choosing({"recurrence": value}):
        ys, _ = outputs(xp, "gru", {name: xp.asarray(x) for name, x in host.items()})
    planned = schedule([ys], runtime.facts, fuse=True).launches
    assert any("forwards" in each.kernel.label for each in planned) == one


@pytest.mark.usefixtures("processor")
@pytest.mark.parametrize(("cell", "states"), [("lstm", 2), ("gru", 1)])
def test_only_states_are_kept_where_nothing_has_a_gradient(backend, xp, runtime, cell, states):
    from hal.backends.opencl.schedule import schedule

    host = arrays(cell, 3, 20, 5, 6, initial=True)
    found = outputs(xp, cell, {name: xp.asarray(x) for name, x in host.items()})
    (layer,) = [each for each in schedule(found, runtime.facts, fuse=True).launches if "forwards" in each.kernel.label]
    assert layer.places[0].nbytes == 20 * 3 * states * 6 * 4
    other = registry.backend("cpu")
    device = other.devices()[0]
    expected = outputs(other.ops(device), cell, {name: other.from_host(x, device) for name, x in host.items()})
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(backend.to_host(mine), other.to_host(theirs), rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("processor")
@pytest.mark.parametrize(("name", "units"), [("exp", 1), ("tanh", 7)])
def test_functions_of_processors(backend, device, xp, name, units):
    """What hal computes itself there, in units in the last place."""
    x = np.concatenate([np.linspace(-86, 88, 100_001), np.linspace(-1, 1, 10_001), [0.0, 1e-30]]).astype(np.float32)
    found = backend.to_host(getattr(xp, name)(backend.from_host(x, device)))
    expected = getattr(np, name)(x.astype(np.float64))
    assert np.max(np.abs(found - expected) / np.spacing(np.abs(expected).astype(np.float32))) <= units
    special = np.array([np.inf, -np.inf, np.nan, 0.0, -0.0, 89.0, -200.0], np.float32)
    with np.errstate(over="ignore"):
        expected = getattr(np, name)(special)
    found = backend.to_host(getattr(xp, name)(backend.from_host(special, device)))
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(np.signbit(found[3:]), np.signbit(expected[3:]))
