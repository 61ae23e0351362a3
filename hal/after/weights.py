"""The weights of a trained model as a plain safetensors file, and the model computed with what was read back."""

from __future__ import annotations

import json
import struct
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
    own = trained.model.portable_weights(trained.params, trained.state)
    values = {name.replace("/", "."): x for name, x in _paths(trained).items()} if own is None else own
    return {_NAME: _safetensors({name: np.asarray(x, order="C") for name, x in values.items()}, precision, metadata)}


def weights_runner(trained: Trained, files: Mapping[str, bytes]) -> Callable[[Mapping[str, np.ndarray]], np.ndarray]:
    """A function that computes the model with the values in the file, which are those of the checkpoint or rounded.

    Args:
        trained: the model.
        files: what :func:`weights_file` gave.

    Raises:
        RunError: the file lacks a parameter.
    """
    from safetensors import deserialize

    read: Any = deserialize
    values = {name: _array(entry) for name, entry in read(files[_NAME])}
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


def _safetensors(values: Mapping[str, np.ndarray], precision: ExportPrecision, metadata: Mapping[str, str]) -> bytes:
    """The format of safetensors: the length of a JSON header, the header, the values one behind the other.

    The package writes NumPy's types alone, which bfloat16 is none of.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    content, at = [], 0
    # The largest elements first, so that each array begins at a multiple of its elements' size.
    for name, x in sorted(values.items(), key=lambda item: (-item[1].dtype.itemsize, item[0])):
        kind, data = _stored(x, precision)
        header[name] = {"dtype": kind, "shape": list(x.shape), "data_offsets": [at, at + len(data)]}
        content.append(data)
        at += len(data)
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    return struct.pack("<Q", len(head)) + head + b"".join(content)


def _stored(x: np.ndarray, precision: ExportPrecision) -> tuple[str, bytes]:
    """The name of the type that values are stored in, and their bytes."""
    if x.dtype == np.float32 and precision == "fp16":
        return "F16", x.astype(np.float16).tobytes()
    if x.dtype == np.float32 and precision == "bf16":
        # The upper half of float32, rounded to the nearest and to even.
        bits = np.atleast_1d(x).view(np.uint32)
        return "BF16", ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16).tobytes()
    letter = {"f": "F", "i": "I", "u": "U"}
    kind = "BOOL" if x.dtype.kind == "b" else f"{letter[x.dtype.kind]}{8 * x.dtype.itemsize}"
    return kind, x.tobytes()


def _array(entry: Mapping[str, Any]) -> np.ndarray:
    kind, shape = entry["dtype"], entry["shape"]
    if kind == "BF16":
        bits = np.frombuffer(entry["data"], np.uint16).astype(np.uint32) << 16
        return bits.view(np.float32).reshape(shape)
    names = {"F": "float", "I": "int", "U": "uint", "BOOL": "bool"}
    dtype = "bool" if kind == "BOOL" else f"{names[kind[0]]}{kind[1:]}"
    found = np.frombuffer(entry["data"], dtype).reshape(shape)
    return found.astype(np.float32) if dtype == "float16" else found
