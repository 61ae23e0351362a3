"""Results that take over the memory of donated arguments, and of arrays on the way."""

import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hal.contract.plan import Plan
from hal.errors import UnsupportedError

LENGTH = 6


def compiled(backend, device, fn, donate=(0,)):
    return backend.compile(fn, Plan(compile="default").resolve(device), donate=donate)


def momentum(xp):
    def step(carry, x):
        velocity = 0.9 * carry["v"] + x * carry["p"]
        return {"p": carry["p"] - 0.1 * velocity, "v": velocity}, xp.sum(velocity)

    return step


def arrays(backend, device, *values):
    return [backend.from_host(np.full((3, LENGTH), value, np.float32), device) for value in values]


class TestDonated:
    @pytest.mark.usefixtures("poisoned")
    def test_a_step_writes_where_its_arguments_are(self, backend, device, xp, runtime):
        p, v, x = arrays(backend, device, 1.0, 0.0, 2.0)
        addresses = [each.storage.buffer.int_ptr for each in (p, v)]
        step = compiled(backend, device, momentum(xp))
        carry, value = step({"p": p, "v": v}, x)
        held = runtime.allocated_bytes
        for _ in range(3):
            carry, value = step(carry, x)
        assert [carry[name].storage.buffer.int_ptr for name in "pv"] == addresses
        assert runtime.allocated_bytes == held
        wanted, speed = np.ones((3, LENGTH)), np.zeros((3, LENGTH))
        for _ in range(4):
            speed = 0.9 * speed + 2 * wanted
            wanted = wanted - 0.1 * speed
        np.testing.assert_allclose(backend.to_host(carry["p"]), wanted, rtol=1e-5)
        np.testing.assert_allclose(float(value), speed.sum(), rtol=1e-5)

    def test_what_was_donated_is_refused(self, backend, device, xp):
        p, v, x = arrays(backend, device, 1.0, 0.0, 2.0)
        compiled(backend, device, momentum(xp))({"p": p, "v": v}, x)
        for use in (lambda: p.tolist(), lambda: (p + x).tolist(), lambda: compiled(backend, device, abs, ())(p)):
            with pytest.raises(UnsupportedError, match="donated to a compiled function"):
                use()
        assert x.tolist() == np.full((3, LENGTH), 2.0).tolist()

    def test_without_donation_arguments_stay(self, backend, device, xp):
        p, v, x = arrays(backend, device, 1.0, 0.0, 2.0)
        compiled(backend, device, momentum(xp), donate=())({"p": p, "v": v}, x)
        assert p.tolist() == np.full((3, LENGTH), 1.0).tolist()


class TestShared:
    """Memory that something else needs is copied."""

    def test_one_array_twice(self, backend, device, xp):
        (p, x) = arrays(backend, device, 1.0, 2.0)
        carry, _ = compiled(backend, device, momentum(xp))({"p": p, "v": p}, x)
        np.testing.assert_allclose(backend.to_host(carry["v"]), 2.9, rtol=1e-6)
        np.testing.assert_allclose(backend.to_host(carry["p"]), 0.71, rtol=1e-6)

    def test_one_array_donated_and_not(self, backend, device, xp):
        (p, v) = arrays(backend, device, 1.0, 3.0)
        carry, _ = compiled(backend, device, momentum(xp))({"p": p, "v": v}, p)
        np.testing.assert_allclose(backend.to_host(carry["v"]), 3.7, rtol=1e-6)
        assert p.tolist() == np.full((3, LENGTH), 1.0).tolist()

    def test_another_array_with_the_same_memory(self, backend, device, xp):
        p, v, x = arrays(backend, device, 1.0, 0.0, 2.0)
        flat = xp.reshape(p, (-1,))
        assert flat.tolist() == [1.0] * 3 * LENGTH
        compiled(backend, device, momentum(xp))({"p": p, "v": v}, x)
        assert flat.tolist() == [1.0] * 3 * LENGTH

    def test_a_value_that_nobody_asked_for_yet(self, backend, device, xp):
        p, v, x = arrays(backend, device, 1.0, 0.0, 2.0)
        later = xp.sum(xp.square(p + 1))
        compiled(backend, device, momentum(xp))({"p": p, "v": v}, x)
        assert float(later) == 12 * LENGTH

    def test_a_constant_of_another_compiled_function(self, backend, device, xp):
        p, v, x = arrays(backend, device, 1.0, 0.0, 2.0)
        scaled = compiled(backend, device, lambda x: x * p, donate=())
        assert scaled(x).tolist() == x.tolist()
        compiled(backend, device, momentum(xp))({"p": p, "v": v}, x)
        assert scaled(x).tolist() == x.tolist()

    def test_results_that_share_memory(self, backend, device, xp):
        """Two names of one result, donated to the next call."""
        p, v, x = arrays(backend, device, 1.0, 0.0, 2.0)
        twice = compiled(backend, device, lambda carry: {"p": carry["p"] + 1, "v": carry["p"] + 1})
        carry = {"p": p, "v": v}
        for _ in range(3):
            carry = twice(carry)
        carry, _ = compiled(backend, device, momentum(xp))(carry, x)
        np.testing.assert_allclose(backend.to_host(carry["v"]), 0.9 * 4 + 8, rtol=1e-6)


