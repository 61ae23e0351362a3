"""Numbers of a tuning as the report shows them: their units, their intervals, their words."""

from __future__ import annotations

import shlex
import statistics
from collections.abc import Iterable, Mapping
from typing import Any

from hal.contract.text import interval_text, number
from hal.tuner.result import Tuning
from hal.tuner.trial_result import OBJECTIVES, Objective, Outcome, Trial

__all__ = [
    "ENDED",
    "NAMES",
    "among",
    "capital",
    "cells_of",
    "command_of",
    "heading",
    "interval_of",
    "listed",
    "median",
    "scaled",
    "state_of",
    "unit_of",
    "value_of",
    "varied",
]

ENDED = {
    "done": "all plans were tried",
    "settled": "none of the remaining plans is expected to be better",
    "budget": "the time budget was used up",
    "trials": "the requested number of trials was reached",
    "interrupted": "it was interrupted; continue with hal tune resume=FOLDER",
}
"""Why a tuning ended, in words."""

NAMES: dict[Objective, str] = {
    "throughput": "throughput",
    "latency": "latency",
    "energy": "energy",
    "memory": "peak memory",
    "time_to_loss": "time to loss",
}
"""Objectives in words."""


def unit_of(name: Objective) -> str:
    """The unit that the report uses."""
    return "MiB" if name == "memory" else OBJECTIVES[name][0]


def scaled(name: Objective, value: float) -> float:
    """A value in the report's unit."""
    return value / (1 << 20) if name == "memory" else value


def value_of(trial: Trial, name: Objective) -> float | None:
    """What a trial is worth, in the report's unit: as an objective, otherwise as measured beside it."""
    found = trial.measurement
    if name in trial.values:
        return scaled(name, trial.values[name])
    if trial.estimate is not None:
        guess = {"throughput": trial.estimate.throughput, "memory": trial.estimate.memory_bytes}.get(name)
        return None if guess is None else scaled(name, guess)
    if found is None or trial.outcome is not Outcome.OK:
        return None
    if name == "throughput":
        return found.throughput.median / trial.drift
    return scaled(name, found.peak_memory_bytes) if name == "memory" and found.peak_memory_bytes is not None else None


def interval_of(trial: Trial, name: Objective) -> tuple[float, float] | None:
    """The 95% interval of a value, corrected for drift like the value; None where there is none."""
    found = trial.measurement
    if found is None or name not in ("throughput", "latency"):
        return None
    if name == "throughput":
        return found.throughput.low / trial.drift, found.throughput.high / trial.drift
    step = found.latency.p50_ms if found.latency is not None else found.step_ms
    return step.low * trial.drift, step.high * trial.drift


def state_of(trial: Trial) -> str:
    """One of: measured, estimated, cut short, over a limit, failed."""
    if trial.outcome is not Outcome.OK:
        return "failed"
    if trial.violations:
        return "over a limit"
    return "cut short" if trial.cut_short else "measured" if trial.estimate is None else "estimated"


def varied(tuning: Tuning) -> dict[str, tuple[str | int | None, ...]]:
    """The keys of the plan that the tuning had a choice of, with their values; numbers in order."""
    return {
        key: tuple(sorted(values, key=lambda value: value if isinstance(value, int) else 0))
        for key, values in tuning.space.items()
        if len(values) > 1
    }


def among(tuning: Tuning) -> list[Trial]:
    """Trials of the values that there was a choice of; the default plan and fp32 eager may have others."""
    choice = varied(tuning)
    return [t for t in tuning.trials if all(getattr(t.plan, key) in values for key, values in choice.items())]


def median(values: Iterable[float | None]) -> float | None:
    """The median of those that are known; None: none is."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def listed(tuning: Tuning) -> str:
    """The objectives in words."""
    *most, last = (NAMES[name] for name in tuning.objectives)
    return f"{', '.join(most)} and {last}"


def capital(text: str) -> str:
    """The text with a capital letter."""
    return text[:1].upper() + text[1:]


def command_of(config: Mapping[str, Any]) -> str:
    """The command line of the keys of a tuning."""
    words = []
    for key, value in config.items():
        for inner, held in value.items() if isinstance(value, dict) else [("", value)]:
            said = _word(held)
            if isinstance(held, (list, tuple)):
                said = ",".join(map(_word, held)) if key == "objective" else f"[{','.join(map(_word, held))}]"
            words.append(shlex.quote(f"{key if inner in ('', 'name') else f'{key}.{inner}'}={said}"))
    return " ".join(["hal tune", *sorted(words, key=lambda word: not word.startswith("model="))])


def _word(value: Any) -> str:
    return "null" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def cells_of(tuning: Tuning, trial: Trial) -> tuple[str, ...]:
    """Cells of the objectives' values, with intervals where they are known."""
    found = []
    for name in tuning.objectives:
        value, ends = value_of(trial, name), interval_of(trial, name)
        interval = "" if ends is None else f" {interval_text(*ends)}"
        found.append("" if value is None else number(value) + interval)
    return tuple(found)


def heading(name: Objective) -> str:
    """The heading of a column of numbers, with its unit."""
    return f"{NAMES[name]}, {unit_of(name)}#"
