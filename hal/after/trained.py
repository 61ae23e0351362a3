"""A trained model as an object, from the folder of its run alone."""

from __future__ import annotations

import contextlib
import copy
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import optree

from hal import registry
from hal.after.chosen import Chosen, chosen
from hal.after.predictions import Prediction, class_scores, present_tags
from hal.after.writing import continued, ids_of
from hal.config import JobConfig, build
from hal.contract import Group
from hal.contract.plan import Plan
from hal.data import RememberedData, Split
from hal.errors import CheckpointError, ConfigError
from hal.job.carry import differences, model_values, place_for_inference
from hal.job.errors import classified
from hal.job.placing import put_batch
from hal.job.prepare import Job, pick_device, prepare_devices
from hal.job.step import inference
from hal.run.evaluating import host_call
from hal.run.saved import SavedRun, SavedSetup, read_saved, require_trusted_model
from hal.workload import BUILT_IN, configure, model_class

if TYPE_CHECKING:
    from hal.data import Kind
    from hal.nn import Model

__all__ = ["Trained", "load"]

_IN_FLIGHT = 2
"""Batches that are given to the device before the results of the first are fetched, so that it need not wait."""


def load(run: str | Path, **keys: Any) -> Trained:
    """A trained model.

    Args:
        run: the folder of a run, or of one checkpoint; nothing else of the run is needed, neither its data nor a tuned
            plan.
        **keys: ``backend``, ``device`` and keys of a plan that differ from the run's, for example ``precision``;
            ``model`` to say where the code of the model is, which allows to run it although the folder is somebody
            else's.

    Raises:
        NotFoundError: it is not the folder of a run.
        CheckpointError: the checkpoint is damaged, of another model, or names code that was not named by the user.
        UnavailableError: the backend or device is not here.
        ConfigError: a key or value is wrong.
    """
    found = chosen(run)
    saved = read_saved(found.checkpoint)
    require_trusted_model(saved, "model" in keys, run)
    if saved.setup is None:
        raise CheckpointError(
            f"{run} was written by an earlier version of hal, which did not save everything that predicting needs",
            fix=f"continue the run for a step, which saves what is missing: hal run resume={run}",
        )
    return Trained(str(run), found, saved, saved.setup, keys)


