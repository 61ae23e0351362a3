"""The runs in a folder: what each trained, where, how good it became, and how it ended.

A list of a thousand runs should take no longer than starting Python does, so the records are read as plain JSON here,
without the models that check them; what is not as it should be makes a run ``damaged``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hal.after.words import flat_keys
from hal.errors import ConfigError, NotFoundError
from hal.util.lock import in_use
from hal.util.reading import read_regular

__all__ = ["SORTS", "STATES", "RunEntry", "find_runs", "none_selected", "selected_runs", "sorted_runs"]

_DEPTH = 3
"""Folders below the one that is named in which runs are looked for: runs/experiment/model/run."""

_INNER = ("checkpoints", "auxiliary-")
_LARGEST_BYTES = 64 << 20
_SHOWN = 10
"""Values of a key that a message lists."""

STATES = ("running", "done", "interrupted", "failed", "killed", "damaged")
"""What became of a run."""

_USUAL = (None, 1, "auto", "none")


@dataclass(frozen=True)
class RunEntry:
    """A run in a list.

    Attributes:
        folder: of the run.
        state: how the run ended, or that it is running; ``damaged`` where its record cannot be read.
        problem: why not; empty: it can.
        model: what it trained.
        data: on what.
        device: on which device.
        plan: the keys of the plan that say something.
        metric: by which it is judged.
        better: whether ``max`` or ``min`` of that is better.
        best: the best value; None: none was measured.
        epochs: how many were measured.
        started: when it began.
        facts: what it can be selected by.
    """

    folder: Path
    state: str = "damaged"
    problem: str = ""
    model: str = ""
    data: str = ""
    device: str = ""
    plan: str = ""
    metric: str = ""
    better: str = "max"
    best: float | None = None
    epochs: int = 0
    started: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The entry as ``hal runs --json`` prints it."""
        told = {name: value for name, value in vars(self).items() if name != "facts"}
        return {**told, "folder": str(self.folder)}


def find_runs(root: Path) -> list[RunEntry]:
    """All runs in a folder and the folders in it, in the order of their names; those that are damaged too.

    Raises:
        NotFoundError: there is no such folder.
    """
    if not root.is_dir():
        raise NotFoundError(f"{root} is not a folder", fix="name a folder that contains runs, as in: hal runs runs")
    return [_entry(folder) for folder in sorted(_folders(root, _DEPTH))]


def _folders(folder: Path, depth: int) -> Iterator[Path]:
    """Folders that hold a run, or what was left of one."""
    try:
        with os.scandir(folder) as found:
            entries = {entry.name: entry for entry in found if not entry.name.startswith(".")}
    except OSError:
        return  # it was removed meanwhile, or belongs to somebody else
    if "record.json" in entries or ("checkpoints" in entries and entries["checkpoints"].is_dir()):
        yield folder
        return
    if depth:
        for name, entry in entries.items():
            if entry.is_dir() and not name.startswith(_INNER):
                yield from _folders(folder / name, depth - 1)


def _entry(folder: Path) -> RunEntry:
    used = in_use(folder)  # first, since a run that ends meanwhile has written how
    try:
        record = json.loads(read_regular(folder / "record.json", _LARGEST_BYTES))
        return _read(folder, record, used)
    except FileNotFoundError:
        return RunEntry(folder, problem="it has checkpoints, but no record.json")
    except OSError as error:
        return RunEntry(folder, problem=f"record.json cannot be read: {error.strerror or error}")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return RunEntry(folder, problem="record.json is damaged, or was written by another version of hal")


def _read(folder: Path, record: Mapping[str, Any], used: bool) -> RunEntry:
    """A record as a row; raises whatever Python does where something is missing or of another type."""
    work, device, plan = record["workload"], record["device"], record["plan"]
    at = ":".join(str(part) for part in (device["backend"], device["kind"], device["index"]) if part != "")
    state = "killed" if record["status"] == "running" and not used else str(record["status"])
    best = record.get("best")
    shown = [str(value) if key != "batch" else f"batch {value}" for key, value in plan.items() if value not in _USUAL]
    facts = {
        **{f"model.{key}": str(value) for key, value in work["keys"].items()},
        **{key: str(value) for key, value in plan.items()},
        **flat_keys(record["config"]),
        "model": str(work["model"]),
        "data": str(work["data"]),
        "backend": str(device["backend"]),
        "device": str(device["name"]),
        "state": state,
    }
    return RunEntry(
        folder,
        state,
        model=str(work["model"]),
        data=str(work["data"]),
        device=at,
        plan=", ".join(shown),
        metric=str(record.get("metric", "")),
        better=str(record.get("better", "max")),
        best=None if best is None else float(best),
        epochs=len(record.get("epochs", ())),
        started=str(record["started"]),
        facts=facts,
    )


def selected_runs(entries: Sequence[RunEntry], conditions: Sequence[str]) -> list[RunEntry]:
    """The runs that meet all conditions.

    Args:
        entries: to choose from.
        conditions: each ``KEY=VALUE``: a key of the run or its plan, or model, data, backend, device or state.

    Raises:
        ConfigError: a condition has no ``=``, or no run has such a key.
    """
    for condition in conditions:
        key, equals, value = condition.partition("=")
        if not equals:
            raise ConfigError(f"the condition {condition} has no value", fix="write KEY=VALUE, for example model=cnn")
        if key != "state" and entries and not any(key in entry.facts for entry in entries):
            raise ConfigError(
                f"no run has the key {key}", fix="use a key of hal run, or model, data, backend, device or state"
            )
        entries = [entry for entry in entries if _fact(entry, key) == value]
    return list(entries)


def none_selected(entries: Sequence[RunEntry], conditions: Sequence[str]) -> str:
    """Why no run meets the conditions, in sentences.

    Args:
        entries: the runs, of which there is one at least.
        conditions: see :func:`selected_runs`.
    """
    wanted = " and ".join(conditions)
    many = len(entries) > 1
    told = [f"None of the {len(entries):,} runs has {wanted}." if many else f"The only run does not have {wanted}."]
    for condition in conditions:
        key, _, value = condition.partition("=")
        found = sorted({each for entry in entries if (each := _fact(entry, key)) is not None})
        if value in found:
            continue
        more = ", ..." if len(found) > _SHOWN else ""
        told.append(f"Of {key} there are: {', '.join(found[:_SHOWN])}{more}.")
        if key == "state" and value not in STATES:
            told.append(f"A state is one of: {', '.join(STATES)}.")
    return " ".join(told)


def _fact(entry: RunEntry, key: str) -> str | None:
    """What a condition compares; a damaged run has a state, though it has no facts."""
    return entry.state if key == "state" else entry.facts.get(key)


def _best(entry: RunEntry) -> tuple[bool, float]:
    """Better runs come first; a loss of 0.1 is better than one of 0.2. Runs without a result come last."""
    if entry.best is None:
        return True, 0.0
    return False, entry.best if entry.better == "min" else -entry.best


SORTS: dict[str, Callable[[RunEntry], Any]] = {
    "when": lambda entry: entry.started,
    "best": _best,
    "model": lambda entry: entry.model,
    "data": lambda entry: entry.data,
    "device": lambda entry: entry.device,
    "state": lambda entry: entry.state,
    "name": lambda entry: str(entry.folder),
}
"""What a list of runs can be sorted by. Metrics of different models are not comparable: filter before ``best``."""


def sorted_runs(entries: Sequence[RunEntry], by: str) -> list[RunEntry]:
    """The runs in another order; equal ones stay as they are.

    Args:
        entries: the runs.
        by: one of :data:`SORTS`.
    """
    return sorted(entries, key=SORTS[by])
