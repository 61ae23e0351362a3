"""What differs between two runs: keys, plans, environments and results, with what the numbers can tell."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hal.after.words import flat_keys
from hal.contract.text import number, ratio_text
from hal.errors import HalError
from hal.measure import Estimate
from hal.run.checkpoint import best
from hal.run.record import Record, read_record
from hal.run.resuming import find_resume_point
from hal.run.saved import read_saved

__all__ = ["Difference", "RunComparison", "compare_runs"]

_LEAST_PAIRS = 4
"""With fewer epochs of each, the throughputs have no spread to speak of."""


@dataclass(frozen=True)
class Difference:
    """Something in which two runs differ; empty: it is not set there."""

    name: str
    first: str
    second: str


@dataclass(frozen=True)
class RunComparison:
    """Two runs beside each other.

    Attributes:
        keys: keys that were given, or that the model has.
        plan: keys of the plan.
        surroundings: the device, versions, and the number of samples.
        results: of both; those that are equal too.
        verdicts: what can be said about the results, in sentences.
    """

    keys: tuple[Difference, ...]
    plan: tuple[Difference, ...]
    surroundings: tuple[Difference, ...]
    results: tuple[Difference, ...]
    verdicts: tuple[str, ...]


def compare_runs(first: Path, second: Path) -> RunComparison:
    """Compare the runs in two folders.

    Raises:
        NotFoundError: a folder contains no run.
        DataError: a record is damaged.
    """
    a, b = read_record(first), read_record(second)
    return RunComparison(
        keys=_differences(_keys(a), _keys(b)),
        plan=_differences(a.plan.model_dump(), b.plan.model_dump()),
        surroundings=_differences(_surroundings(a), _surroundings(b)),
        results=tuple(_results(a, b)),
        verdicts=tuple(_verdicts(a, b, first, second)),
    )


def _keys(record: Record) -> dict[str, Any]:
    plan = set(record.plan.model_dump())
    given = {key: value for key, value in flat_keys(record.config).items() if key not in ("out", "resume", *plan)}
    model = {f"model.{key}": str(value) for key, value in record.workload.keys.items()}
    return {"model": record.workload.model, "data": record.workload.data, **given, **model}


def _surroundings(record: Record) -> dict[str, Any]:
    return {
        "device": f"{record.device} {record.device.name} ({record.device.arch})",
        "hal": record.environment.hal_version,
        **record.environment.versions,
        **{f"{part} samples": f"{count:,}" for part, count in record.samples.items()},
        "parameters": f"{record.parameters:,}",
    }


def _differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[Difference, ...]:
    def text(value: Any) -> str:
        return "" if value is None else str(value)

    return tuple(
        Difference(key, text(a.get(key)), text(b.get(key)))
        for key in dict.fromkeys([*a, *b])
        if text(a.get(key)) != text(b.get(key))
    )


def _results(a: Record, b: Record) -> Iterator[Difference]:
    def pair(name: str, first: Any, second: Any) -> Difference:
        return Difference(name, *("" if x is None else x if isinstance(x, str) else number(x) for x in (first, second)))

    def best_of(record: Record) -> str | None:
        if record.best is None:
            return None
        return f"{number(record.best)} (epoch {record.best_epoch or '?'})"

    yield pair("state", a.status, b.status)
    yield pair("epochs", float(len(a.epochs)), float(len(b.epochs)))
    if a.metric == b.metric:
        yield pair(f"best {a.metric}", best_of(a), best_of(b))
    for name in dict.fromkeys([*a.results, *b.results]):
        yield pair(f"{name} at the end", a.results.get(name), b.results.get(name))
    yield pair("throughput, samples/s", _rate(a), _rate(b))
    seconds = [sum(e.seconds for e in each.epochs) if each.epochs else None for each in (a, b)]
    yield pair("training time, s", *seconds)
    memory = [None if x.peak_memory_bytes is None else x.peak_memory_bytes / (1 << 20) for x in (a, b)]
    yield pair("peak memory, MiB", *memory)


def _rate(record: Record) -> float | None:
    rates = sorted(_steady(record))
    return rates[len(rates) // 2] if rates else None


def _steady(record: Record) -> list[float]:
    """Throughput of each epoch but the first, which compiles and fills caches, unless it is the only one."""
    rates = [epoch.samples_per_s for epoch in record.epochs]
    return rates[1:] or rates


def _verdicts(a: Record, b: Record, first: Path, second: Path) -> Iterator[str]:
    if a.workload.data != b.workload.data or (a.samples and b.samples and a.samples != b.samples):
        yield "The runs had different data, so their metrics do not compare the models."
    elif a.metric != b.metric:
        yield f"The runs are judged by different metrics, {a.metric or 'none'} and {b.metric or 'none'}."
    elif a.best is not None and b.best is not None:
        yield _metric_verdict(a, b, _same_samples(first, second))
    pairs = list(zip(_steady(b), _steady(a), strict=False))
    if len(pairs) < _LEAST_PAIRS:
        yield f"Speed: too few epochs to tell a difference from noise; {_LEAST_PAIRS + 1} of each are needed."
        return
    yield _speed_verdict([mine / its for mine, its in pairs])


def _metric_verdict(a: Record, b: Record, same: bool) -> str:
    """What the difference of the best metrics means."""
    assert a.best is not None
    assert b.best is not None
    better = (b.best > a.best) == (a.better == "max")
    held_out = a.samples.get("validation", 0)
    if a.best == b.best:
        return f"{a.metric}: both are equally good."
    word = "better" if better else "worse"
    said = f"{a.metric}: the second is {word} by {number(abs(b.best - a.best))}"
    if a.metric != "accuracy" or not held_out:
        return f"{said}. One run of each does not show how much of that is chance; repeat both with other seeds."
    half = 1.96 * math.sqrt(sum(p * (1 - p) for p in (a.best, b.best)) / held_out)
    low, high = b.best - a.best - half, b.best - a.best + half
    interval = f"95% interval of the difference [{low:.4f}, {high:.4f}] from {held_out:,} held-out samples"
    interval += ", the same for both, which makes it wider than it need be" if same else ""
    verdict = "a difference that chance does not explain" if low > 0 or high < 0 else "no difference shown"
    return f"{said}; {interval}: {verdict}."


def _same_samples(first: Path, second: Path) -> bool:
    """Whether both runs held back the same samples, as far as their checkpoints say."""
    digests = []
    for folder in (first, second):
        try:
            setup = read_saved(find_resume_point(str(folder), best).checkpoint).setup
        except HalError:
            return False
        digests.append(None if setup is None else setup.data.validation_digest)
    return digests[0] is not None and digests[0] == digests[1]


def _speed_verdict(ratios: Sequence[float]) -> str:
    """What the ratios of paired epochs say."""
    ratio = Estimate.of(list(ratios), unit="x")
    verdict = "no difference shown"
    if ratio.covers and ratio.low > 1:
        verdict = "the second is faster"
    elif ratio.covers and ratio.high < 1:
        verdict = "the second is slower"
    return (
        f"Speed: {ratio_text(ratio)} the throughput of the first, over {len(ratios)} pairs of epochs: {verdict}. "
        "The runs were not at the same time; hal bench versus.<key>= compares plans in turn."
    )