SIMPLE = {
    "add": lambda xp, a, b: a + b,
    "twice": lambda xp, a, b: a * 0.5 - b,
    "tanh": lambda xp, a, b: xp.tanh(a) + 0.1 * b,
    "flip": lambda xp, a, b: xp.flip(a, axis=1) + b,
    "roll": lambda xp, a, b: a * 0.5 + xp.roll(b, 1, axis=0),
    "cut": lambda xp, a, b: a + b[1:2, 2:3] * 0.5,
    "mean": lambda xp, a, b: a - xp.mean(b, axis=0),
    "sums": lambda xp, a, b: xp.cumulative_sum(a, axis=1) * 0.2 + b,
    "product": lambda xp, a, b: xp.matmul(a, xp.permute_dims(b, (1, 0))) @ b * 0.1,
    "same": lambda xp, a, b: b,
}
STEP = st.tuples(st.sampled_from(sorted(SIMPLE)), st.integers(0, 9), st.integers(0, 9))


@settings(max_examples=12)  # each builds kernels
@given(steps=st.lists(STEP, min_size=1, max_size=8), outputs=st.lists(st.integers(0, 9), min_size=3, max_size=3))
def test_random_steps_compute_the_same(steps, outputs):
    """Two calls in a row of a function whose three results take over what they can, beside NumPy."""
    from hal import registry
    from hal.contract import Unavailable

    backend = registry.backend("opencl")
    if isinstance(backend.probe(), Unavailable):
        pytest.skip("no OpenCL device")
    device = backend.devices()[0]
    xp = backend.ops(device)

    def step(xp, carry, x):
        known = [*carry, x]
        for name, a, b in steps:
            known.append(SIMPLE[name](xp, known[a % len(known)], known[b % len(known)]))
        return tuple(known[len(known) - 1 - number % len(known)] for number in outputs)

    host = [np.random.default_rng(seed).uniform(-1, 1, (3, LENGTH)).astype(np.float32) for seed in range(4)]
    run = compiled(backend, device, lambda carry, x: step(xp, carry, x))
    carry, x = tuple(backend.from_host(each, device) for each in host[:3]), backend.from_host(host[3], device)
    wanted = tuple(host[:3])
    for _ in range(2):
        carry, wanted = run(carry, x), step(Numpy, wanted, host[3])
        for one, other in zip(carry, wanted, strict=True):
            np.testing.assert_allclose(backend.to_host(one + 0), other, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(backend.to_host(x), host[3])


class Numpy:
    """NumPy's functions by the names of the standard, of the version that is here."""

    tanh, flip, roll, mean, matmul = np.tanh, np.flip, np.roll, np.mean, np.matmul

    @staticmethod
    def cumulative_sum(x, axis):
        return np.cumsum(x, axis=axis)

    @staticmethod
    def permute_dims(x, axes):
        return np.transpose(x, axes)


class TestFailures:
    def test_a_failure_before_anything_is_overwritten_leaves_arguments(self, backend, device, xp, runtime, monkeypatch):
        p, v, x = arrays(backend, device, 1.0, 0.0, 2.0)
        step = compiled(backend, device, momentum(xp))
        step({"p": p + 0, "v": v + 0}, x)

        def fails(nbytes):
            raise MemoryError

        with monkeypatch.context() as patch:
            patch.setattr(runtime, "allocate", fails)
            with pytest.raises(MemoryError):
                step({"p": p, "v": p}, x)  # which needs a copy
        assert p.tolist() == np.full((3, LENGTH), 1.0).tolist()
        carry, _ = step({"p": p, "v": v}, x)
        np.testing.assert_allclose(backend.to_host(carry["p"]), 0.8, rtol=1e-6)

    def test_threads_that_compute_do_not_disturb_a_step(self, backend, device, xp):
        """One thread makes arrays while another one runs a step with donated arguments."""
        p, v, x = arrays(backend, device, 1.0, 0.0, 0.0)
        step, stop, failed = compiled(backend, device, momentum(xp)), threading.Event(), []

        def others():
            while not stop.is_set():
                try:
                    y = xp.ones((4,)) + x[0, :4]
                    assert y.tolist() == [1.0] * 4
                except Exception as error:  # noqa: BLE001
                    failed.append(error)
                    return

        threads = [threading.Thread(target=others) for _ in range(2)]
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            for thread in threads:
                thread.start()
            carry = {"p": p, "v": v}
            for _ in range(200):
                carry, value = step(carry, x)
            assert float(value) == 0
        finally:
            stop.set()
            for thread in threads:
                thread.join()
            sys.setswitchinterval(interval)
        assert not failed
        assert carry["p"].tolist() == np.full((3, LENGTH), 1.0).tolist()
