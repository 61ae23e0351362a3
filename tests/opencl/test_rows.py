"""Kernels that compute several reductions of the same rows, and what follows from them."""

import numpy as np
import pytest

from hal.contract.plan import Plan

ROWS = 5


def softmax(xp, x):
    return xp.softmax(x)


def cross_entropy(xp, x):
    return xp.cross_entropy(x, xp.asarray(np.arange(x.shape[0]) % max(x.shape[1], 1)))


def layer_norm(xp, x):
    scale = np.linspace(1, 2, x.shape[1]).astype(np.float32)
    return xp.layer_norm(x, xp.asarray(scale), xp.asarray(scale / 2))


def shares(xp, x):
    return x / xp.sum(xp.abs(x), axis=-1, keepdims=True)


FUNCTIONS = (softmax, cross_entropy, layer_norm, shares)


def planned(roots, runtime, *, fuse=True):
    from hal.backends.opencl.schedule import schedule

    return schedule(roots, runtime.facts, fuse=fuse).launches


def computed(backend, arrays, *, fuse):
    from hal.backends.opencl.execution import realize

    realize(arrays, fuse=fuse)
    return [backend.to_host(array) for array in arrays]


def rows_of(length, kind=np.float32, rows=ROWS):
    return (3 * np.random.default_rng(length).standard_normal((rows, length))).astype(kind)


class TestLaunches:
    """What is computed in one launch."""

    @pytest.mark.parametrize("function", FUNCTIONS)
    @pytest.mark.parametrize("length", [7, 64])
    def test_one(self, xp, runtime, function, length):
        y = function(xp, xp.asarray(rows_of(length)))
        assert len(planned([y], runtime)) == 1
        assert len(planned([y], runtime, fuse=False)) > 2

    def test_it_reads_and_writes_each_array_once(self, xp, runtime):
        x = xp.asarray(rows_of(64))
        (launch,) = planned([xp.softmax(x)], runtime)
        assert [place.nbytes for place in launch.places] == [x.nbytes, x.nbytes]

    def test_products_keep_what_follows_from_them(self, xp, runtime):
        x = xp.asarray(rows_of(8, rows=8))
        y = x @ x + xp.sum(x, axis=-1, keepdims=True)
        assert [launch.kernel.label for launch in planned([y], runtime)] == [
            "sum over 1 axes",
            planned([x @ x + 1], runtime)[0].kernel.label,
        ]

    def test_other_rows_are_apart(self, backend, xp, runtime):
        """Sums that are read for other rows than those that they were taken of."""
        host = rows_of(ROWS)
        for function in (
            lambda x, total: x / total,
            lambda x, total: x - total[::-1, None],
            lambda x, total: x * (total[:, None] + total[None, :]),
        ):
            x, expected = xp.asarray(host), function(host, host.sum(-1))
            y = function(x, xp.sum(x, axis=-1))
            assert len(planned([y], runtime)) == 2
            np.testing.assert_allclose(backend.to_host(y), expected, rtol=1e-5, atol=1e-5)

    def test_long_rows_and_few_rows_are_apart(self, xp, runtime):
        too_long = runtime.facts.longest_row + 1
        assert len(planned([xp.softmax(xp.ones((2000, too_long)))], runtime)) == 3
        assert len(planned([xp.softmax(xp.ones((1, 16000)))], runtime)) == 1
        assert all("rows" not in each.kernel.label for each in planned([xp.softmax(xp.ones((3, 16000)))], runtime))

    @pytest.mark.parametrize(("cache", "most"), [(0, 16384), (1 << 18, 8192), (1 << 20, 32768)])
    def test_how_long_follows_from_the_cache(self, xp, cache, most):
        from hal.backends.opencl.codegen.kernel import Facts
        from hal.backends.opencl.schedule import schedule

        facts = Facts(cpu=True, units=2, local_size=64, local_bytes=cache)
        for length, count in ((most, 1), (most + 1, 3)):
            assert len(schedule([xp.softmax(xp.ones((2000, length)))], facts, fuse=True).launches) == count

    def test_two_groups_do_not_wait_for_each_other(self, backend, xp, runtime):
        """Each of two would be a launch, if it did not read what the other one writes."""
        a, b = (rows_of(length, rows=4) for length in (8, 9))
        x, y = xp.asarray(a), xp.asarray(b)
        first, second = xp.sum(x, axis=1, keepdims=True), xp.sum(y, axis=1, keepdims=True)
        roots = [x / first + second[::-1], y / second + first[::-1]]
        expected = [
            a / a.sum(1, keepdims=True) + b.sum(1, keepdims=True)[::-1],
            b / b.sum(1, keepdims=True) + a.sum(1, keepdims=True)[::-1],
        ]
        for found, right in zip(computed(backend, roots, fuse=True), expected, strict=True):
            np.testing.assert_allclose(found, right, rtol=1e-4, atol=1e-4)


