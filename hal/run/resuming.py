"""Which run is resumed, from which checkpoint, with which keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hal.config import build
from hal.errors import CheckpointError
from hal.run.checkpoint import Checkpoint, latest, load
from hal.run.config import RunConfig
from hal.run.saved import SavedSetup, read_saved, require_trusted_data, require_trusted_model
from hal.util.paths import user_path

__all__ = ["ResumePoint", "find_resume_point", "resumed"]


@dataclass(frozen=True)
class ResumePoint:
    """Where a run goes on.

    Attributes:
        checkpoint: what it goes on from.
        folder: of the run that wrote the checkpoint; None: the checkpoint was moved out of its run.
    """

    checkpoint: Checkpoint
    folder: Path | None


def find_resume_point(resume: str, which: Callable[[Path], Path] = latest) -> ResumePoint:
    """The checkpoint that the key ``resume`` names.

    Args:
        resume: the folder of a run or of one checkpoint.
        which: chooses among the checkpoints of a run: :func:`~hal.run.checkpoint.latest`, or
            :func:`~hal.run.checkpoint.best` to use the trained model.

    Raises:
        NotFoundError: there is no checkpoint.
        CheckpointError: it is damaged.
    """
    while True:
        at = which(user_path(resume))
        try:
            return ResumePoint(load(at), at.parent.parent if at.parent.name == "checkpoints" else None)
        except CheckpointError:
            if at.exists():
                raise
            # a run that is at work has written newer ones and removed this one meanwhile


def resumed(keys: Mapping[str, Any]) -> RunConfig:
    """A config from keys; with ``resume``, over the keys of the run that is resumed.

    Where that run wrote is no key of the new one, since its folder may have been moved.

    Raises:
        ConfigError: a key or value is wrong.
        NotFoundError: there is no checkpoint to resume from.
        CheckpointError: it is damaged, or of another model.
    """
    if keys.get("resume") is None:
        return build(RunConfig, keys)
    checkpoint = find_resume_point(str(keys["resume"])).checkpoint
    at, held = checkpoint.path, read_saved(checkpoint)
    saved = {key: value for key, value in held.config.items() if key not in ("out", "resume", "accept")}
    if "model" not in saved:
        raise CheckpointError(
            f"{at} is the checkpoint of an auxiliary model, which is trained within another run",
            fix="resume the run that contains it",
        )
    require_trusted_model(held, "model" in keys and _names(keys["model"]), at)
    require_trusted_data(held, "data" in keys and _names(keys["data"]), at)
    elsewhere = "backend" in keys or "device" in keys
    if elsewhere:  # on another machine, what was chosen on the first one means nothing
        saved = {key: value for key, value in saved.items() if key not in ("backend", "device")}
    if held.setup is not None and "plan" not in keys:
        saved = {**saved, **_plan_keys(held.setup, elsewhere)}
    merged = _over(saved, keys)
    trained, wanted = saved["model"]["name"], merged["model"]["name"]
    if wanted != trained:
        raise CheckpointError(
            f"the checkpoint {at} is of model={trained}, but model={wanted} was asked for",
            fix="leave model= out, or start a new run without resume=",
        )
    return build(RunConfig, merged)


def _names(model: Any) -> bool:
    return not isinstance(model, Mapping) or "name" in model


def _plan_keys(setup: SavedSetup, elsewhere: bool) -> dict[str, Any]:
    """The plan that a run used, as keys; on another device what the numbers depend on, and no more."""
    plan = {key: value for key, value in setup.plan.model_dump().items() if value is not None}
    if elsewhere:
        return {"plan": "default", **{key: plan[key] for key in ("batch", "precision", "accumulate")}}
    return {"plan": "default", "backend": setup.device.backend, **plan}


def _over(base: Mapping[str, Any], keys: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for name, value in keys.items():
        inner = merged.get(name)
        given = {"name": value} if isinstance(inner, Mapping) and isinstance(value, str) else value
        merged[name] = _over(inner, given) if isinstance(inner, Mapping) and isinstance(given, Mapping) else given
    return merged
