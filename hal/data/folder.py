"""A folder of pictures for each class, decoded when they are taken."""

from __future__ import annotations

import functools
import hashlib
import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from hal.data.arrays import check_parts, shuffled_split
from hal.data.files import entries, is_folder, read_start, unreadable, user_path
from hal.data.images import image_shape
from hal.data.parts import find_parts
from hal.data.pictures import SUFFIXES, decode, inspect
from hal.data.spec import Dataset, Field, Split, Wanted
from hal.errors import ConfigError, DataError

__all__ = ["FolderDataset", "open_images"]

T = TypeVar("T")
_THREADS = 8
_NAMED = 3
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
        for path, label, of_file in zip(self._paths, self._label_values, _each(_digest, self._paths), strict=True):
            found.update(f"{label} {path.name}\0".encode("utf-8", "surrogateescape") + of_file)
        return found.hexdigest()

    def check(self, *, whole: bool) -> None:
        """See :meth:`Dataset.check`."""
        look = functools.partial(_problem, shape=self._shape if whole else None)
        problems = [problem for problem in _each(look, self._paths) if problem is not None]
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
        for row, image in enumerate(_each(functools.partial(decode, shape=self._shape), paths)):
            images[row] = image
        return {"inputs": images.reshape(len(labels), *self.inputs.shape), "labels": labels}


def _each(function: Callable[[Path], T], paths: Sequence[Path]) -> Iterator[T]:
    """What a function gives for each file, on a few threads where there are several."""
    threads = min(_THREADS, os.cpu_count() or 1, len(paths))
    if threads > 1:
        # A pool for each call, since one that is kept would not survive a fork.
        with ThreadPoolExecutor(threads, thread_name_prefix="hal-decode") as pool:
            yield from pool.map(function, paths)
    else:
        yield from map(function, paths)


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


@dataclass
class _Search:
    """Finds the pictures below a folder, each once, and remembers what it left out.

    Attributes:
        other: files that are no pictures, by the end of their names.
        linked: links to folders or pictures that were found before.
    """

    other: Counter[str] = field(default_factory=Counter)
    linked: list[Path] = field(default_factory=list)
    _seen: set[tuple[int, int]] = field(default_factory=set)

    def begin(self, path: Path) -> bool:
        """Note a file or folder; false if it was met before, by this name or another."""
        try:
            found = path.stat()
        except OSError as error:
            raise unreadable(path, error) from error
        key = (found.st_dev, found.st_ino)
        known = key in self._seen
        self._seen.add(key)
        return not known

    def new(self, path: Path) -> bool:
        """As :meth:`begin`, and what was met before counts as left out."""
        found = self.begin(path)
        if not found:
            self.linked.append(path)
        return found

    def leave_out(self, path: Path) -> None:
        """Note a file that belongs to no class."""
        kind = path.suffix.lower() or "without a suffix"
        self.other[kind if path.exists() else "of a broken link"] += 1

    def pictures(self, folder: Path) -> list[Path]:
        """All pictures in a folder and the folders inside it."""
        found: list[Path] = []
        for path in entries(folder):
            if is_folder(path):
                found += self.pictures(path) if self.new(path) else []
            elif path.suffix.lower() not in SUFFIXES:
                self.leave_out(path)
            elif self.new(path):
                found.append(path)
        return found

    def classes(self, folder: Path) -> dict[str, list[Path]]:
        """The pictures of each class in a folder.

        Raises:
            DataError: there is no class, or one without pictures.
        """
        self.begin(folder)
        inside = entries(folder)
        found = {path.name: self.pictures(path) for path in inside if is_folder(path) and self.new(path)}
        if not found:
            raise DataError(
                f"{folder} contains no folders, but needs one for each class",
                fix="put the images of each class into a folder of its own",
            )
        for name, paths in found.items():
            if not paths:
                raise DataError(
                    f"{folder / name} contains no images ({', '.join(sorted(SUFFIXES))})",
                    fix="add images to the folder, or remove it",
                )
        for path in inside:
            if not is_folder(path):
                self.leave_out(path)
        return found

    def notes(self) -> Iterator[str]:
        """What was left out, in sentences."""
        total = self.other.total()
        if self.other:
            kinds = ", ".join(f"{count:,} {kind}" for kind, count in self.other.most_common(5))
            more = ", ..." if len(self.other) > 5 else ""
            files = "1 file that is not an image" if total == 1 else f"{total:,} files that are not images"
            yield f"left out: {files} in a class folder: {kinds}{more}"
        if self.linked:
            links = "1 link to an image or folder that is"
            if len(self.linked) > 1:
                links = f"{len(self.linked):,} links to images or folders that are"
            yield f"left out: {links} included already: {self.linked[0]}{', ...' if len(self.linked) > 1 else ''}"


