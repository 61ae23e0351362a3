"""Reads new inputs for a trained model: files, folders, patterns and stdin, converted as for its training."""

from __future__ import annotations

import functools
import glob
import io
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hal.after.parts import ArrayPart, FailedPart, InputBatch, Part, PicturePart, TextPart
from hal.data.files import entries, is_folder, unreadable
from hal.data.pictures import SUFFIXES
from hal.data.spec import Columns
from hal.data.table import read_texts
from hal.data.texts import decoded
from hal.data.vectors import listed, vectors_for
from hal.errors import ConfigError, DataError, NotFoundError
from hal.util.paths import user_path

if TYPE_CHECKING:
    from hal.after.trained import Trained

__all__ = ["FoundInputs", "batches_of", "files_of", "paths_among"]

_ARRAYS = frozenset([".npz", ".npy"])
_TEXTS = frozenset([".txt", ".text"])
_TABLES = frozenset([".csv", ".tsv"])
_PARQUET = frozenset([".parquet", ".pq"])
_CALLED = (("a table", _TABLES | _PARQUET), ("a text", _TEXTS), ("a picture", SUFFIXES))
"""What files are, by the ends of their names."""

_TAKES = {
    "image": ("images", "give pictures, or arrays in a .npz or .npy file"),
    "sequence": ("sequences", "give arrays in a .npz or .npy file"),
    "document": ("texts", "give texts in .txt or .csv files"),
}
"""What models take, by the kind of their data, and what to do with a file that is none."""

_NUMPY = (b"PK\x03\x04", b"\x93NUM")
"""How files of NumPy begin."""


@dataclass(frozen=True)
class FoundInputs:
    """Inputs that were found and are not read yet.

    Attributes:
        parts: in the order in which the user named them.
        notes: what was left out, in sentences.
    """

    parts: tuple[Part, ...]
    notes: tuple[str, ...] = ()

    @property
    def count(self) -> int | None:
        """How many inputs there are; None: that is known only when they have been read."""
        counts = [part.count for part in self.parts]
        return None if None in counts else sum(count or 0 for count in counts)


def paths_among(inputs: Any, *, texts: bool) -> list[str] | None:
    """The paths that somebody hands over in Python; None: it is something else.

    Args:
        inputs: a path, a list of paths, or anything else.
        texts: whether a str is a text, so that only pathlib's paths are paths.
    """
    kinds = (Path,) if texts else (str, Path)
    given = inputs if isinstance(inputs, list | tuple) else [inputs]
    found = [str(each) for each in given if isinstance(each, kinds)]
    return found if found and len(found) == len(given) else None


def files_of(words: Sequence[str], trained: Trained, column: str | None = None) -> FoundInputs:
    """The inputs that a user names.

    Args:
        words: files, folders (with all folders inside them), patterns such as ``photos/*.jpg``, and ``-`` for stdin.
        trained: says what it takes.
        column: of the texts in a table; None: one with a usual name.

    Raises:
        NotFoundError: there is no such file, or a folder or pattern has no file that the model could take.
        ConfigError: the model cannot take files of this kind.
    """
    finder = _Finder(trained, column)
    for word in words:
        if word == "-":
            finder.add_stdin()
        else:
            finder.add_word(word)
    return FoundInputs(tuple(finder.parts), tuple(finder.notes()))


def batches_of(found: FoundInputs, trained: Trained) -> Iterator[InputBatch]:
    """The inputs in batches of the plan's size, with what could not be read.

    Args:
        found: what to read.
        trained: converts it.
    """
    for part in found.parts:
        batches = part.batches(trained, trained.job.plan.batch)
        while True:
            began = time.perf_counter()
            batch = next(batches, None)
            if batch is None:
                break
            yield InputBatch(batch.names, batch.inputs, batch.errors, time.perf_counter() - began)


