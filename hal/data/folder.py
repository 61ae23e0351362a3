"""A folder of pictures for each class, decoded when they are taken."""

from __future__ import annotations

import functools
import io
import os
import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hal.data.arrays import check_parts, shuffled_split
from hal.data.files import entries, is_folder, read_bytes, user_path
from hal.data.images import image_shape
from hal.data.spec import Dataset, Field, Split, Wanted
from hal.errors import ConfigError, DataError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["FolderDataset", "open_images"]

_SUFFIXES = frozenset([".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"])
_VALIDATION = ("val", "validation", "valid", "test")
_THREADS = 8


class FolderDataset(Dataset):
    """Pictures in files, decoded and resized when they are taken, on a few threads (Pillow decodes without the GIL).

    Args:
        name: the source, as the user wrote it.
        paths: one file a sample.
        labels: integers (count,).
        wanted: what the model asks for; of 1 or 3 channels.
        class_names: names of the folders.
    """

    waits = True

    def __init__(
        self, name: str, paths: Sequence[Path], labels: np.ndarray, wanted: Wanted, class_names: Sequence[str]
    ) -> None:
        self.name = name
        self.classes = len(class_names)
        self.class_names = tuple(class_names)
        self.vocabulary = ""
        self.inputs = Field(wanted.shape, np.dtype(np.float32))
        self.labels = Field((), np.dtype(np.int64))
        self._paths = paths
        self._label_values = labels
        self._shape = image_shape(wanted)

    def __len__(self) -> int:
        return len(self._paths)

    def take(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """See :meth:`Dataset.take`."""
        labels = self._label_values[indices].astype(np.int64)
        images = np.empty((len(labels), *self._shape), np.float32)
        paths = [self._paths[index] for index in indices]
        decode = functools.partial(_decode, shape=self._shape)
        threads = min(_THREADS, os.cpu_count() or 1, len(paths))
        if threads > 1:
            # A pool for each call, since one that is kept would not survive a fork.
            with ThreadPoolExecutor(threads, thread_name_prefix="hal-decode") as pool:
                for row, image in enumerate(pool.map(decode, paths)):
                    images[row] = image
        else:
            for row, path in enumerate(paths):
                images[row] = decode(path)
        return {"inputs": images.reshape(len(labels), *self.inputs.shape), "labels": labels}


def _decode(path: Path, shape: tuple[int, int, int]) -> np.ndarray:
    """The picture in a file, upright and in the wanted size, float32 (height, width, channels) in [0, 1]."""
    from PIL import Image, ImageOps

    content = read_bytes(path)
    try:
        with Image.open(io.BytesIO(content)) as opened:
            image = _eight_bits(ImageOps.exif_transpose(opened), "L" if shape[2] == 1 else "RGB")
            resized = image.resize((shape[1], shape[0]), Image.Resampling.BILINEAR)
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError) as error:
        # What Pillow raises for a damaged file depends on the format; UnidentifiedImageError is an OSError.
        said = str(error).partition(" <_io")[0]  # Pillow names the buffer that it was given
        found = f"{len(content)} bytes that begin with {content[:8].hex() or 'nothing'}"
        raise DataError(
            f"{path} is not a picture that can be decoded: {said}; found {found}", fix="replace or remove the file"
        ) from error
    return np.asarray(resized, np.float32).reshape(shape) / 255


def _eight_bits(image: Image, mode: str) -> Image:
    """A picture of 8 bits a channel in mode ``L`` or ``RGB``."""
    from PIL import Image as Pillow

    if image.mode == "F":
        raise ValueError("floating pixels have no known range; store 8 or 16 bits")
    if image.mode.startswith("I"):  # 16 bits, which Pillow would clip at 255 instead of scale
        image = Pillow.fromarray((np.clip(np.asarray(image), 0, 65535) >> 8).astype(np.uint8))
    elif image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow warns of a palette with transparency that becomes RGB at once
    return image.convert(mode)


def _pictures(folder: Path) -> list[Path]:
    """All pictures in a folder and the folders inside it."""
    found = []
    for path in entries(folder):
        if is_folder(path):
            found += _pictures(path)
        elif path.suffix.lower() in _SUFFIXES:
            found.append(path)
    return found


def _classes(folder: Path) -> dict[str, list[Path]]:
    """The pictures of each class in a folder.

    Raises:
        DataError: there is no class, or one without pictures.
    """
    found = {path.name: _pictures(path) for path in entries(folder) if is_folder(path)}
    if not found:
        raise DataError(
            f"{folder} has no folders; one is needed for each class", fix="put the pictures of each class into a folder"
        )
    for name, paths in found.items():
        if not paths:
            raise DataError(
                f"{folder / name} has no pictures ({', '.join(sorted(_SUFFIXES))})",
                fix="add pictures to it, or remove the folder",
            )
    return found


def _layout(folder: Path) -> tuple[Path, Path | None]:
    """Where the classes are: to train on, and to validate with (None: hold back a share of the former).

    ``train`` may also be the name of a class: it is a part only if it has folders and is alone or beside another part.
    """
    folders = {path.name: path for path in entries(folder) if is_folder(path)}
    held = next((folders[name] for name in _VALIDATION if name in folders), None)
    train = folders.get("train")
    if train is None or not any(is_folder(path) for path in entries(train)):
        return folder, None
    return (train, held) if held is not None or len(folders) == 1 else (folder, None)


def open_images(source: str, argument: str, wanted: Wanted, share: float, seed: int) -> Split:
    """Pictures in a folder for each class, or such folders inside ``train`` and ``val``, ``validation`` or ``test``.

    Pictures are turned upright as their EXIF data says, resized without keeping their proportions, and become grey or
    RGB. A sequence is a grey picture, one row of pixels a step.
    """
    if image_shape(wanted)[2] not in (1, 3):
        raise ConfigError(
            f"data={source} gives images of 1 or 3 channels, but the model takes {wanted.shape[2]}",
            fix="give the model 1 (grey) or 3 (RGB) channels",
        )
    train_folder, held_folder = _layout(user_path(argument))
    classes = _classes(train_folder)
    names = sorted(classes)
    paths, labels = _flat(classes, names)
    if held_folder is not None:
        held = _classes(held_folder)
        if unknown := sorted(set(held) - set(names)):
            raise DataError(
                f"{held_folder} has the class {unknown[0]}, which {train_folder} does not have",
                fix=f"the classes to train on are {', '.join(names)}",
            )
        held_paths, held_labels = _flat(held, names)
        check_parts(source, len(paths), len(held_paths))
        parts = [(paths, labels), (held_paths, held_labels)]
    else:
        split = shuffled_split(source, labels, len(paths), share, seed)
        parts = [([paths[row] for row in rows], labels[rows]) for rows in split]
    return Split(*(FolderDataset(source, *part, wanted, names) for part in parts))


def _flat(classes: dict[str, list[Path]], names: list[str]) -> tuple[list[Path], np.ndarray]:
    paths = [path for name in names for path in classes.get(name, [])]
    return paths, np.repeat(np.arange(len(names)), [len(classes.get(name, [])) for name in names])
