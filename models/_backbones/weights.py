"""Puts weights that were saved by torch or as safetensors into trees of parameters and state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hal.errors import DataError
from hal.models._backbones.blocks import Backbone
from hal.models._backbones.files import StoredTensor, read_tensors

__all__ = ["load_weights"]

# The axes of a kernel are (out, in, height, width) or (out, in) in torch, (height, width, in, out) or (in, out) here.
_KERNELS = {4: (2, 3, 1, 0), 2: (1, 0)}
_SHOWN = 3
_LONGEST_NAME = 80

# What torch calls the leaves of a convolution, a dense layer, an embedding and a normalization.
_LEAVES = {
    "kernel": "weight",
    "table": "weight",
    "bias": "bias",
    "scale": "weight",
    "offset": "bias",
    "mean": "running_mean",
    "variance": "running_var",
}


def load_weights(
    path: Path, backbone: Backbone, params: Mapping[str, Any], state: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Weights of a backbone from a file; tensors that it does not need are passed over.

    Args:
        path: a file as :func:`~hal.models._backbones.files.read_tensors` reads it, with the tensors' names as in
            :attr:`Block.sources`.
        backbone: whose blocks the file should hold.
        params: its parameters as nested dicts of :class:`hal.nn.Param`.
        state: its state, likewise.

    Returns:
        Parameters and state as nested dicts of fp32 NumPy arrays.

    Raises:
        NotFoundError: there is no such file, or it cannot be read.
        DataError: the file is damaged or too large, or tensors are missing, of another shape, or not finite.
        UnavailableError: the file needs torch, which is not installed.
    """
    tensors = read_tensors(path)
    names = _tensor_names(backbone, params, state)
    found: dict[tuple[str, ...], np.ndarray] = {}
    problems: list[str] = []
    for leaf, (sources, shape) in names.items():
        arrays = [_array(name, tensors.get(name), shape, problems) for name in sources]
        parts = [array for array in arrays if array is not None]
        if len(parts) < len(sources):
            continue
        array = parts[0] if len(parts) == 1 else np.concatenate(parts)  # along the outputs, which torch has first
        if leaf[-1] == "variance" and array.min(initial=0.0) < 0:
            problems.append(f"{sources[0]} has negative variances")
        found[leaf] = np.ascontiguousarray(array.transpose(_KERNELS[array.ndim]) if leaf[-1] == "kernel" else array)
    if problems:
        wanted = {name for sources, _ in names.values() for name in sources}
        others = [name for name in tensors if name not in wanted]
        held = f". The file holds {_listed(others)} besides" if others else ""
        count = sum(len(sources) for sources, _ in names.values())
        more = f" and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise DataError(
            f"{path} does not contain {backbone.name}: {'; '.join(problems[:_SHOWN])}{more}, of {count} tensors{held}",
            fix=f"use the state dict of {backbone.published_by}'s {backbone.name}, with its names and shapes",
        )
    return _nested(found, params), _nested(found, state)


def _array(name: str, tensor: StoredTensor | None, shape: tuple[int, ...], problems: list[str]) -> np.ndarray | None:
    """The values of a tensor; None: there is a problem, which is added to the list."""
    if tensor is None:
        problems.append(f"{name} is missing")
    elif tensor.shape != shape:
        problems.append(f"{name} is {tensor.shape} and should be {shape}")
    elif tensor.read is None:
        problems.append(f"{name} holds {tensor.dtype} and should hold fp32, fp16, bf16 or fp64")
    else:
        array = tensor.read()
        if np.isfinite(array).all():
            return array
        problems.append(f"{name} has values that are not finite in fp32")
    return None


def _listed(names: list[str]) -> str:
    """The first of some names, cut where they are long, and how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(name[:_LONGEST_NAME] for name in names[:_SHOWN]) + more


def _tensor_names(
    backbone: Backbone, params: Mapping[str, Any], state: Mapping[str, Any]
) -> dict[tuple[str, ...], tuple[tuple[str, ...], tuple[int, ...]]]:
    """For each leaf of both trees, by path, the names in the file of what it consists of, and the shape of each."""
    names = {}
    for block in backbone.blocks:
        leaves = [(path, spec) for tree in (params, state) for path, spec in _leaves(tree.get(block.name, {}))]
        modules = dict.fromkeys(path[:-1] for path, _ in leaves)
        source = dict(zip(modules, block.sources, strict=True))
        for path, spec in leaves:
            several = source[path[:-1]]
            sources = (several,) if isinstance(several, str) else several
            shape = spec.shape
            if path[-1] == "kernel":
                axes = _KERNELS[len(shape)]
                shape = tuple(shape[axes.index(axis)] for axis in range(len(shape)))
            shape = (shape[0] // len(sources), *shape[1:])
            names[block.name, *path] = (tuple(f"{module}.{_LEAVES[path[-1]]}" for module in sources), shape)
    return names


def _leaves(tree: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, child in tree.items():
        if isinstance(child, Mapping):
            for path, leaf in _leaves(child):
                yield (name, *path), leaf
        else:
            yield (name,), child


def _nested(found: Mapping[tuple[str, ...], np.ndarray], like: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, _ in _leaves(like):
        node = tree
        for name in path[:-1]:
            node = node.setdefault(name, {})
        node[path[-1]] = found[path]
    return tree