class Trained:
    """A trained model, which answers new inputs; :func:`load` makes it.

    Attributes:
        run: the folder that was given.
        chosen: the checkpoint that is used.
        saved: what the checkpoint says.
        setup: what the model learned from, and how it was run.
        job: the model on its device, without samples.
    """

    def __init__(self, run: str, found: Chosen, saved: SavedRun, setup: SavedSetup, keys: Mapping[str, Any]) -> None:
        self.run, self.chosen, self.saved, self.setup = run, found, saved, setup
        self.job = _job(setup, found, keys)
        carry = found.checkpoint.carry
        self._state: Any = None
        self._run: Any = None
        self._values = model_values(carry)
        self._call: Any = None

    # What it is

    @property
    def model(self) -> Model:
        """The model, which holds no arrays."""
        return self.job.model

    @property
    def params(self) -> Mapping[str, Any]:
        """The values of the parameters: nested dicts of NumPy arrays."""
        found: Mapping[str, Any] = self._values[0]
        return found

    @property
    def state(self) -> Mapping[str, Any]:
        """The values of the model's state, such as running statistics: nested dicts of NumPy arrays."""
        found: Mapping[str, Any] = self._values[1]
        return found

    @property
    def class_names(self) -> tuple[str, ...]:
        """Name of each class; empty if the classes have no names."""
        return self.setup.data.class_names

    @property
    def kind(self) -> Kind | None:
        """The kind of data that it takes; None: one that only the user's own code knows."""
        return self.model.input_kind(self.job.split.train)

    @property
    def writes(self) -> bool:
        """Whether it writes text character by character."""
        return bool(self.setup.data.vocabulary)

    @property
    def draws(self) -> bool:
        """Whether it makes samples from noise instead of answering inputs."""
        return self.model.draw_inputs(1, 0) is not None

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input as the model gets it, without the batch."""
        return self.setup.data.input_shape

    def describe(self) -> str:
        """What is used, in a sentence for people."""
        saved = self.saved
        epochs = f"epoch {len(saved.epochs)}" if saved.epochs else "before the first epoch ended"
        return f"{self.setup.workload.model} on {self.job.device}, {self.chosen.why}: step {saved.step:,}, {epochs}"

    # What it computes

    def __call__(self, inputs: Any) -> np.ndarray:
        """The model's own outputs, such as logits (batch, classes).

        Args:
            inputs: (batch, ...), see :func:`hal.data.convert.as_inputs` for what is taken and how it is converted.

        Raises:
            InputError: the inputs are not what the model takes.
            HalError: the backend failed.
        """
        return self.outputs(self.as_inputs(inputs))

    def outputs(self, given: Any) -> np.ndarray:
        """The model's own outputs for inputs as :meth:`as_inputs` gives them, or as the data of its run do.

        Args:
            given: (batch, ...), or a dict of such arrays.
        """
        size = self.job.plan.batch
        parts = [_rows(given, start, start + size) for start in range(0, max(1, _count(given)), size)]
        with self.ready():
            return np.concatenate(list(self.stream(parts)))

    def predict(self, inputs: Any, top: int = 3) -> list[Prediction]:
        """What the model says of each input, with the names of the classes and their probabilities.

        Args:
            inputs: arrays as for a call; or paths of files and folders (a path, or a list of paths), which are read as
                ``hal predict`` does. A str is a path, except for models of texts, which take it as a text: write
                pathlib.Path(...) there.
            top: how many classes to give.

        Raises:
            InputError: the inputs are not what the model takes.
            NotFoundError: there is no such file.
            DataError: a file is damaged.
        """
        from hal.after.inputs import batches_of, files_of, paths_among

        paths = paths_among(inputs, texts=self.kind == "document")
        if paths is None:
            outputs = self(inputs)
            return self.explain([str(index) for index in range(len(outputs))], outputs, top)
        found: list[Prediction] = []
        with self.ready():
            for batch in batches_of(files_of(paths, self), self):
                if batch.errors:
                    raise batch.errors[0][1]
                if batch.names:
                    found += self.explain(batch.names, next(self.stream([batch.inputs])), top)
        return found

    def explain(self, names: Sequence[str], outputs: np.ndarray, top: int) -> list[Prediction]:
        """Predictions from a batch of outputs.

        Args:
            names: of the inputs.
            outputs: (batch, ...).
            top: how many classes to give.
        """
        data = self.job.split.train
        if data.task != "regress" and self.model.gives_logits(data, outputs.shape):
            # Each tag is there or not, whatever the others are.
            of_tags = data.task == "tags"
            probabilities = 1 / (1 + np.exp(-outputs)) if of_tags else self.model.probabilities(outputs)
            scores = class_scores(probabilities, self.class_names, top)
            tags = present_tags(probabilities, self.class_names) if of_tags else [None] * len(scores)
            return [Prediction(name, s, tags=t) for name, s, t in zip(names, scores, tags, strict=True)]
        columns = () if data.targets is None or outputs.shape[1:] != (len(data.targets.names),) else data.targets.names
        rows = zip(names, outputs.tolist(), strict=True)
        return [Prediction(name, values=values, names=columns) for name, values in rows]

    def write(self, prompt: str, length: int = 300, temperature: float = 0.7, seed: int = 0) -> Iterator[str]:
        """Continue a text, character by character.

        Args:
            prompt: how it begins; at least one character.
            length: how many characters to write.
            temperature: by which the logits are divided before a character is drawn; lower is more likely.
            seed: decides what is drawn.

        Raises:
            InputError: the prompt is empty, or has characters that the model does not know.
            ConfigError: the model does not write text, or the length or the temperature is not positive.
        """
        if not self.writes:
            raise ConfigError(
                f"model={self.setup.workload.model} of {self.run} does not write text",
                fix="use a run whose data are text, such as hal run model=rnn",
            )
        if length < 1 or not temperature > 0:
            raise ConfigError(
                f"length={length} and temperature={temperature:g} were given, but both have to be positive",
                fix="for the likeliest characters, use a small temperature such as 0.01",
            )
        return self._written(ids_of(prompt, self.setup.data.vocabulary), length, temperature, seed)

    def _written(self, prompt: Sequence[int], length: int, temperature: float, seed: int) -> Iterator[str]:
        with self.ready():
            next_logits = self.model.next_logits(self._call, *self._state)
            yield from continued(self.setup.data.vocabulary, next_logits, prompt, length, temperature, seed)

    def samples(self, count: int, seed: int = 0) -> np.ndarray:
        """Samples that the model makes by itself, (count, ...); of a gan images (count, height, width, channels).

        Args:
            count: how many.
            seed: decides which.

        Raises:
            ConfigError: the model answers inputs instead.
        """
        noise = self.model.draw_inputs(count, seed)
        if noise is None:
            raise ConfigError(
                f"model={self.setup.workload.model} of {self.run} makes no samples; it answers inputs",
                fix="give it inputs, or use a run of model=gan",
            )
        return self(noise)

    def with_values(self, params: Mapping[str, Any], state: Mapping[str, Any]) -> Trained:
        """The same model with other values of its parameters and state, which are nested dicts of NumPy arrays."""
        other = copy.copy(self)
        other._values, other._state = (params, state), None
        return other

    def as_inputs(self, values: Any) -> Any:
        """Inputs as the model's ``predict`` takes them, on the host.

        Raises:
            InputError: they are not what the model takes.
        """
        return self.model.as_inputs(values, self.job.split.train)

    @contextlib.contextmanager
    def ready(self) -> Iterator[None]:
        """Around calls of :meth:`stream`: the settings of the plan, and errors of the framework by their names."""
        job = self.job
        with classified(job.backend), job.backend.settings(job.plan, job.device):
            if self._state is None:
                self._state = place_for_inference(job, *self._values)
                self._run = inference(job.backend, job.model, job.plan, job.params)
                self._call = host_call(job)
            yield

    def stream(self, batches: Iterable[Any]) -> Iterator[np.ndarray]:
        """Outputs of each batch in turn; the device works on the next ones meanwhile.

        Args:
            batches: inputs as :meth:`as_inputs` gives them, each (batch, ...) or a dict of such arrays.
        """
        waiting: deque[tuple[Any, int]] = deque()
        for batch in batches:
            rows = _count(batch)
            inputs = put_batch(self.job, {"inputs": _filled(batch, self._padded(rows))})["inputs"]
            waiting.append((self._run(*self._state, inputs), rows))
            if len(waiting) == _IN_FLIGHT:
                yield self._fetched(*waiting.popleft())
        while waiting:
            yield self._fetched(*waiting.popleft())

    def _fetched(self, outputs: Any, rows: int) -> np.ndarray:
        found: np.ndarray = self.job.backend.to_host(outputs)
        return found[:rows]

    def _padded(self, rows: int) -> int:
        """Rows of the batch that is computed: where the runtime compiles, a power of two, so that it compiles few."""
        if self.job.plan.compile == "eager" or rows >= self.job.plan.batch:
            return rows
        return min(self.job.plan.batch, 1 << (rows - 1).bit_length()) if rows else rows


def _count(inputs: Any) -> int:
    first: Any = next(iter(inputs.values())) if isinstance(inputs, Mapping) else inputs
    return len(first)


def _rows(inputs: Any, start: int, stop: int) -> Any:
    return optree.tree_map(lambda x: x[start:stop], inputs)


def _filled(inputs: Any, rows: int) -> Any:
    """A batch of so many rows, whose last ones repeat the first."""
    more = rows - _count(inputs)
    return inputs if more <= 0 else optree.tree_map(lambda x: np.concatenate([x, np.repeat(x[:1], more, 0)]), inputs)


def _job(setup: SavedSetup, found: Chosen, keys: Mapping[str, Any]) -> Job:
    """The job of a trained model, without samples."""
    one_device = {"parallel", "accumulate"}
    allowed = {"backend", "device", "model", *Plan.model_fields} - one_device
    if wrong := sorted(set(keys) - allowed):
        why = "a trained model runs on one device, in whole batches" if wrong[0] in one_device else "it is not known"
        raise ConfigError(
            f"the key {wrong[0]} cannot be used with a trained model: {why}",
            fix=f"the keys are {', '.join(sorted(allowed))}",
        )
    name = str(keys.get("model", setup.workload.model))  # only what the user named is run, if they named something
    trained = setup.workload.model
    if name != trained and BUILT_IN.keys() & {name, trained}:
        raise CheckpointError(
            f"the checkpoint is of model={trained}, but model={name} was given; it is of another model",
            fix="leave model= out" if trained in BUILT_IN else f"give the file that defines {trained}",
        )
    cls = model_class(name)
    model_keys = configure(cls, setup.workload.keys)
    data = RememberedData(setup.data)
    model = cls(model_keys, data)
    differ = differences(model.params(), found.checkpoint.carry["params"])
    if differ:
        raise CheckpointError(
            f"the checkpoint is of another model: {differ[0].describe('the checkpoint', name)}",
            fix="use the code of the model that was trained",
        )
    config = build(JobConfig, {name: value for name, value in keys.items() if name != "model"})
    named = "backend" in keys or "device" in keys
    backend = config.backend if named or setup.device.backend not in registry.names() else setup.device.backend
    prepare_devices(backend, 1)
    device = pick_device(backend, config.device)
    same = device.backend == setup.device.backend
    base = setup.plan if same else Plan(batch=setup.plan.batch, precision=setup.plan.precision)
    plan = config.over(base.model_copy(update={"accumulate": 1, "parallel": "none"})).resolve(device)
    runs_on = registry.require(device.backend)
    model.check_backend(runs_on, training=False)
    return Job(
        backend=runs_on,
        device=device,
        model=model.in_precision(plan.precision),
        params=model.params(),
        state=model.state(),
        split=Split(data, data),
        plan=plan,
        defaults=cls.defaults_for(model_keys),
        workload=setup.workload,
        group=Group(runs_on, device),
    )