@dataclass
class _Finder:
    """Turns the words of a user into parts."""

    trained: Trained
    column: str | None
    parts: list[Part] = field(default_factory=list)
    left_out: int = 0

    @functools.cached_property
    def suffixes(self) -> frozenset[str]:
        """Ends of the names of files in a folder that the model can take."""
        if self.trained.setup.data.columns is not None:
            return _TABLES | _PARQUET | _ARRAYS
        return {
            "image": SUFFIXES | _ARRAYS,
            "sequence": SUFFIXES | _ARRAYS,
            "document": _TEXTS | _TABLES | _ARRAYS,
        }.get(self.trained.kind or "", _ARRAYS)

    def notes(self) -> Iterator[str]:
        """What was left out."""
        if self.left_out:
            files = "1 other file" if self.left_out == 1 else f"{self.left_out:,} other files"
            yield f"left out: {files} in the folders, which this model does not take"

    def add_word(self, word: str) -> None:
        path = user_path(word)
        try:
            there = path.exists()
        except OSError as error:
            raise unreadable(path, error) from error
        if not there and any(character in word for character in "*?["):
            names = sorted(glob.glob(str(path), recursive=True))
            if not names:
                raise NotFoundError(
                    f"no file fits the pattern {word}", fix="check the pattern; ** stands for any folders"
                )
            for name in names:
                self.add_word(name)
        elif not there:
            link = f" is a link to {path.readlink()}, which" if path.is_symlink() else ""
            raise NotFoundError(f"{word}{link} does not exist", fix="check the path of the input")
        elif is_folder(path):
            found = list(self._inside(path))
            if not found:
                raise NotFoundError(
                    f"the folder {word} has no file that this model takes ({', '.join(sorted(self.suffixes))})",
                    fix="give another folder, or the files themselves",
                )
            for each in found:
                self.add_file(each)
        else:
            self.add_file(path)

    def _inside(self, folder: Path) -> Iterator[Path]:
        for path in entries(folder):
            if is_folder(path):
                if not path.is_symlink():  # which may lead back here
                    yield from self._inside(path)
            elif path.suffix.lower() in self.suffixes:
                yield path
            else:
                self.left_out += 1

    def add_file(self, path: Path) -> None:
        suffix, kind = path.suffix.lower(), self.trained.kind
        if suffix in _ARRAYS:
            self.parts.append(ArrayPart(str(path), functools.partial(_open, path)))
        elif kind == "document" and suffix in _TABLES:
            self._add_table(path)
        elif self.trained.setup.data.columns is not None and suffix in _TABLES | _PARQUET:
            self._add_numbers(path, self.trained.setup.data.columns)
        elif kind in _TAKES and self.trained.setup.data.columns is None and (called := self._foreign(suffix)):
            takes, fix = _TAKES[kind]
            error = DataError(
                f"{path} is {called}, but model={self.trained.setup.workload.model} takes {takes}",
                fix=fix,
            )
            self.parts.append(FailedPart(str(path), error))
        elif kind == "document":
            self.parts.append(TextPart([str(path)], [functools.partial(_text, path)]))
        else:
            self._require_pictures(str(path))
            last = self.parts[-1] if self.parts else None
            if isinstance(last, PicturePart):
                last.paths.append(path)
            else:
                self.parts.append(PicturePart([path]))

    def _foreign(self, suffix: str) -> str:
        """What a file is that the model cannot take; empty: it may be one that it can."""
        return next((called for called, known in _CALLED if suffix in known and suffix not in self.suffixes), "")

    def _add_table(self, path: Path) -> None:
        """The texts in the rows of a table; what is wrong with the file is told when it is its turn."""
        try:
            texts = read_texts(path, self.column)
        except DataError as error:
            self.parts.append(FailedPart(str(path), error))
        else:
            names = [f"{path}:{row}" for row in range(2, len(texts) + 2)]
            self.parts.append(TextPart(names, [functools.partial(str, text) for text in texts]))

    def _add_numbers(self, path: Path, columns: Columns) -> None:
        """The rows of a table with the columns that the model learned from."""
        from hal.data.csv_rows import read_csv
        from hal.data.parquet import read_parquet

        try:
            table = read_parquet(path) if path.suffix.lower() in _PARQUET else read_csv(path, skip_bad=None)
            rows = vectors_for(table, columns)
        except DataError as error:
            self.parts.append(FailedPart(str(path), error))
            return
        content = io.BytesIO()
        np.save(content, rows)
        self.parts.append(ArrayPart(str(path), functools.partial(io.BytesIO, content.getvalue())))

    def add_stdin(self) -> None:
        content = sys.stdin.buffer.read()
        if not content:
            raise NotFoundError("nothing came from stdin", fix="pipe an input into the command")
        if content.startswith(_NUMPY):
            self.parts.append(ArrayPart("-", functools.partial(io.BytesIO, content)))
        elif self.trained.kind == "document":
            lines = [line for line in decoded("stdin", content).split("\n") if line.strip()]
            names = [f"-:{number}" for number in range(1, len(lines) + 1)]
            self.parts.append(TextPart(names, [functools.partial(str, line) for line in lines]))
        else:
            self._require_pictures("stdin")
            self.parts.append(PicturePart([], content))

    def _require_pictures(self, name: str) -> None:
        """Refuse a picture, or a file of unknown kind, for a model that takes no pictures."""
        trained = self.trained
        kind, model = trained.kind, trained.setup.workload.model
        arrays = f"give arrays of shape (samples, {', '.join(map(str, trained.input_shape))}) in a .npz or .npy file"
        if kind is None:
            raise ConfigError(
                f"{name} cannot be read for model={model}: it learned from data of its own, so hal does not know how "
                "a file becomes its inputs",
                fix=f"{arrays}, as its data set gives them, or call hal.load(RUN)(inputs)",
            )
        columns = trained.setup.data.columns
        if columns is not None or kind in ("vector", "text"):
            takes = "ids of characters" if kind == "text" else f"{kind}s of numbers"
            table = "" if columns is None else f", or a .csv or .parquet file with the columns {listed(columns.names)}"
            raise ConfigError(f"{name} cannot be read for model={model}: it takes {takes}", fix=f"{arrays}{table}")
        span = trained.setup.data.value_range
        if kind == "sequence" and span is not None and not -1e-3 <= span[0] <= span[1] <= 1 + 1e-3:
            raise ConfigError(
                f"{name} is no array: model={model} learned from sequences of numbers from {span[0]:g} to {span[1]:g}, "
                "which are no pixels",
                fix=arrays,
            )
        if kind == "image" and trained.input_shape[2] not in (1, 3):
            raise ConfigError(
                f"{name} cannot be read for model={model}: it takes images of {trained.input_shape[2]} channels, but "
                "pictures have 1 or 3",
                fix=arrays,
            )


def _open(path: Path) -> io.BufferedIOBase:
    from hal.util.reading import open_regular

    try:
        found: Any = open_regular(path)
    except OSError as error:
        raise unreadable(path, error) from error
    opened: io.BufferedIOBase = found
    return opened


def _text(path: Path) -> str:
    from hal.data.files import read_bytes

    return decoded(str(path), read_bytes(path))
