"""The weights of a trained model as a plain safetensors file, and the model computed with what was read back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from hal.after.proof import ExportPrecision
from hal.after.trained import Trained
from hal.errors import RunError
from hal.util.trees import flat, nested

__all__ = ["weights_file", "weights_runner"]

_NAME = "model.safetensors"
_ROOTS = ("params", "state")


def weights_file(trained: Trained, precision: ExportPrecision, metadata: Mapping[str, str]) -> dict[str, bytes]:
    """The file: parameters by the names that a user's own module has for them, otherwise by their paths in hal.

    Args:
        trained: the model.
        precision: of floating values; integers stay as they are.
        metadata: texts for the head of the file.
    """
    from safetensors import serialize

    own = trained.model.portable_weights(trained.params, trained.state)
    values = {name.replace("/", "."): x for name, x in _paths(trained).items()} if own is None else own
    entries = {name: _entry(np.asarray(x, order="C"), precision) for name, x in values.items()}
    return {_NAME: serialize(entries, dict(metadata))}


def weights_runner(trained: Trained, files: Mapping[str, bytes]) -> Callable[[Mapping[str, np.ndarray]], np.ndarray]:
    """A function that computes the model with the values in the file, which are those of the checkpoint or rounded.

    Args:
        trained: the model.
        files: what :func:`weights_file` gave.

    Raises:
        RunError: the file lacks a parameter.
    """
    from safetensors import deserialize

    values = {name: _array(entry) for name, entry in deserialize(files[_NAME])}
    paths = _paths(trained)
    if trained.model.portable_weights(trained.params, trained.state) is None:
        names = {path: path.replace("/", ".") for path in paths}
    else:  # those of a module are a single level; of tied ones the first name is hal's too
        names = {path: path.partition("/")[2] for path in paths}
    if missing := [name for path, name in names.items() if path.startswith("params/") and name not in values]:
        raise RunError(f"the file of weights lacks {missing[0]}", fix="please report this with the model")
    # A module's file leaves out buffers that are not persistent.
    tree = nested({path: values.get(name, paths[path]) for path, name in names.items()})
    other = trained.with_values(tree.get("params", {}), tree.get("state", {}))

    def run(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        single = list(inputs) == ["inputs"] and not trained.setup.data.input_parts
        parts = dict(zip(trained.setup.data.input_parts, inputs.values(), strict=False))
        return other.outputs(inputs["inputs"] if single else parts)

    return run


def _paths(trained: Trained) -> dict[str, np.ndarray]:
    return flat({"params": trained.params, "state": trained.state})


def _entry(x: np.ndarray, precision: ExportPrecision) -> dict[str, Any]:
    if x.dtype != np.float32 or precision == "fp32":
        return {"dtype": x.dtype.name, "shape": x.shape, "data": x.tobytes()}
    if precision == "fp16":
        return {"dtype": "float16", "shape": x.shape, "data": x.astype(np.float16).tobytes()}
    # bfloat16 is the upper half of float32, rounded to the nearest and to even; NumPy has no such type.
    bits = np.atleast_1d(x).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return {"dtype": "bfloat16", "shape": x.shape, "data": rounded.astype(np.uint16).tobytes()}


def _array(entry: Mapping[str, Any]) -> np.ndarray:
    kind, shape = entry["dtype"], entry["shape"]
    if kind == "BF16":
        bits = np.frombuffer(entry["data"], np.uint16).astype(np.uint32) << 16
        return bits.view(np.float32).reshape(shape)
    names = {"F": "float", "I": "int", "U": "uint", "BOOL": "bool"}
    dtype = "bool" if kind == "BOOL" else f"{names[kind[0]]}{kind[1:]}"
    found = np.frombuffer(entry["data"], dtype).reshape(shape)
    return found.astype(np.float32) if dtype == "float16" else found
