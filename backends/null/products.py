"""Products of an array with parameters, and a bias; sums of products in Einstein's notation."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from hal.backends.null.array import NullArray, operate
from hal.backends.null.standard.products import factors
from hal.errors import UnsupportedError

__all__ = ["affine", "einsum_flops", "same_type"]


def affine(
    name: str, x: NullArray, kernel: NullArray, bias: NullArray | None, shape: tuple[int, ...], *, flops: int
) -> NullArray:
    """A product and a bias. Going back, the product's operations for each factor that needs a gradient."""
    same_type(name, x, kernel, *(() if bias is None else (bias,)))
    size = math.prod(shape)
    saves = [a for a, other in ((x, kernel), (kernel, x)) if other.node is not None]
    inputs: tuple[NullArray, ...] = (x, kernel)
    added = summed = 0
    if bias is not None:
        inputs, added, summed = (x, kernel, bias), size, size * factors(bias)
    backward = flops * factors(x, kernel) + summed
    return operate(name, inputs, shape, x.dtype, flops=flops + added, saves=saves, backward_flops=backward)


def same_type(name: str, x: NullArray, *weights: NullArray) -> None:
    """Frameworks disagree on products of mixed types, so they are refused here, where a test sees it."""
    if any(w.dtype != x.dtype for w in weights):
        given = ", ".join(str(w.dtype) for w in weights)
        raise UnsupportedError(
            f"{name} was given x of type {x.dtype} and weights of {given}", fix="cast them to one type, as layers do"
        )


def einsum_flops(terms: Sequence[str], result: str, sizes: Mapping[str, int]) -> int:
    """Operations of an equation that is computed from left to right, one pair of arrays at a time.

    Args:
        terms: the letters of each array.
        result: those of the result.
        sizes: of each letter.
    """

    def elements(letters: Iterable[str]) -> int:
        return math.prod(sizes[letter] for letter in letters)

    flops, held = 0, set(terms[0])
    for place, term in enumerate(terms[1:], start=2):
        keep = {*result, *"".join(terms[place:])}
        first, second = held & {*term, *keep}, set(term) & {*held, *keep}
        flops += sum(elements(own) for own, left in ((held, first), (set(term), second)) if left != own)
        flops += 2 * elements(first | second)
        held = (first | second) & keep
    return flops + (elements(held) if held - set(result) else 0)
