"""What a model does on one device, op by op, backwards too, and over some optimizer steps."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import optree
from pydantic import BaseModel, ConfigDict, Field

from hal import ops
from hal.contract.device import DeviceFacts, PrecisionName
from hal.contract.plan import Plan
from hal.data import batches
from hal.job.carry import make_carry, place_carry, place_for_inference, start_optimizers, trained_part
from hal.job.placing import place, put_batch
from hal.job.precision import cast_inputs, cast_params
from hal.job.prepare import Job
from hal.job.step import Step
from hal.nn import Objective, Phase
from hal.parity.deviation import ROUNDING, Scale
from hal.parity.evaluate import Evaluated, Evaluator, Scales
from hal.parity.watch import Call, host_random, watched
from hal.tensor import Key, namespace
from hal.types import Array, Tree
from hal.util.trees import flat, nested
from hal.workload import Workload

__all__ = [
    "UPDATES",
    "Given",
    "OpTrace",
    "PartWatch",
    "Runner",
    "Side",
    "Subject",
    "Trace",
    "TrainingTrace",
]

UPDATES = 3
"""Optimizer updates in a row with equal gradients: enough to use and to change its state."""


class Side(BaseModel):
    """Where one side of a comparison ran."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    device: DeviceFacts
    plan: Plan
    versions: dict[str, str]

    @classmethod
    def of(cls, job: Job) -> Side:
        """The side on which a job runs."""
        return cls(device=DeviceFacts.of(job.device), plan=job.plan, versions=job.backend.versions())

    def __str__(self) -> str:
        return str(self.device)


class Subject(BaseModel):
    """What must be equal on both sides of a comparison."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    workload: Workload
    precision: PrecisionName
    batch: int
    accumulate: int
    seed: int
    steps: int = Field(description="How many optimizer steps are taken.")

    @classmethod
    def of(cls, job: Job, seed: int, steps: int) -> Subject:
        """The subject of a job."""
        plan = job.plan
        return cls(
            workload=job.workload,
            precision=plan.precision,
            batch=plan.batch,
            accumulate=plan.accumulate,
            seed=seed,
            steps=steps,
        )


@dataclass(frozen=True)
class Given:
    """What both sides start from, as NumPy arrays: parameters, state, and a batch for each step."""

    params: Mapping[str, Any]
    state: Mapping[str, Any]
    batches: tuple[Mapping[str, np.ndarray], ...]

    @classmethod
    def drawn(cls, job: Job, seed: int, steps: int) -> Given:
        """A model's initial values, and batches of its data."""
        params, state = job.model.initial(seed)
        found: list[Mapping[str, np.ndarray]] = []
        epoch = 0
        while len(found) < max(steps, 1):
            found += batches(job.split.train, job.plan.batch, seed=seed, epoch=epoch)
            epoch += 1
        return cls(params, state, tuple(found[: max(steps, 1)]))


@dataclass(frozen=True)
class OpTrace:
    """One op of a model, with what it gave.

    Attributes:
        part: the objective that it belongs to, or ``features``.
        layer: path of the layer; empty outside of layers.
        op: its name.
        found: values and gradients.
        scales: what their errors are measured by.
    """

    part: str
    layer: str
    op: str
    found: Evaluated
    scales: Scales


@dataclass(frozen=True)
class TrainingTrace:
    """Some optimizer steps.

    Attributes:
        losses: what each step reports.
        params: what is trained, after the last step.
        state: after the last step.
    """

    losses: tuple[Mapping[str, float], ...]
    params: Mapping[str, Any]
    state: Mapping[str, Any]


