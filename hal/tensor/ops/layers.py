"""The arithmetic of dense layers and embeddings."""

from __future__ import annotations

from hal.errors import ShapeError
from hal.tensor.ops.arrays import Arrays
from hal.types import Array

__all__ = ["Layers"]


class Layers(Arrays):
    """Products with parameters, rows of a table."""

    def linear(self, x: Array, kernel: Array, bias: Array | None = None) -> Array:
        """``x @ kernel + bias``.

        Args:
            x: (..., in).
            kernel: (in, out).
            bias: (out,).

        Returns:
            (..., out).

        Raises:
            ShapeError: the features of x are not those of the kernel.
            UnsupportedError: the arrays are not of one dtype.
        """
        if not x.shape or len(kernel.shape) != 2 or x.shape[-1] != kernel.shape[0]:
            raise ShapeError(
                f"linear was given x of shape {tuple(x.shape)} and a kernel of shape {tuple(kernel.shape)}, but these "
                "must be (..., in) and (in, out)"
            )
        self._check_dtypes("linear", x, (("kernel", kernel), ("bias", bias)))
        return self._linear(x, kernel, bias)

    def _linear(self, x: Array, kernel: Array, bias: Array | None) -> Array:
        y = self.standard.matmul(x, kernel)
        return y if bias is None else y + bias

    def embedding(self, table: Array, ids: Array) -> Array:
        """Rows of a table.

        Args:
            table: (entries, features).
            ids: integers (...) from 0 to below entries. Others are an error where the device checks them; elsewhere
                they give NaN, never a row of the table.

        Returns:
            (..., features).

        Raises:
            ShapeError: the table does not have two axes.
        """
        if len(table.shape) != 2:
            raise ShapeError(
                f"embedding was given a table of shape {tuple(table.shape)}, but it must be (entries, features)"
            )
        return self._embedding(table, ids)

    def _embedding(self, table: Array, ids: Array) -> Array:
        flat = self.standard.take(table, self.standard.reshape(ids, (-1,)), axis=0)
        return self.standard.reshape(flat, (*ids.shape, table.shape[1]))
