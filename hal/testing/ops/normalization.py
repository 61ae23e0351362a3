"""Oracle and cases of :mod:`hal.tensor.ops.normalization`."""

# ruff: noqa: D102 - documented where they are declared, in hal.tensor.ops, with the same arguments
from __future__ import annotations

from typing import Any, Literal

import numpy as np

from hal.contract.device import PRECISIONS
from hal.testing.case import Case, Wrong, floats
from hal.testing.oracle import F64, Functions

__all__ = ["CASES", "WRONG_SHAPES", "Oracle"]

_NORM = frozenset({1, 2, 3, 4})


def _norm(label: str, *shape: int, gradient: bool | Literal["first"] = "first", **kwargs: Any) -> Case:
    c = shape[-1]
    args = (floats(*shape, near=1.0), floats(c), floats(c), floats(c), floats(c, positive=True))
    # The running statistics are no parameters: gradients flow neither into them nor through them.
    return Case(
        "batch_norm",
        label,
        args,
        kwargs,
        axes=("NHWC",) if len(shape) == 4 else (),
        wide=_NORM,
        constant=frozenset({3, 4}),
        result="same,fp32",
        gradient=gradient,
    )


_NORMS = [
    _norm("training", 3, 2, 4, 3, training=True),
    _norm("training-momentum", 6, 3, training=True, momentum=0.5, epsilon=1e-2),
    _norm("training-sequence", 2, 5, 3, training=True),
    # Two values become 1 and -1, whatever they are, so that their gradients are rounding alone.
    _norm("training-two-values", 2, 3, training=True, gradient=False),
    _norm("training-two-pixels", 1, 1, 2, 2, training=True, gradient=False),
    _norm("inference-one-value", 1, 3, training=False),
    _norm("inference", 2, 2, 3, 4, training=False),
    _norm("inference-flat", 3, 4, training=False, epsilon=1e-3),
    _norm("inference-empty-batch", 0, 3, training=False),
    *(
        Case("layer_norm", label, (floats(*shape, near=1.0), floats(shape[-1]), floats(shape[-1])), kwargs, wide=_NORM)
        for label, shape, kwargs in (
            ("flat", (3, 8), {}),
            ("sequence", (2, 3, 5), {"epsilon": 1e-2}),
            ("empty-batch", (0, 4), {}),
        )
    ),
    *(
        Case(
            "group_norm",
            label,
            (floats(*shape, near=1.0), groups, floats(shape[-1]), floats(shape[-1])),
            axes=("NHWC",) if len(shape) == 4 else (),
            wide=_NORM,
            precisions=PRECISIONS if label == "images" else ("fp32",),
        )
        for label, shape, groups in (("images", (2, 2, 3, 4), 2), ("instance", (2, 5, 3), 3), ("empty", (0, 2, 4), 2))
    ),
]

_HARD = [
    Case(
        "layer_norm",
        "hard-offset",
        (floats(2, 6, near=60.0), floats(6), floats(6)),
        wide=_NORM,
        gradient=False,
        precisions=("fp32",),
    ),
    Case(
        "layer_norm",
        "hard-constant",
        (np.full((2, 4), 3, np.float32), floats(4), floats(4)),
        wide=_NORM,
        gradient=False,
    ),
]

CASES = _NORMS + _HARD

WRONG_SHAPES: tuple[Wrong, ...] = (
    ("batch_norm", ((2, 3), (3,), (3,), (2,), (3,)), {"training": True}, "mean of shape (2,), but mean must be (3,)"),
    ("batch_norm", ((1, 3), *(((3,),) * 4)), {"training": True}, "1 value for each channel"),
    ("batch_norm", ((1, 1, 1, 2), *(((2,),) * 4)), {"training": True}, "a mean and a variance need at least two"),
    ("batch_norm", ((0, 3), *(((3,),) * 4)), {"training": True}, "0 values for each channel"),
    ("layer_norm", ((2, 3), (3,), (2,)), {}, "offset of shape (2,), but offset must be (3,)"),
    ("group_norm", ((2, 3), 2, (3,), (3,)), {}, "the channels must be a multiple of groups"),
    ("group_norm", ((2, 4), 2, (4,), (2,)), {}, "offset of shape (2,), but offset must be (4,)"),
)


class Oracle(Functions):
    """Statistics of a batch or of a row."""

    def batch_norm(
        self,
        x: F64,
        scale: F64,
        offset: F64,
        mean: F64,
        variance: F64,
        *,
        training: bool,
        momentum: float = 0.9,
        epsilon: float = 1e-5,
    ) -> tuple[F64, F64, F64]:
        use_mean, use_variance, next_mean, next_variance = mean, variance, mean, variance
        if training:
            rows = x.reshape(-1, x.shape[-1])
            use_mean, use_variance = rows.mean(axis=0), rows.var(axis=0)
            unbiased = rows.var(axis=0, ddof=1)
            next_mean = momentum * mean + (1 - momentum) * use_mean
            next_variance = momentum * variance + (1 - momentum) * unbiased
        y = scale * (x - use_mean) / np.sqrt(use_variance + epsilon) + offset
        return y, next_mean, next_variance

    def layer_norm(self, x: F64, scale: F64, offset: F64, *, epsilon: float = 1e-5) -> F64:
        deviation = np.sqrt(x.var(axis=-1, keepdims=True) + epsilon)
        return np.asarray(scale * (x - x.mean(axis=-1, keepdims=True)) / deviation + offset)

    def group_norm(self, x: F64, groups: int, scale: F64, offset: F64, *, epsilon: float = 1e-5) -> F64:
        y = np.zeros_like(x)
        share = x.shape[-1] // groups
        for sample, group in np.ndindex(x.shape[0], groups):
            part = x[sample, ..., group * share : (group + 1) * share]
            y[sample, ..., group * share : (group + 1) * share] = (part - part.mean()) / np.sqrt(part.var() + epsilon)
        return y * scale + offset
