"""Parts of the inputs for a trained model: pictures, arrays and texts, each read in batches."""

from __future__ import annotations

import abc
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import optree

from hal.data.folder import each_file
from hal.data.images import image_shape
from hal.data.npz import read_inputs
from hal.data.pictures import decode, decode_content
from hal.errors import DataError, HalError

if TYPE_CHECKING:
    from hal.after.trained import Trained

__all__ = ["ArrayPart", "FailedPart", "InputBatch", "Part", "PicturePart", "TextPart"]


@dataclass(frozen=True)
class InputBatch:
    """Some inputs that were read.

    Attributes:
        names: of the inputs that could be read.
        inputs: as the model's ``predict`` takes them, one row for each name; None where there is none.
        errors: names of the others, each with what is wrong.
        seconds: what reading and converting took.
    """

    names: Sequence[str]
    inputs: Any
    errors: Sequence[tuple[str, HalError]] = ()
    seconds: float = 0.0


class Part(abc.ABC):
    """Inputs of one kind.

    Attributes:
        count: how many there are; None: that is known only when they have been read.
    """

    count: int | None

    @abc.abstractmethod
    def batches(self, trained: Trained, size: int) -> Iterator[InputBatch]:
        """The inputs in batches of at most so many."""


class PicturePart(Part):
    """Pictures, decoded and resized as those in folders are for training.

    Args:
        paths: of the files; more may be added before they are read.
        content: of a picture that came from stdin; None: none did.
    """

    def __init__(self, paths: list[Path], content: bytes | None = None) -> None:
        self.paths, self._content = paths, content

    @property
    def count(self) -> int:  # type: ignore[override]
        """How many pictures."""
        return len(self.paths) + (self._content is not None)

    def batches(self, trained: Trained, size: int) -> Iterator[InputBatch]:
        """See :meth:`Part.batches`."""
        shape = image_shape(trained.model.wanted(trained.model.config).filled(trained.input_shape))
        if self._content is not None:
            yield self._batch(trained, ["-"], [_or_error(decode_content, "stdin", self._content, shape)])
        for start in range(0, len(self.paths), size):
            paths = self.paths[start : start + size]
            found = each_file(functools.partial(_or_error, decode, shape=shape), paths)
            yield self._batch(trained, list(map(str, paths)), list(found))

    def _batch(self, trained: Trained, names: list[str], found: list[np.ndarray | HalError]) -> InputBatch:
        named = list(zip(names, found, strict=True))
        good = [(name, image) for name, image in named if isinstance(image, np.ndarray)]
        errors = [(name, error) for name, error in named if isinstance(error, HalError)]
        inputs = np.stack([image for _, image in good]).reshape(-1, *trained.input_shape) if good else None
        return InputBatch([name for name, _ in good], inputs, errors)


class ArrayPart(Part):
    """Samples in a file of NumPy.

    Args:
        name: of the file.
        opened: opens it.
    """

    count = None

    def __init__(self, name: str, opened: Callable[[], Any]) -> None:
        self._name, self._opened = name, opened

    def batches(self, trained: Trained, size: int) -> Iterator[InputBatch]:
        """See :meth:`Part.batches`; what is wrong with one sample is wrong with the file."""
        try:
            with self._opened() as file:
                arrays = read_inputs(self._name, file, trained.model.input_names(trained.job.split.train))
        except HalError as error:
            yield InputBatch((), None, [(self._name, error)])
            return
        values: Any = arrays if trained.setup.data.input_parts else arrays[""]
        leaves: list[np.ndarray] = optree.tree_leaves(values)
        lengths = {len(leaf) if leaf.ndim else 0 for leaf in leaves}
        if len(lengths) != 1 or lengths == {0}:
            about = "no samples" if lengths == {0} else "arrays of different lengths"
            yield InputBatch((), None, [(self._name, DataError(f"{self._name} has {about}"))])
            return
        total = lengths.pop()
        for start in range(0, total, size):
            stop = min(start + size, total)
            some = optree.tree_map(lambda x, at=slice(start, stop): x[at], values)
            try:
                inputs = trained.as_inputs(some)
            except HalError as error:
                yield InputBatch((), None, [(self._name, error)])
                return
            yield InputBatch([f"{self._name}[{row}]" for row in range(start, stop)], inputs)


class FailedPart(Part):
    """A file of which nothing could be read.

    Args:
        name: of the file.
        error: what is wrong with it.
    """

    count = 1

    def __init__(self, name: str, error: HalError) -> None:
        self._name, self._error = name, error

    def batches(self, trained: Trained, size: int) -> Iterator[InputBatch]:
        """See :meth:`Part.batches`."""
        yield InputBatch((), None, [(self._name, self._error)])


class TextPart(Part):
    """Texts that the model puts into classes.

    Args:
        names: of the texts.
        read: gives each text.
    """

    def __init__(self, names: Sequence[str], read: Sequence[Callable[[], str]]) -> None:
        self._names, self._read = names, read
        self.count = len(names)

    def batches(self, trained: Trained, size: int) -> Iterator[InputBatch]:
        """See :meth:`Part.batches`."""
        for start in range(0, self.count or 0, size):
            good, errors = [], []
            for name, read in zip(self._names[start : start + size], self._read[start : start + size], strict=True):
                try:
                    text = read()
                    if not text.strip():
                        raise DataError(f"{name} has no text", fix="remove it, or give a text")
                    good.append((name, text))
                except HalError as error:
                    errors.append((name, error))
            inputs = trained.as_inputs([text for _, text in good]) if good else None
            yield InputBatch([name for name, _ in good], inputs, errors)


def _or_error(function: Callable[..., np.ndarray], *args: Any, **kwargs: Any) -> np.ndarray | HalError:
    """What a function gives, or hal's error instead."""
    try:
        return function(*args, **kwargs)
    except HalError as error:
        return error