class TestValues:
    """The same values as one function at a time."""

    @pytest.mark.parametrize("function", FUNCTIONS)
    @pytest.mark.parametrize("kind", [np.float32, np.float16])
    def test_gradients(self, backend, device, xp, function, kind):
        def run(mode, host):
            def loss(x, weights):
                y = function(xp, x)
                return xp.sum(xp.cast(y, weights.dtype) * xp.cast(weights, weights.dtype)), y

            step = backend.compile(backend.value_and_grad(loss), Plan(compile=mode).resolve(device))
            shape = (ROWS,) if function is cross_entropy else host.shape
            weights = np.linspace(-1, 1, ROWS * host.shape[1]).reshape(host.shape)
            weights = weights[:, :1].reshape(shape) if function is cross_entropy else weights
            (_, y), gradient = step(*(backend.from_host(a, device) for a in (host, weights.astype(np.float32))))
            return backend.to_host(y), backend.to_host(gradient)

        rough, lengths = (1e-5, (1, 7, 64, 1000)) if kind is np.float32 else (5e-3, (1, 7, 1000))
        for length in lengths:
            host = rows_of(length, kind)
            for found, expected in zip(run("default", host), run("eager", host), strict=True):
                assert found.dtype == expected.dtype
                np.testing.assert_allclose(found, expected, rtol=rough, atol=rough, err_msg=str(length))

    @pytest.mark.parametrize("function", FUNCTIONS)
    def test_no_rows(self, backend, xp, function):
        assert backend.to_host(function(xp, xp.asarray(np.ones((0, 4), np.float32)))).size == 0

    @pytest.mark.parametrize("function", [layer_norm, shares])
    def test_empty_rows(self, backend, xp, function):
        assert backend.to_host(function(xp, xp.asarray(np.ones((4, 0), np.float32)))).shape == (4, 0)

    def test_nan_and_infinity(self, backend, xp):
        host = rows_of(64)
        host[0, 3], host[1, 40], host[2] = np.nan, np.inf, -np.inf
        found, expected = (computed(backend, [xp.softmax(xp.asarray(host))], fuse=fuse) for fuse in (True, False))
        np.testing.assert_allclose(found, expected, rtol=1e-5)

    def test_integers(self, backend, xp, runtime):
        host = np.random.default_rng(0).integers(-50, 50, (6, 40))
        x = xp.asarray(host)
        y = (
            x
            - xp.min(x, axis=1, keepdims=True)
            + xp.max(x, axis=1, keepdims=True) * xp.prod(x % 2 + 1, axis=1)[:, None]
        )
        assert len(planned([y], runtime)) == 1
        expected = host - host.min(1, keepdims=True) + host.max(1, keepdims=True) * (host % 2 + 1).prod(1)[:, None]
        np.testing.assert_array_equal(backend.to_host(y), expected)

    def test_shapes_between_the_rows(self, backend, xp, runtime):
        """Axes of size 1, rows of several axes, and results in another shape."""
        host = rows_of(24).reshape(ROWS, 2, 1, 12)
        x = xp.asarray(host)
        e = xp.exp(x - xp.max(x, axis=3, keepdims=True))
        y = xp.reshape(e, (ROWS * 2, 3, 4)) / xp.reshape(xp.sum(e, axis=(2, 3)), (ROWS * 2, 1, 1))
        assert len(planned([y], runtime)) == 1
        right = np.exp(host - host.max(3, keepdims=True))
        np.testing.assert_allclose(
            backend.to_host(y), (right / right.sum(3, keepdims=True)).reshape(-1, 3, 4), rtol=1e-5
        )


class TestReadElsewhere:
    """Results of the rows that other kernels read, or the caller."""

    @pytest.mark.usefixtures("poisoned")
    def test_reductions_are_written_as_well(self, backend, xp, runtime):
        host = rows_of(64)
        x = xp.asarray(host)
        largest = xp.max(x, axis=-1, keepdims=True)
        e = xp.exp(x - largest)
        total = xp.sum(e, axis=-1, keepdims=True)
        roots = [e / total, largest, xp.sum(total, axis=0), xp.sort(xp.reshape(total, (ROWS,)))]
        labels = [launch.kernel.label for launch in planned(roots, runtime)]
        assert labels[0] == "max, sum of rows of 64"
        assert sum("rows" in label for label in labels) == 1
        m = host.max(-1, keepdims=True)
        s = np.exp(host - m).sum(-1, keepdims=True)
        for found, right in zip(
            computed(backend, roots, fuse=True), (np.exp(host - m) / s, m, s.sum(0), np.sort(s[:, 0])), strict=True
        ):
            np.testing.assert_allclose(found, right, rtol=1e-5)

    def test_what_is_computed_from_a_result_and_read_again_needs_two_launches(self, backend, xp, runtime):
        host = rows_of(16, rows=16)
        x = xp.asarray(host)
        first = xp.sum(x, axis=1, keepdims=True)
        mixed = xp.cumulative_sum(first, axis=0)  # a kernel of its own
        y = x / xp.sum(x * first, axis=1, keepdims=True) + mixed
        labels = [launch.kernel.label for launch in planned([y], runtime)]
        assert len(labels) == 3
        s = host.sum(1, keepdims=True)
        expected = host / (host * s).sum(1, keepdims=True) + s.cumsum(0)
        np.testing.assert_allclose(backend.to_host(y), expected, rtol=1e-4, atol=1e-4)


class TestCards:
    """What is generated for devices that are no processors, where a work-item computes a row."""

    @pytest.mark.parametrize("function", FUNCTIONS)
    def test_one_launch(self, backend, xp, runtime, monkeypatch, function):
        from hal.backends.opencl.codegen.kernel import Facts

        monkeypatch.setattr(runtime, "facts", Facts(cpu=False, units=2, local_size=64))
        for length in (7, 64):
            host = rows_of(length, rows=70)
            y = function(xp, xp.asarray(host))
            (launch,) = planned([y], runtime)
            assert launch.kernel.items == (128,)
            (found,) = computed(backend, [y], fuse=True)
            (expected,) = computed(backend, [function(xp, xp.asarray(host))], fuse=False)
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)

    def test_few_rows_are_apart(self, xp, runtime):
        """A large card would be idle if each row were one work-item."""
        from hal.backends.opencl.codegen.kernel import Facts
        from hal.backends.opencl.schedule import schedule

        y = xp.softmax(xp.ones((1000, 512)))
        facts = Facts(cpu=False, units=36, local_size=256)
        assert not any("rows" in each.kernel.label for each in schedule([y], facts, fuse=True).launches)
