"""Cases for the part of the neutral API that the Array API standard lacks."""

from __future__ import annotations

from typing import Any

import numpy as np

from hal.testing.case import Case, distinct, floats, unique

__all__ = ["NETWORK_CASES"]

_NORM = frozenset({1, 2, 3, 4})


def _conv(
    label: str, image: tuple[int, ...], kernel: tuple[int, ...], bias: bool = True, op: str = "conv2d", **kwargs: Any
) -> Case:
    args = (floats(*image), floats(*kernel, spread=0.5), floats(kernel[3]) if bias else None)
    axes = ("NHWC", "HWIO" if op == "conv2d" else "HWIO_transpose")
    return Case(op, label, args, kwargs, axes=axes)


def _pool(op: str, label: str, image: tuple[int, ...], window: Any, **kwargs: Any) -> Case:
    return Case(op, label, (distinct(*image), window), kwargs, axes=("NHWC",))


def _norm(label: str, *shape: int, **kwargs: Any) -> Case:
    c = shape[-1]
    args = (floats(*shape, near=1.0), floats(c), floats(c), floats(c), np.abs(floats(c)))
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
        gradient="first",
    )


def _recurrent(op: str, gates: int, label: str, *, state: bool, batch: int = 2, time: int = 4, **kwargs: Any) -> Case:
    features, units = 3, 2
    h = floats(batch, units, spread=0.5)
    first: Any = (h, floats(batch, units, spread=0.5)) if op == "lstm" else h
    weights = [floats(features, gates * units, spread=0.5), floats(units, gates * units, spread=0.5)]
    biases = [floats(gates * units, spread=0.5) for _ in range(2 if op == "gru" else 1)]
    args = (floats(batch, time, features, spread=0.5), first if state else None, *weights, *biases)
    return Case(op, label, args, kwargs, axes=("", "", "IO", "IO"))


def _attention(label: str, time: int, source: int, **kwargs: Any) -> Case:
    shapes = ((2, 2, time, 3), (2, 2, source, 3), (2, 2, source, 4))
    return Case("attention", label, tuple(floats(*shape, spread=0.5) for shape in shapes), kwargs)


def _mask(*shape: int) -> np.ndarray:
    mask = np.asarray(np.random.default_rng(7).random(shape) > 0.4)
    mask[..., 0] = True  # every query may look somewhere
    return mask


_CONV = [
    _conv("same", (2, 5, 6, 3), (3, 3, 3, 4)),
    _conv("without-bias", (2, 5, 6, 3), (3, 3, 3, 4), bias=False),
    _conv("valid", (2, 5, 6, 3), (3, 2, 3, 4), padding="valid"),
    _conv("same-stride2-even", (1, 6, 8, 2), (3, 3, 2, 3), strides=2),
    _conv("same-stride2-odd", (1, 7, 5, 2), (3, 3, 2, 3), strides=2),
    _conv("same-stride3-1", (1, 7, 5, 2), (4, 2, 2, 3), strides=(3, 1)),
    _conv("same-stride-above-window", (1, 7, 6, 2), (2, 1, 2, 3), strides=3),
    _conv("same-even-window", (1, 5, 4, 2), (2, 4, 2, 3)),
    _conv("explicit", (1, 4, 5, 2), (3, 3, 2, 3), padding=((1, 0), (2, 1))),
    _conv("explicit-symmetric", (1, 4, 5, 2), (3, 3, 2, 3), padding=((2, 2), (1, 1)), strides=2),
    _conv("dilation", (1, 7, 8, 2), (3, 2, 2, 3), dilation=2),
    _conv("dilation-stride-valid", (1, 8, 7, 2), (2, 3, 2, 3), dilation=(3, 1), strides=2, padding="valid"),
    _conv("groups", (2, 4, 5, 4), (3, 3, 2, 6), groups=2),
    _conv("depthwise", (1, 5, 5, 4), (3, 3, 1, 8), groups=4, strides=2),
    _conv("pointwise", (2, 3, 3, 4), (1, 1, 4, 3)),
    _conv("pointwise-stride2", (1, 5, 5, 2), (1, 1, 2, 3), strides=2),
    _conv("one-pixel", (1, 1, 1, 2), (3, 3, 2, 2)),
    _conv("one-channel", (2, 4, 4, 1), (3, 3, 1, 1)),
    _conv("window-as-large", (1, 3, 4, 2), (3, 4, 2, 2), padding="valid"),
    _conv("empty-batch", (0, 4, 4, 2), (3, 3, 2, 3)),
]

