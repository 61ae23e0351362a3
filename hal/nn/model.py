"""What a model is: layers, losses and metrics from the neutral API alone. How it is trained is not its business."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
from pydantic import BaseModel, ConfigDict

from hal.data.convert import as_inputs
from hal.errors import ConfigError, InputError
from hal.nn.init import initialize
from hal.types import Array, Tree

if TYPE_CHECKING:
    from hal.contract import Backend
    from hal.contract.device import PrecisionName
    from hal.data import Dataset, Kind, Split, Wanted

__all__ = [
    "Auxiliary",
    "Defaults",
    "LossOutput",
    "Model",
    "ModelConfig",
    "Objective",
    "Phase",
    "Report",
    "TrainedModel",
    "TrainingView",
]

Batch = Mapping[str, Array]


class ModelConfig(BaseModel):
    """A model's own keys, given as ``model.<key>``; each field has a default and a description."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class LossOutput(NamedTuple):
    """What a loss function returns besides the loss: the new state, and scalars to report."""

    state: Tree
    metrics: Mapping[str, Array]


Loss = Callable[[Tree, Tree, Batch, Any], tuple[Array, LossOutput]]
"""``loss(params, state, batch, key) -> (scalar, LossOutput)``, in training mode."""


@dataclass(frozen=True)
class Objective:
    """A loss and the parameters that one optimizer updates to minimize it.

    Attributes:
        name: for reports and checkpoints.
        loss: see :data:`Loss`.
        trains: top-level names in the tree of parameters; None: all.
    """

    name: str
    loss: Loss
    trains: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Phase:
    """A phase of training with its own objectives.

    Attributes:
        name: for reports and checkpoints.
        epochs: how long.
        objectives: taken in turn within each step.
        lr_scale: factor on the learning rate.
        features: ``features(params, state, inputs) -> inputs`` of the losses and of :meth:`Model.evaluate`: a part of
            the model that this phase does not train. Computed once for all samples and kept, unless the data is
            augmented; then in every step.
    """

    name: str
    epochs: int
    objectives: tuple[Objective, ...]
    lr_scale: float = 1.0
    features: Callable[[Tree, Tree, Array], Array] | None = None


@dataclass(frozen=True)
class Defaults:
    """How a model is trained unless the user says otherwise."""

    epochs: int
    lr: float
    batch: int = 128
    optimizer: str = "adamw"
    hyper: Mapping[str, float] = field(default_factory=dict)
    schedule: Literal["constant", "cosine", "step", "onecycle"] = "cosine"
    data: str = "digits"
    augment: tuple[str, ...] = ()


@dataclass(frozen=True)
class Auxiliary:
    """Another model that is trained first, on the same data, because it is used to evaluate this model."""

    model: type[Model]
    epochs: int


@dataclass(frozen=True)
class TrainedModel:
    """A model with the values of its parameters and state."""

    model: Model
    params: Tree
    state: Tree


@dataclass(frozen=True)
class TrainingView:
    """What a model sees of a run between epochs.

    Attributes:
        epoch: epochs done.
        params: parameters on the device.
        state: state on the device.
        seed: differs from epoch to epoch, equal in equal runs.
        split: the data.
        write: ``write(name, content) -> path``: a file in the run's folder, written whole.
        call: ``call(fn, *trees) -> tree``: fn in the plan's precision on the device; NumPy arrays among the arguments
            are taken there and results come back as NumPy.
        auxiliary: the trained models that :attr:`Model.auxiliaries` asked for.
    """

    epoch: int
    params: Tree
    state: Tree
    seed: int
    split: Split
    write: Callable[[str, bytes], Path]
    call: Callable[..., Any]
    auxiliary: Mapping[str, TrainedModel]


@dataclass(frozen=True)
class Report:
    """What a model reports between epochs or at the end: metrics, text for the terminal, and files that it wrote."""

    metrics: Mapping[str, float] = field(default_factory=dict)
    text: str = ""
    files: tuple[Path, ...] = ()


