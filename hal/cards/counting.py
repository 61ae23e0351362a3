"""What a workload costs, op by op and in memory, from shapes alone: no framework computes anything."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import optree

from hal import registry
from hal.config import DataSection, ModelSection
from hal.contract import CountsCosts, Group
from hal.contract.costs import OpRecord
from hal.contract.device import PrecisionName
from hal.contract.plan import Plan
from hal.contract.program import ArrayShape
from hal.data import batches
from hal.errors import UnavailableError
from hal.job.carry import carry_shapes, shapes_of
from hal.job.step import Step, prediction
from hal.job.workload import ModelChoice, ResolvedWorkload, choose_model, resolve_workload
from hal.nn import ModelConfig
from hal.tensor import Key

__all__ = ["KINDS", "Cost", "OpKind", "OpTotal", "Subject", "count", "kind_of", "subject"]

OpKind = Literal["product", "convolution", "grouped convolution", "elementwise"]
KINDS: tuple[OpKind, ...] = ("product", "convolution", "grouped convolution", "elementwise")

_LIKE_DIGITS = "synthetic:1797"
_PRODUCTS = ("matmul", "linear", "einsum", "tensordot", "vecdot", "attention", "lstm", "gru", "rnn")
_CONVOLUTIONS = ("conv1d", "conv2d", "conv2d_transpose")


@dataclass(frozen=True)
class OpTotal:
    """All ops of one kind in one step.

    Attributes:
        kind: what limits such ops.
        calls: how many; each is one launch at least.
        flops: their operations.
        bytes: what they read and write.
    """

    kind: OpKind
    calls: int
    flops: float
    bytes: float


@dataclass(frozen=True)
class Cost:
    """What one step of a workload costs.

    Attributes:
        batch: samples of the step.
        precision: what it computes in.
        mode: train or infer.
        ops: each op by itself: kind, operations and bytes.
        peak_bytes: the most memory that is alive at once.
        parameters: numbers that the model has.
    """

    batch: int
    precision: PrecisionName
    mode: str
    ops: tuple[tuple[OpKind, float, float], ...]
    peak_bytes: float
    parameters: int

    @property
    def flops(self) -> float:
        """Operations of the step."""
        return sum(flops for _, flops, _ in self.ops)

    @property
    def bytes(self) -> float:
        """Bytes that the step reads and writes, if nothing stays in caches between two ops."""
        return sum(moved for _, _, moved in self.ops)

    def totals(self) -> tuple[OpTotal, ...]:
        """The ops by kind."""
        found = []
        for kind in KINDS:
            held = [(flops, moved) for each, flops, moved in self.ops if each == kind]
            if held:
                found.append(OpTotal(kind, len(held), sum(f for f, _ in held), sum(b for _, b in held)))
        return tuple(found)


@dataclass(frozen=True)
class Subject:
    """A model on its data, before a batch and a precision are chosen."""

    choice: ModelChoice
    resolved: ResolvedWorkload
    sample: Mapping[str, np.ndarray]
    mode: str

    @property
    def default_batch(self) -> int:
        """The batch that the model is trained with unless the user says otherwise."""
        return self.choice.defaults.batch

    @property
    def samples(self) -> int:
        """Samples of the training set."""
        return len(self.resolved.split.train)


def subject(model: ModelSection | None, data: DataSection, mode: str) -> Subject:
    """Build a model for its data.

    Raises:
        RequestError: the model, its keys or the data are wrong.
    """
    choice = choose_model(_without_weights(model))
    resolved = resolve_workload(choice, _same_shape(choice, data), mode, seed=0)
    sample: dict[str, Any] = dict(next(iter(batches(resolved.split.train, 1, seed=0, epoch=0))))
    if mode == "infer":
        sample = {"inputs": resolved.model.inference_inputs(sample["inputs"])}
    return Subject(choice, resolved, sample, mode)


def count(found: Subject, batch: int, precision: PrecisionName) -> Cost:
    """Count one step.

    Raises:
        ShapeError: the model does not take a batch of this size.
    """
    null = _counter()
    device = null.devices()[0]
    plan = Plan(batch=batch, precision=precision, compile="eager").resolve(device)
    model, specs = found.resolved.model.in_precision(precision), found.resolved.model.params()
    phase = model.phases(1)[0]

    def place(tree: Any) -> Any:
        return optree.tree_map(
            lambda each: null.from_host(np.broadcast_to(np.zeros((), each.dtype), each.shape), device), tree
        )

    inputs = place(
        optree.tree_map(lambda x: ArrayShape((batch, *x.shape[1:]), str(x.dtype)), dict(found.sample))  # type: ignore[arg-type]
    )
    leaves: Any = optree.tree_leaves(shapes_of(specs))  # type: ignore[arg-type]
    parameters = sum(int(np.prod(leaf.shape)) for leaf in leaves)
    if found.mode == "infer":
        params, state = place(shapes_of(specs)), place(shapes_of(model.state()))
        predict = prediction(model, plan, specs)
        with null.count() as cost:
            predict(params, state, inputs["inputs"])
    else:
        optimizer = null.optimizer(found.choice.defaults.optimizer, found.choice.defaults.hyper)
        step = Step(Group(null, device), model, phase, plan, optimizer, specs).function()
        carry = place(carry_shapes(model, phase, found.choice.defaults.optimizer, precision))
        with null.count() as cost:
            step(carry, inputs, Key(0), found.choice.defaults.lr)
    return Cost(batch, precision, found.mode, tuple(_ops(cost.records)), cost.peak_live_bytes, parameters)


def kind_of(record: OpRecord) -> OpKind:
    """What limits an op: a convolution in groups reads much for few operations, an elementwise op does little else."""
    if record.name in _CONVOLUTIONS:
        kernels = [shape for shape in record.inputs if len(shape) >= 3]
        grouped = len(kernels) > 1 and kernels[0][-1] != kernels[1][-2]
        return "grouped convolution" if grouped and record.phase == "forward" else "convolution"
    return "product" if record.name in _PRODUCTS else "elementwise"


def _ops(records: Iterable[OpRecord]) -> Iterable[tuple[OpKind, float, float]]:
    for record in records:
        if record.flops or record.bytes_moved:
            yield kind_of(record), float(record.flops), float(record.bytes_moved)


def _same_shape(choice: ModelChoice, data: DataSection) -> DataSection:
    """Random samples in place of the digits: as many of the same shape and classes, without the package they are in."""
    like_digits = data.name is None and choice.defaults.data == "digits"
    if like_digits and 0 not in choice.cls.wanted(choice.keys).shape:
        return data.model_copy(update={"name": _LIKE_DIGITS})
    return data


def _counter() -> CountsCosts:
    for name in registry.names():
        try:
            backend = registry.backend(name)
        except UnavailableError:
            continue
        if isinstance(backend, CountsCosts):
            return backend
    raise UnavailableError("no backend can count what a model costs", fix="reinstall hal, which brings one")


def _without_weights(model: ModelSection | None) -> ModelSection | None:
    """The model with random weights, which cost as much as those that would have to be read."""
    from hal.workload import model_class

    if model is None or "weights" in (model.model_extra or {}):
        return model
    config: type[ModelConfig] = model_class(model.name).Config
    if "weights" not in config.model_fields:
        return model
    return ModelSection.model_validate({"name": model.name, **model.keys(), "weights": "random"})