_TRANSPOSED: list[tuple[str, tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ("same-stride2", (2, 3, 4, 2), (4, 4, 2, 3), {"strides": 2}),
    ("same-stride2-odd", (1, 3, 4, 2), (3, 3, 2, 3), {"strides": 2}),
    ("same-stride2-5", (1, 3, 3, 2), (5, 5, 2, 2), {"strides": 2}),
    ("same-stride1", (1, 3, 4, 2), (3, 3, 2, 3), {}),
    ("same-stride3-window2", (1, 3, 2, 2), (2, 2, 2, 3), {"strides": 3}),
    ("valid", (1, 3, 4, 2), (3, 2, 2, 3), {"padding": "valid"}),
    ("valid-stride2", (1, 3, 4, 2), (3, 3, 2, 3), {"strides": 2, "padding": "valid"}),
    ("valid-stride3-2", (1, 2, 3, 2), (2, 5, 2, 3), {"strides": (3, 2), "padding": "valid"}),
    ("without-bias", (1, 3, 4, 2), (3, 3, 2, 3), {"bias": False, "strides": 2}),
    ("one-pixel", (1, 1, 1, 3), (4, 4, 3, 2), {"strides": 4}),
    ("empty-batch", (0, 3, 3, 2), (3, 3, 2, 3), {"strides": 2}),
]
_CONV_TRANSPOSE = [
    _conv(label, image, kernel, op="conv2d_transpose", **kwargs) for label, image, kernel, kwargs in _TRANSPOSED
]

_POOLS = [
    _pool(op, label, image, window, **kwargs)
    for op in ("max_pool2d", "avg_pool2d")
    for label, image, window, kwargs in (
        ("default", (2, 4, 6, 2), 2, {}),
        ("remainder", (1, 5, 7, 2), 2, {}),
        ("overlapping", (1, 5, 6, 2), 3, {"strides": (1, 2)}),
        ("gaps", (1, 7, 8, 2), (1, 2), {"strides": 3}),
        ("same", (1, 5, 6, 2), 3, {"strides": 2, "padding": "same"}),
        ("same-even", (1, 5, 4, 2), 2, {"strides": 1, "padding": "same"}),
        ("explicit", (1, 4, 5, 2), 3, {"strides": 2, "padding": ((1, 0), (0, 2))}),
        ("explicit-symmetric", (1, 4, 5, 2), 3, {"strides": 2, "padding": ((1, 1), (1, 1))}),
        ("global", (2, 3, 4, 3), (3, 4), {}),
        ("empty-batch", (0, 4, 4, 2), 2, {}),
    )
]

_MOVED = [
    Case("translate2d", label, (floats(*shape), np.array(rows, dtype), np.array(columns, dtype)), axes=("NHWC",))
    for label, shape, rows, columns, dtype in (
        ("both-ways", (4, 5, 6, 2), (0, 1, -2, 3), (0, -1, 2, 5), np.int64),
        ("outside", (3, 4, 3, 1), (4, -9, 0), (0, 0, 7), np.int64),
        ("int32", (2, 3, 4, 3), (1, -1), (-1, 2), np.int32),
        ("one-pixel", (2, 1, 1, 2), (0, 1), (0, 0), np.int64),
        ("empty-batch", (0, 4, 4, 1), (), (), np.int64),
    )
]

_NORMS = [
    _norm("training", 3, 2, 4, 3, training=True),
    _norm("training-momentum", 6, 3, training=True, momentum=0.5, epsilon=1e-2),
    _norm("training-sequence", 2, 5, 3, training=True),
    _norm("training-one-value", 1, 3, training=True),
    _norm("training-one-pixel", 1, 1, 1, 2, training=True),
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
]

_RECURRENT = [
    _recurrent(op, gates, label, state=state, **options)
    for op, gates in (("rnn", 1), ("lstm", 4), ("gru", 3))
    for label, state, options in (
        ("zero-state", False, {}),
        ("state", True, {}),
        ("one-step", True, {"time": 1}),
        ("one-sample", False, {"batch": 1}),
    )
] + [_recurrent("rnn", 1, "relu", state=True, activation="relu")]

_ATTENTION = [
    _attention("full", 3, 5),
    _attention("causal", 4, 4, causal=True),
    _attention("causal-longer-source", 3, 5, causal=True),
    _attention("mask", 3, 5, mask=_mask(2, 2, 3, 5)),
    _attention("mask-broadcast", 3, 5, mask=_mask(2, 1, 1, 5)),
    _attention("one-step", 1, 1),
]

_ELEMENTWISE = [
    Case(op, label, (floats(*shape),), kwargs)
    for op, kwargs in (
        ("relu", {}),
        ("leaky_relu", {"slope": 0.25}),
        ("elu", {}),
        ("gelu", {}),
        ("sigmoid", {}),
        ("silu", {}),
        ("softplus", {}),
    )
    for label, shape in (("matrix", (3, 7)), ("empty", (0, 3)), ("scalar", ()))
] + [Case("leaky_relu", "default-slope", (floats(5),))]

_SOFTMAX = [
    Case(op, label, (floats(*shape),), kwargs)
    for op in ("softmax", "log_softmax")
    for label, shape, kwargs in (
        ("last", (3, 5), {}),
        ("first", (3, 5), {"axis": 0}),
        ("middle", (2, 4, 3), {"axis": 1}),
        ("one-class", (3, 1), {}),
        ("empty-batch", (0, 4), {}),
    )
]

_LAYERS = [
    Case("linear", "matrix", (floats(3, 4), floats(4, 5), floats(5)), axes=("", "IO")),
    Case("linear", "without-bias", (floats(3, 4), floats(4, 5)), axes=("", "IO")),
    Case("linear", "sequence", (floats(2, 3, 4), floats(4, 2), floats(2)), axes=("", "IO")),
    Case("linear", "vector", (floats(4), floats(4, 2), floats(2)), axes=("", "IO")),
    Case("linear", "one", (floats(1, 1), floats(1, 1), floats(1)), axes=("", "IO")),
    Case("linear", "empty-batch", (floats(0, 4), floats(4, 2), floats(2)), axes=("", "IO")),
    Case("embedding", "sequence", (floats(5, 3), np.array([[0, 4, 4], [2, 0, 1]], np.int64))),
    Case("embedding", "int32", (floats(5, 3), np.array([3, 3, 3], np.int32))),
    Case("embedding", "scalar", (floats(5, 3), np.array(2, np.int64))),
    Case("embedding", "empty", (floats(5, 3), np.zeros((0, 2), np.int64))),
    Case("stop_gradient", "", (floats(2, 3),), gradient=False),
]

_LOSSES = [
    Case("cross_entropy", "batch", (floats(4, 5), np.array([0, 4, 2, 2], np.int64)), result="fp32"),
    Case("cross_entropy", "int32", (floats(4, 5), np.array([0, 4, 2, 2], np.int32)), result="fp32"),
    Case("cross_entropy", "sequence", (floats(2, 3, 4), np.array([[0, 1, 3], [2, 2, 0]], np.int64)), result="fp32"),
    Case("cross_entropy", "empty-batch", (floats(0, 4), np.zeros(0, np.int64)), result="fp32"),
    Case("sigmoid_cross_entropy", "", (floats(3, 2), np.abs(floats(3, 2)) / 4), result="fp32", constant=frozenset({1})),
    Case("squared_error", "", (floats(3, 2), floats(3, 2)), result="fp32"),
]

# Where a formula taken literally overflows, underflows or cancels. Errors are measured against 1 + magnitude.
_LARGE = np.array([[9984, -9984, 0], [9984, 9984, 9728], [-9984, -9728, -9984]], np.float32)
_EIGHTY = np.array([[80, -80, 0], [80, 80, 79], [-80, -79, -80]], np.float32)
_TAILS = np.array([-100, -30, -10, -1, 0, 1, 10, 30, 100], np.float32)
_HUGE = np.array([-1000, 1000, 29952], np.float32)

_HARD = [
    *(
        Case(op, f"hard-{label}", (logits,), scale=1.0, precisions=("fp32", "fp16", "bf16"), gradient=label == "80")
        for op in ("softmax", "log_softmax")
        for label, logits in (("9984", _LARGE), ("80", _EIGHTY))
    ),
    *(
        Case("cross_entropy", f"hard-{label}", (logits, np.array([1, 2, 0])), result="fp32", scale=1.0, gradient=grad)
        for label, logits, grad in (("9984", _LARGE, False), ("80", _EIGHTY, True))
    ),
    *(
        Case(op, f"hard-{label}", (values,), scale=1.0)
        for op in ("sigmoid", "softplus", "silu", "elu", "gelu")
        for label, values in (("tails", _TAILS[_TAILS != 0] if op == "elu" else _TAILS), ("huge", _HUGE))
        if not (op == "gelu" and label == "huge")  # its cube leaves fp16's range, where the result may be anything
    ),
    Case(
        "sigmoid_cross_entropy",
        "hard-tails",
        (_TAILS, np.array([0, 1, 0, 1, 0, 1, 0, 1, 0], np.float32)),
        result="fp32",
        constant=frozenset({1}),
        scale=1.0,
    ),
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

NETWORK_CASES: tuple[Case, ...] = tuple(
    unique(
        [
            *(_CONV + _CONV_TRANSPOSE + _POOLS + _MOVED + _NORMS + _RECURRENT),
            *(_ATTENTION + _ELEMENTWISE + _SOFTMAX + _LAYERS + _LOSSES + _HARD),
        ]
    )
)
