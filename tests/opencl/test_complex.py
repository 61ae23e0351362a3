"""Complex numbers on OpenCL, beside NumPy."""

import numpy as np
import pytest

from hal.contract.plan import Plan
from hal.errors import UnsupportedError

ONE = """acos acosh asin asinh atan atanh conj cos cosh exp expm1 log log10 log1p log2 negative positive reciprocal
round sign sin sinh sqrt square tan tanh abs real imag isfinite isinf isnan""".split()
TWO = "add subtract multiply divide pow equal not_equal".split()
PARTS = np.array([-3.0, -1.5, -0.5, -0.0, 0.0, 0.25, 1.0, 2.5], np.float32)


def grid(parts=PARTS):
    return (parts[:, None] + 1j * parts[None, :]).astype(np.complex64).reshape(-1)


@pytest.mark.parametrize("name", ONE)
def test_functions_of_one(backend, device, xp, name):
    z = grid()
    if name in ("reciprocal", "log", "log2", "log10"):
        z = z[z != 0]
    if name in ("log1p", "atanh", "atan"):  # poles
        z = z[(np.abs(np.abs(z.real) - 1) > 1e-3) | (z.imag != 0)]
        z = z[(np.abs(np.abs(z.imag) - 1) > 1e-3) | (z.real != 0)]
    found = backend.to_host(getattr(xp, name)(backend.from_host(z, device)))
    wanted = np.sign(z) if name == "sign" else getattr(np, name)(z)
    assert found.dtype == wanted.dtype
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", TWO)
def test_functions_of_two(backend, device, xp, name):
    a, b = np.meshgrid(grid()[3::7], grid()[::5])
    b = np.where(b == 0, 1, b) if name in ("divide", "pow") else b
    a = np.where(a == 0, 1j, a) if name == "pow" else a
    a, b = a.astype(np.complex64), b.astype(np.complex64)
    found = backend.to_host(getattr(xp, name)(backend.from_host(a, device), backend.from_host(b, device)))
    np.testing.assert_allclose(found, getattr(np, name)(a, b), rtol=2e-5, atol=1e-6)


ENDLESS = np.array([-np.inf, -1.0, -0.0, 0.0, 1.0, np.inf, np.nan], np.float32)
# Of NaN beside 0, and of signs that the standard leaves open, implementations differ.
OPEN = {
    "cosh": lambda z: np.isnan(z.real) | np.isnan(z.imag) | (np.isinf(z.imag) & (z.real == 0)),
    "sinh": lambda z: np.isnan(z.real) | np.isnan(z.imag),
    "tanh": lambda z: np.isnan(z.imag) | (np.isinf(z.imag) & (z.real == 0)),
    "expm1": lambda z: ~np.isfinite(z.real),  # where NumPy differs from the standard
    "atan": lambda z: (z.real == 0) & (np.abs(z.imag) == 1),  # poles
    "atanh": lambda z: (z.imag == 0) & (np.abs(z.real) == 1),
}


@pytest.mark.parametrize("name", "exp expm1 log sqrt sinh cosh tanh acos acosh asin asinh atan atanh".split())
def test_endless_parts(backend, device, xp, name):
    """What C99 says of infinite and missing parts, of which the sign of a zero or an infinity may be open."""
    with np.errstate(all="ignore"):
        z = (ENDLESS[:, None] + 1j * 0).astype(np.complex64).repeat(len(ENDLESS), axis=1)
        z.imag = ENDLESS[None, :]
        z = z.reshape(-1)
        z = z[~OPEN[name](z)] if name in OPEN else z
        wanted = getattr(np, name)(z)
    found = backend.to_host(getattr(xp, name)(backend.from_host(z, device)))
    for one, other in ((found.real, wanted.real), (found.imag, wanted.imag)):
        np.testing.assert_allclose(np.abs(one), np.abs(other), rtol=1e-5, err_msg=str(z))


