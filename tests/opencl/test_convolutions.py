"""Convolutions with strides, forwards and backwards, against another backend's."""

import numpy as np
import pytest

from hal import registry
from hal.contract.plan import Plan

CASES = [
    ("conv2d", (9, 8), (5, 4), (2, 3), "same"),
    ("conv2d", (7, 6), (2, 1), (3, 2), "valid"),
    ("conv2d_transpose", (4, 3), (5, 4), (2, 3), "same"),
    ("conv2d_transpose", (3, 5), (2, 5), (3, 2), "valid"),
    ("conv2d_transpose", (5, 4), (5, 3), (1, 1), "same"),
]
"""Function, image, kernel, strides, padding: kernels longer and shorter than strides, and no multiples of them."""


@pytest.mark.parametrize(("name", "image", "window", "strides", "padding"), CASES)
def test_values_and_gradients(backend, device, name, image, window, strides, padding):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, *image, 3)).astype(np.float32)
    k = rng.standard_normal((*window, 3, 4)).astype(np.float32)

    def computed(backend, device):
        xp = backend.ops(device)

        def loss(p):
            y = getattr(xp, name)(p["x"], p["k"], strides=strides, padding=padding)
            return xp.sum(y * y * y), y

        given = {"x": backend.from_host(x, device, axes="NHWC"), "k": backend.from_host(k, device, axes="HWIO")}
        step = backend.compile(backend.value_and_grad(loss), Plan().resolve(device))
        (_, y), gradients = step(given)
        return [backend.to_host(found) for found in (y, gradients["x"], gradients["k"])]

    other = registry.backend("cpu")
    for found, expected in zip(computed(backend, device), computed(other, other.devices()[0]), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)


def test_no_result_is_computed_that_is_cut_off(backend, device, xp, runtime):
    """One that doubles an image multiplies by 3 x 3 elements of a kernel of 5 x 5 for each pixel of the result."""
    from hal.backends.opencl.schedule import schedule

    x, k = (xp.asarray(np.ones(shape, np.float32)) for shape in ((2, 7, 7, 8), (5, 5, 8, 4)))
    y = xp.conv2d_transpose(x, k, strides=2, padding="same")
    flops = sum(launch.kernel.flops for launch in schedule([y], runtime.facts, fuse=True).launches)
    assert flops == 2 * (2 * 7 * 7) * (3 * 3 * 8) * (2 * 2 * 4)
