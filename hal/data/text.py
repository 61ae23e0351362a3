"""Text as characters: each window of T characters is an input, and the character after each of them its label."""

from __future__ import annotations

import hashlib
import math

import numpy as np

from hal.data.files import check_memory, read_bytes, user_path
from hal.data.spec import Dataset, Field, Split, Wanted
from hal.data.texts import decoded
from hal.errors import ConfigError, DataError, NotFoundError

__all__ = ["TextDataset", "bigram_entropy", "encode", "open_text", "open_topics"]

_RARE = 5
_USUAL = (128,)
"""Characters in a window where the model takes any number."""

_BYTES_PER_CHARACTER = 12
"""What encoding a text takes at its peak, for each byte of the file."""
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class TextDataset(Dataset):
    """Windows of a text, one after the other.

    Each label is the character after its input, so that the windows together predict a run of characters, each once.

    Args:
        name: the source, as the user wrote it.
        ids: the whole text as ids, (characters,).
        vocabulary: the character of each id.
        length: T, characters in a window.
        rolling: :meth:`at_epoch` moves the windows, so that over the epochs training sees every window of the text.
            It costs one window, to have the same number in each epoch.
        offset: where the first window begins.
    """

    def __init__(
        self, name: str, ids: np.ndarray, vocabulary: str, length: int, *, rolling: bool = False, offset: int = 0
    ) -> None:
        self.name = name
        self.classes = len(vocabulary)
        self.class_names = ()
        self.vocabulary = vocabulary
        self.inputs = self.labels = Field((length,), np.dtype(np.int64))
        self._ids = ids
        self._length = length
        self._rolling = rolling
        self._offset = offset
        self._count = max(0, (len(ids) - (length if rolling else 1)) // length)

    def __len__(self) -> int:
        return self._count

    def digest(self) -> str:
        """See :meth:`Dataset.digest`; of the whole text."""
        about = repr((self.vocabulary, self._length, self._rolling, self._offset, str(self._ids.dtype)))
        found = hashlib.blake2b(about.encode("utf-8", "surrogatepass"), digest_size=16)
        found.update(np.ascontiguousarray(self._ids).data)
        return found.hexdigest()

    def take(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """See :meth:`Dataset.take`."""
        indices = np.arange(self._count)[indices]
        at = self._offset + indices[:, None] * self._length + np.arange(self._length + 1)
        windows = self._ids[at].astype(np.int64)
        return {"inputs": windows[:, :-1].copy(), "labels": windows[:, 1:].copy()}

    def at_epoch(self, epoch: int) -> Dataset:
        """The windows moved by less than their length: by nothing in epoch 0, by every offset within T epochs."""
        if not self._rolling:
            return self
        offset = epoch * _step(self._length) % self._length
        return TextDataset(self.name, self._ids, self.vocabulary, self._length, rolling=True, offset=offset)


def _step(length: int) -> int:
    """About 0.618 of a length and coprime to it: multiples of it cover all offsets, evenly from the start."""
    step = max(1, round(0.618 * length))
    while math.gcd(step, length) != 1:
        step -= 1
    return step


def encode(text: str) -> tuple[np.ndarray, str]:
    """A text as ids, with the vocabulary that it has.

    Characters with fewer than 5 occurrences become one replacement character, since nothing can be learned of them.

    Returns:
        The ids (characters,) in the narrowest unsigned dtype, and the vocabulary in the order of the code points.
    """
    points = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    counts = np.bincount(points)
    rare = (counts > 0) & (counts < _RARE)
    kept = counts >= _RARE
    if rare.any():
        kept = np.concatenate([kept, np.zeros(max(0, ord(_REPLACEMENT) + 1 - len(kept)), bool)])
        kept[ord(_REPLACEMENT)] = True
    codes = np.flatnonzero(kept)
    table = np.zeros(len(kept), np.min_scalar_type(max(len(codes) - 1, 0)))
    if rare.any():
        table[:] = np.searchsorted(codes, ord(_REPLACEMENT))
    table[codes] = np.arange(len(codes))
    return table[points], "".join(map(chr, codes))


def _split(source: str, where: str, text: str, length: int, share: float) -> Split:
    ids, vocabulary = encode(text)
    cut = len(ids) - round(share * len(ids))
    parts = (
        TextDataset(source, ids[:cut], vocabulary, length, rolling=True),
        TextDataset(source, ids[cut:], vocabulary, length),
    )
    if not len(parts[0]) or not len(parts[1]):
        raise DataError(
            f"{where} is too short: {len(ids)} characters give {cut} for training and {len(ids) - cut} for "
            f"validation, but windows of {length} characters need {2 * length} and {length + 1}",
            fix="use a longer text, a shorter window (model.length), or another data.validation=",
        )
    if len(vocabulary) < 2:
        raise DataError(
            f"{where} has {len(vocabulary)} character that occurs {_RARE} times or more, but at least 2 are needed",
            fix="use a longer text",
        )
    return Split(parts[0], parts[1])


def open_text(source: str, argument: str, wanted: Wanted, share: float, seed: int) -> Split:
    """A file in UTF-8; its last share is what to validate with. Ends of lines become one character each."""
    path = user_path(argument)
    content = read_bytes(path)
    check_memory(str(path), _BYTES_PER_CHARACTER * len(content))
    return _split(source, str(path), decoded(str(path), content), wanted.filled(_USUAL).shape[0], share)


def open_topics(source: str, argument: str, wanted: Wanted, share: float, seed: int) -> Split:
    """The reference manual that comes with Python, each paragraph once; its last share is what to validate with.

    The manual repeats whole sections under several topics. Kept, they would be both trained on and validated with.
    """
    try:
        from pydoc_data import topics
    except ImportError as error:
        raise NotFoundError(
            "data=topics: this Python has no pydoc_data.topics, which is part of its standard library",
            fix="install the complete standard library of Python, or use data=text:FILE",
        ) from error
    whole = "\n".join(topics.topics[name] for name in sorted(topics.topics))
    paragraphs: dict[str, str] = {}
    for paragraph in whole.split("\n\n"):
        paragraphs.setdefault(paragraph.strip(), paragraph)
    return _split(
        source, "the text of data=topics", "\n\n".join(paragraphs.values()), wanted.filled(_USUAL).shape[0], share
    )


def bigram_entropy(dataset: Dataset) -> float:
    """The entropy of a character given the one before it, in nats per character, of a data set's own characters.

    H = - sum over a, b of n(a, b) / N * log(n(a, b) / n(a)), with n(a, b) how often the label b follows the input a
    among all N pairs, and n(a) the sum of n(a, b) over b (Shannon, "Prediction and entropy of printed English", 1951).
    No model that sees one character alone has a lower mean cross-entropy on these pairs, whatever it was trained on.

    Args:
        dataset: text; its windows as in epoch 0.

    Raises:
        ConfigError: the data set is not text.
    """
    if not dataset.vocabulary:
        raise ConfigError(
            f"data={dataset.name} is not text, so it has no bigrams", fix="use data=topics or data=text:FILE"
        )
    size = len(dataset.vocabulary)
    rows = max(1, (1 << 20) // dataset.inputs.shape[0])
    pairs = np.zeros(0, np.int64)
    counts = np.zeros(0, np.int64)
    for start in range(0, len(dataset), rows):
        batch = dataset.take(np.arange(start, min(start + rows, len(dataset))))
        new, found = np.unique(batch["inputs"] * size + batch["labels"], return_counts=True)
        pairs, inverse = np.unique(np.concatenate([pairs, new]), return_inverse=True)
        counts = np.bincount(inverse, weights=np.concatenate([counts, found])).astype(np.int64)
    before = np.bincount(pairs // size, weights=counts)[pairs // size]
    return float(-np.sum(counts * np.log(counts / before)) / counts.sum())
