"""What hal computes with a user's module, as modules around it: run in place by PyTorch, and captured for others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from hal.errors import ConfigError
from hal.torch.forms import Form, outputs_of
from hal.torch.user_code import UserCode

__all__ = ["PREFIX", "EvaluationPass", "LossPass", "OutputPass", "OwnLossPass", "Pass"]

Tensor = torch.Tensor
PREFIX = "net."
"""What the names of the module's own parameters begin with inside a pass."""


class Pass(nn.Module):
    """A computation with a module.

    Args:
        net: the module.
        form: of batches.
        code: the user's loss and metrics.
    """

    def __init__(self, net: nn.Module, form: Form, code: UserCode) -> None:
        super().__init__()
        self.net, self.form, self.code = net, form, code


class OutputPass(Pass):
    """The main one of the outputs."""

    def forward(self, inputs: Any) -> Tensor:
        """(batch, ...)."""
        return outputs_of(self.form.call(self.net, inputs))


class LossPass(Pass):
    """The loss, and what is reported beside it while training."""

    def forward(self, inputs: Any, labels: Any = None) -> tuple[Tensor, dict[str, Tensor]]:
        """A scalar, and scalars by name."""
        outputs = self.form.call(self.net, inputs, labels)
        return _loss(self.code, self.form, outputs, inputs, labels), {}


class OwnLossPass(Pass):
    """The loss of a submodule, where each has its own.

    Args:
        part: name of the submodule.
    """

    def __init__(self, net: nn.Module, form: Form, code: UserCode, part: str) -> None:
        super().__init__(net, form, code)
        self.part = part

    def forward(self, inputs: Any, labels: Any = None) -> tuple[Tensor, dict[str, Tensor]]:
        """A scalar, and nothing beside it."""
        assert self.code.losses is not None
        value = self.code.losses[self.part](self.net, self.form.batch(inputs, labels))
        return _scalar(value, f"losses[{self.part!r}]"), {}


class EvaluationPass(Pass):
    """Loss, accuracy where there is one, and the user's metrics, for each sample."""

    def forward(self, inputs: Any, labels: Any = None) -> dict[str, Tensor]:
        """(batch,) each."""
        if self.code.losses is not None:
            return {
                f"{name}_loss": _each(_scalar(loss(self.net, self.form.batch(inputs, labels)), name), inputs)
                for name, loss in self.code.losses.items()
            }
        outputs = self.form.call(self.net, inputs, labels)
        found = {"loss": _each(_loss(self.code, self.form, outputs, inputs, labels), inputs)}
        if self.code.loss is None and isinstance(labels, Tensor):
            logits = outputs_of(outputs)
            axis = _class_axis(logits, labels)
            if axis is not None:
                if not self.form.labelled:
                    each = functional.cross_entropy(torch.movedim(logits, axis, 1), labels, reduction="none")
                    found["loss"] = _mean(each)
                found["accuracy"] = _mean((logits.argmax(axis) == labels).to(torch.float32))
        if self.code.metrics is not None:
            found.update(_metrics(self.code.metrics(outputs, self.form.batch(inputs, labels)), inputs))
        return found


def _loss(code: UserCode, form: Form, outputs: Any, inputs: Any, labels: Any) -> Tensor:
    if code.loss is not None:
        return _scalar(code.loss(outputs, form.batch(inputs, labels)), "loss")
    if form.labelled:
        given = outputs.get("loss") if isinstance(outputs, Mapping) else getattr(outputs, "loss", None)
        if given is not None:
            return _scalar(given, "the module's own loss")
    logits = outputs_of(outputs)
    axis = _class_axis(logits, labels) if isinstance(labels, Tensor) else None
    if axis is None:
        shape = tuple(labels.shape) if isinstance(labels, Tensor) else "none"
        kind = f" of {labels.dtype}" if isinstance(labels, Tensor) else ""
        raise ConfigError(
            f"outputs of shape {tuple(logits.shape)} and labels{kind} of shape {shape} have no cross-entropy",
            fix=f"define loss(outputs, batch) in the file of model={code.name}",
        )
    return functional.cross_entropy(torch.movedim(logits, axis, 1), labels)


def _class_axis(logits: Tensor, labels: Tensor) -> int | None:
    """The axis of the classes: the last for labels (batch, ...) at each place, else the second, as PyTorch has it."""
    if labels.is_floating_point() or logits.ndim != labels.ndim + 1:
        return None
    if logits.shape[:-1] == labels.shape:
        return logits.ndim - 1
    return 1 if logits.shape[0] == labels.shape[0] and logits.shape[2:] == labels.shape[1:] else None


def _scalar(value: Any, what: str) -> Tensor:
    if isinstance(value, Tensor) and value.numel() == 1:
        return value.reshape(())
    found = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
    raise ConfigError(f"{what} gave {found}, not a scalar tensor", fix="return the mean over the batch")


def _metrics(found: Any, inputs: Any) -> dict[str, Tensor]:
    if not isinstance(found, Mapping):
        raise ConfigError(
            f"metrics gave a {type(found).__name__}, not a dict", fix='return for example {"error": error.mean()}'
        )
    return {str(name): _each(_tensor(value), inputs) for name, value in found.items()}


def _tensor(value: Any) -> Tensor:
    """A metric as a tensor.

    What ``item()`` takes out of a tensor stays symbolic during a capture: it becomes an op of the graph, which is then
    refused with the line of the user's code.
    """
    if isinstance(value, (int, float, torch.SymInt, torch.SymFloat, torch.SymBool)):
        scalar_tensor: Any = torch.scalar_tensor  # whose types leave symbols out
        return scalar_tensor(value)  # type: ignore[no-any-return]
    if isinstance(value, (list, tuple)) and value:
        return torch.stack([_tensor(each) for each in value])
    return torch.as_tensor(value)


def _each(value: Tensor, inputs: Any) -> Tensor:
    """A number for each sample: the same for all where it is one of the whole batch."""
    value = value.to(torch.float32)
    first = next(iter(inputs.values())) if isinstance(inputs, Mapping) else inputs
    return value if value.ndim == 1 and value.shape[0] == first.shape[0] else value.mean().expand(first.shape[0])


def _mean(value: Tensor) -> Tensor:
    """The mean over all axes but the first."""
    return value.flatten(1).mean(1) if value.ndim > 1 else value
