"""Runs a pass over a module in place, with given parameters and buffers, as a user's own loop would."""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from hal.tensor import Key
from hal.torch.passes import PREFIX, Pass
from hal.torch.randomness import drawing, seed_of
from hal.torch.user_code import user_errors

__all__ = ["Native", "tensors_in"]

Tensor = torch.Tensor
_NARROW = {"bf16": torch.bfloat16, "fp16": torch.float16}
_NOTHING: contextlib.nullcontext[None] = contextlib.nullcontext()
_TRACKED = operator.attrgetter("requires_grad")


class Native:
    """A pass, and where the module in it holds its parameters and buffers.

    Args:
        work: a pass of :mod:`hal.torch.passes`.
        name: of the model, for errors.
    """

    def __init__(self, work: Pass, name: str) -> None:
        self.work, self._errors = work, user_errors(f"{name} failed: its code")
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
        device = next(iter((params or state).values() if params or state else tensors_in(args))).device
        narrow = _NARROW.get(precision)
        if self._net.training != training:  # several passes share the module
            self._net.train(training)
        if torch.compiler.is_compiling():
            own = {name: value.clone() for name, value in state.items()} if training else dict(state)
            named = {PREFIX + name: value for name, value in (*params.items(), *own.items())}
            with self._settings(device, narrow, None):
                return torch.func.functional_call(self.work, named, args, strict=False), own
        # Batch statistics are updated in place. What the first call left alone, such as masks and positions, is not
        # copied for the next ones.
        changed = state.keys() if self._changed is None else self._changed
        own = {**state, **_copies({name: state[name] for name in changed})} if training else dict(state)
        seed = None if key is None else seed_of(key)
        held = [(place, slot, place[slot]) for place, slot, _ in self._slots]
        values = {**params, **own}
        try:
            with self._errors, self._settings(device, narrow, seed):
                for place, slot, name in self._slots:
                    if name in values:
                        place[slot] = values[name]
                tracked = training or any(map(_TRACKED, (*params.values(), *tensors_in(args))))
                # As a call: fully_shard gathers parameters in the hooks of the pass.
                found = self.work(*args) if tracked else self._without_gradients(args)
        finally:
            for place, slot, value in held:
                place[slot] = value
        if training and self._changed is None:
            self._changed = {name for name, value in own.items() if not torch.equal(value, state[name])}
        return found, own

    @staticmethod
    def _settings(
        device: torch.device, narrow: torch.dtype | None, seed: int | None
    ) -> contextlib.AbstractContextManager[Any]:
        """The precision and random numbers of a call. Small modules show each context that is entered for nothing."""
        if narrow is None and seed is None:
            return _NOTHING
        with contextlib.ExitStack() as entered:
            if seed is not None:
                accelerators = [device] if device.type != "cpu" else []
                entered.enter_context(drawing(seed, accelerators, libraries=False))
            if narrow is not None:
                entered.enter_context(torch.autocast(device.type, dtype=narrow))
            return entered.pop_all()

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


def _copies(arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies of arrays, with one kernel for all of a type where the device has such."""
    copies = {name: torch.empty_like(value) for name, value in arrays.items()}
    kernels: Any = torch  # whose types leave it out
    for dtype in {value.dtype for value in arrays.values()}:
        names = [name for name, value in arrays.items() if value.dtype == dtype]
        kernels._foreach_copy_([copies[name] for name in names], [arrays[name] for name in names])
    return copies


def _slots(work: nn.Module) -> Any:
    """Each place that holds a parameter or buffer, with its name without the pass; of tied ones the first."""
    names: dict[int, str] = {}
    for path, module in work.named_modules(remove_duplicate=True):
        for places in (module._parameters, module._buffers):
            for key, value in places.items():
                if value is not None:
                    name = f"{path}.{key}".removeprefix(PREFIX)
                    yield places, key, names.setdefault(id(value), name)


def tensors_in(tree: Any) -> list[Tensor]:
    """The leaves of a tree that are tensors."""
    if isinstance(tree, Tensor):
        return [tree]
    if isinstance(tree, Mapping):
        tree = list(tree.values())
    return [x for each in tree for x in tensors_in(each)] if isinstance(tree, (tuple, list)) else []
