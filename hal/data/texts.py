"""A folder of text files for each class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hal.data.class_folders import FileKind, find_class_folders
from hal.data.documents import BYTES_PER_CHARACTER, Texts, split_documents
from hal.data.files import check_memory, unreadable, user_path
from hal.data.spec import Split, Wanted
from hal.errors import DataError
from hal.util.reading import read_regular
from hal.util.sizes import bytes_text

__all__ = ["decoded", "open_texts"]

_TEXTS = FileKind("a text", "texts", frozenset([".txt", ".text"]))
_LARGEST_BYTES = 64 << 20
"""A larger file is no text that has one class; models read the beginning of a text alone."""


def decoded(where: str, content: bytes) -> str:
    """Bytes in UTF-8 as text, with one character for each end of a line.

    Raises:
        DataError: they are not UTF-8.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{where} is not text in UTF-8: byte {error.start} is 0x{content[error.start]:02x} ({error.reason})",
            fix="convert the file to UTF-8",
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def open_texts(source: str, argument: str, wanted: Wanted, share: float, seed: int) -> Split:
    """Files in UTF-8 in a folder for each class, or such folders inside folders of parts; see :mod:`hal.data.parts`."""
    found = find_class_folders(user_path(argument), _TEXTS)
    _check_sizes(source, [*found.paths, *(found.held_paths or [])])
    empty: list[Path] = []
    texts = _read(found.paths, found.labels, empty)
    held = None if found.held_paths is None else _read(found.held_paths, found.held_labels, empty)
    _check_each_class(source, texts, found.names)
    notes = list(found.notes)
    if empty:
        files = "1 file without text" if len(empty) == 1 else f"{len(empty):,} files without text"
        notes.append(f"left out: {files}: {empty[0]}{', ...' if len(empty) > 1 else ''}")
    return split_documents(
        source, texts, held, found.names, wanted, share=share, seed=seed, notes=notes, hint=found.hint("texts")
    )


def _check_sizes(source: str, paths: Sequence[Path]) -> None:
    """Refuse files that are too large before one of them is read."""
    total = 0
    for path in paths:
        try:
            size = path.stat().st_size
        except OSError as error:
            raise unreadable(path, error) from error
        if size > _LARGEST_BYTES:
            raise DataError(
                f"{path} has {bytes_text(size)}, but a text of one class may have at most {bytes_text(_LARGEST_BYTES)}",
                fix="split the file into one file for each text, or remove it",
            )
        total += size
    check_memory(f"data={source}", BYTES_PER_CHARACTER * total)


def _read(paths: Sequence[Path], labels: np.ndarray, empty: list[Path]) -> Texts:
    """The texts in some files; those of white space alone are added to the list instead."""
    values, kept = [], []
    for path, label in zip(paths, labels, strict=True):
        try:
            text = decoded(str(path), read_regular(path, _LARGEST_BYTES))
        except OSError as error:
            raise unreadable(path, error) from error
        if text.strip():
            values.append(text)
            kept.append(label)
        else:
            empty.append(path)
    return Texts(values, np.asarray(kept, np.int64))


def _check_each_class(source: str, texts: Texts, names: Sequence[str]) -> None:
    counts = np.bincount(texts.labels, minlength=len(names))
    for name, count in zip(names, counts, strict=True):
        if not count:
            raise DataError(
                f"data={source}: all files of the class {name} are empty",
                fix="add texts to the folder of the class, or remove it",
            )
