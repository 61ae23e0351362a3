"""Sums of products in Einstein's notation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from hal.tensor import equations
from hal.tensor.ops.arrays import Arrays
from hal.types import Array

__all__ = ["Products"]


class Products(Arrays):
    """Products of any number of arrays over any of their axes."""

    def einsum(self, equation: str, *operands: Array) -> Array:
        """A sum of products in Einstein's notation: ``einsum("bik,bkj->bij", x, y)`` is a product of matrices.

        Args:
            equation: for each operand one letter an axis, separated by commas, then ``->`` and the letters of the
                result. ``...`` stands for leading axes, as many as an operand has more. Without ``->`` the result has
                those of ``...`` and the letters that stand there once, in the order of the alphabet.
            operands: as many as the equation names.

        Returns:
            An array with the axes of the result.

        Raises:
            ShapeError: the equation cannot be read, or does not fit the operands; one letter must have one size, and no
                letter may stand twice in one operand.
            UnsupportedError: the arrays are not of one dtype.
        """
        terms, result = equations.read(equation, [tuple(x.shape) for x in operands])
        self._check_dtypes("einsum", operands[0], [(f"operand {i + 2}", x) for i, x in enumerate(operands[1:])])
        return self._einsum(terms, result, operands)

    def _einsum(self, terms: Sequence[str], result: str, operands: Sequence[Array]) -> Array:
        """From left to right, two at a time as one product of matrices.

        Args:
            terms: the letters of each operand, each letter once.
            result: the letters of the result.
            operands: as many as terms.
        """
        held, x = terms[0], operands[0]
        for place, (term, y) in enumerate(zip(terms[1:], operands[1:], strict=True), start=2):
            held, x = self._product((held, x), (term, y), keep=result + "".join(terms[place:]))
        x, held = self._summed(x, held, result)
        return self.standard.permute_dims(x, tuple(held.index(letter) for letter in result))

    def _product(self, first: tuple[str, Array], second: tuple[str, Array], keep: str) -> tuple[str, Array]:
        xp = self.standard
        (a, x), (b, y) = first, second
        x, a = self._summed(x, a, b + keep)
        y, b = self._summed(y, b, a + keep)
        sizes = {**dict(zip(a, x.shape, strict=True)), **dict(zip(b, y.shape, strict=True))}
        batch = "".join(letter for letter in a if letter in b and letter in keep)
        inner = "".join(letter for letter in a if letter in b and letter not in keep)
        left = "".join(letter for letter in a if letter not in b)
        right = "".join(letter for letter in b if letter not in a)
        rows = self._grouped(x, a, (batch, left, inner), sizes)
        columns = self._grouped(y, b, (batch, inner, right), sizes)
        letters = batch + left + right
        return letters, xp.reshape(xp.matmul(rows, columns), tuple(sizes[letter] for letter in letters))

    def _grouped(self, x: Array, letters: str, groups: tuple[str, str, str], sizes: Mapping[str, int]) -> Array:
        """Three axes, one for each group of letters."""
        order = tuple(letters.index(letter) for group in groups for letter in group)
        shape = tuple(math.prod(sizes[letter] for letter in group) for group in groups)
        return self.standard.reshape(self.standard.permute_dims(x, order), shape)

    def _summed(self, x: Array, letters: str, keep: str) -> tuple[Array, str]:
        """X summed over the axes whose letters nothing else needs, and the letters that are left."""
        axes = tuple(axis for axis, letter in enumerate(letters) if letter not in keep)
        if not axes:
            return x, letters
        return self.standard.sum(x, axis=axes), "".join(letter for letter in letters if letter in keep)
