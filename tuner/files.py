"""The files in the folder of a tuning."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from hal.config import build
from hal.contract.plan import Plan
from hal.errors import ConfigError, DataError, NotFoundError, RunError
from hal.tuner.config import TuneConfig
from hal.tuner.result import Tuning
from hal.tuner.trial_result import Trial
from hal.util.files import check_writable, make_folder, new_folder, sync_folder, write_whole
from hal.util.lock import LOCK, locked
from hal.util.paths import user_path
from hal.util.reading import read_regular
from hal.util.seal import seal, sealed
from hal.workload import BUILT_IN, short_name

__all__ = [
    "Journal",
    "read_config",
    "remove_if_unused",
    "results_folder",
    "resumed",
    "used_alone",
    "write_best",
    "write_config",
    "writing",
]

_MAY_CHANGE = (
    *("resume", "budget", "trials", "finalists", "limit", "seconds"),
    *("python", "memory_limit", "storage", "seed", "sampler"),
)
"""Keys that may change when a tuning is resumed."""


_LARGEST_CONFIG = 1 << 20
"""Bytes."""

_NEW_FOLDERS = 100


class _Saved(BaseModel):
    """What ``config.json`` holds.

    Attributes:
        keys: the keys of the command.
        seal: a mark of this user for what the keys name that is run or written to; see :mod:`hal.util.seal`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    keys: dict[str, Any]
    seal: str = ""


def results_folder(config: TuneConfig) -> Path:
    """The folder that a tuning writes to: ``resume``, ``out``, or a new one in ``runs/``. Created if necessary.

    Raises:
        NotFoundError: the folder cannot be created, or no file can be written to it.
    """
    if config.resume is not None:
        folder = user_path(config.resume)
        check_writable(folder, "copy the folder to a place that you can write to, and continue with resume= there")
        return folder
    if config.out is None:
        name = config.model.name if config.model else ""
        for _ in range(_NEW_FOLDERS):
            folder = new_folder("tune", short_name(name), config.target or config.backend)
            make_folder(folder.parent)
            try:
                folder.mkdir()
                return folder
            except FileExistsError:  # another process was faster
                continue
            except OSError as error:
                raise NotFoundError(
                    f"cannot create the folder {folder}: {error.strerror}", fix="choose a folder with out="
                ) from error
    folder = make_folder(user_path(config.out or "runs"))
    check_writable(folder)
    return folder


