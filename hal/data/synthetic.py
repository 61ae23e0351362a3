"""Random samples of any shape, for measuring speed and memory; there is nothing to learn from them."""

from __future__ import annotations

import numpy as np

from hal.data.arrays import ArrayDataset
from hal.data.documents import DocumentDataset
from hal.data.files import check_memory
from hal.data.spec import Split, Wanted, generator
from hal.data.text import TextDataset
from hal.data.tokens import Tokenizer
from hal.errors import ConfigError

__all__ = ["open_synthetic", "synthetic_count"]

_DEFAULT_COUNT = 4096
_CLASSES = 10
_POOL_BYTES = 64 << 20
_USUAL = {"image": (32, 32, 3), "sequence": (32, 8), "vector": (16,), "text": (128,), "document": (128,)}
_VOCABULARY = "".join(map(chr, range(32, 127)))


def synthetic_count(source: str) -> int | None:
    """The N of ``synthetic:N``; None where a source has none.

    Raises:
        ConfigError: it is not a whole number of 2 or more.
    """
    argument = source.partition(":")[2]
    if not argument:
        return None
    if not (argument.isascii() and argument.isdigit() and int(argument) >= 2):
        raise ConfigError(
            f"data={source} needs a number of samples after the colon: {argument!r} is not a whole number of 2 or more",
            fix=f"write for example data=synthetic:{_DEFAULT_COUNT}",
        )
    return int(argument)


def open_synthetic(source: str, argument: str, wanted: Wanted, share: float, seed: int) -> Split:
    """Uniform noise in [0, 1) with labels of 10 classes, random printable characters, or random tokens with labels.

    A part keeps at most 64 MiB of distinct samples; beyond those they repeat, so that any count is cheap.
    """
    count = synthetic_count(source) or _DEFAULT_COUNT
    wanted = wanted.filled(_USUAL[wanted.kind])
    # Beside a pool of samples, the row of each; of text, its characters.
    check_memory(f"data={source}", count * (2 * wanted.shape[0] if wanted.kind in ("text", "document") else 16))
    held = min(max(round(share * count), 1), count - 1)
    if wanted.tokenizer is not None:
        return _documents(source, wanted, wanted.tokenizer, (count - held, held), seed)
    if wanted.kind == "text":
        text_parts = []
        for part, length in enumerate((count - held, held)):
            ids = generator(seed, part).integers(len(_VOCABULARY), size=length * wanted.shape[0] + 1, dtype=np.uint8)
            text_parts.append(TextDataset(source, ids, _VOCABULARY, wanted.shape[0]))
        return Split(text_parts[0], text_parts[1])
    parts = []
    for part, length in enumerate((count - held, held)):
        random = generator(seed, part)
        distinct = max(1, min(length, _POOL_BYTES // (4 * int(np.prod(wanted.shape)))))
        values = random.random((distinct, *wanted.shape), dtype=np.float32)
        labels = random.integers(_CLASSES, size=distinct)
        rows = np.arange(length) % distinct
        parts.append(ArrayDataset(source, values, labels, wanted, classes=_CLASSES, rows=rows))
    return Split(parts[0], parts[1])


def _documents(source: str, wanted: Wanted, tokenizer: Tokenizer, counts: tuple[int, int], seed: int) -> Split:
    """Texts of the full length, without padding."""
    names = tuple(map(str, range(_CLASSES)))
    parts = []
    for part, length in enumerate(counts):
        random = generator(seed, part)
        tokens = [token for token in range(tokenizer.size) if token != tokenizer.padding]
        ids = random.choice(np.asarray(tokens, np.min_scalar_type(tokenizer.size)), size=(length, wanted.shape[0]))
        labels = random.integers(_CLASSES, size=length)
        parts.append(DocumentDataset(source, ids, labels, names, tokenizer.name))
    return Split(parts[0], parts[1])
