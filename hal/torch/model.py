"""A user's own ``torch.nn.Module`` as a model of hal.

Where arrays are PyTorch's, the module itself runs (:mod:`hal.torch.native`). Elsewhere what it computes is captured
once for each shape of a batch, compared with the module, and computed by neutral ops (:mod:`hal.torch.graph`).
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import optree
import torch
from torch import nn as torch_nn

from hal import nn
from hal.contract import Backend
from hal.contract.device import PrecisionName
from hal.data import Dataset, Kind, Split, Wanted
from hal.data.convert import as_inputs
from hal.data.synthetic import synthetic_count
from hal.errors import ConfigError
from hal.tensor import Key
from hal.torch import datasets
from hal.torch.blocks import blocks_of
from hal.torch.capturing import Captured
from hal.torch.forms import argument_names, form_of
from hal.torch.guesses import fitting_data, wanted_of
from hal.torch.native import Native, tensors_in
from hal.torch.passes import EvaluationPass, LossPass, OutputPass, OwnLossPass, Pass
from hal.torch.user_code import UserCode, config_of
from hal.torch.weights import load_into, tied_names
from hal.types import Array, Tree

__all__ = ["ModuleModel", "model_of"]

Tensor = torch.Tensor
Batch = Mapping[str, Any]
_BUILT: dict[tuple[UserCode, str, int], torch_nn.Module] = {}
"""Modules by code, keys and seed: the last that were made."""

_KEPT = 4


def model_of(code: UserCode) -> type[ModuleModel]:
    """The model class of a user's module."""
    return type(
        "ModuleModel",
        (ModuleModel,),
        {
            "code": code,
            "Config": config_of(code.factory, code.name),
            "supervised": code.loss is None and code.losses is None and code.data is None,
            "__doc__": f"{code.name}, a torch.nn.Module.",
        },
    )


