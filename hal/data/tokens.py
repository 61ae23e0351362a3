"""How a text becomes the integers that a model reads."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

__all__ = ["Bytes", "Tokenizer"]


@dataclass(frozen=True)
class Tokenizer(abc.ABC):
    """Turns texts into ids of tokens. Equal tokenizers give equal ids.

    Attributes:
        unit: what a token is, in the plural, for people.
        size: ids are from 0 to below this.
        padding: the id that fills up a text that is too short; no token of a text has it.
    """

    unit: ClassVar[str]
    size: ClassVar[int]
    padding: ClassVar[int] = 0

    @property
    def name(self) -> str:
        """What pins the vocabulary in a checkpoint: tokenizers of one name give the same ids."""
        return self.unit

    @abc.abstractmethod
    def encode(self, texts: Sequence[str], length: int) -> tuple[np.ndarray, int]:
        """The beginnings of some texts as ids.

        Args:
            texts: any number of them.
            length: the most tokens of each that are kept.

        Returns:
            Integers (texts, length) of any dtype, with padding at the end of those that are shorter, and how many texts
            are longer.
        """


@dataclass(frozen=True)
class Bytes(Tokenizer):
    """The bytes of a text in UTF-8, each with 1 added, so that 0 is free for padding. Any text has such ids."""

    unit: ClassVar[str] = "bytes"
    size: ClassVar[int] = 257

    def encode(self, texts: Sequence[str], length: int) -> tuple[np.ndarray, int]:
        """See :meth:`Tokenizer.encode`."""
        ids = np.zeros((len(texts), length), np.uint16)
        longer = 0
        for row, text in enumerate(texts):
            content = text.encode("utf-8", "surrogatepass")
            longer += len(content) > length
            some = np.frombuffer(content[:length], np.uint8)
            ids[row, : len(some)] = some.astype(np.uint16) + 1
        return ids, longer
