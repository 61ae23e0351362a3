"""The ops of the neutral tensor API, by family: one file each, with the checks and the default of every op in it.

An op is a public method. It checks its arguments once and calls the hook of the same name with an underscore, which
gets explicit values (pairs, four paddings) and shapes that fit. A hook's default is written in the Array API standard
and in other ops; a backend overrides the hooks that its libraries do better, and never the public method.

``OPS`` lists the names of all ops.
"""

from __future__ import annotations

import inspect
from typing import Any

from hal.errors import UnsupportedError
from hal.tensor.ops.activations import Activations
from hal.tensor.ops.arrays import Arrays
from hal.tensor.ops.attention import Attention
from hal.tensor.ops.convolution import Convolution
from hal.tensor.ops.images import Images
from hal.tensor.ops.indexing import Indexing
from hal.tensor.ops.layers import Layers
from hal.tensor.ops.losses import Losses
from hal.tensor.ops.normalization import Normalization
from hal.tensor.ops.pooling import Pooling
from hal.tensor.ops.products import Products
from hal.tensor.ops.random import Random
from hal.tensor.ops.recurrence import Recurrence

__all__ = ["OPS", "Ops"]


class Ops(
    Convolution,
    Pooling,
    Images,
    Recurrence,
    Attention,
    Layers,
    Products,
    Normalization,
    Losses,
    Activations,
    Indexing,
    Random,
    Arrays,
):
    """Tensor functions of one backend: the Array API standard, plus what neural networks need.

    Conventions: images (batch, height, width, channels); convolution kernels (height, width, in, out); sequences
    (batch, time, features). Results have the dtype of the first argument, except for the losses, which are fp32, or
    float64 where that is given. Where a definition leaves a choice (derivatives at kinks, equal values, masked rows,
    labels outside of the classes), docs/numerics.md says which one is made; the conformance suite holds all backends
    to it.

    Args:
        standard: a namespace of the Array API standard (2024.12) whose functions can be differentiated.
        device: what creation functions get as ``device=`` unless the caller says otherwise; None: nothing.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        """Refuse a backend that overrides an op instead of its hook.

        Raises:
            UnsupportedError: the class defines or inherits a method in place of an op of hal.
        """
        super().__init_subclass__(**options)
        for name in OPS:
            if getattr(cls, name) is not getattr(Ops, name):
                raise UnsupportedError(
                    f"{cls.__qualname__} overrides the op {name}, so that the op's arguments would not be checked",
                    fix=f"override the hook _{name} instead; it takes the arguments of hal.tensor.Ops._{name}",
                )


OPS: tuple[str, ...] = tuple(sorted(name for name, _ in inspect.getmembers(Ops, inspect.isfunction) if name[0] != "_"))
"""The name of each op: every public method of :class:`Ops`."""
