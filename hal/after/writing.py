"""Continues a text with a model that gives the next character."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from hal.errors import InputError

__all__ = ["continued", "ids_of"]

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_SHOWN = 10


def ids_of(text: str, vocabulary: str) -> list[int]:
    """The ids of the characters of a text.

    Characters that the model never met become the replacement character, as rare ones did in its training text.

    Raises:
        InputError: the text is empty, or has characters that the model does not know and has nothing to take for.
    """
    if not text:
        raise InputError("the prompt is empty", fix="give at least one character to go on from")
    numbers = {character: number for number, character in enumerate(vocabulary)}
    unknown = list(dict.fromkeys(each for each in text if each not in numbers))
    if unknown and _REPLACEMENT not in numbers:
        more = ", ..." if len(unknown) > _SHOWN else ""
        raise InputError(
            f"the prompt contains characters that the model does not know: {', '.join(map(repr, unknown[:_SHOWN]))}"
            f"{more}",
            fix=f"use the {len(vocabulary)} characters of the text that it learned from",
        )
    return [numbers.get(each, numbers.get(_REPLACEMENT, 0)) for each in text]


def continued(
    vocabulary: str,
    next_logits: Callable[[Sequence[int]], np.ndarray],
    prompt: Sequence[int],
    length: int,
    temperature: float,
    seed: int,
) -> Iterator[str]:
    """The characters after a prompt, one by one.

    Args:
        vocabulary: the character of each id.
        next_logits: gives the logits (characters,) of the character after those that there are, by their ids.
        prompt: the beginning, as ids.
        length: how many characters to write.
        temperature: by which the logits are divided before one is drawn.
        seed: decides what is drawn.
    """
    random = np.random.default_rng(seed)
    written = list(prompt)
    for _ in range(length):
        scores = next_logits(written).astype(np.float64) / temperature
        p = np.exp(scores - scores.max())
        written.append(int(random.choice(len(p), p=p / p.sum())))
        yield vocabulary[written[-1]]
