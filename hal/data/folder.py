"""A folder of pictures for each class, decoded when they are taken."""

from __future__ import annotations

import functools
import hashlib
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from hal.data.arrays import check_parts, shuffled_split
from hal.data.class_folders import ClassFolders, FileKind, find_class_folders
from hal.data.files import read_start, user_path
from hal.data.images import BECOMES_GRAY, image_shape
from hal.data.pictures import SUFFIXES, decode, has_color, inspect
from hal.data.spec import Dataset, Field, Split, Wanted
from hal.errors import ConfigError, DataError

__all__ = ["FolderDataset", "each_file", "open_images"]

T = TypeVar("T")
_IMAGES = FileKind("an image", "images", SUFFIXES)
_THREADS = 8
_WORTH_A_THREAD_S = 0.001
"""Seconds of a file above which threads pay. Below, they wait for the interpreter more than they decode."""
_TIMED = 2
"""Files that tell it: the first may have waited for what is only loaded once."""
_NAMED = 3
_LOOKED_AT = 20
"""Files in which color is looked for."""
_USUAL = (224, 224, 3)
"""What pictures are resized to where a model takes any size: what most networks for photographs were made for."""

_DIGESTED_BYTES = 1 << 16
"""What is read of each file for a digest: all of most files, and of the others enough to tell them apart."""


