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

    def test_a_gradient_through_complex_numbers(self, backend, device, xp):
        """Of |exp(ix) + x|^2, with respect to the real x."""

        def loss(x):
            z = xp.exp(1j * x) + x
            return xp.sum(xp.square(xp.real(z)) + xp.square(xp.imag(z))), ()

        host = np.linspace(-2, 2, 7).astype(np.float32)
        step = backend.compile(backend.value_and_grad(loss), Plan(compile="default").resolve(device))
        (value, _), gradient = step(backend.from_host(host, device))
        np.testing.assert_allclose(float(value), (np.abs(np.exp(1j * host) + host) ** 2).sum(), rtol=1e-5)
        np.testing.assert_allclose(
            backend.to_host(gradient), 2 * np.cos(host) - 2 * host * np.sin(host) + 2 * host, rtol=1e-4, atol=1e-5
        )

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
