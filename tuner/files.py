"""The files in the folder of a tuning."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from hal.config import build
from hal.contract.plan import Plan
from hal.errors import ConfigError, NotFoundError
from hal.tuner.config import TuneConfig
from hal.tuner.result import Trial, Tuning
from hal.util.files import make_folder, new_folder, sync_folder, write_whole
from hal.util.paths import user_path
from hal.workload import short_name

__all__ = ["Journal", "read_config", "remove_if_unused", "results_folder", "resumed", "write_best", "write_config"]

_MAY_CHANGE = (
    *("resume", "budget", "trials", "finalists", "limit", "seconds"),
    *("python", "memory_limit", "storage", "seed"),
)
"""Keys that may change when a tuning is resumed."""


def results_folder(config: TuneConfig) -> Path:
    """The folder that a tuning writes to: ``resume``, ``out``, or a new one in ``runs/``. Created if necessary.

    Raises:
        ConfigError: ``out`` holds a tuning already.
        NotFoundError: the folder cannot be created.
    """
    if config.resume is not None:
        return user_path(config.resume)
    if config.out is None:
        name = config.model.name if config.model else ""
        return make_folder(new_folder("tune", short_name(name), config.target or config.backend))
    folder = user_path(config.out)
    if (folder / "config.json").exists():
        raise ConfigError(
            f"out={folder} already contains a tuning",
            fix=f"choose another out=, or continue that tuning with resume={folder}",
        )
    return make_folder(folder)


def remove_if_unused(folder: Path) -> None:
    """Remove the folder if no tuning began in it, so that a wrong request leaves nothing behind."""
    if (folder / "config.json").exists() or not folder.is_dir():
        return
    log = folder / "workers.log"
    if [path.name for path in folder.iterdir()] in ([], [log.name]):
        log.unlink(missing_ok=True)
        folder.rmdir()


class Journal:
    """``trials.jsonl``: one trial a line, each written whole and synced before the next begins.

    A line that a kill has torn is cut off when the file is opened; the study's storage has the trial.

    Attributes:
        numbers: numbers of the trials in the file.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "trials.jsonl"
        self.numbers: set[int] = set()
        if not self._path.exists():
            self._path.touch()
            sync_folder(folder)
            return
        data = self._path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            with self._path.open("r+b") as file:
                file.truncate(len(whole))
                os.fsync(file.fileno())
        for line in whole.splitlines():
            try:
                self.numbers.add(Trial.model_validate_json(line).number)
            except ValidationError:
                continue

    def add(self, trials: Sequence[Trial]) -> None:
        """Append the trials that are not in the file yet."""
        new = [trial for trial in trials if trial.number not in self.numbers]
        if not new:
            return
        with self._path.open("ab") as file:
            for trial in new:
                file.write(trial.model_dump_json().encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self.numbers |= {trial.number for trial in new}


def write_config(folder: Path, keys: Mapping[str, Any]) -> None:
    """Write the keys of a tuning, so that it can be resumed."""
    write_whole(folder / "config.json", (json.dumps({"schema_version": 1, "keys": keys}, indent=1) + "\n").encode())


def read_config(folder: Path) -> dict[str, Any]:
    """The keys of the tuning in a folder.

    Raises:
        NotFoundError: the folder holds no tuning.
    """
    try:
        held = json.loads((folder / "config.json").read_bytes())
        return dict(held["keys"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NotFoundError(f"{folder} contains no tuning", fix="give the folder that hal tune wrote") from error


def resumed(keys: Mapping[str, Any]) -> TuneConfig:
    """Make a config from keys. With ``resume``, they override the keys of the tuning that is resumed.

    Raises:
        ConfigError: a key or value is wrong, or cannot change when a tuning is resumed.
        NotFoundError: there is no tuning to resume.
    """
    if keys.get("resume") is None:
        return build(TuneConfig, keys)
    folder = user_path(str(keys["resume"]))
    saved = read_config(folder)
    before = build(TuneConfig, saved)
    for name, value in keys.items():
        inner = saved.get(name)
        saved[name] = {**inner, **value} if isinstance(inner, dict) and isinstance(value, dict) else value
    config = build(TuneConfig, saved)
    changed = [name for name in TuneConfig.model_fields if getattr(config, name) != getattr(before, name)]
    if wrong := [name for name in changed if name not in _MAY_CHANGE]:
        raise ConfigError(
            f"{' and '.join(f'{name}=' for name in wrong)} cannot change when a tuning is resumed, because the "
            f"trials in {folder} were made with {'another value' if len(wrong) == 1 else 'other values'}",
            fix=f"leave {'it' if len(wrong) == 1 else 'them'} out, or start a new tuning without resume=",
        )
    return config


def write_best(folder: Path, tuning: Tuning, keys: Mapping[str, Any], plan: Plan) -> Path:
    """Write ``best.yaml``: keys that ``hal run --config`` takes."""
    kept = {name: keys[name] for name in ("model", "backend", "device", "data", "seed") if name in keys}
    if tuning.target is not None:
        kept["backend"] = tuning.device.backend
    values = {name: value for name, value in plan.model_dump().items() if value is not None}
    found = f"Found by hal tune on {tuning.ended[:10]} for {', '.join(tuning.objectives)}"
    said = f"# {found}: {tuning.program} --config best.yaml\n"
    if tuning.target is not None:
        said += f"# For {tuning.target}, which was not available. Estimated by {tuning.estimated_by}, not measured.\n"
    path = folder / "best.yaml"
    write_whole(path, (said + yaml.safe_dump({**kept, **values}, sort_keys=False)).encode())
    return path