class ModuleModel(nn.Model):
    """A module of a user's own.

    Args:
        config: the arguments of its class or function.
        data: a data set in the shape that :meth:`wanted` asked for, or the user's own.
    """

    code: ClassVar[UserCode]
    casts: ClassVar[bool] = False
    defaults: ClassVar[nn.Defaults] = nn.Defaults(epochs=10, lr=1e-3, batch=64)
    metric: ClassVar[tuple[str, Literal["max", "min"]]] = ("loss", "min")
    takes_shards = True

    def __init__(self, config: Any, data: Dataset) -> None:
        super().__init__(config, data)
        self.net = _built(self.code, config, 0)
        own = data.name in (datasets.OWN_DATA, datasets.EXAMPLES)
        self._own = own
        self.image_axes = "NCHW" if own else "NHWC"
        self.form = form_of(data, self.net, own=own, own_loss=self.code.loss is not None)
        self._data = data
        self._trained = tuple(name for name, x in self.net.named_parameters() if x.requires_grad)
        self._buffers = dict(self.net.named_buffers())
        self._precision: PrecisionName = "fp32"
        self._neutral = False
        self._loaded: torch_nn.Module | None = None
        self._passes: dict[str, tuple[Native, Captured]] = {}
        self._sharded: dict[str, Any] = {}
        self._reported: frozenset[str] | None = None

    # What it is made of

    @classmethod
    def wanted(cls, config: Any) -> Wanted:
        """Images, sequences or text, as the example inputs or the module's first layer say."""
        return wanted_of(cls.code, _built(cls.code, config, 0))

    @classmethod
    def own_split(cls, config: Any, *, named: str | None, validation: float, seed: int) -> Split | None:
        """What ``data()`` gives, or else samples made of ``example_inputs`` where these are not like data of hal."""
        count = synthetic_count(named or "")
        if cls.code.data is not None and count is None:
            return datasets.own_split(cls.code, validation=validation, seed=seed)
        if cls.code.example_inputs is None:
            return None
        batch = datasets.batch_of(cls.code.examples(2), datasets.EXAMPLES)
        own_labels = "labels" in batch or cls.code.loss is not None or cls.code.losses is not None
        if named is None and not own_labels and not isinstance(batch["inputs"], Mapping) and batch["inputs"].ndim == 4:
            return None  # images: data=digits has some, with labels
        return datasets.example_split(
            cls.code, lambda some, n: cls._labels(config, some, n, seed), count, validation=validation, seed=seed
        )

    @classmethod
    def _labels(cls, config: Any, batch: Batch, count: int, seed: int) -> np.ndarray | None:
        """Random labels for the outputs of a module; None where its loss needs none."""
        if cls.code.loss is not None or cls.code.losses is not None:
            return None
        few: Any = optree.tree_map(lambda x: x[:2], dict(batch))  # type: ignore[arg-type]
        data = datasets.ExampleDataset(datasets.EXAMPLES, few, np.arange(2))
        model = cls(config, data)
        params, state = model.initial(0)
        args = (_tensors(few["inputs"]),)
        outputs, _ = model._native("outputs")(_tensors(params), _tensors(state), args, training=False)
        shape = tuple(outputs.shape)
        if len(shape) < 2:
            return None
        # Logits of tokens (batch, time, classes), otherwise (batch, classes, ...) as PyTorch has it.
        places, classes = (shape[1:-1], shape[-1]) if len(shape) == 3 else (shape[2:], shape[1])
        return np.random.default_rng(seed).integers(classes, size=(count, *places))

    @classmethod
    def defaults_for(cls, config: Any) -> nn.Defaults:
        """As for models of hal's own that are alike."""
        if cls.code.data is not None:
            data = datasets.OWN_DATA
        else:
            wanted = fitting_data(cls.code, _built(cls.code, config, 0))
            data = {"image": "digits", "text": "topics"}.get(wanted.kind if wanted else "", "synthetic")
        return nn.Defaults(epochs=cls.defaults.epochs, lr=cls.defaults.lr, batch=cls.defaults.batch, data=data)

    def params(self) -> dict[str, nn.Param]:
        """By the names of ``named_parameters()``."""
        return {
            name: nn.Param(tuple(x.shape), "zeros", axes="OIHW" if x.ndim == 4 else "", cast=False)
            for name, x in self.net.named_parameters()
        }

    def state(self) -> dict[str, nn.Param]:
        """By the names of ``named_buffers()``, those that are not persistent included."""
        return {
            name: nn.Param(tuple(x.shape), "zeros", cast=False, dtype=_dtype(x)) for name, x in self._buffers.items()
        }

    def initial(self, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """The values that the module's own code draws from the seed, or those of ``weights=``."""
        net = self._loaded or _built(self.code, self.config, seed)
        return (
            {name: _numpy(x) for name, x in net.named_parameters()},
            {name: _numpy(x) for name, x in net.named_buffers()},
        )

    def load_weights(self, path: Path) -> None:
        """See :meth:`hal.nn.Model.load_weights`."""
        loaded = copy.deepcopy(self.net)
        load_into(loaded, path, self.code.name)
        self._loaded = loaded

    def portable_weights(self, params: Tree, state: Tree) -> Mapping[str, np.ndarray]:
        """By the names of ``state_dict()``: tied ones under each of their names, without what is not persistent."""
        values, names = {**params, **state}, tied_names(self.net)
        return {name: values[names[name]] for name in self.net.state_dict() if name in names}

    # What it computes

    def in_precision(self, precision: PrecisionName) -> ModuleModel:
        """By ``torch.autocast``, or as that does."""
        return self._with(_precision=precision)

    def in_neutral_ops(self) -> ModuleModel:
        """As captured, also where the module itself could run."""
        return self._with(_neutral=True, takes_shards=False)

    def _with(self, **changes: Any) -> ModuleModel:
        if all(getattr(self, name) == value for name, value in changes.items()):
            return self
        other = copy.copy(self)
        for name, value in changes.items():
            setattr(other, name, value)
        return other

    def objectives(self) -> tuple[nn.Objective, ...]:
        """The user's loss over all parameters that are not frozen, or one for each submodule with a loss of its own."""
        if self.code.losses is None:
            return (nn.Objective("train", self._objective("loss"), self._trained),)
        found = []
        for part in self.code.losses:
            trained = tuple(name for name in self._trained if name.startswith(f"{part}."))
            if not trained:
                raise ConfigError(
                    f"losses of model={self.code.name} has {part}, but the module has no parameters under that name",
                    fix=f"use the names of submodules: {', '.join(name for name, _ in self.net.named_children())}",
                )
            found.append(nn.Objective(part, self._objective(f"losses/{part}"), trained))
        return tuple(found)

    def _objective(self, name: str) -> Callable[..., tuple[Array, nn.LossOutput]]:
        def loss(params: Tree, state: Tree, batch: Batch, key: Any) -> tuple[Array, nn.LossOutput]:
            (value, metrics), after = self._run(name, params, state, _arguments(batch), training=True, key=key)
            return value, nn.LossOutput(after, metrics)

        return loss

    def predict(self, params: Tree, state: Tree, inputs: Any) -> Array:
        """The main one of the module's outputs."""
        return self._run("outputs", params, state, (inputs,), training=False)[0]

    def as_inputs(self, values: Any, data: Dataset) -> Any:
        """Images also as PyTorch has them, (batch, channels, height, width); own data as its data set gives them."""
        if self._own:
            return datasets.as_own(values, data, self.input_names(data))
        shape = np.shape(values)
        height, width, channels = data.inputs.shape if self.form.images else (0, 0, 0)
        if self.form.images and len(shape) == 4 and shape[1:] == (channels, height, width) != data.inputs.shape:
            values = np.moveaxis(np.asarray(values), 1, 3)
        wanted = self.wanted(self.config).filled(data.inputs.shape)
        return as_inputs(values, wanted, data.vocabulary, None, data.value_range())

    def input_kind(self, data: Dataset) -> Kind | None:
        """See :meth:`hal.nn.Model.input_kind`."""
        return None if self._own else self.wanted(self.config).kind

    def input_names(self, data: Dataset) -> dict[str, str]:
        """The arguments of ``forward``, where the data have numbers in place of names."""
        if self.form.inputs != "several":
            return super().input_names(data)
        return dict(zip(sorted(data.parts, key=int), argument_names(self.net, len(data.parts)), strict=True))

    def gives_logits(self, data: Dataset, outputs: tuple[int, ...]) -> bool:
        """As many outputs as classes; of own data without names of classes, what the cross-entropy was taken of."""
        if self.code.losses is not None or len(outputs) != 2:
            return False
        implied = data.classes is None and self.code.loss is None and outputs[1] > 1
        return implied or outputs[1] == data.classes

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """See :meth:`hal.nn.Model.probabilities`; with a loss of the user's own they may be probabilities already."""
        sums = logits.sum(axis=1)
        if self.code.loss is not None and logits.min() >= 0 and np.allclose(sums, 1, atol=1e-3):
            return logits
        return super().probabilities(logits)

    def evaluate(self, params: Tree, state: Tree, batch: Batch) -> Mapping[str, Array]:
        """Loss, accuracy where labels are classes, and the user's metrics."""
        found: Mapping[str, Array] = self._run("evaluation", params, state, _arguments(batch), training=False)[0]
        return found

    def chosen_metric(self) -> tuple[str, Literal["max", "min"]]:
        """Accuracy where :meth:`evaluate` gives one, as for models of hal's own; the loss otherwise, and for text."""
        if self._reported is None:
            params, state = self._host_values()
            self._note_metrics(params, state, tuple(_tensors(tree) for tree in _arguments(self._sample())))
        return ("accuracy", "max") if "accuracy" in (self._reported or ()) and not self.form.text else self.metric

    def _note_metrics(self, params: Tree, state: Tree, args: tuple[Any, ...]) -> None:
        """Run the evaluation once, which shows the names of what it gives."""
        self._reported = frozenset(self._native("evaluation")(params, state, args, training=False, key=None)[0])

    def _host_values(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        params, state = self.initial(0)
        return _on_host(params), _on_host(state)

    def uses_ops(self, backend: Backend) -> bool:
        """Not where the module itself runs."""
        return self._neutral or backend.framework != "torch"

    def check_backend(self, backend: Backend, *, training: bool) -> None:
        """Run the module once on the host, on two samples; capture it for a backend whose arrays are not PyTorch's."""
        if training and not self._trained:
            raise ConfigError(
                f"model={self.code.name} has no parameters to train",
                fix="leave requires_grad on for some of them, or use hal bench mode=infer",
            )
        blocks_of(self.net, self.code.blocks, self.code.name)
        args = tuple(_tensors(tree) for tree in _arguments(self._sample()))
        params, state = self._host_values()
        outputs, _ = self._native("outputs")(params, state, args[:1], training=False)
        self._check_classes(outputs)
        passes: list[tuple[str, tuple[Any, ...], bool]] = [("outputs", args[:1], False)]
        if training:
            passes += [(name, args, True) for name in self._objective_names()]
            for name, given, _ in passes[1:]:
                self._native(name)(params, state, given, training=True, key=Key(0))
            passes.append(("evaluation", args, False))
            self._note_metrics(params, state, args)
        if self.uses_ops(backend):
            for name, given, learns in passes:
                self._pass(name)[1].check(given, training=learns)

    def _check_classes(self, outputs: Tensor) -> None:
        """Refuse labels for which the outputs have no place: on accelerators these would crash the process."""
        own_loss = self.code.loss is not None or self.code.losses is not None
        if own_loss or self._data.classes is None or outputs.ndim < 2:
            return
        classes = outputs.shape[-1] if self.form.text or outputs.ndim == 2 else outputs.shape[1]
        if classes < self._data.classes:
            raise ConfigError(
                f"model={self.code.name} gives outputs for {classes} classes, but data={self._data.name} has "
                f"{self._data.classes}",
                fix="give the module as many outputs as there are classes, by an argument of its own: model.<key>=, or "
                "name data of as many classes with data=",
            )

    def _objective_names(self) -> tuple[str, ...]:
        return ("loss",) if self.code.losses is None else tuple(f"losses/{part}" for part in self.code.losses)

    def _sample(self) -> Batch:
        """Two samples of the data, or zeros like them where there are none."""
        if len(self._data):
            return self._data.take(np.zeros(2, np.int64))
        zeros = {name: np.zeros((2, *part.shape), part.dtype) for name, part in self._data.parts.items()}
        inputs = zeros or np.zeros((2, *self._data.inputs.shape), self._data.inputs.dtype)
        labels = self._data.labels
        return {"inputs": inputs, **({} if labels is None else {"labels": np.zeros((2, *labels.shape), labels.dtype)})}

    def _run(
        self, name: str, params: Tree, state: Tree, args: tuple[Any, ...], *, training: bool, key: Any = None
    ) -> tuple[Any, dict[str, Array]]:
        run: Any = self._pass(name)[1]
        if not self._neutral and tensors_in(args):
            sharded = any(hasattr(kind, "device_mesh") for kind in set(map(type, params.values())))  # DTensor
            run = self._in_shards(name) if sharded else self._native(name)
        found: tuple[Any, dict[str, Array]] = run(
            params, state, args, training=training, key=key, precision=self._precision
        )
        return found

    def _in_shards(self, name: str) -> Any:
        """A pass over parameters that are sharded over processes."""
        if name not in self._sharded:
            from hal.torch.sharded import Sharded

            self._sharded[name] = Sharded(self._native(name).work, self.code.name, self.code.blocks)
        return self._sharded[name]

    def _native(self, name: str) -> Native:
        return self._pass(name)[0]

    def _pass(self, name: str) -> tuple[Native, Captured]:
        if name not in self._passes:
            kind, _, part = name.partition("/")
            if kind == "losses":
                work: Pass = OwnLossPass(self.net, self.form, self.code, part)
            else:
                work = {"loss": LossPass, "outputs": OutputPass, "evaluation": EvaluationPass}[kind](
                    self.net, self.form, self.code
                )
            self._passes[name] = Native(work, self.code.name), Captured(work)
        return self._passes[name]


def _arguments(batch: Batch) -> tuple[Any, ...]:
    return (batch["inputs"], batch["labels"]) if "labels" in batch else (batch["inputs"],)


def _built(code: UserCode, config: Any, seed: int) -> torch_nn.Module:
    """A module; one that was made before where there is one, since making it may take long."""
    keys = config.model_dump() if hasattr(config, "model_dump") else dict(config)
    given = {
        name: keys[name] for name in keys if name in config.model_fields_set or name not in type(config).model_fields
    }
    known = (code, json.dumps(given, sort_keys=True, default=repr), seed)
    if known not in _BUILT:
        while len(_BUILT) >= _KEPT:
            del _BUILT[next(iter(_BUILT))]
        _BUILT[known] = code.build(given, seed)
    return _BUILT[known]


def _dtype(x: Tensor) -> str:
    """The type in which :func:`_numpy` gives a tensor's values."""
    return "float32" if x.is_floating_point() else str(x.dtype).removeprefix("torch.")


def _numpy(x: Tensor) -> np.ndarray:
    """A copy on the host: parameters and floating buffers as float32."""
    host = x.detach().cpu()
    return np.array((host.float() if host.is_floating_point() else host).numpy(), order="C")


def _on_host(tree: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(x) for name, x in tree.items()}


def _tensors(tree: Any) -> Any:
    return optree.tree_map(lambda x: torch.from_numpy(np.array(x)), tree)
