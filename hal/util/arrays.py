"""Arrays as a safetensors file, written one after the other so that they need not be in memory at the same time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

__all__ = ["safetensors_chunks"]

_NAMES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "int64": "I64", "int32": "I32", "int16": "I16", "int8": "I8",
    "uint64": "U64", "uint32": "U32", "uint16": "U16", "uint8": "U8", "bool": "BOOL",
}  # fmt: skip


def safetensors_chunks(arrays: Mapping[str, Any], fetch: Callable[[Any], np.ndarray]) -> Iterator[bytes]:
    """The content of a file of the format that https://huggingface.co/docs/safetensors describes, in parts.

    Args:
        arrays: of any framework, by name.
        fetch: gives one of them as a NumPy array of the same shape and type. Called once for each, in order, as late
            as possible.
    """
    header: dict[str, Any] = {}
    end = 0
    for name, array in arrays.items():
        dtype, shape = str(array.dtype).rpartition(".")[2], [int(size) for size in array.shape]
        begin, end = end, end + int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        header[name] = {"dtype": _NAMES[dtype], "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # what follows begins at a multiple of the widest type
    yield len(text).to_bytes(8, "little") + text
    for name, array in arrays.items():
        content = fetch(array).tobytes()  # in C order
        begin, end = header[name]["data_offsets"]
        assert len(content) == end - begin, "an array changed its type on its way to the host"
        yield content
