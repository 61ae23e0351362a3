"""Reductions of the same axes that one kernel computes side by side."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hal.backends.opencl.codegen.kernel import Facts
from hal.contract.plan import Plan

CARD = Facts(cpu=False, units=2, local_size=64)


def planned(roots, facts):
    from hal.backends.opencl.schedule import schedule

    return schedule(roots, facts, fuse=True).launches


@pytest.fixture(params=[True, False], ids=["processor", "card"])
def facts(request, runtime, monkeypatch):
    """Of the processor, or as on a card, whose kernels it can run."""
    if not request.param:
        monkeypatch.setattr(runtime, "facts", CARD)
    return runtime.facts


class TestLaunches:
    def test_a_window_is_read_once(self, xp, facts):
        x = xp.asarray(np.ones((2, 8, 8, 16), np.float32))
        windows = xp.reshape(x, (2, 4, 2, 4, 2, 16))
        launches = planned([xp.max(windows, axis=(2, 4)), xp.min(windows, axis=(2, 4))], facts)
        assert [launch.kernel.label for launch in launches] == ["max, min over 2 axes"]
        assert len(launches[0].places) == 3

    def test_what_follows_is_computed_too(self, xp, facts):
        x, y = (xp.asarray(np.ones((50, 8), np.float32)) for _ in range(2))
        launches = planned([xp.sum(x, axis=0) * 2, xp.exp(xp.sum(x * y, axis=0))], facts)
        assert len(launches) == 1

    @pytest.mark.parametrize(
        "others",
        [
            lambda xp, x, y: [xp.sum(x, axis=0), xp.sum(y, axis=0)],  # nothing in common
            lambda xp, x, y: [xp.sum(x, axis=0), xp.sum(x, axis=1)],
            lambda xp, x, y: [xp.sum(x, axis=0), xp.sum(x[:10], axis=0)],
            lambda xp, x, y: [xp.sum(x - xp.sum(x, axis=0), axis=0)],  # one after the other
        ],
    )
    def test_others_are_apart(self, xp, facts, others):
        x, y = (xp.asarray(np.ones((50, 8), np.float32)) for _ in range(2))
        assert len(planned(others(xp, x, y), facts)) == 2

    def test_two_pairs_do_not_wait_for_each_other(self, backend, xp, facts):
        """Each of two pairs would be a launch, if one were not computed from the other."""
        host = np.random.default_rng(0).standard_normal((50, 8)).astype(np.float32)
        other = np.random.default_rng(1).standard_normal((40, 8)).astype(np.float32)

        def four(xp, x, y):
            a, d = xp.sum(x, axis=0), xp.sum(y, axis=0)
            b, c = xp.sum(x * d, axis=0), xp.sum(y * a, axis=0)
            return a, b, c, d

        found = four(xp, xp.asarray(host), xp.asarray(other))
        assert len(planned(found, facts)) == 3
        for one, wanted in zip(found, four(np, host, other), strict=True):
            np.testing.assert_allclose(backend.to_host(one), wanted, rtol=1e-4, atol=1e-4)

    def test_gradients_of_a_batch_norm_read_once(self, backend, device, xp, runtime):
        x = xp.asarray(np.random.default_rng(0).standard_normal((4, 5, 5, 8)).astype(np.float32))

        def loss(params):
            zeros, ones = xp.zeros(8), xp.ones(8)
            y, _, _ = xp.batch_norm(x, params["scale"], params["offset"], zeros, ones, training=True)
            return xp.sum(xp.square(y)), ()

        params = {name: xp.asarray(np.ones(8, np.float32)) for name in ("scale", "offset")}
        _, gradients = backend.value_and_grad(loss)(params)
        labels = [launch.kernel.label for launch in planned(list(gradients.values()), runtime.facts)]
        assert any(label.startswith("sum, sum over") for label in labels)


REDUCTIONS = ("sum", "max", "min", "prod", "mean", "argmax", "argmin")
SHAPES = ((3, 4, 5), (70, 9), (9, 70), (2, 3, 33, 4), (5, 1, 6))


@settings(max_examples=12)  # each builds kernels
@given(
    shape=st.sampled_from(SHAPES),
    kinds=st.lists(
        st.tuples(st.sampled_from(REDUCTIONS), st.integers(0, 3), st.integers(0, 5)), min_size=2, max_size=6
    ),
    nan=st.booleans(),
    cpu=st.booleans(),
)
def test_random_reductions_are_right(shape, kinds, nan, cpu):
    """Reductions of two arrays and of what is computed from earlier ones, beside NumPy."""
    from hal import registry
    from hal.backends.opencl.devices import runtime_of
    from hal.contract import Unavailable

    backend = registry.backend("opencl")
    if isinstance(backend.probe(), Unavailable):
        pytest.skip("no OpenCL device")
    device = backend.devices()[0]
    rng = np.random.default_rng(0)
    hosts = [rng.uniform(0.5, 1.5, shape).astype(np.float32).round(2) for _ in range(2)]
    if nan:
        hosts[0].reshape(-1)[::7] = np.nan

    def function(xp, arrays):
        known, found = list(arrays), []
        for kind, axis, source in kinds:
            x = known[source % len(known)]
            y = getattr(xp, kind)(x, axis=axis % len(shape), keepdims=True)
            found.append(y)
            known.append(x + xp.astype(y, xp.float32) * 0.5)
        return tuple(found)

    runtime = runtime_of(device)
    facts, runtime.facts = runtime.facts, runtime.facts if cpu else CARD
    try:
        xp = backend.ops(device)
        run = backend.compile(lambda *arrays: function(xp, arrays), Plan(compile="default").resolve(device))
        found = [backend.to_host(y) for y in run(*(backend.from_host(host, device) for host in hosts))]
    finally:
        runtime.facts = facts
    for one, other in zip(found, function(np, hosts), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4)
