"""Compares an exported model with the model that it was made of, on samples that were held out from training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from hal.after.proof_metrics import ProofMetric
from hal.errors import RunError

__all__ = ["ExportPrecision", "Proof", "ProofBatch", "prove"]

ExportPrecision = Literal["fp32", "fp16", "bf16", "int8"]

_ALLOWED: Mapping[str, float] = {"fp32": 1e-3, "fp16": 3e-2, "bf16": 1e-1}
"""The largest deviation as a share of the largest output. What int8 loses is measured and told, not limited."""


class Proof(BaseModel):
    """What came of running an export beside the model that it was made of."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    runtime: str = Field(description="What ran the export, with its version.")
    samples: int = Field(description="Number of samples that were compared.")
    samples_of: str = Field(description="Where these samples came from.")
    largest_deviation: float = Field(description="Largest difference between two outputs.")
    largest_output: float = Field(description="Largest output of the model, as the scale of the deviation.")
    allowed: float | None = Field(
        description="The largest deviation that is allowed as a share of the largest output; None: it is not limited."
    )
    same_top: float | None = Field(
        description="Share of the samples of which both have the same most probable class; None: there are no classes."
    )
    accuracy_before: float | None = Field(
        description="Accuracy of the model in fp32 on these samples; None: there are no labels."
    )
    accuracy: float | None = Field(description="Accuracy of the export on these samples; None: there are no labels.")
    metric: Literal["R2", "F1"] | None = Field(
        default=None,
        description="The metric of a model of numbers (R2) or tags (F1); None: it has classes, or no labels.",
    )
    metric_before: float | None = Field(default=None, description="That of the model in fp32 on these samples.")
    metric_after: float | None = Field(default=None, description="That of the export on these samples.")

    def measured(self) -> tuple[str, float, float] | None:
        """What the labels say: the name of the accuracy or metric, that of the model, and that of the export."""
        if self.accuracy is not None and self.accuracy_before is not None:
            return "accuracy", self.accuracy_before, self.accuracy
        if self.metric is not None and self.metric_before is not None and self.metric_after is not None:
            return self.metric, self.metric_before, self.metric_after
        return None

    def measured_text(self) -> str:
        """The same in a sentence; empty: there are no labels."""
        found = self.measured()
        if found is None:
            return ""
        name, before, after = found
        return f"{name[0].upper()}{name[1:]}: {after:.4f}; of the model in fp32: {before:.4f}."


@dataclass(frozen=True)
class ProofBatch:
    """Some samples.

    Attributes:
        inputs: as the model's ``predict`` takes them.
        labels: integers (batch,), or (batch, time) of text; of numbers and tags float32 (batch, outputs); None: there
            are none.
    """

    inputs: Any
    labels: np.ndarray | None


@dataclass
class _Sums:
    samples: int = 0
    labels: int = 0
    deviation: float = 0.0
    largest: float = 0.0
    decisions: int = 0
    same: int = 0
    differ: int = 0
    right_before: int = 0
    right: int = 0
    before: ProofMetric | None = None
    after: ProofMetric | None = None


def prove(
    batches: Iterator[ProofBatch],
    samples_of: str,
    before: Callable[[Any], np.ndarray],
    after: Callable[[Any], np.ndarray],
    *,
    runtime: str,
    precision: ExportPrecision,
    decides: Callable[[Sequence[int]], bool],
    metric: Callable[[], ProofMetric | None] = lambda: None,
) -> Proof:
    """Run both on the same samples.

    Args:
        batches: the samples.
        samples_of: where they come from.
        before: the outputs of the model, in fp32.
        after: those of the export.
        runtime: what runs the export.
        precision: of the export.
        decides: whether outputs of a shape are logits, whose last axis is that of the classes.
        metric: makes what measures outputs that are no classes; may give None.

    Raises:
        RunError: they differ by more than the precision explains, or, in fp32, in their most probable class.
    """
    sums = _Sums(before=metric(), after=metric())
    for batch in batches:
        wanted, found = before(batch.inputs), after(batch.inputs)
        if wanted.shape != found.shape:
            raise RunError(
                f"the export is wrong: it gives outputs of shape {found.shape} for inputs of which the model gives "
                f"{wanted.shape}",
                fix="please report this with the model",
            )
        _add(sums, wanted, found, batch.labels, decides(wanted.shape))
    allowed = _ALLOWED.get(precision)
    proof = Proof(
        runtime=runtime,
        samples=sums.samples,
        samples_of=samples_of,
        largest_deviation=sums.deviation,
        largest_output=sums.largest,
        allowed=allowed,
        same_top=sums.same / sums.decisions if sums.decisions else None,
        accuracy_before=sums.right_before / sums.labels if sums.labels else None,
        accuracy=sums.right / sums.labels if sums.labels else None,
        metric=None if sums.after is None or sums.after.value() is None else sums.after.name,
        metric_before=None if sums.before is None else sums.before.value(),
        metric_after=None if sums.after is None else sums.after.value(),
    )
    wrong = not np.isfinite(sums.deviation)
    wrong = wrong or (allowed is not None and sums.deviation > allowed * max(sums.largest, 1e-6))
    if wrong or (precision == "fp32" and sums.differ):
        top = f", and {sums.differ:,} of {sums.decisions:,} decisions differ" if sums.differ else ""
        raise RunError(
            f"the export is wrong and was not written: run by {runtime}, its outputs differ from those of the model by "
            f"up to {sums.deviation:.3g}, where the largest is {sums.largest:.3g}{top}",
            fix="export in another format or precision, and please report this with the model",
        )
    return proof


def _add(sums: _Sums, wanted: np.ndarray, found: np.ndarray, labels: np.ndarray | None, decides: bool) -> None:
    sums.samples += len(wanted)
    if wanted.size:
        apart = np.abs(wanted.astype(np.float64) - found)
        deviation = float(apart.max())
        sums.deviation = max(sums.deviation, deviation) if np.isfinite(deviation) else float("inf")
        sums.largest = max(sums.largest, float(np.abs(wanted).max()))
    if labels is not None and labels.shape == wanted.shape and sums.before is not None and sums.after is not None:
        sums.before.add(wanted, labels)
        sums.after.add(found, labels)
    if not decides:
        return
    before, after = wanted.argmax(-1), found.argmax(-1)
    same = before == after
    # Where the model itself hardly decides, rounding may: what the export prefers is no worse by more than that.
    lost = np.take_along_axis(wanted, before[..., None], -1) - np.take_along_axis(wanted, after[..., None], -1)
    close = lost[..., 0] <= 2 * np.abs(wanted - found).max(-1)
    sums.decisions += same.size
    sums.same += int(same.sum())
    sums.differ += int((~same & ~close).sum())
    if labels is not None and labels.shape == before.shape:
        sums.labels += labels.size
        sums.right_before += int((before == labels).sum())
        sums.right += int((after == labels).sum())