def _layout(folder: Path) -> tuple[Path, Path | None, tuple[Path, ...]]:
    """Where the classes are: to train on, to validate with (None: hold back a share of the former), and left over."""
    folders = [path for path in entries(folder) if is_folder(path)]
    return find_parts(folders, lambda path: bool(_inner(path))) or (folder, None, ())


def _inner(folder: Path) -> list[str]:
    """Names of the folders in a folder."""
    return [path.name for path in entries(folder) if is_folder(path)]


def _odd(folder: Path, names: Sequence[str]) -> Iterator[str]:
    """What is odd about the folders of the classes, in sentences."""
    spelled: dict[str, list[str]] = {}
    for name in names:
        spelled.setdefault(unicodedata.normalize("NFC", name).casefold(), []).append(name)
    for alike in spelled.values():
        if len(alike) > 1:
            yield f"{' and '.join(alike)} are different classes, although their names differ only in their spelling"
    inner = {name: found for name in names if (found := _inner(folder / name))}
    if not inner:
        return
    first, *others = inner
    more = f" and {len(others):,} other class folder{'s' * (len(others) > 1)}" if others else ""
    shared = set.intersection(*map(set, inner.values())) if others else set()
    meant = "; if they are parts of a data set, name them train and val" if len(shared) > 1 else ""
    yield (
        f"the class folder {first}{more} contain{'' if others else 's'} folders ({', '.join(inner[first][:5])}), whose "
        f"images count as images of the class{meant}"
    )


def open_images(source: str, argument: str, wanted: Wanted, share: float, seed: int) -> Split:
    """Pictures in a folder for each class, or such folders inside folders of parts; see :mod:`hal.data.parts`.

    Of a file with several pictures, such as an animation, the first is used.
    """
    wanted = wanted.filled(_USUAL)
    if image_shape(wanted)[2] not in (1, 3):
        raise ConfigError(
            f"data={source} gives images of 1 or 3 channels, but the model takes images of {wanted.shape[2]}",
            fix="set the channels of the model to 1 (gray) or 3 (RGB)",
        )
    root = user_path(argument)
    train_folder, held_folder, unused = _layout(root)
    search = _Search()
    search.begin(root)
    classes = search.classes(train_folder)
    names = sorted(classes)
    paths, labels = _flat(classes, names)
    if held_folder is not None:
        held = search.classes(held_folder)
        if unknown := sorted(set(held) - set(names)):
            raise DataError(
                f"{held_folder} has the class {unknown[0]}, which {train_folder} does not have",
                fix=f"use only the classes of the training set: {', '.join(names)}",
            )
        held_paths, held_labels = _flat(held, names)
        check_parts(source, len(paths), len(held_paths))
        parts = [(paths, labels), (held_paths, held_labels)]
    else:
        split = shuffled_split(source, labels, len(paths), share, seed)
        parts = [([paths[row] for row in rows], labels[rows]) for rows in split]
    notes = tuple(search.notes())
    if unused:
        folders = "the folder" if len(unused) == 1 else "the folders"
        notes += (f"left out: {folders} {', '.join(path.name for path in unused)} next to {train_folder.name}",)
    notes += tuple(_odd(train_folder, names))
    train, validation = (FolderDataset(source, *part, wanted, names) for part in parts)
    return Split(train, validation, notes, _hint(train_folder, names))


def _hint(folder: Path, names: Sequence[str]) -> str:
    """What to do where a folder has one class alone: perhaps the classes lie one folder further down."""
    inner = _inner(folder / names[0]) if len(names) == 1 else []
    if not inner:
        return ""
    return f"use data=images:{folder / names[0]}, which contains the folders {', '.join(inner[:5])}"


def _flat(classes: dict[str, list[Path]], names: list[str]) -> tuple[list[Path], np.ndarray]:
    paths = [path for name in names for path in classes.get(name, [])]
    return paths, np.repeat(np.arange(len(names)), [len(classes.get(name, [])) for name in names])
