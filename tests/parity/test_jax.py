"""What verification found in JAX; skipped where it is not installed. All models: tests/gpu."""

from pathlib import Path

import numpy as np
import pytest
from parity_helpers import CNN

import hal
from hal import ops, registry
from hal.contract import Available
from hal.parity.verdict import verdict
from hal.tensor import namespace

BACKEND = registry.backend("jax")
if not isinstance(BACKEND.probe(), Available):
    pytest.skip("JAX is not installed", allow_module_level=True)


@pytest.mark.slow
def test_they_agree():
    found = hal.verify(**CNN, backends="cpu,jax:cpu:0")
    assert found.agrees, verdict(found.comparisons[0], found.reference)
    assert all(each.off < 1e-4 for each in found.comparisons[0].loss_after)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ResNet", "Encoder"])
def test_gradients_that_are_zero_in_theory_agree(name):
    """Other models and bf16, against formulas that compile nothing: test_cancellation.py."""
    model = f"{Path(__file__).with_name('cancelling_models.py')}:{name}"
    found = hal.verify(model=model, backends="cpu,jax:cpu:0", data="synthetic:60", batch=6, steps=1, seed=1)
    assert found.agrees, verdict(found.comparisons[0], found.reference)


def test_the_gradient_of_a_narrow_bias_is_summed_wide():
    device = next(d for d in BACKEND.devices() if d.kind == "cpu")
    rng = np.random.default_rng(0)
    x, weights = rng.standard_normal((8, 16, 16, 1)), rng.uniform(-1, 1, (8, 16, 16, 4))

    def loss(params, narrow):
        image, kernel, bias = (ops.cast(p, namespace(p).bfloat16) if narrow else p for p in params)
        y = ops.cast(ops.conv2d(image, kernel, bias), namespace(params[0]).float32)
        return ops.sum(y * put(weights)), ()

    def put(array):
        return BACKEND.from_host(array.astype(np.float32), device)

    params = [put(x), put(np.zeros((3, 3, 1, 4))), put(np.zeros(4))]
    wide, narrow = (BACKEND.value_and_grad(loss)(params, each)[1][2] for each in (False, True))
    scale = np.abs(BACKEND.to_host(wide)).max()
    np.testing.assert_allclose(BACKEND.to_host(narrow), BACKEND.to_host(wide), atol=0.005 * scale)
