"""Which data a user's module takes, from its example inputs or else from its first layer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, get_args

from torch import nn

from hal.data import Kind, Wanted
from hal.errors import ConfigError
from hal.torch.datasets import EXAMPLES, batch_of
from hal.torch.user_code import UserCode

__all__ = ["fitting_data", "wanted_of"]

_FEWEST_PIXELS = 64
"""Those of the smallest images that hal has, 8 by 8."""


def wanted_of(code: UserCode, net: nn.Module) -> Wanted:
    """The kind and shape of data for a module; a size of 0 is left to the data.

    Raises:
        ConfigError: neither says it, or no data of hal's are such.
    """
    found = fitting_data(code, net)
    if found is None:
        fix = "leave data= out"
        fix += ", or define data() in its file to train on your own samples" if code.data is None else ""
        raise ConfigError(f"model={code.name} takes {_described(code)}, which no data= gives", fix=fix)
    return found


def fitting_data(code: UserCode, net: nn.Module) -> Wanted | None:
    """As :func:`wanted_of`; None where no data of hal's are such."""
    if code.example_inputs is not None:
        found = _of_example(batch_of(code.examples(2), EXAMPLES)["inputs"])
    else:
        found = _of_layers(net)
    if found is not None or code.data is not None or code.example_inputs is not None:
        return found
    raise ConfigError(
        f"the shape of the inputs of model={code.name} is not known",
        fix="define example_inputs(batch) in its file, which returns inputs for that many samples: a tensor, or a "
        "tuple or dict of tensors",
    )


def _described(code: UserCode) -> str:
    if code.example_inputs is None:
        return "the samples of its data()"
    inputs = batch_of(code.examples(2), EXAMPLES)["inputs"]
    if isinstance(inputs, Mapping):
        return f"{len(inputs)} inputs ({', '.join(inputs)})" if len(inputs) > 1 else f"{next(iter(inputs))} by name"
    return f"inputs of shape (batch, {', '.join(map(str, inputs.shape[1:]))}), {inputs.dtype}"


def _of_example(inputs: Any) -> Wanted | None:
    if isinstance(inputs, Mapping):
        first = next(iter(inputs.values()))
        return Wanted("text", (first.shape[1],)) if list(inputs) == ["input_ids"] else None
    if inputs.dtype.kind in "iu":
        return Wanted("text", (inputs.shape[1],)) if inputs.ndim == 2 else None
    if inputs.ndim == 4:
        return Wanted("image", (inputs.shape[2], inputs.shape[3], inputs.shape[1]))
    if inputs.ndim == 3:
        return Wanted("sequence", (inputs.shape[1], inputs.shape[2]))
    return Wanted("vector", (inputs.shape[1],)) if inputs.ndim == 2 else None


def _of_layers(net: nn.Module) -> Wanted | None:
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            return _guess("image", (0, 0, layer.in_channels))
        if isinstance(layer, nn.Embedding):
            return _guess("text", (0,))
        if isinstance(layer, nn.RNNBase):
            return _guess("sequence", (0, layer.input_size))
        if isinstance(layer, nn.Linear):
            # As many as the pixels of a square: behind a Flatten, as the first examples of every course have it.
            pixels = math.isqrt(layer.in_features) ** 2 == layer.in_features >= _FEWEST_PIXELS
            return _guess("image", (0, 0, 1)) if pixels else _guess("vector", (layer.in_features,))
    return None


def _guess(kind: Kind, shape: tuple[int, ...]) -> Wanted:
    """What a first layer shows, which the user may know better."""
    others = {other: "example_inputs(batch) to the file of the model" for other in get_args(Kind) if other != kind}
    return Wanted(kind, shape, instead=others)
