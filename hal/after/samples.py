"""The samples that an export is proved and calibrated on: those of the run's own data, or made up where it is gone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from hal.after.proof import ProofBatch
from hal.after.trained import Trained
from hal.data import DataFacts, Dataset, Split, load
from hal.errors import ConfigError, DataError, HalError
from hal.job.workload import choose_model, resolve_workload
from hal.run.config import RunConfig
from hal.run.saved import require_trusted_data

__all__ = ["RunSamples"]

_MADE_UP = 64
_NOISE_SEED = 1


@dataclass(frozen=True)
class RunSamples:
    """Samples for a trained model.

    Attributes:
        trained: the model.
        split: its data; None: it draws its own inputs.
        source: where they come from, for people.
        own: whether they are those that the run learned from and held out.
    """

    trained: Trained
    split: Split | None
    source: str
    own: bool

    @classmethod
    def of(cls, trained: Trained, model: str | None) -> RunSamples:
        """The data of a run; where they cannot be read any more, random inputs of the same form.

        Code that only the folder names is not run: its data count as data that cannot be read.

        Args:
            trained: the model.
            model: where its code is, if the user said so.

        Raises:
            ConfigError: they cannot be read, and nobody knows the form of the inputs.
        """
        if trained.draws:
            return cls(trained, None, "random numbers that the samples are made from", own=True)
        config = RunConfig.model_validate(trained.saved.config)
        try:
            require_trusted_data(trained.saved, False, trained.run)
            section = config.model
            if model is not None and section is not None:
                section = section.model_copy(update={"name": model})
            found = resolve_workload(choose_model(section), config.data, "infer", config.seed)
            now = DataFacts.of(found.split)
        except HalError as error:
            return cls(trained, cls._made_up(trained, error), f"random inputs, since {_reason(error)}", own=False)
        before = trained.setup.data
        changed = before.differences(now)
        if changed and _form(before) != _form(now):
            why = f"the data have changed since the run: {'; '.join(changed)}"
            return cls(trained, cls._made_up(trained, DataError(why)), f"random inputs, since {why}", own=False)
        held = f"held-out samples of data={before.source}"
        return cls(trained, found.split, f"{held}, which have changed since the run" if changed else held, not changed)

    @staticmethod
    def _made_up(trained: Trained, error: HalError) -> Split:
        if trained.kind is None:
            raise ConfigError(
                f"the export cannot be proved: the data that the model learned from cannot be read ({error.message})",
                fix="make the data available as they were for the run",
            ) from error
        wanted = trained.model.wanted(trained.model.config).filled(trained.input_shape)
        return load(f"synthetic:{_MADE_UP}", wanted, seed=_NOISE_SEED)

    def held_out(self, most: int | None, size: int, *, padded: bool) -> Iterator[ProofBatch]:
        """The held-out samples in batches.

        Args:
            most: how many at the most; None: all.
            size: of a batch.
            padded: whether all batches have that size: a smaller last one is left out, or filled up if it is the first.
        """
        data = None if self.split is None else self.split.validation
        count = (most or 4 * _MADE_UP) if data is None else len(data)
        return self._batches(data, most, size, np.arange(count), padded)

    def training(self, most: int, size: int) -> Iterator[Any]:
        """Inputs of some training samples, for a calibration; those of a data set are chosen at random."""
        if self.split is None:
            indices = np.arange(most)
        else:
            count = len(self.split.train)
            indices = np.random.default_rng(0).permutation(count)[: min(most, count)]
        data = None if self.split is None else self.split.train
        for batch in self._batches(data, most, size, indices, False):
            yield batch.inputs

    def _batches(
        self, data: Dataset | None, most: int | None, size: int, indices: np.ndarray, padded: bool
    ) -> Iterator[ProofBatch]:
        chosen = indices[:most]
        if padded:
            chosen = np.resize(chosen, max(1, len(chosen) // size) * size)
        for start in range(0, len(chosen), size):
            some = chosen[start : start + size]
            if data is None:
                yield ProofBatch(self.trained.model.draw_inputs(len(some), _NOISE_SEED + start), None)
                continue
            batch = data.take(some)
            labels = batch.get("labels") if self.own else None
            yield ProofBatch(batch["inputs"], labels if isinstance(labels, np.ndarray) else None)


def _form(facts: DataFacts) -> tuple[object, ...]:
    """What the inputs of a model must agree in."""
    return facts.input_shape, facts.input_dtype, facts.input_parts, facts.vocabulary, facts.tokens


def _reason(error: HalError) -> str:
    return f"the data of the run cannot be read ({error.message.partition(chr(10))[0]})"
