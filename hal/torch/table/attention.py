"""Attention as one op, and the parts that PyTorch fuses with it."""

from __future__ import annotations

import math

from hal import ops
from hal.torch.table.call import EXPECTED, Call
from hal.torch.table.entries import op, unsupported
from hal.types import Array

__all__: list[str] = []


@op("scaled_dot_product_attention")
def _attention(
    c: Call,
    query: Array,
    key: Array,
    value: Array,
    attn_mask: Array | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Array:
    """PyTorch takes any axes in front; hal (batch, heads, time, features)."""
    if len(query.shape) < 2 or len({len(x.shape) for x in (query, key, value)}) > 1:
        raise unsupported("attention of a query, key and value with different counts of axes")
    rate = 0.0 if c.random is EXPECTED else dropout_p
    lead = tuple(query.shape[:-2])
    if len(lead) == 2:
        same = all(tuple(x.shape[:1]) == lead[:1] for x in (key, value)) and (
            enable_gqa or all(x.shape[1] == lead[1] for x in (key, value))
        )
        q, k, v = query, key, value
    else:
        same = all(tuple(x.shape[:-2]) == lead for x in (key, value))
        q, k, v = (_four(c, x) for x in (query, key, value))
    if not same:
        raise unsupported("attention whose key and value must be broadcast to the query's batch; expand them")
    if attn_mask is not None and len(lead) != 2:
        attn_mask = _mask_of_four(c, attn_mask, lead)
    y = c.xp.attention(
        q,
        k,
        v,
        mask=attn_mask,
        causal=is_causal,
        scale=scale,
        dropout=rate,
        rng=ops.fold_in(c.key, 0) if rate else None,
    )
    return y if len(lead) == 2 else c.xp.reshape(y, (*lead, *y.shape[-2:]))


def _four(c: Call, x: Array) -> Array:
    """All axes in front as one for the batch, beside one head."""
    return c.xp.reshape(x, (math.prod(x.shape[:-2]), 1, *x.shape[-2:]))


def _mask_of_four(c: Call, mask: Array, lead: tuple[int, ...]) -> Array:
    if len(mask.shape) == 2:
        return mask
    return _four(c, c.xp.broadcast_to(mask, (*lead, *mask.shape[-2:])))
