"""Recurrent layers of PyTorch keep for a backward pass only what one may read."""

import numpy as np
import pytest
import torch

import hal
from hal import ops

LAYERS = {"lstm": (4, ("lstm",)), "gru": (3, ("gru",)), "rnn": (1, ("rnn_tanh", "rnn_relu"))}


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("differentiated", [False, True])
def test_a_layer_keeps_for_a_backward_pass_where_an_input_has_gradients(kind, differentiated, monkeypatch):
    gates, names = LAYERS[kind]
    flags = []
    for name in names:
        own = getattr(torch, name)

        def function(x, *rest, own=own):
            flags.append((rest[5], torch.is_grad_enabled()))
            return own(x, *rest)

        monkeypatch.setattr(torch, name, function)
    xp = hal.device("cpu").xp
    x, state = (xp.asarray(np.ones(shape, np.float32)) for shape in ((2, 3, 4), (2, 5)))
    weights = [xp.asarray(np.ones(shape, np.float32)) for shape in ((4, 5 * gates), (5, 5 * gates), (5 * gates,))]
    if kind == "gru":
        weights.append(weights[-1])
    weights[0].requires_grad_(differentiated)
    ys, _ = getattr(ops, kind)(x, (state, state) if kind == "lstm" else state, *weights)
    assert flags == [(differentiated, differentiated)]
    assert ys.requires_grad == differentiated
