"""Random modules are translated right or refused, and none is wrong. HAL_MODULES=200 tries so many."""

import os

import pytest
from random_modules import random_module

from hal.errors import UnsupportedError
from hal.torch.capture import capture
from hal.torch.comparison import compare

COUNT = int(os.environ.get("HAL_MODULES", "16"))


@pytest.mark.parametrize("seed", range(COUNT))
def test_right_or_refused(seed):
    module, args, training = random_module(seed)
    try:
        graph = capture(module, args, {}, training=training)
    except UnsupportedError as error:
        pytest.skip(f"refused: {error.message}")
    compare(module, graph, args, {}, training=training)
