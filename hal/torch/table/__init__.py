"""How each op of PyTorch is computed with hal's neutral ops: one entry for each op and overload, by family.

``TABLE`` has an entry by the op's name, ``aten::add.Tensor``. An entry is a function of a :class:`Call`, which tells
what runs where, and of the op's own arguments, with arrays of the backend in place of tensors.
"""

from hal.torch.table import (
    attention,
    comparison,
    convolution,
    creation,
    elementwise,
    indexing,
    linear,
    losses,
    normalization,
    pooling,
    random,
    recurrent,
    reductions,
    resampling,
    shapes,
    sizes,
)
from hal.torch.table.call import Call
from hal.torch.table.entries import TABLE, Entry, entry_of, translate

FAMILIES = (
    elementwise,
    comparison,
    shapes,
    indexing,
    creation,
    random,
    reductions,
    linear,
    convolution,
    pooling,
    normalization,
    attention,
    recurrent,
    resampling,
    losses,
    sizes,
)

__all__ = ["FAMILIES", "TABLE", "Call", "Entry", "entry_of", "translate"]
