"""How the batches of a data set become a call of a user's module, and the batch that their loss is given."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from hal.data import Dataset

__all__ = ["Form", "argument_names", "form_of", "outputs_of", "takes_labels"]

Tensor = torch.Tensor


@dataclass(frozen=True)
class Form:
    """The form of a batch.

    Attributes:
        inputs: ``single``: one tensor; ``several``: tensors by position; ``named``: tensors by argument.
        images: whether the inputs are hal's images (batch, height, width, channels), which PyTorch wants with the
            channels before height and width.
        text: whether the inputs are ids of characters, and the labels those of the next ones.
        labelled: whether the module itself takes the labels, as the argument ``labels``, and gives a loss.
    """

    inputs: Literal["single", "several", "named"]
    images: bool = False
    text: bool = False
    labelled: bool = False

    def arguments(self, inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional arguments of the module, and those by name."""
        if self.inputs == "named":
            return (), dict(inputs)
        if self.inputs == "several":
            return tuple(inputs[name] for name in sorted(inputs, key=int)), {}  # JAX sorts them as texts: 0, 1, 10, 2
        return (inputs.permute(0, 3, 1, 2) if self.images else inputs,), {}

    def call(self, module: nn.Module, inputs: Any, labels: Any = None) -> Any:
        """The module's outputs for a batch."""
        args, kwargs = self.arguments(inputs)
        if self.labelled and labels is not None:
            kwargs = {**kwargs, **labels} if isinstance(labels, Mapping) else {**kwargs, "labels": labels}
        return module(*args, **kwargs)

    def batch(self, inputs: Any, labels: Any) -> Any:
        """The batch as a user's own data loader would give it: (inputs, labels), or a dict."""
        args, kwargs = self.arguments(inputs)
        if self.inputs == "named":
            return {
                **kwargs,
                **(labels if isinstance(labels, Mapping) else {} if labels is None else {"labels": labels}),
            }
        return args if labels is None else (*args, labels)


def form_of(data: Dataset, module: nn.Module, *, own: bool, own_loss: bool) -> Form:
    """The form of a data set's batches.

    Args:
        data: the samples.
        module: takes them.
        own: whether the data set is the user's own, whose tensors go to the module as they are.
        own_loss: whether the user's file has a loss.
    """
    positional = all(name.isdigit() for name in data.parts)
    inputs: Literal["single", "several", "named"] = "single" if not data.parts else "several" if positional else "named"
    text = bool(data.vocabulary)
    labelled = data.labels is not None and not own_loss and not text and takes_labels(module)
    return Form(inputs, images=not own and len(data.inputs.shape) == 3, text=text, labelled=labelled)


def argument_names(module: nn.Module, count: int) -> list[str]:
    """Names of the first arguments of a module's ``forward``; the number of one that has no name of its own."""
    try:
        found = list(inspect.signature(module.forward).parameters.values())
    except (TypeError, ValueError):
        found = []
    named = [each.name for each in found if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    return [named[index] if index < len(named) else str(index) for index in range(count)]


def takes_labels(module: nn.Module) -> bool:
    """Whether a module has the argument ``labels``, as those of Hugging Face's kind that compute their loss."""
    try:
        return "labels" in inspect.signature(module.forward).parameters
    except (TypeError, ValueError):
        return False


def outputs_of(outputs: Any) -> Tensor:
    """The main one of a module's outputs: ``logits``, or else the first tensor that is not a loss."""
    if isinstance(outputs, Tensor):
        return outputs
    if isinstance(outputs, Mapping):
        if isinstance(outputs.get("logits"), Tensor):
            found: Tensor = outputs["logits"]
            return found
        outputs = tuple(value for name, value in outputs.items() if name != "loss")
    if isinstance(outputs, (tuple, list)):
        for each in outputs:
            if isinstance(each, Tensor):
                return each
            if isinstance(each, (tuple, list, Mapping)):
                return outputs_of(each)
    raise TypeError(f"the outputs are a {type(outputs).__name__} without a tensor")
