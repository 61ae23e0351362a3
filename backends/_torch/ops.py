"""The neutral tensor API on PyTorch.

Images are logically (batch, height, width, channels). Their storage is whatever the plan chose; the permuted views made
here cost nothing, and PyTorch's kernels see channels_last or contiguous NCHW tensors as they like them.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, TypeVar, cast

import array_api_compat.torch as standard
import torch
import torch.nn.functional as F

from hal.backends._torch import many
from hal.backends._torch.image_ops import ImageOps
from hal.tensor import Key, register
from hal.types import Tree

__all__ = ["TorchOps", "eagerly", "generator", "keep_out_of_graphs"]

Tensor = torch.Tensor
Method = TypeVar("Method", bound=Callable[..., Any])
_EAGER: dict[str, Callable[..., Any]] = {}
_KEPT_OUT: dict[str, Callable[..., Any]] = {}
_local = threading.local()
_IGNORED = -100  # a label without a loss or a gradient


def eagerly(method: Method) -> Method:
    """A function that PyTorch runs as it is, also within a compiled one; see :func:`keep_out_of_graphs`."""
    name = f"{method.__module__}.{method.__qualname__}"
    _EAGER[name] = method

    @functools.wraps(method)
    def run(*args: Any) -> Any:
        return _KEPT_OUT[name](*args) if torch.compiler.is_dynamo_compiling() else method(*args)

    return cast("Method", run)


def keep_out_of_graphs() -> None:
    """Keep the compiler away from the functions that :func:`eagerly` marks; called before anything is compiled.

    Not earlier: ``torch.compiler.disable`` loads the compiler, which takes as long as loading the rest of PyTorch.
    """
    for name, method in _EAGER.items():
        if name not in _KEPT_OUT:
            _KEPT_OUT[name] = torch.compiler.disable(method)  # type: ignore[no-untyped-call]


def generator(key: Key, device: torch.device) -> torch.Generator | None:
    """This thread's generator of a device, seeded by a key; None (PyTorch's own) for the ambient key."""
    if key.seed is None:
        return None
    made: dict[torch.device, torch.Generator] = _local.__dict__.setdefault("generators", {})
    if device not in made:
        made[device] = torch.Generator(device)
    return made[device].manual_seed(key.seed)


class TorchOps(ImageOps):
    """Ops on torch.Tensor; for creation bound to a device, otherwise on the device of the arguments."""

    shares: ClassVar[bool] = False
    """Whether batch statistics are those of several processes' rows."""

    def __init__(self, device: torch.device | None = None) -> None:
        super().__init__(standard, device)

    def _stop_gradient(self, x: Tensor) -> Tensor:
        return x.detach()

    def _scan(self, fn: Callable[[Tree, Tree], tuple[Tree, Tensor]], init: Tree, xs: Tensor) -> tuple[Tree, Tensor]:
        carry, ys = init, []
        for x in xs.unbind(0):
            carry, y = fn(carry, x)
            ys.append(y)
        return carry, torch.stack(ys)

    def _cast(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        return x.to(dtype)

    def _cast_each(self, arrays: Sequence[Tensor], dtype: torch.dtype) -> list[Tensor]:
        # Processors launch nothing, so there is nothing to save; and what has the dtype already is not copied.
        if arrays[0].device.type == "cpu" or not many.plain(arrays) or any(x.dtype == dtype for x in arrays):
            return super()._cast_each(arrays, dtype)
        return many.cast_each(arrays, dtype)

    def _clip_norm(self, arrays: Sequence[Tensor], largest: float) -> list[Tensor]:
        if not many.plain(arrays):
            return super()._clip_norm(arrays, largest)
        return many.clip_norm(arrays, largest)

    def _placed(self, like: Tensor) -> dict[str, Any]:
        return {"device": like.device}

    def _filled(self, shape: tuple[int, ...], value: float, like: Tensor) -> Tensor:
        return torch.full(shape, value, dtype=like.dtype, device=like.device)

    # The standard, where PyTorch has no derivative or a NaN for it

    def floor_divide(self, x1: Any, x2: Any, /) -> Any:
        """``floor(x1 / x2)``; its derivative is 0."""
        return standard.floor_divide(*(x.detach() if isinstance(x, Tensor) else x for x in (x1, x2)))

    def hypot(self, x1: Tensor, x2: Tensor, /) -> Tensor:
        """``sqrt(x1² + x2²)`` without overflow; its derivatives at (0, 0) are 0."""
        origin = (x1 == 0) & (x2 == 0)
        fixed = (torch.where(origin, x.detach(), x) if isinstance(x, Tensor) else x for x in (x1, x2))
        root: Tensor = standard.hypot(*fixed)
        return root

    # Randomness

    def _uniform(self, key: Key, shape: tuple[int, ...], like: Tensor) -> Tensor:
        g = generator(key, like.device)
        drawn: Tensor = key.drawn(
            lambda whole: torch.rand(whole, generator=g, dtype=like.dtype, device=like.device), shape
        )
        return drawn

    def _normal(self, key: Key, shape: tuple[int, ...], like: Tensor) -> Tensor:
        g = generator(key, like.device)
        drawn: Tensor = key.drawn(
            lambda whole: torch.randn(whole, generator=g, dtype=like.dtype, device=like.device), shape
        )
        return drawn

    def _dropout(self, x: Tensor, rate: float, key: Key) -> Tensor:
        if key.seed is None and key.share is None:
            return F.dropout(x, rate)

        def draw(shape: tuple[int, ...]) -> Tensor:
            # Numbers fill memory in its order, so the whole batch is laid out as its part is.
            like = torch.empty_like(x) if shape == x.shape else _laid_out(shape, x)
            if key.seed is None:
                return F.dropout(torch.ones_like(like), rate)
            return like.bernoulli_(1 - rate, generator=generator(key, x.device)).div_(1 - rate)

        kept: Tensor = key.drawn(draw, x.shape)
        return x * kept

    # Activations

    def _relu(self, x: Tensor) -> Tensor:
        return torch.relu(x)

    def _leaky_relu(self, x: Tensor, slope: float) -> Tensor:
        return F.leaky_relu(x, slope)

    def _elu(self, x: Tensor) -> Tensor:
        return torch.nn.functional.elu(x)

    def _erf(self, x: Tensor) -> Tensor:
        return torch.erf(x)

    def _gelu(self, x: Tensor, exact: bool) -> Tensor:
        return F.gelu(x, approximate="none" if exact else "tanh")

    def _sigmoid(self, x: Tensor) -> Tensor:
        return torch.sigmoid(x)

    def _silu(self, x: Tensor) -> Tensor:
        return F.silu(x)

    def _softplus(self, x: Tensor) -> Tensor:
        return F.softplus(x)

    def _softmax(self, x: Tensor, axis: int) -> Tensor:
        return torch.softmax(x, axis)

    def _log_softmax(self, x: Tensor, axis: int) -> Tensor:
        return torch.log_softmax(x, axis)

    # Layers' arithmetic

    def _linear(self, x: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
        return F.linear(x, kernel.t(), bias)

    def _embedding(self, table: Tensor, ids: Tensor) -> Tensor:
        return F.embedding(ids, table)

    def _batch_norm(
        self,
        x: Tensor,
        scale: Tensor,
        offset: Tensor,
        mean: Tensor,
        variance: Tensor,
        training: bool,
        momentum: float,
        epsilon: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        if training:  # the kernel updates in place; the caller keeps what it passed
            mean, variance = mean.clone(), variance.clone()
        y = F.batch_norm(x.movedim(-1, 1), mean, variance, scale, offset, training, 1 - momentum, epsilon)
        return y.movedim(1, -1), mean, variance

    def _layer_norm(self, x: Tensor, scale: Tensor, offset: Tensor, epsilon: float) -> Tensor:
        if x.device.type == "cpu":  # whose kernel adds up the gradients of scale and offset in the dtype of x
            return F.layer_norm(x.to(scale.dtype), (x.shape[-1],), scale, offset, epsilon).to(x.dtype)
        return F.layer_norm(x, (x.shape[-1],), scale.to(x.dtype), offset.to(x.dtype), epsilon)

    def _group_norm(self, x: Tensor, groups: int, scale: Tensor, offset: Tensor, epsilon: float) -> Tensor:
        y = x.movedim(-1, 1)
        if x.device.type == "cpu":  # as for layer_norm
            y = torch.group_norm(y.to(scale.dtype), groups, scale, offset, epsilon).to(x.dtype)
        else:
            y = torch.group_norm(y, groups, scale.to(x.dtype), offset.to(x.dtype), epsilon)
        return y.movedim(1, -1)

    def _attention(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        causal: bool,
        scale: float,
        dropout: float,
        rng: Key | None,
    ) -> Tensor:
        # PyTorch's kernels draw from its own generator alone, and those on GPUs add no numbers of another dtype.
        own = rng is None or (rng.seed is None and rng.share is None)
        mixed = mask is not None and mask.dtype not in (torch.bool, query.dtype)
        if (dropout and not own) or mixed:
            general: Tensor = super()._attention(query, key, value, mask, causal, scale, dropout, rng)
            return general
        if mask is not None:
            mask = mask.expand(*query.shape[:3], key.shape[2])
        grouped = query.shape[1] != key.shape[1]
        return F.scaled_dot_product_attention(
            query, key, value, mask, dropout, is_causal=causal, scale=scale, enable_gqa=grouped
        )

    def _einsum(self, terms: Sequence[str], result: str, operands: Sequence[Tensor]) -> Tensor:
        return torch.einsum(f"{','.join(terms)}->{result}", *operands)

    # Positions

    def _scatter(self, x: Tensor, axis: int, index: Tensor, source: Tensor, add: bool) -> Tensor:
        put = torch.scatter_add if add else torch.scatter
        return put(x, axis, index.long(), source)

    def _index_put(self, x: Tensor, indices: tuple[Tensor | None, ...], values: Tensor, add: bool) -> Tensor:
        places = [None if index is None else index.long() for index in indices]
        y: Tensor = torch.ops.aten.index_put.default(x, places, values, add)
        return y

    def _topk(self, x: Tensor, k: int, axis: int) -> tuple[Tensor, Tensor]:
        # torch.topk gives any of several equal values.
        values, positions = torch.sort(x, dim=axis, descending=True, stable=True)
        return values.narrow(axis, 0, k), positions.narrow(axis, 0, k)

    # Recurrence: one call into cuDNN, MIOpen or oneDNN; weights are stored as those want them, so transposing is free.
    # Compilers leave these calls alone, as PyTorch does for torch.nn.LSTM: TorchInductor 2.13 miscompiles that of
    # oneDNN, and what it makes of the loop over time loses the fused kernel.

    @eagerly
    def _rnn(
        self, x: Tensor, state: Tensor, kernel: Tensor, recurrent: Tensor, bias: Tensor, activation: str
    ) -> tuple[Tensor, Tensor]:
        function = torch.rnn_tanh if activation == "tanh" else torch.rnn_relu
        weights = _contiguous(kernel.t(), recurrent.t(), bias, torch.zeros_like(bias))
        (first,) = _contiguous(state.unsqueeze(0))
        with _keeping_for_backward(x, first, *weights) as keeps:
            ys, h = function(x, first, weights, True, 1, 0.0, keeps, False, True)
        return ys, h.squeeze(0)

    @eagerly
    def _lstm(
        self, x: Tensor, state: tuple[Tensor, Tensor], kernel: Tensor, recurrent: Tensor, bias: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        first = _contiguous(state[0].unsqueeze(0), state[1].unsqueeze(0))
        weights = _contiguous(kernel.t(), recurrent.t(), bias, torch.zeros_like(bias))
        with _keeping_for_backward(x, *first, *weights) as keeps:
            ys, h, c = torch.lstm(x, first, weights, True, 1, 0.0, keeps, False, True)
        return ys, (h.squeeze(0), c.squeeze(0))

    @eagerly
    def _gru(
        self, x: Tensor, state: Tensor, kernel: Tensor, recurrent: Tensor, bias: Tensor, recurrent_bias: Tensor
    ) -> tuple[Tensor, Tensor]:
        weights = _contiguous(kernel.t(), recurrent.t(), bias, recurrent_bias)
        (first,) = _contiguous(state.unsqueeze(0))
        with _keeping_for_backward(x, first, *weights) as keeps:
            ys, h = torch.gru(x, first, weights, True, 1, 0.0, keeps, False, True)
        return ys, h.squeeze(0)

    # Losses

    def _cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        classes, given = logits.shape[-1], labels.long()
        inside = (given >= 0) & (given < classes)
        known = torch.where(inside, given, _IGNORED).reshape(-1)
        losses = F.cross_entropy(logits.reshape(-1, classes), known, reduction="none", ignore_index=_IGNORED)
        return torch.where(inside, losses.reshape(labels.shape), float("nan"))

    def _sigmoid_cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits, labels, reduction="none")


@contextlib.contextmanager
def _keeping_for_backward(*arrays: Tensor) -> Iterator[bool]:
    """Around a recurrent layer: whether it has to keep what a backward pass needs.

    The libraries keep it wherever gradients are switched on, even if no input has any, as in inference.
    """
    keeps = torch.is_grad_enabled() and any(array.requires_grad for array in arrays)
    with torch.set_grad_enabled(keeps):
        yield keeps


def _contiguous(*arrays: Tensor) -> tuple[Tensor, ...]:
    """Arrays as cuDNN takes them; those that :meth:`from_host` stored for it are not copied."""
    return tuple(array.contiguous() for array in arrays)


def _laid_out(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Memory for a larger batch, its axes in the order that those of ``like`` have in memory."""
    stride = [like.shape[axis] != 1 and like.stride(axis) for axis in range(like.ndim)]
    outer = [0] if like.shape[0] == 1 else []  # an axis of one element has no place in memory of its own
    order = outer + sorted((a for a in range(like.ndim) if a not in outer), key=lambda a: -stride[a])
    memory = torch.empty([shape[axis] for axis in order], dtype=like.dtype, device=like.device)
    return memory.permute([order.index(axis) for axis in range(like.ndim)])


register(Tensor, TorchOps())