@contextlib.contextmanager
def used_alone(config: TuneConfig, folder: Path) -> Iterator[None]:
    """Use the folder of a tuning alone; one in which no tuning began is removed at the end.

    Raises:
        InUseError: another process uses it; says which.
        ConfigError: ``out`` already contains a tuning.
        NotFoundError: it cannot be locked.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(
                locked(folder, "wait until it ends, choose another out=, or share one storage= between several folders")
            )
        except OSError as error:
            raise NotFoundError(
                f"cannot use the folder {folder}: {error.strerror}", fix="choose another out="
            ) from error
        if config.resume is None and (folder / "config.json").exists():
            raise ConfigError(
                f"out={folder} already contains a tuning",
                fix=f"choose another out=, or continue it with resume={folder}",
            )
        try:
            yield
        finally:
            remove_if_unused(folder)


def remove_if_unused(folder: Path) -> None:
    """Remove the folder if no tuning began in it, so that neither a wrong request nor a full disk leaves something."""
    if (folder / "config.json").exists() or not folder.is_dir():
        return
    own = {"workers.log", "study.db", "study.db-journal", LOCK}
    if {path.name for path in folder.iterdir()} <= own:
        for name in own:
            (folder / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # another process has begun to use it
            folder.rmdir()


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Around what must be written before a tuning can go on.

    Raises:
        RunError: it cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise RunError(
            f"cannot write {error.filename or folder}: {error.strerror or error}",
            fix=f"when there is room, continue with: hal tune resume={folder}",
        ) from error


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
        data = read_regular(self._path)
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
        """Append the trials that are not in the file yet.

        Raises:
            OSError: the file cannot be written; it holds what it held before.
        """
        new = [trial for trial in trials if trial.number not in self.numbers]
        if not new:
            return
        before = self._path.stat().st_size
        try:
            with self._path.open("ab") as file:
                for trial in new:
                    file.write(trial.model_dump_json().encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            with contextlib.suppress(OSError):
                os.truncate(self._path, before)
            raise OSError(error.errno, error.strerror, str(self._path)) from error
        self.numbers |= {trial.number for trial in new}


def write_config(folder: Path, keys: Mapping[str, Any]) -> None:
    """Write the keys of a tuning, so that it can be resumed."""
    saved = _Saved(keys=dict(keys), seal=_mark(keys))
    write_whole(folder / "config.json", (saved.model_dump_json(indent=1) + "\n").encode())


def read_config(folder: Path) -> dict[str, Any]:
    """The keys of the tuning in a folder.

    Raises:
        NotFoundError: the folder holds no tuning.
        DataError: the file with the keys is damaged.
    """
    return _read(folder).keys


def _read(folder: Path) -> _Saved:
    path = folder / "config.json"
    try:
        return _Saved.model_validate_json(read_regular(path, _LARGEST_CONFIG))
    except (OSError, ValueError) as error:
        if isinstance(error, ValidationError):
            raise _damaged(path) from error
        raise NotFoundError(f"{folder} contains no tuning", fix="give the folder that hal tune wrote") from error


def _damaged(path: Path, said: str = "") -> DataError:
    return DataError(
        f"{path} is damaged, or was written by another version of hal" + (f": {said}" if said else ""),
        fix="start a new tuning without resume=",
    )


# What a folder names that is run or written to


def _named(keys: Mapping[str, Any]) -> dict[str, str]:
    """The values of keys that name code, an interpreter or a storage, by the key."""
    model = keys.get("model")
    name = model.get("name") if isinstance(model, Mapping) else model
    found = {"model": name, "python": keys.get("python"), "storage": keys.get("storage")}
    return {key: str(value) for key, value in found.items() if value is not None and value not in BUILT_IN}


def _text(named: Mapping[str, str]) -> str:
    """What is sealed: the same file in the same place, wherever hal is started."""
    absolute = dict(named)
    if "model" in named:
        absolute["model"] = os.path.abspath(os.path.expanduser(named["model"]))
    if "/" in named.get("python", ""):
        absolute["python"] = os.path.abspath(named["python"])
    return json.dumps(absolute, sort_keys=True)


def _mark(keys: Mapping[str, Any]) -> str:
    named = _named(keys)
    return seal(_text(named)) if named else ""


def _check_trust(folder: Path, saved: _Saved, given: Mapping[str, Any]) -> None:
    """Refuse to run what a folder alone names, unless this user began the tuning here.

    Raises:
        ConfigError: says which keys allow it.
    """
    named = _named(saved.keys)
    alone = {key: value for key, value in named.items() if key not in _named(given)}
    if not alone or sealed(_text(named), saved.seal):
        return
    words = " ".join(shlex.quote(f"{key}={value}") for key, value in alone.items())
    words = "".join(each if each.isprintable() else "?" for each in words)
    raise ConfigError(
        f"{folder} was not written by this user on this machine, and names what hal would run or write to: {words}",
        fix=f"if you trust it, name it yourself: hal tune resume={folder} {words}",
    )


def resumed(keys: Mapping[str, Any]) -> TuneConfig:
    """Make a config from keys. With ``resume``, they override the keys of the tuning that is resumed.

    Raises:
        ConfigError: a key or value is wrong, or cannot change when a tuning is resumed; or the folder comes from
            elsewhere and names code, an interpreter or a storage that the keys do not name.
        NotFoundError: there is no tuning to resume.
        DataError: the keys of the tuning that is resumed are damaged.
    """
    if keys.get("resume") is None:
        return build(TuneConfig, keys)
    folder = user_path(str(keys["resume"]))
    found = _read(folder)
    saved = dict(found.keys)
    try:
        before = build(TuneConfig, saved)
    except ConfigError as error:
        raise _damaged(folder / "config.json", error.message) from error
    _check_trust(folder, found, keys)
    for name, value in keys.items():
        inner = saved.get(name)
        saved[name] = {**inner, **value} if isinstance(inner, dict) and isinstance(value, dict) else value
    config = build(TuneConfig, saved)
    changed = [name for name in TuneConfig.model_fields if _comparable(config, name) != _comparable(before, name)]
    if wrong := [name for name in changed if name not in _MAY_CHANGE]:
        raise ConfigError(
            f"{' and '.join(f'{name}=' for name in wrong)} cannot change when a tuning is resumed, because the "
            f"trials in {folder} were made with {'another value' if len(wrong) == 1 else 'other values'}",
            fix=f"leave {'it' if len(wrong) == 1 else 'them'} out, or start a new tuning without resume=",
        )
    return config


def _comparable(config: TuneConfig, name: str) -> Any:
    """The value of a key; of listed values, neither the order nor a repetition makes a difference."""
    if name == "space":
        return {key: set(values) for key, values in config.space.given().items()}
    return getattr(config, name)


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
