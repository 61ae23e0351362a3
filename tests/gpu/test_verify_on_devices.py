"""Each card computes what the processor does, op by op; needs a device."""

import pytest

import hal
from hal.parity.verdict import verdict

IMAGES = {"data": "digits", "batch": 8}
MODELS = {
    "cnn": {"model": {"name": "cnn", "filters": [8, 8], "dense": 16, "size": 20}, **IMAGES},
    "text": {"model": {"name": "rnn", "units": 16, "embedding": 8, "length": 16}},
    # Few rows: cards that are made of the processor add up the gradients of a normalization in bf16, real ones in fp32.
    "transformer": {
        "model": {"name": "transformer", "layers": 2, "width": 16, "key_heads": 2, "length": 8},
        "batch": 2,
    },
    "gan": {"model": {"name": "gan", "size": 20, "width": 8}, **IMAGES},
    "transfer": {
        "model": {"name": "transfer", "weights": "random", "size": 32, "blocks": 3, "unfreeze": 1},
        **IMAGES,
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
@pytest.mark.parametrize("name", MODELS)
def test_it_agrees_with_the_processor(name, precision, device):
    if precision not in device.capabilities.supported_precisions():
        pytest.skip(f"{device.name} does not support {precision}")
    found = hal.verify(**MODELS[name], backends=["cpu", str(device)], precision=precision, steps=2)
    assert found.agrees, verdict(found.comparisons[0], found.reference)