@dataclass(frozen=True)
class Trace:
    """What a model did on one side.

    Attributes:
        side: where.
        subject: what.
        given: what it started from.
        ops: each op by itself, in the order in which the model calls them.
        gradients: of each objective, by the parameter's path.
        scales: what the errors of these gradients are measured by.
        updates: parameters of each objective after :data:`UPDATES` updates with these gradients.
        training: some optimizer steps.
        loss_after: of each objective, with the parameters after these steps.
        amplified: for each loss, how far off it is at the most, relative, where training begins a rounding away.
        own: whether this user recorded it here, or its model is a built-in one, so that the model may be run.
    """

    side: Side
    subject: Subject
    given: Given
    ops: tuple[OpTrace, ...]
    gradients: Mapping[str, Mapping[str, np.ndarray]]
    scales: Mapping[str, Mapping[str, Scale]]
    updates: Mapping[str, Mapping[str, np.ndarray]]
    training: TrainingTrace
    loss_after: Mapping[str, float]
    amplified: Mapping[str, float]
    own: bool = True


PartWatch = Callable[[str, Call], Tree]
"""Gets the part of the model and the call; gives what the model goes on with."""


@dataclass
class Runner:
    """Runs the parts of a model that are traced and compared, in plain eager mode.

    Attributes:
        job: what runs where; its plan says compile=eager.
        given: what it starts from.
        seed: of the random numbers.
    """

    job: Job
    given: Given
    seed: int
    phase: Phase = field(init=False)
    params: Tree = field(init=False)
    state: Tree = field(init=False)

    def __post_init__(self) -> None:
        self.phase = self.job.model.phases(1)[-1]  # the last trains the most
        self.params, self.state = place_for_inference(self.job, self.given.params, self.given.state)

    @property
    def evaluator(self) -> Evaluator:
        """Runs single ops where this runs."""
        return Evaluator(self.job.backend, self.job.device, self.job.plan, self.seed)

    def forward(self, watch: PartWatch) -> None:
        """Frozen part and objectives, once each; the watch sees every op."""
        params = self._cast(self.params)
        batch = self._features(params, self._batch(0), watch)
        for index, objective in enumerate(self.phase.objectives):
            with self._watched(objective.name, params, watch):
                self._eager(objective.loss)(params, self.state, batch, self._key(0, index))

    def gradients(self, watch: PartWatch) -> dict[str, dict[str, np.ndarray]]:
        """Of each objective, through the whole model; a watch sees every op of its forward pass."""
        found = {}
        batch = self._features(self._cast(self.params), self._batch(0), watch)
        for index, objective in enumerate(self.phase.objectives):
            trained = trained_part(objective, self.params)
            rest = {name: value for name, value in self.params.items() if name not in trained}
            gradient = self.job.backend.value_and_grad(self._loss(objective, index, rest, batch, watch), self.job.plan)
            _, gradients = gradient(trained)
            found[objective.name] = flat(self._to_host(gradients))
        return found

    def _loss(
        self, objective: Objective, index: int, rest: Tree, batch: Mapping[str, Array], watch: PartWatch | None
    ) -> Callable[[Tree], tuple[Array, Tree]]:
        def loss(trained: Tree) -> tuple[Array, Tree]:
            params = self._cast({**rest, **trained})
            with self._watched(objective.name, params, watch):
                value, _ = objective.loss(params, self.state, batch, self._key(0, index))
            return ops.cast(value, namespace(value).float32), ()

        return loss

    def updates(self, gradients: Mapping[str, Tree]) -> dict[str, dict[str, np.ndarray]]:
        """Parameters of each objective after some updates with the gradients given."""
        found = {}
        for objective in self.phase.objectives:
            params = place(self.job, trained_part(objective, self.given.params), self.job.params)
            optimizer = self._optimizer()
            state = optimizer.init(params)
            for _ in range(UPDATES):
                grads = place(self.job, gradients[objective.name], self.job.params)
                params, state = optimizer.update(grads, state, params, self._lr())
            found[objective.name] = flat(self._to_host(params))
        return found

    def train(self, steps: int, disturbed: int | None = None) -> TrainingTrace:
        """Take some optimizer steps, as training does.

        Args:
            steps: how many.
            disturbed: move each initial parameter by a rounding, up or down as this seed draws.
        """
        job = self.job
        optimizer = self._optimizer()
        step = Step(job.group, job.model, self.phase, job.plan, optimizer, job.params).build()
        initial = self.given.params
        if disturbed is not None:
            initial = _disturbed(initial, job.plan.precision, disturbed)
        carry = place_carry(job, make_carry(job.plan.precision, initial, self.given.state))
        carry = start_optimizers(carry, self.phase.objectives, optimizer)
        found: list[Mapping[str, Array]] = []
        with host_random(job.backend, job.device):
            for done in range(steps):
                batch = put_batch(job, self.given.batches[done])
                carry, metrics = step(carry, batch, Key(self.seed).fold_in(done), self._lr())
                found.append(metrics)
        losses = tuple({name: float(job.backend.to_host(x)) for name, x in each.items()} for each in found)
        moved = {name for each in self.phase.objectives for name in trained_part(each, carry["params"])}
        return TrainingTrace(
            losses,
            self._to_host({name: value for name, value in carry["params"].items() if name in moved}),
            self._to_host(carry["state"]),
        )

    def loss_after(self, training: TrainingTrace) -> dict[str, float]:
        """The loss of each objective with the parameters that a training left, on its last batch."""
        params = self._cast({**self.params, **place(self.job, training.params, self.job.params)})
        state, last = place(self.job, training.state, self.job.state), len(training.losses) - 1
        found = {}
        batch = self._features(params, self._batch(last), None)
        for index, objective in enumerate(self.phase.objectives):
            with self._watched(objective.name, params, None):
                value, _ = self._eager(objective.loss)(params, state, batch, self._key(last, index))
            found[objective.name] = float(self.job.backend.to_host(value))
        return found

    def _features(self, params: Tree, batch: dict[str, Array], watch: PartWatch | None) -> dict[str, Array]:
        """A batch, with the phase's features for inputs where it has some."""
        if self.phase.features is None:
            return batch
        with self._watched("features", params, watch):
            features = self._eager(self.phase.features)(params, self.state, batch["inputs"])
        return {**batch, "inputs": ops.stop_gradient(features)}

    @contextlib.contextmanager
    def _watched(self, part: str, params: Tree, watch: PartWatch | None) -> Iterator[None]:
        backend, device = self.job.backend, self.job.device
        if watch is None:
            with host_random(backend, device):
                yield
        else:
            with watched(backend, device, params, lambda call: watch(part, call)):
                yield

    def _eager(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function with the algorithms that the plan chooses; it is not compiled, see :attr:`job`."""
        return self.job.backend.compile(function, self.job.plan)

    def _cast(self, params: Tree) -> Tree:
        return cast_params(params, self.job.params, self.job.plan.precision)

    def _batch(self, step: int) -> dict[str, Array]:
        batch = put_batch(self.job, self.given.batches[step])
        return {**batch, "inputs": cast_inputs(self.job.model, batch["inputs"], self.job.plan.precision)}

    def _key(self, step: int, objective: int) -> Key:
        return Key(self.seed).fold_in(step).split(2)[1].fold_in(objective)  # as a training step derives it

    def _lr(self) -> float:
        return self.job.defaults.lr * self.phase.lr_scale

    def _optimizer(self) -> Any:
        return self.job.backend.optimizer(self.job.defaults.optimizer, self.job.defaults.hyper)

    def _to_host(self, tree: Tree) -> Any:
        return optree.tree_map(self.job.backend.to_host, tree)


def _disturbed(params: Mapping[str, Any], precision: PrecisionName, seed: int) -> dict[str, Any]:
    random = np.random.default_rng(seed)

    def move(array: np.ndarray) -> np.ndarray:
        signs = random.integers(0, 2, array.shape, np.int8).astype(np.float32) * 2 - 1
        moved: np.ndarray = array * (1 + ROUNDING[precision] * signs)
        return moved

    return nested({path: move(array) for path, array in flat(params).items()})
