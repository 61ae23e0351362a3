"""The IDX format, in which MNIST and its descendants are published (LeCun, Cortes and Burges)."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from hal.data.arrays import ArrayDataset, check_labels, check_parts, split_arrays
from hal.data.files import check_memory, entries, unreadable, user_path
from hal.data.spec import Split, Wanted
from hal.errors import DataError, NotFoundError
from hal.util.reading import available_bytes, open_regular

__all__ = ["open_mnist", "read_idx"]

_CHUNK_BYTES = 1 << 20
_FIX = "download the file again"


def read_idx(path: Path, axes: int) -> np.ndarray:
    """An array of uint8 from an IDX file, compressed with gzip if its name ends in ``.gz``.

    Args:
        path: the file.
        axes: how many the array must have: 3 for images (count, height, width), 1 for labels (count,).

    Raises:
        NotFoundError: the file is not there or cannot be read.
        DataError: it is not what it should be.
    """
    try:
        with open_regular(path) as raw, gzip.open(raw) if path.suffix == ".gz" else raw as file:
            return _parse(cast("BinaryIO", file), path, axes)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path} is not a complete gzip file: {error}", fix=_FIX) from error
    except OSError as error:
        raise unreadable(path, error) from error


def _parse(file: BinaryIO, path: Path, axes: int) -> np.ndarray:
    header = file.read(4 + 4 * axes)
    expected = struct.pack(">HBB", 0, 8, axes)
    if header[:4] != expected:
        raise DataError(
            f"{path} begins with the bytes {header[:4].hex() or 'none'}, but an IDX file of uint8 with {axes} axes "
            f"begins with {expected.hex()}",
            fix=_FIX,
        )
    if len(header) < 4 + 4 * axes:
        raise DataError(f"{path} ends inside its header, after {len(header)} of {4 + 4 * axes} bytes", fix=_FIX)
    shape = struct.unpack(f">{axes}I", header[4:])
    size = math.prod(shape)
    if path.suffix == ".gz":
        check_memory(str(path), size, path.stat().st_size)
    room = available_bytes()
    content = bytearray()
    # In chunks, and one byte too far: a damaged header may promise more than memory holds, and less than there is.
    while len(content) <= min(size, room) and (chunk := file.read(min(_CHUNK_BYTES, size + 1 - len(content)))):
        content += chunk
    if len(content) > room:
        check_memory(f"{path}, whose header says {shape},", size)
    if len(content) != size:
        found = f"more than {size}" if len(content) > size else str(len(content))
        raise DataError(
            f"{path} has {found} bytes after its header, but the header says {shape}, which is {size} bytes", fix=_FIX
        )
    if size == 0:
        raise DataError(f"{path} contains no samples: its header says {shape}", fix=_FIX)
    return np.frombuffer(content, np.uint8).reshape(shape)


def _find(folder: Path, names: list[str], part: str, axes: int) -> Path | None:
    stem = f"{part}-{'images' if axes == 3 else 'labels'}"
    for candidate in (f"{stem}{mark}idx{axes}-ubyte{end}" for end in ("", ".gz") for mark in ("-", ".")):
        if candidate in names:
            return folder / candidate
    return None


def _part(folder: Path, names: list[str], part: str) -> tuple[np.ndarray, np.ndarray] | None:
    paths = [_find(folder, names, part, axes) for axes in (3, 1)]
    if paths[0] is None and paths[1] is None:
        return None
    if paths[0] is None or paths[1] is None:
        missing = f"{part}-images-idx3-ubyte" if paths[0] is None else f"{part}-labels-idx1-ubyte"
        raise NotFoundError(
            f"{folder} contains neither {missing} nor {missing}.gz", fix="put all four MNIST files into that folder"
        )
    images = read_idx(paths[0], 3)[..., None]
    return images, check_labels(f"{paths[1]}, beside {paths[0].name},", read_idx(paths[1], 1), len(images))


def open_mnist(source: str, argument: str, wanted: Wanted, share: float, seed: int) -> Split:
    """MNIST or another set in its files; ``t10k`` is what to validate with, or, where it is missing, a share."""
    folder = user_path(argument)
    names = [path.name for path in entries(folder)]
    train = _part(folder, names, "train")
    if train is None:
        raise NotFoundError(
            f"{folder} contains neither train-images-idx3-ubyte nor train-images-idx3-ubyte.gz",
            fix="give the folder that contains the MNIST files: data=mnist:DIR",
        )
    test = _part(folder, names, "t10k")
    labels = train[1] if test is None else np.concatenate([train[1], test[1]])
    classes = max(10, int(labels.max()) + 1)
    class_names = [str(number) for number in range(classes)]
    if test is None:
        return split_arrays(source, *train, wanted, share=share, seed=seed, classes=classes, class_names=class_names)
    check_parts(source, len(train[0]), len(test[0]))
    parts = [ArrayDataset(source, *part, wanted, classes=classes, class_names=class_names) for part in (train, test)]
    return Split(parts[0], parts[1])
