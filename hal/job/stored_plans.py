"""Plans that a tuning found, remembered under what they were found for.

One JSON file a plan, in the user's cache directory (the environment variable ``HAL_CACHE`` names another). A plan is
an answer only where everything is as it was: device, driver, framework and workload. Otherwise it is a start for the
next tuning.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import optree
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from hal.contract import Backend
from hal.contract.device import Device, Hardware
from hal.contract.plan import Plan
from hal.errors import ConfigError, NotFoundError, RunError
from hal.measure import Estimate
from hal.nn import Model
from hal.util.files import check_writable, make_folder, write_whole
from hal.util.paths import user_path
from hal.util.reading import read_regular
from hal.workload import Workload

__all__ = [
    "Fingerprint",
    "StoredPlan",
    "cache_folder",
    "check_cache",
    "export_plans",
    "find",
    "import_plans",
    "nearest",
    "remember",
    "stored",
]

_STRICT = ConfigDict(frozen=True, extra="forbid")
_LARGEST_PLAN, _LARGEST_EXPORT = 1 << 20, 64 << 20
"""Bytes of a file of one plan, and of a file of many."""

_LONGEST_TEXT, _MOST_TEXTS = 4096, 1000
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Characters that a terminal obeys in place of showing them."""

_CACHE_FIX = "set HAL_CACHE to a folder that you can write to"


@dataclass(frozen=True, kw_only=True)
class Fingerprint(Hardware):
    """What a plan's speed depends on. Two equal ones promise that a plan measured under one holds under the other.

    Attributes:
        versions: versions of the framework and its runtime.
        model: name of the model.
        mode: what is done with the model.
        input_shape: shape of the training inputs.
        structure: digest of the names and shapes of the parameters and of the model's keys.
    """

    versions: dict[str, str]
    model: str
    mode: Literal["train", "infer"]
    input_shape: tuple[int, ...]
    structure: str

    @classmethod
    def of(cls, backend: Backend, device: Device, workload: Workload, model: Model) -> Fingerprint:
        """The fingerprint of a workload on a device."""
        shapes = [
            (path, list(np.shape(leaf) if not hasattr(leaf, "shape") else leaf.shape))
            for path, leaf in zip(*_paths(model), strict=True)
        ]
        held = json.dumps([shapes, workload.keys], sort_keys=True, default=str)
        return cls(
            **{each.name: getattr(device, each.name) for each in fields(Hardware)},
            versions=backend.versions(),
            model=workload.model,
            mode=workload.mode,
            input_shape=workload.input_shape,
            structure=hashlib.sha256(held.encode()).hexdigest()[:16],
        )

    @property
    def digest(self) -> str:
        """A short name of it."""
        return hashlib.sha256(TypeAdapter(Fingerprint).dump_json(self)).hexdigest()[:16]

    def differences(self, other: Fingerprint) -> dict[str, tuple[Any, Any]]:
        """The fields in which two differ, with both values."""
        pairs = {each.name: (getattr(self, each.name), getattr(other, each.name)) for each in fields(self)}
        return {name: (mine, theirs) for name, (mine, theirs) in pairs.items() if mine != theirs}


class StoredPlan(BaseModel):
    """A plan with what it was found for and how good it was there.

    It may come from somebody else, so its texts hold nothing that a terminal or a file name could take for more.
    """

    model_config = _STRICT

    schema_version: Literal[1] = 1
    fingerprint: Fingerprint
    objective: str = Field(
        pattern="^[a-z][a-z_]{0,39}$", description="Objective for which the plan is the best, for example throughput."
    )
    plan: Plan
    throughput: Estimate
    over_default: Estimate | None = None
    when: str = Field(pattern="^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.Z+-]{1,40}$", description="ISO 8601, UTC")
    hal_version: str
    folder: str = Field(
        default="", description="Folder of the tuning that found the plan, on the machine where it ran."
    )

    @model_validator(mode="after")
    def _plain_texts(self) -> Self:
        held = [getattr(self.fingerprint, each.name) for each in fields(self.fingerprint)]
        texts = list(_texts([held, self.hal_version, self.folder]))
        if len(texts) > _MOST_TEXTS or any(len(text) > _LONGEST_TEXT for text in texts):
            raise ValueError("a text in it is too long, or there are too many")
        if any(_CONTROL.search(text) for text in texts):
            raise ValueError("a text in it holds control characters")
        if self.throughput.low < 0:
            raise ValueError("its throughput is negative")
        return self


class _Export(BaseModel):
    model_config = _STRICT

    schema_version: Literal[1] = 1
    plans: tuple[StoredPlan, ...]


def cache_folder() -> Path:
    """Where plans are remembered: ``HAL_CACHE``, or the user's cache directory."""
    import platformdirs

    chosen = os.environ.get("HAL_CACHE")
    return (user_path(chosen) if chosen else Path(platformdirs.user_cache_dir("hal"))) / "plans"


def check_cache() -> None:
    """Find out whether plans can be remembered.

    Raises:
        NotFoundError: the cache is no folder that can be written to.
    """
    check_writable(cache_folder(), _CACHE_FIX)


