"""Equations in Einstein's notation, read and checked once for all backends."""

from __future__ import annotations

import string
from collections.abc import Sequence

from hal.errors import ShapeError

__all__ = ["read"]


def read(equation: str, shapes: Sequence[tuple[int, ...]]) -> tuple[list[str], str]:
    """The letters of each operand and of the result, all of them written out.

    Args:
        equation: as :meth:`hal.tensor.Ops.einsum` takes it.
        shapes: of the operands.

    Returns:
        One string for each operand, with a letter for each axis, and one for the result.

    Raises:
        ShapeError: the equation cannot be read, or does not fit the shapes.
    """
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    for term in (*terms, right):
        _check_letters(equation, term)
    if len(terms) != len(shapes):
        raise ShapeError(
            f"einsum was given {equation!r} with {len(shapes)} arrays, but the equation names {len(terms)}"
        )
    free = [letter for letter in string.ascii_letters if letter not in equation]
    longest = 0
    for term, shape in zip(terms, shapes, strict=True):
        more = len(shape) - len(term.replace("...", ""))
        if more < 0 or (more and "..." not in term):
            raise ShapeError(
                f"einsum was given {equation!r} and an array of shape {shape} for {term!r}, but each axis must have "
                "one letter, or be part of '...'"
            )
        longest = max(longest, more)
    dots = "".join(free[:longest])
    written = [
        term.replace("...", dots[longest - (len(shape) - len(term) + 3) :]) if "..." in term else term
        for term, shape in zip(terms, shapes, strict=True)
    ]
    _check_sizes(equation, written, shapes)
    if not arrow:
        once = sorted(letter for letter in set(left) - set(".,") if left.count(letter) == 1)
        return written, dots + "".join(once)
    result = right.replace("...", dots)
    unknown = sorted(set(result) - set("".join(written)))
    if unknown:
        raise ShapeError(f"einsum was given {equation!r}, whose result has {unknown[0]!r}, which no array has")
    return written, result


def _check_letters(equation: str, term: str) -> None:
    letters = term.replace("...", "", 1)
    if any(letter not in string.ascii_letters for letter in letters):
        raise ShapeError(
            f"einsum was given {equation!r}, but an equation consists of letters, ',', '->' and '...', as in "
            "'bik,bkj->bij'"
        )
    if len(set(letters)) != len(letters):
        raise ShapeError(f"einsum was given {equation!r}, but a letter may stand only once in {term!r}")


def _check_sizes(equation: str, terms: Sequence[str], shapes: Sequence[tuple[int, ...]]) -> None:
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=True):
        for letter, size in zip(term, shape, strict=True):
            if sizes.setdefault(letter, size) != size:
                raise ShapeError(
                    f"einsum was given {equation!r} and arrays of shapes {list(shapes)}, but the axes of one letter "
                    f"must have one size, not {sizes[letter]} and {size}"
                )
