"""What cannot be captured or translated, each with its sentence; all that are found are told at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hal.errors import UnsupportedError
from hal.torch.node import Place

__all__ = ["Refusal", "refused"]


@dataclass(frozen=True)
class Refusal:
    """One thing that keeps a module from being translated.

    Attributes:
        what: the op or the feature: "aten::nonzero", "data-dependent control flow".
        why: what is wrong with it and what to write instead, as a sentence.
        place: where.
    """

    what: str
    why: str
    place: Place

    def __str__(self) -> str:
        return f"{self.what} in {self.place}: {self.why}"


def refused(refusals: Iterable[Refusal]) -> UnsupportedError:
    """One error that lists all of them, each once."""
    lines = list(dict.fromkeys(str(refusal) for refusal in refusals))
    head = "this module cannot be translated for a backend that does not run PyTorch"
    listed = "".join(f"\n  {line}" for line in lines)
    return UnsupportedError(
        f"{head}: {lines[0]}" if len(lines) == 1 else f"{head}, for {len(lines)} reasons:{listed}",
        fix="Backends cpu, cuda, rocm, mps and xpu run the module itself, without a translation. For an op of your "
        'own, hal.torch.translate("mylib::twice", function) says how it is computed with hal.ops.',
    )
