"""Which folders are parts of a data set, such as ``train`` and ``test``, in the spellings that people use."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

__all__ = ["HELD", "TRAIN", "find_parts"]

_PARTS = {
    "train": "train training trn",
    "validation": "val valid validate validation validations validating dev development eval evaluate evaluation",
    "test": "test tests testing tst holdout heldout",
}
"""Words for each part; of several held-out parts, the first in this order is used."""

TRAIN, HELD = _PARTS["train"].split(), f"{_PARTS['validation']} {_PARTS['test']}".split()
"""Words for what is trained on, and for what is held back."""

_FILLERS = "set sets data dataset split part folder dir image images img imgs picture pictures pic pics photo photos"
"""Words that may stand beside the word for a part, also without a mark between: ``trainset``, ``val_images``."""

_PART_OF = {word: part for part, words in _PARTS.items() for word in words.split()}
_GLUED = re.compile(f"({'|'.join(sorted(_PART_OF, key=len, reverse=True))})({'|'.join(_FILLERS.split())})?")


def _read(name: str) -> tuple[str, tuple[str, ...]]:
    """The part that a folder's name stands for, and the other words in the name; the part is empty if it is none."""
    words = re.findall("[a-z]+", re.sub("(?<=[a-z])(?=[A-Z])", " ", name).lower())
    words = re.sub(r"\b(hold|held) out\b", "holdout", " ".join(words)).split()
    found = [match[1] for word in words if (match := _GLUED.fullmatch(word))]
    if len(found) != 1:
        return "", ()
    rest = tuple(word for word in words if not _GLUED.fullmatch(word) and word not in _FILLERS.split())
    return _PART_OF[found[0]], rest


def find_parts(
    folders: Sequence[Path], has_folders: Callable[[Path], bool]
) -> tuple[Path, Path | None, tuple[Path, ...]] | None:
    """The folder to train on, the one to validate with, and those that are left over; None: these are no parts.

    ``train`` may also be the name of a class: it is a part only if it has folders and is alone or beside another part.
    The names of parts differ in the word for the part alone: ``my_train`` and ``my_test``.

    Args:
        folders: all folders in a folder.
        has_folders: whether a folder has folders inside.
    """
    named = [(path, *_read(path.name)) for path in folders]
    train = [(path, rest) for path, part, rest in named if part == "train" and has_folders(path)]
    if len(train) != 1:
        return None
    first, rest = train[0]
    held = [
        path
        for part in ("validation", "test")
        for path, its_part, its_rest in named
        if (its_part, its_rest) == (part, rest)
    ]
    if not held and len(folders) > 1:
        return None
    left = (*held[1:], *(path for path in folders if path not in (first, *held)))
    return first, held[0] if held else None, left
