"""Initial values, drawn by NumPy on the host, so that every backend starts from the same bits."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from hal.errors import ConfigError

__all__ = ["INITIALIZERS", "initialize"]

Shape = tuple[int, ...]


def _fans(shape: Shape) -> tuple[int, int]:
    """Inputs and outputs of one unit: the last two axes, times the window before them."""
    if len(shape) < 2:
        return (shape[0], shape[0]) if shape else (1, 1)
    window = int(np.prod(shape[:-2]))
    return shape[-2] * window, shape[-1] * window


def _glorot_uniform(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010."""
    fan_in, fan_out = _fans(shape)
    limit = (6.0 / (fan_in + fan_out)) ** 0.5
    return rng.uniform(-limit, limit, shape)


def _he_normal(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """He et al., arXiv 1502.01852."""
    scale: float = (2.0 / _fans(shape)[0]) ** 0.5
    return rng.standard_normal(shape) * scale


def _orthogonal_blocks(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """An orthogonal matrix for each gate, side by side (Saxe, McClelland and Ganguli, arXiv 1312.6120)."""
    rows, columns = shape
    blocks = []
    for _ in range(columns // rows):
        q, r = np.linalg.qr(rng.standard_normal((rows, rows)))
        blocks.append(q * np.sign(np.diag(r)))
    return np.concatenate(blocks, axis=1)


def _lstm_bias(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Ones for the forget gate, the second quarter (Jozefowicz, Zaremba and Sutskever, 2015); zeros for the others."""
    bias = np.zeros(shape)
    bias[shape[0] // 4 : shape[0] // 2] = 1.0
    return bias


INITIALIZERS: Mapping[str, Callable[[np.random.Generator, Shape], np.ndarray]] = {
    "glorot_uniform": _glorot_uniform,
    "he_normal": _he_normal,
    "normal_0.02": lambda rng, shape: rng.standard_normal(shape) * 0.02,
    "uniform_0.05": lambda rng, shape: rng.uniform(-0.05, 0.05, shape),
    "orthogonal_blocks": _orthogonal_blocks,
    "lstm_bias": _lstm_bias,
    "zeros": lambda rng, shape: np.zeros(shape),
    "ones": lambda rng, shape: np.ones(shape),
}
"""Ways to draw initial values, by name."""


def initialize(specs: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Draw the values of a tree of :class:`~hal.nn.Param`.

    A value depends on the seed and on its own path, not on what else the model holds.

    Args:
        specs: nested dicts of Param.
        seed: any integer that is not negative.

    Returns:
        Nested dicts of fp32 NumPy arrays.

    Raises:
        ConfigError: a Param names an initializer that does not exist.
    """
    # Matrices this small need no second thread; those of several processes on the same cores wait for each other.
    with threadpool_limits(1, user_api="blas"):
        return _initialize(specs, seed, "")


def _initialize(specs: Mapping[str, Any], seed: int, path: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, spec in specs.items():
        here = f"{path}/{name}"
        if isinstance(spec, Mapping):
            values[name] = _initialize(spec, seed, here)
            continue
        if spec.init not in INITIALIZERS:
            raise ConfigError(
                f"{here} uses the initializer {spec.init!r}, which does not exist; use one of {', '.join(INITIALIZERS)}"
            )
        rng = np.random.default_rng([seed, zlib.crc32(here.encode())])
        values[name] = INITIALIZERS[spec.init](rng, spec.shape).astype(np.float32)
    return values