class Model(abc.ABC):
    """Layers, losses and metrics.

    A subclass builds its layers from its config and the data's shapes, lists their parameters, and says what is to be
    lowered and how it is judged. It holds no arrays.

    Args:
        config: the model's own keys.
        data: a dataset in the shape that :meth:`wanted` asked for.
    """

    Config: ClassVar[type[ModelConfig]] = ModelConfig
    defaults: ClassVar[Defaults]
    metric: ClassVar[tuple[str, Literal["max", "min"]]]
    """The metric that says how good a run was, and whether ``max`` or ``min`` is better."""

    auxiliaries: ClassVar[Mapping[str, Auxiliary]] = {}

    supervised: ClassVar[bool] = True
    """Whether the model learns from labels."""

    casts: ClassVar[bool] = True
    """Whether hal casts parameters and inputs to the plan's precision. If not, the model gets fp32 and computes in the
    precision by itself, as :meth:`in_precision` says."""

    takes_shards: bool = False
    """Whether losses and :meth:`evaluate` take parameters still sharded, and gather themselves what they need."""

    image_axes: str = "NHWC"
    """What the axes of inputs with four axes mean to a backend; see :meth:`hal.contract.Backend.from_host`."""

    def __init__(self, config: Any, data: Dataset) -> None:
        self.config = config
        self.input_shape: tuple[int, ...] = tuple(data.inputs.shape)

    @classmethod
    @abc.abstractmethod
    def wanted(cls, config: Any) -> Wanted:
        """The kind and shape of data that a model of this config takes."""

    @classmethod
    def own_split(cls, config: Any, *, named: str | None, validation: float, seed: int) -> Split | None:
        """Data that the model brings with it, used where no others are named; None: it brings none.

        Args:
            config: the model's own keys.
            named: ``synthetic`` or ``synthetic:N``: any samples will do, or N made-up ones; None: no data are named.
            validation: the share of the samples to hold back.
            seed: decides which samples those are.
        """
        return None

    @classmethod
    def defaults_for(cls, config: Any) -> Defaults:
        """The training defaults, which may depend on the config."""
        return cls.defaults

    @classmethod
    def metric_for(cls, config: Any) -> tuple[str, Literal["max", "min"]]:
        """The metric, which may depend on the config."""
        return cls.metric

    def chosen_metric(self) -> tuple[str, Literal["max", "min"]]:
        """The metric, which may also depend on the data that the model was built for."""
        return self.metric_for(self.config)

    @property
    def takes_weights(self) -> bool:
        """Whether the loss multiplies that of each sample by ``batch["weights"]``."""
        return False

    def with_label_smoothing(self, share: float) -> Self:
        """The same model, trained on targets of which a share is spread evenly over all classes.

        Raises:
            ConfigError: the model's loss is its own.
        """
        raise ConfigError(
            f"label_smoothing={share:g} is for models whose loss hal computes from labels; this model has its own loss",
            fix="leave label_smoothing= out, or smooth the labels in the model's loss",
        )

    @abc.abstractmethod
    def params(self) -> dict[str, Any]:
        """Nested dicts of :class:`~hal.nn.Param`."""

    def state(self) -> dict[str, Any]:
        """Nested dicts of :class:`~hal.nn.Param`."""
        return {}

    def initial(self, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """Parameters and state before training, as NumPy arrays; a pretrained model loads them here."""
        return initialize(self.params(), seed), initialize(self.state(), seed)

    def in_precision(self, precision: PrecisionName) -> Model:
        """The model as it computes in a precision; itself where :attr:`casts` says that hal does the casting."""
        return self

    def in_neutral_ops(self) -> Model:
        """The model as it computes with neutral ops alone, which can be watched one by one; most do so anyway."""
        return self

    def uses_ops(self, backend: Backend) -> bool:
        """Whether hal's ops compute the model on a backend, so that the choice of their algorithms matters."""
        return True

    def check_backend(self, backend: Backend, *, training: bool) -> None:  # noqa: B027 - most run everywhere
        """Find before anything runs whether a backend can compute the model.

        Args:
            backend: would run it.
            training: whether it is to be trained.

        Raises:
            UnsupportedError: it cannot; the message names all that is in the way.
        """

    def load_weights(self, path: Path) -> None:
        """Start from values in a file instead of from random ones.

        Raises:
            ConfigError: the model has no names that such a file could use.
        """
        raise ConfigError(
            "weights= loads the weights of a PyTorch module of your own, which this model is not",
            fix="leave weights= out; model=transfer takes model.weights=FILE",
        )

    def portable_weights(self, params: Tree, state: Tree) -> Mapping[str, np.ndarray] | None:
        """The values by the names that they have outside of hal; None: they have none.

        Args:
            params: as NumPy arrays.
            state: as NumPy arrays.
        """
        return None

    @abc.abstractmethod
    def objectives(self) -> tuple[Objective, ...]:
        """The objectives that a training step minimizes, one after the other."""

    def phases(self, epochs: int) -> tuple[Phase, ...]:
        """The phases of training; by default a single one with all objectives."""
        return (Phase("train", epochs, self.objectives()),)

    @abc.abstractmethod
    def predict(self, params: Tree, state: Tree, inputs: Array) -> Array:
        """Inference: outputs (batch, ...) for inputs (batch, ...)."""

    def inference_inputs(self, inputs: np.ndarray) -> np.ndarray:
        """The inputs with which :meth:`predict` is measured; by default the inputs of the data."""
        return inputs

    def as_inputs(self, values: Any, data: Dataset) -> Any:
        """What somebody hands over to a trained model, as inputs of :meth:`predict`.

        Args:
            values: see :func:`hal.data.convert.as_inputs`.
            data: what the model was trained on; it need not have samples any more.

        Raises:
            InputError: they are not what the model takes.
        """
        if self.supervised:
            wanted = self.wanted(self.config).filled(data.inputs.shape)
            return as_inputs(values, wanted, data.vocabulary, data.columns, data.value_range())
        found = np.asarray(values, np.float32)  # a model that starts from noise or from a code of its own
        if not np.all(np.isfinite(found)):
            raise InputError("inputs have values that are not finite", fix="remove those samples")
        noise = self.draw_inputs(1, 0)
        if noise is not None and found.shape[1:] != noise.shape[1:]:
            raise InputError(
                f"the inputs have shape {found.shape}, but the model takes noise of shape "
                f"(batch, {', '.join(map(str, noise.shape[1:]))})",
                fix="draw normal random numbers of that shape",
            )
        return found

    def input_kind(self, data: Dataset) -> Kind | None:
        """The kind of the inputs of :meth:`predict` after training on data; None: only the user's code knows it."""
        return self.wanted(self.config).kind

    def input_names(self, data: Dataset) -> dict[str, str]:
        """What users call each of several inputs, by its name in the data that the model was trained on."""
        return {name: name for name in data.parts}

    def draw_inputs(self, count: int, seed: int) -> np.ndarray | None:
        """So many inputs with which a model makes samples, such as noise; None: it answers inputs that it is given."""
        return None

    def gives_logits(self, data: Dataset, outputs: tuple[int, ...]) -> bool:
        """Whether outputs of a shape (batch, ...) are logits of the classes.

        Args:
            data: what the model was trained on; it need not have samples any more.
            outputs: the shape of what :meth:`predict` gives.
        """
        return self.supervised and len(outputs) == 2 and outputs[1] == data.classes

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Probabilities of the classes (batch, classes), from what :meth:`predict` gives."""
        raised = np.exp(logits - logits.max(axis=1, keepdims=True))
        found: np.ndarray = raised / raised.sum(axis=1, keepdims=True)
        return found

    def next_logits(self, call: Callable[..., Any], params: Tree, state: Tree) -> Callable[[Sequence[int]], np.ndarray]:
        """A function that gives the logits (characters,) of the character after some, for a model that writes text.

        By default it runs :meth:`predict` on a whole window each time: what comes behind the last character cannot be
        seen from there, and a runtime that compiles would compile every other length.

        Args:
            call: see :attr:`TrainingView.call`.
            params: of the model, on the device.
            state: of the model, on the device.
        """
        length = self.input_shape[0]

        def next_logits(written: Sequence[int]) -> np.ndarray:
            recent = written[-length:]
            ids = np.zeros((1, length), np.int64)
            ids[0, : len(recent)] = recent
            found: np.ndarray = call(self.predict, params, state, ids)[0, len(recent) - 1]
            return found

        return next_logits

    def evaluate(self, params: Tree, state: Tree, batch: Batch) -> Mapping[str, Array]:
        """Metrics for each sample of a validation batch, (batch,) each; their means are reported."""
        return {}

    def scores(self, means: Mapping[str, float]) -> Mapping[str, float]:
        """The metrics to report, from the means over the validation samples; by default those means."""
        return means

    def epoch_end(self, view: TrainingView) -> Report:
        """Further metrics and files after an epoch."""
        return Report()

    def run_end(self, view: TrainingView) -> Report:
        """Further metrics, files and text after the last epoch."""
        return Report()
