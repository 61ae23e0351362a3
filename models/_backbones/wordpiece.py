"""The WordPiece tokens of BERT (Devlin et al., arXiv 1810.04805), split by the library ``tokenizers``."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from hal.data import Tokenizer
from hal.errors import UnavailableError
from hal.models._backbones.packages import PACKAGES, packaged_file

__all__ = ["WordPiece"]

_VOCABULARY = "model/vocab.txt"
_BEGIN, _END = 101, 102
"""The tokens [CLS] and [SEP] around each text."""
_AT_ONCE = 256
_CHARACTERS_PER_TOKEN = 32
"""Far more than a token has: what is beyond is not looked at, so that a long text takes no longer than it must."""


@dataclass(frozen=True)
class WordPiece(Tokenizer):
    """Lower-case WordPiece with the vocabulary that the package of MiniLM brings; its content is checked."""

    unit: ClassVar[str] = "WordPiece tokens"
    size: ClassVar[int] = 30522

    def encode(self, texts: Sequence[str], length: int) -> tuple[np.ndarray, int]:
        """See :meth:`Tokenizer.encode`; a text that is too long keeps the token of its end.

        Raises:
            UnavailableError: the library or the package with the vocabulary is not installed.
            DataError: the vocabulary is another one.
        """
        ids = np.zeros((len(texts), length), np.uint16)
        longer, splitter = 0, _splitter()
        for start in range(0, len(texts), _AT_ONCE):
            part = [text[: length * _CHARACTERS_PER_TOKEN] for text in texts[start : start + _AT_ONCE]]
            for row, found in enumerate(splitter.encode_batch(part, add_special_tokens=False), start):
                tokens = [_BEGIN, *found.ids[: max(0, length - 2)], _END][:length]
                longer += len(found.ids) + 2 > length
                ids[row, : len(tokens)] = tokens
        return ids, longer


@functools.cache
def _splitter() -> Any:
    try:
        from tokenizers import Tokenizer as Splitter
        from tokenizers.models import WordPiece as Model
        from tokenizers.normalizers import BertNormalizer
        from tokenizers.pre_tokenizers import BertPreTokenizer
    except ImportError as error:
        raise UnavailableError(
            "model.backbone=minilm needs the library tokenizers, which is not installed",
            fix=PACKAGES["minilm"].install,
        ) from error
    path = packaged_file(PACKAGES["minilm"], _VOCABULARY, "model.backbone=minilm")
    splitter = Splitter(Model.from_file(str(path), unk_token="[UNK]"))
    splitter.normalizer = BertNormalizer(lowercase=True)
    splitter.pre_tokenizer = BertPreTokenizer()
    return splitter
