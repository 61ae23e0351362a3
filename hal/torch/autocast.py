"""What torch.autocast does to the inputs of each op on an accelerator, by the lists of its documentation.

Products of matrices, convolutions, attention and recurrent layers take the narrow dtype; what loses too much in it is
computed in fp32; ops that need one dtype for all inputs take the widest of them. All others take what they are given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hal.torch.table.call import Call, is_array

__all__ = ["casting"]

_NARROW = frozenset(
    "linear matmul mm bmm mv addmm addmv addbmm baddbmm einsum bilinear conv1d conv2d conv3d conv_transpose1d "
    "conv_transpose2d convolution _convolution prelu scaled_dot_product_attention lstm gru rnn_tanh rnn_relu lstm_cell "
    "gru_cell rnn_tanh_cell rnn_relu_cell linalg_matmul".split()
)
_WIDE = frozenset(
    "pow exp expm1 log log10 log1p log2 acos asin cosh sinh tan reciprocal rsqrt softplus cumsum cumprod sum prod "
    "softmax _softmax log_softmax _log_softmax logsumexp layer_norm native_layer_norm group_norm native_group_norm "
    "linalg_vector_norm norm cosine_similarity cross_entropy_loss nll_loss nll_loss_nd nll_loss2d mse_loss l1_loss "
    "smooth_l1_loss huber_loss kl_div soft_margin_loss poisson_nll_loss margin_ranking_loss hinge_embedding_loss "
    "binary_cross_entropy binary_cross_entropy_with_logits".split()
)
_WIDEST = frozenset("addcdiv addcmul atan2 cat stack dot linalg_cross index_put scatter_add tensordot".split())

_DTYPES: Mapping[str, str] = {"bf16": "bfloat16", "fp16": "float16"}


def casting(precision: str, op: str) -> Callable[[Call, Any], Any] | None:
    """What casts the arguments of an op under a precision of the plan; None where they stay what they are.

    Args:
        precision: ``fp32``, ``tf32``, ``bf16`` or ``fp16``.
        op: ``aten::name.overload``.
    """
    space, _, name = op.partition("::")
    if precision not in _DTYPES or space != "aten":
        return None
    name = name.partition(".")[0]
    if name in _NARROW:
        return lambda c, args: _cast(c, args, c.dtype(_DTYPES[precision]))
    if name in _WIDE:
        return lambda c, args: _cast(c, args, c.xp.float32)
    if name in _WIDEST:
        return _widest
    return None


def _cast(c: Call, value: Any, dtype: Any) -> Any:
    """Floating-point arrays in a dtype; float64 stays what it is, and so does all else."""
    if isinstance(value, tuple):
        return tuple(_cast(c, inner, dtype) for inner in value)
    if not is_array(value) or c.kind(value) != "f" or value.dtype == c.xp.float64:
        return value
    return c.cast(value, dtype)


def _widest(c: Call, args: Any) -> Any:
    wide = any(dtype == c.xp.float32 for dtype in _dtypes(c, args))
    return _cast(c, args, c.xp.float32) if wide else args


def _dtypes(c: Call, value: Any) -> list[Any]:
    if isinstance(value, tuple):
        return [dtype for inner in value for dtype in _dtypes(c, inner)]
    return [value.dtype] if is_array(value) and c.kind(value) == "f" else []