class FolderDataset(Dataset):
    """Pictures in files, decoded and resized when they are taken, on a few threads (Pillow decodes without the GIL).

    Args:
        name: the source, as the user wrote it.
        paths: one file a sample.
        labels: integers (count,).
        wanted: what the model asks for; of 1 or 3 channels.
        class_names: names of the folders.
    """

    reads_files = True

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

    def counts(self) -> np.ndarray | None:
        """See :meth:`Dataset.counts`."""
        return np.bincount(self._label_values, minlength=len(self.class_names))

    def digest(self) -> str:
        """See :meth:`Dataset.digest`; of the classes, and of the name, size and first 64 KiB of each file."""
        found = hashlib.blake2b(repr(self.class_names).encode("utf-8", "surrogateescape"), digest_size=16)
        for path, label, of_file in zip(self._paths, self._label_values, each_file(_digest, self._paths), strict=True):
            found.update(f"{label} {path.name}\0".encode("utf-8", "surrogateescape") + of_file)
        return found.hexdigest()

    def value_range(self) -> tuple[float, float] | None:
        """See :meth:`Dataset.value_range`."""
        return None if len(self.inputs.shape) == 3 else (0.0, 1.0)

    def check(self, *, whole: bool) -> None:
        """See :meth:`Dataset.check`."""
        look = functools.partial(_problem, shape=self._shape if whole else None)
        problems = [problem for problem in each_file(look, self._paths) if problem is not None]
        if not problems:
            return
        more = len(problems) - _NAMED
        raise DataError(
            "; ".join(problem.message for problem in problems[:_NAMED])
            + (f"; and {more:,} more image{'s' if more > 1 else ''}" if more > 0 else ""),
            fix=problems[0].fix,
        )

    def take(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """See :meth:`Dataset.take`."""
        labels = self._label_values[indices].astype(np.int64)
        images = np.empty((len(labels), *self._shape), np.float32)
        paths = [self._paths[index] for index in indices]
        for row, image in enumerate(each_file(functools.partial(decode, shape=self._shape), paths)):
            images[row] = image
        return {"inputs": images.reshape(len(labels), *self.inputs.shape), "labels": labels}


def each_file(function: Callable[[Path], T], paths: Sequence[Path]) -> Iterator[T]:
    """What a function gives for each file, on a few threads if the first files take long enough for them to pay."""
    took = math.inf
    for path in paths[:_TIMED]:
        start = time.perf_counter()
        found = function(path)
        took = min(took, time.perf_counter() - start)
        yield found
    rest = paths[_TIMED:]
    threads = min(_THREADS, os.cpu_count() or 1, len(rest))
    if threads > 1 and took > _WORTH_A_THREAD_S:
        # A pool for each call, since one that is kept would not survive a fork.
        with ThreadPoolExecutor(threads, thread_name_prefix="hal-decode") as pool:
            yield from pool.map(function, rest)
    else:
        yield from map(function, rest)


def _digest(path: Path) -> bytes:
    size, start = read_start(path, _DIGESTED_BYTES)
    return hashlib.blake2b(b"%d\0%b" % (size, start), digest_size=16).digest()


def _problem(path: Path, shape: tuple[int, int, int] | None) -> DataError | None:
    """Why a picture cannot be used; None: it can, as far as was looked."""
    try:
        inspect(path) if shape is None else decode(path, shape)
    except DataError as error:
        return error
    return None


def open_images(
    source: str, argument: str, wanted: Wanted, share: float, seed: int, *, skip_bad: int | None = None
) -> Split:
    """Pictures in a folder for each class, or such folders inside folders of parts; see :mod:`hal.data.parts`.

    Of a file with several pictures, such as an animation, the first is used.
    """
    wanted = wanted.filled(_USUAL)
    if image_shape(wanted)[2] not in (1, 3):
        raise ConfigError(
            f"data={source} gives images of 1 or 3 channels, but the model takes images of {wanted.shape[2]}",
            fix="set the channels of the model to 1 (gray) or 3 (RGB)",
        )
    found = find_class_folders(user_path(argument), _IMAGES)
    skipped: tuple[str, ...] = ()
    if skip_bad is not None:
        found, skipped = _without_damaged(source, found, image_shape(wanted), skip_bad)
    notes = found.notes
    if wanted.kind == "image" and image_shape(wanted)[2] == 1 and any(map(has_color, found.paths[:: _every(found)])):
        notes = (*notes, BECOMES_GRAY)
    if found.held_paths is not None:
        check_parts(source, len(found.paths), len(found.held_paths))
        parts = [(found.paths, found.labels), (found.held_paths, found.held_labels)]
    else:
        split = shuffled_split(source, found.labels, len(found.paths), share, seed)
        parts = [([found.paths[row] for row in rows], found.labels[rows]) for rows in split]
    train, validation = (FolderDataset(source, *part, wanted, found.names) for part in parts)
    return Split(train, validation, notes, found.hint("images"), skipped)


def _every(found: ClassFolders) -> int:
    """A step through the files with which few of them, from all classes, are looked at."""
    return max(1, len(found.paths) // _LOOKED_AT)


def _without_damaged(
    source: str, found: ClassFolders, shape: tuple[int, int, int], most: int
) -> tuple[ClassFolders, tuple[str, ...]]:
    """The files that can be decoded, and what is wrong with the others, one line each.

    Raises:
        DataError: more than may be left out are damaged, or all of a class.
    """
    look = functools.partial(_problem, shape=shape)
    skipped: list[str] = []
    parts = []
    for paths, labels in ((found.paths, found.labels), (found.held_paths or [], found.held_labels)):
        problems = list(each_file(look, paths))
        skipped += [problem.message for problem in problems if problem is not None]
        kept = [at for at, problem in enumerate(problems) if problem is None]
        parts.append(([paths[at] for at in kept], labels[kept]))
    if len(skipped) > most:
        raise DataError(
            f"data={source} has {len(skipped):,} damaged images, but data.skip_bad={most} leaves out at most {most:,}: "
            + "; ".join(skipped[:_NAMED]),
            fix=f"replace or remove them, or use data.skip_bad={len(skipped)}",
        )
    (paths, labels), (held_paths, held_labels) = parts
    counts = np.bincount(labels, minlength=len(found.names))
    for name, count in zip(found.names, counts, strict=True):
        if not count:
            raise DataError(f"data={source}: all images of the class {name} are damaged", fix="replace them")
    held = None if found.held_paths is None else held_paths
    kept_files = replace(found, paths=paths, labels=labels, held_paths=held, held_labels=held_labels)
    return kept_files, tuple(skipped)