class TestOthers:
    def test_sums_and_products(self, backend, device, xp):
        z = np.random.default_rng(0).standard_normal((3, 5, 4, 2)).astype(np.float32).view(np.complex64)[..., 0]
        x = backend.from_host(z, device)
        for axis in (0, 2, (0, 1), None):
            np.testing.assert_allclose(backend.to_host(xp.sum(x, axis=axis)), z.sum(axis), rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(backend.to_host(xp.prod(x, axis=axis)), z.prod(axis), rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(backend.to_host(xp.mean(x, axis=axis)), z.mean(axis), rtol=1e-4, atol=1e-5)
            assert backend.to_host(xp.any(x, axis=axis)).all()
        np.testing.assert_allclose(backend.to_host(xp.cumulative_sum(x, axis=1)), z.cumsum(1), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(backend.to_host(xp.cumulative_prod(x, axis=1)), z.cumprod(1), rtol=1e-4, atol=1e-5)

    def test_products_of_matrices(self, backend, device, xp):
        rng = np.random.default_rng(0)
        a, b = (rng.standard_normal((6, 6, 2)).astype(np.float32).view(np.complex64)[..., 0] for _ in range(2))
        x, y = backend.from_host(a, device), backend.from_host(b, device)
        np.testing.assert_allclose(backend.to_host(x @ y), a @ b, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(backend.to_host(xp.tensordot(x, y, axes=1)), a @ b, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(backend.to_host(xp.vecdot(x, y)), np.vecdot(a, b), rtol=1e-4, atol=1e-5)

    def test_what_moves(self, backend, device, xp):
        z = grid().reshape(8, 8)
        x = backend.from_host(z, device)
        for found, wanted in (
            (xp.flip(x, axis=0) + 1, np.flip(z, axis=0) + 1),
            (xp.concat([x, x * 2]), np.concatenate([z, z * 2])),
            (xp.where(xp.real(x) > 0, x, 1j), np.where(z.real > 0, z, 1j)),
            (xp.take(x, xp.asarray([3, 1]), axis=1), z[:, [3, 1]]),
            (xp.astype(x, xp.complex128) if "float64" in dir(xp) else x, z),
            (xp.astype(xp.real(x), xp.complex64), z.real + 0j),
        ):
            np.testing.assert_array_equal(backend.to_host(found), wanted)

    @pytest.mark.parametrize("name", ["sort", "argmax", "max", "var"])
    def test_what_has_no_order_is_refused(self, backend, device, xp, name):
        with pytest.raises(UnsupportedError, match="complex numbers"):
            getattr(xp, name)(backend.from_host(grid(), device))

    @pytest.mark.parametrize("name", ["floor", "remainder", "atan2", "less", "maximum"])
    def test_functions_of_real_numbers_are_refused(self, backend, device, xp, name):
        z = backend.from_host(grid(), device)
        with pytest.raises(UnsupportedError, match="complex numbers"):
            getattr(xp, name)(*[z] * (1 if name == "floor" else 2))

    def test_they_do_not_become_real(self, backend, device, xp):
        with pytest.raises(UnsupportedError, match="cannot become float32"):
            xp.astype(backend.from_host(grid(), device), xp.float32)


POINTS = np.array([0.3 + 0.4j, -0.3 + 0.7j, 1 + 1j, -1 - 1j, 0.7 + 0j, 0.3j, -0.4j, 2 + 0.5j])
# Where a function jumps, or has no derivative.
CUTS = {
    "acos": lambda z: (z.imag == 0) & (np.abs(z.real) >= 1),
    "acosh": lambda z: (z.imag == 0) & (z.real <= 1),
    "log": lambda z: (z.imag == 0) & (z.real <= 0),
    "asinh": lambda z: (z.real == 0) & (np.abs(z.imag) >= 1),
}
SMOOTH = """acos acosh asin asinh atan atanh conj cos cosh exp expm1 log log10 log1p log2 negative reciprocal sign
sin sinh sqrt square tan tanh abs real imag""".split()
SMOOTH_OF_TWO = "add subtract multiply divide pow".split()


def slopes(function, z, step=1e-6):
    """DL/da + i dL/db by differences, for the real part of the function plus half its imaginary part."""

    def loss(z):
        y = np.asarray(function(z))
        return y.real + 0.5 * y.imag

    along = (loss(z + step) - loss(z - step)) / (2 * step)
    across = (loss(z + 1j * step) - loss(z - 1j * step)) / (2 * step)
    return along + 1j * across


class TestGradients:
    @pytest.fixture
    def gradient(self, backend, device, xp):
        """The gradient of the same loss on the device, in the type of the points."""
        part = np.float64 if _has_float64(backend, device) else np.float32

        def found(function, z):
            def loss(parts):
                y = function(parts["a"] + 1j * parts["b"])
                imaginary = xp.imag(y) if xp.isdtype(y.dtype, "complex floating") else 0.0
                real = xp.real(y) if xp.isdtype(y.dtype, "complex floating") else y
                return xp.sum(real + 0.5 * imaginary), ()

            parts = {"a": backend.from_host(z.real.astype(part), device)}
            parts["b"] = backend.from_host(z.imag.astype(part), device)
            step = backend.compile(backend.value_and_grad(loss), Plan(compile="default").resolve(device))
            _, gradients = step(parts)
            return backend.to_host(gradients["a"]) + 1j * backend.to_host(gradients["b"])

        return found

    @pytest.mark.parametrize("name", SMOOTH)
    def test_of_functions_of_one(self, xp, gradient, name):
        z = POINTS[~CUTS[name](POINTS)] if name in CUTS else POINTS
        wanted = {"sign": lambda z: z / np.abs(z)}.get(name) or getattr(np, name)
        np.testing.assert_allclose(gradient(getattr(xp, name), z), slopes(wanted, z), rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("name", SMOOTH_OF_TWO)
    def test_of_functions_of_two(self, backend, device, xp, gradient, name):
        own, other = getattr(np, name), 0.6 - 1.2j
        for function, wanted in (
            (lambda z: getattr(xp, name)(z, other), lambda z: own(z, other)),
            (lambda z: getattr(xp, name)(other, z), lambda z: own(other, z)),
        ):
            np.testing.assert_allclose(gradient(function, POINTS), slopes(wanted, POINTS), rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("power", [1, 2, 3, 8])
    def test_of_whole_powers(self, backend, device, xp, gradient, power):
        wanted = slopes(lambda z: z**power, POINTS)
        np.testing.assert_allclose(gradient(lambda z: z**power, POINTS), wanted, rtol=1e-4, atol=1e-5)

    def test_of_sums_and_products(self, xp, gradient):
        def function(z):
            square = xp.reshape(z, (2, 4))
            return xp.matmul(square, xp.permute_dims(square, (1, 0))) + xp.prod(z) + xp.cumulative_sum(z)[-1]

        def wanted(z):
            def loss(z):
                square = z.reshape(2, 4)
                y = square @ square.T + z.prod() + z.sum()
                return (y.real + 0.5 * y.imag).sum()

            step, found = 1e-6, np.zeros(len(z), complex)
            for i in range(len(z)):
                e = np.eye(len(z))[i] * step
                found[i] = (loss(z + e) - loss(z - e)) / (2 * step) + 1j * (loss(z + 1j * e) - loss(z - 1j * e)) / (
                    2 * step
                )
            return found

        np.testing.assert_allclose(gradient(function, POINTS), wanted(POINTS), rtol=1e-4, atol=1e-5)


def _has_float64(backend, device):
    try:
        backend.to_host(backend.from_host(np.ones(1), device))
    except UnsupportedError:
        return False
    return True


def test_a_square_is_exact(backend, xp):
    assert backend.to_host(xp.asarray([1j, 2 + 1j]) ** 2).tolist() == [-1, 3 + 4j]
