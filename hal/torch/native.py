"""Runs a pass over a module in place, with given parameters and buffers, as a user's own loop would."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from hal.tensor import Key
from hal.torch.passes import PREFIX, Pass
from hal.torch.randomness import drawing, seed_of
from hal.torch.user_code import user_errors

__all__ = ["Native"]

Tensor = torch.Tensor
_NARROW = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Native:
    """A pass, and where the module in it holds its parameters and buffers.

    Args:
        work: a pass of :mod:`hal.torch.passes`.
        name: of the model, for errors.
    """

    def __init__(self, work: Pass, name: str) -> None:
        self.work, self._name = work, name
        self._net = work.net
        self._slots = list(_slots(work))
        self._changed: set[str] | None = None
        self._differentiates = False

    def __call__(
        self,
        params: Mapping[str, Tensor],
        state: Mapping[str, Tensor],
        args: tuple[Any, ...],
        *,
        training: bool,
        key: Key | None = None,
        precision: str = "fp32",
    ) -> tuple[Any, dict[str, Tensor]]:
        """What the pass gives, and the buffers from now on. Buffers that are given stay as they are.

        Args:
            params: by the module's own names, each once.
            state: buffers likewise.
            args: of the pass.
            training: the mode of the module.
            key: what random numbers are drawn with; None: none are.
            precision: as in a plan; ``bf16`` and ``fp16`` compute under ``torch.autocast``.
        """
        device = next(iter((*params.values(), *state.values(), *_tensors(args)))).device
        narrow = _NARROW.get(precision)
        _switch(self._net, training)
        cast = contextlib.nullcontext() if narrow is None else torch.autocast(device.type, dtype=narrow)
        if torch.compiler.is_compiling():
            own = {name: value.clone() for name, value in state.items()} if training else dict(state)
            named = {PREFIX + name: value for name, value in (*params.items(), *own.items())}
            with cast:
                return torch.func.functional_call(self.work, named, args, strict=False), own
        # Batch statistics are updated in place. What the first call left alone, such as masks and positions, is not
        # copied for the next ones.
        changed = state.keys() if self._changed is None else self._changed
        own = {**state, **_copies({name: state[name] for name in changed})} if training else dict(state)
        seed = None if key is None else seed_of(key)
        accelerators = [device] if device.type != "cpu" else []
        draws = contextlib.nullcontext() if seed is None else drawing(seed, accelerators, libraries=False)
        with user_errors(f"{self._name} failed: its code"), self._holding(params, own), draws, cast:
            given = (*params.values(), *_tensors(args))
            tracked = training or any(x.requires_grad for x in given)
            found = self.work(*args) if tracked else self._without_gradients(args)
        if training and self._changed is None:
            self._changed = {name for name, value in own.items() if not torch.equal(value, state[name])}
        return found, own

    def _without_gradients(self, args: tuple[Any, ...]) -> Any:
        """Call the pass under ``no_grad``, as a user's own loop does.

        Where gradients may follow, oneDNN's LSTM, for one, keeps what a backward pass would need. Code that takes
        gradients itself, such as a gradient penalty, fails so, and is called with them from then on.
        """
        if not self._differentiates:
            try:
                with torch.no_grad():
                    return self.work(*args)
            except (torch.OutOfMemoryError, torch.AcceleratorError):
                raise
            except RuntimeError:
                found = self.work(*args)  # which raises what is wrong in any case
                self._differentiates = True
                return found
        return self.work(*args)

    @contextlib.contextmanager
    def _holding(self, params: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> Any:
        held = []
        for place, key, name in self._slots:
            value = params.get(name)
            value = state.get(name) if value is None else value
            if value is not None:
                held.append((place, key, place[key]))
                place[key] = value
        try:
            yield
        finally:
            for place, key, value in held:
                place[key] = value


def _copies(arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies of arrays, with one kernel for all of a type where the device has such."""
    copies = {name: torch.empty_like(value) for name, value in arrays.items()}
    kernels: Any = torch  # whose types leave it out
    for dtype in {value.dtype for value in arrays.values()}:
        names = [name for name, value in arrays.items() if value.dtype == dtype]
        kernels._foreach_copy_([copies[name] for name in names], [arrays[name] for name in names])
    return copies


def _switch(net: nn.Module, training: bool) -> None:
    """The mode of the module itself, which several passes share."""
    if net.training != training:
        net.train(training)


def _slots(work: nn.Module) -> Any:
    """Each place that holds a parameter or buffer, with its name without the pass; of tied ones the first."""
    names: dict[int, str] = {}
    for path, module in work.named_modules(remove_duplicate=True):
        for places in (module._parameters, module._buffers):
            for key, value in places.items():
                if value is not None:
                    name = f"{path}.{key}".removeprefix(PREFIX)
                    yield places, key, names.setdefault(id(value), name)


def _tensors(tree: Any) -> Any:
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, Mapping):
        for each in tree.values():
            yield from _tensors(each)
    elif isinstance(tree, (tuple, list)):
        for each in tree:
            yield from _tensors(each)