def remember(plan: StoredPlan) -> Path:
    """Write a plan; one that was found before for the same fingerprint and objective gives way.

    Raises:
        NotFoundError: the cache is no folder that can be written to.
        RunError: the plan cannot be written there.
    """
    path = make_folder(cache_folder(), _CACHE_FIX) / _file_name(plan)
    try:
        write_whole(path, (plan.model_dump_json(indent=1) + "\n").encode())
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror}", fix=_CACHE_FIX) from error
    return path


def _file_name(plan: StoredPlan) -> str:
    """The name of a plan's file, in which no text of the plan can be taken for a path."""
    at = plan.fingerprint
    words = (at.model.rpartition("/")[2], at.mode, at.backend, plan.objective)
    return "-".join((*(re.sub("[^A-Za-z0-9_.-]", "-", word)[:50].lstrip(".") for word in words), f"{at.digest}.json"))


def _texts(value: Any) -> Iterator[str]:
    """All texts in nested values, the keys of mappings included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _texts(key)
            yield from _texts(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _texts(inner)


def stored() -> tuple[StoredPlan, ...]:
    """All plans that are remembered here, the latest first; files that this version cannot read are left out."""
    found = []
    folder = cache_folder()
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
        try:
            found.append(StoredPlan.model_validate_json(read_regular(path, _LARGEST_PLAN)))
        except (OSError, ValidationError):
            continue
    return tuple(sorted(found, key=lambda each: each.when, reverse=True))


def find(fingerprint: Fingerprint, objective: str | None = None) -> StoredPlan | None:
    """The plan for exactly this; the default objective is what was tuned for last."""
    same = (p for p in stored() if p.fingerprint == fingerprint and objective in (None, p.objective))
    return next(same, None)


def nearest(
    fingerprint: Fingerprint, objective: str | None = None, *, any_model: bool = False
) -> tuple[StoredPlan, ...]:
    """Plans for the same mode under another fingerprint, the most similar first.

    The vendor and the architecture of the device count most: plans hold across models of one architecture better than
    across architectures. The workload comes next, and then the number of other differences.

    Args:
        fingerprint: what a plan is wanted for.
        objective: what the plans were tuned for; None for any objective.
        any_model: include plans for other models.
    """
    near = [
        p
        for p in stored()
        if p.fingerprint != fingerprint
        and p.fingerprint.mode == fingerprint.mode
        and (any_model or p.fingerprint.model == fingerprint.model)
        and objective in (None, p.objective)
    ]
    return tuple(sorted(near, key=lambda p: _unlike(fingerprint.differences(p.fingerprint))))


def _unlike(differences: Collection[str]) -> tuple[bool, bool, bool, int, int]:
    """How unlike two fingerprints are that differ in some fields; the first number decides, then the second, ..."""
    workload = [name for name in ("input_shape", "structure") if name in differences]
    return (
        "vendor" in differences,
        "arch" in differences,
        "model" in differences,
        len(workload),
        len(differences),
    )


def export_plans(path: Path, plans: Iterable[StoredPlan]) -> int:
    """Write plans into one file, to share; how many.

    Raises:
        NotFoundError: ``path`` is a folder, or names a place that cannot be written to.
        RunError: writing failed.
    """
    fix = "name another file after --export"
    if os.path.isdir(path):
        raise NotFoundError(f"cannot write {path}: {os.strerror(errno.EISDIR)}", fix=fix)
    check_writable(path.parent, fix)
    export = _Export(plans=tuple(plans))
    make_folder(path.parent, fix)
    try:
        write_whole(path, (export.model_dump_json(indent=1) + "\n").encode())
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror}", fix=fix) from error
    return len(export.plans)


def import_plans(path: Path) -> tuple[StoredPlan, ...]:
    """Remember the plans of a file that :func:`export_plans` wrote. None is stored if one of them is wrong.

    Raises:
        NotFoundError: it cannot be read, or the cache cannot be written to.
        ConfigError: it is no such file.
        RunError: a plan cannot be written.
    """
    try:
        plans = _Export.model_validate_json(read_regular(path, _LARGEST_EXPORT)).plans
    except OSError as error:
        raise NotFoundError(f"cannot read {path}: {error.strerror}", fix="check the path") from error
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_input=False)[0]
        place = _CONTROL.sub("?", ".".join(map(str, wrong["loc"])))[:200]
        said = f"{place}: {wrong['msg']}" if place else wrong["msg"]
        raise ConfigError(
            f"{path} contains no plans: {said}", fix="give a file that hal plans --export FILE wrote"
        ) from error
    for plan in plans:
        remember(plan)
    return plans


def _paths(model: Model) -> tuple[list[str], list[Any]]:
    specs: Mapping[str, Any] = {"params": model.params(), "state": model.state()}
    paths: list[Any]
    leaves: list[Any]
    paths, leaves, _ = optree.tree_flatten_with_path(specs)  # type: ignore[arg-type]
    return ["/".join(map(str, path)) for path in paths], leaves
