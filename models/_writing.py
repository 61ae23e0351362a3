"""Text that a model writes at the end of a run, character by character."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from hal import nn
from hal.data import bigram_entropy

__all__ = ["PROMPT", "writing_report"]

PROMPT = 40
"""The most characters of the validation text that the writing begins with."""


def writing_report(
    view: nn.TrainingView,
    vocabulary: str,
    next_logits: Callable[[Sequence[int]], np.ndarray],
    *,
    count: int,
    temperature: float,
) -> nn.Report:
    """The bigram entropy to compare the loss with, and a sample of text.

    Args:
        view: of the run.
        vocabulary: the character of each id.
        next_logits: gives the logits (characters,) of the character after those that there are, by their ids.
        count: how many characters to write after the prompt.
        temperature: by which the logits are divided before one is drawn.
    """
    rng = np.random.default_rng(view.seed)
    start = view.split.validation.take(np.zeros(1, np.int64))["inputs"][0, :PROMPT]
    written = [int(i) for i in start]
    prompt = len(written)
    for _ in range(count):
        scores = next_logits(written).astype(np.float64) / temperature
        p = np.exp(scores - scores.max())
        written.append(int(rng.choice(len(p), p=p / p.sum())))
    said = "".join(vocabulary[i] for i in written)
    path = view.write("sample.txt", said.encode())
    entropy = bigram_entropy(view.split.validation)
    text = f"prompt: {said[:prompt]!r}\n{said[prompt:]}" if count else ""
    return nn.Report({"bigram_entropy": entropy}, text, (path,))
