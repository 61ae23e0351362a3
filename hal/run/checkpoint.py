"""Checkpoints: arrays as safetensors, the rest as JSON, in a folder that appears whole or not at all.

Arrays are stored in their logical shape and order, so that any backend reads what any other wrote.
"""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hal.errors import CheckpointError, NotFoundError
from hal.util.arrays import safetensors_chunks
from hal.util.files import make_folder, remove_folder, write_folder
from hal.util.reading import read_regular
from hal.util.trees import nested, paths

__all__ = ["SCHEMA", "Checkpoint", "best", "copy_best", "latest", "load", "require_kept", "save", "saved_steps"]

SCHEMA = 1
_KEPT = 2
"""The last checkpoint, and the one before it in case that one is damaged."""
_SHOWN = 5
_ARRAYS, _META = "arrays.safetensors", "checkpoint.json"
_MOST_META_BYTES = 256 << 20


@dataclass(frozen=True)
class Checkpoint:
    """What a training needs to go on as if it had never stopped.

    Attributes:
        step: optimizer steps since the start.
        carry: see :mod:`hal.job.carry`, with NumPy arrays; a tree that was empty may be missing.
        meta: everything else, as JSON can hold it.
        path: its folder; None: it was not read from one.
    """

    step: int
    carry: dict[str, Any]
    meta: dict[str, Any]
    path: Path | None = None


def save(
    folder: Path,
    checkpoint: Checkpoint,
    *,
    last: int | None = _KEPT,
    steps: Collection[int] = (),
    fetch: Callable[[Any], np.ndarray] = np.asarray,
) -> Path:
    """Write a checkpoint beside the earlier ones, and remove those that are not to be kept.

    Later ones exist where a run was resumed from an earlier checkpoint; they are no longer part of the run.

    Args:
        folder: the folder of the run's checkpoints.
        checkpoint: what to write.
        last: how many of the last checkpoints are kept, this one included; None: all.
        steps: steps whose checkpoints are kept besides.
        fetch: gives an array of the carry as a NumPy array; called for one after the other, as each is written.

    Returns:
        The folder of the new checkpoint.

    Raises:
        OSError: it cannot be written. It names the new checkpoint, and the earlier ones are as they were.
    """
    make_folder(folder)
    for left_over in folder.glob(".step-*.part"):  # the run's folder is locked, so whoever wrote them has ended
        shutil.rmtree(left_over, ignore_errors=True)
    final = folder / _name(checkpoint.step)
    meta = {**checkpoint.meta, "schema_version": SCHEMA, "step": checkpoint.step}
    checksum = 0

    def arrays() -> Iterator[bytes]:
        nonlocal checksum
        for part in safetensors_chunks(dict(paths(checkpoint.carry)), fetch):
            checksum = zlib.crc32(part, checksum)
            yield part

    def description() -> Iterator[bytes]:
        yield json.dumps({**meta, "crc32": _checksum(checksum, meta)}, indent=1).encode()

    # One of the same step is there if the run was resumed from an earlier one.
    write_folder(final, {_ARRAYS: arrays(), _META: description()})
    earlier = [path for path in _all(folder) if path <= final]
    kept = {*earlier[0 if last is None else -last :], *(path for path in earlier if path.name in map(_name, steps))}
    for path in _all(folder):
        if path not in kept:
            remove_folder(path)
    return final


def latest(path: Path) -> Path:
    """The folder of the newest checkpoint of a run.

    Args:
        path: the folder of a run, or that of one checkpoint, which is returned as it is.

    Raises:
        NotFoundError: there is no checkpoint.
    """
    if (path / _META).is_file():
        return path
    found = _all(path / "checkpoints")
    if not found:
        require_kept(path)
        raise NotFoundError(
            f"there is no checkpoint in {path}", fix="set resume= to the folder of a run, for example runs/..."
        )
    return found[-1]


def require_kept(path: Path) -> None:
    """Say which checkpoints there are, if a path is that of a checkpoint that is not kept any more.

    Raises:
        NotFoundError: it is.
    """
    there = [each.name for each in _all(path.parent)]
    if there and path.name.startswith("step-") and not path.exists():
        raise NotFoundError(
            f"there is no checkpoint {path}: the run kept {' and '.join(there[-_SHOWN:])}",
            fix=f"give one of them, or the run's folder {path.parent.parent}; keep=all keeps every epoch's",
        )


def best(path: Path) -> Path:
    """The folder of the checkpoint to use a trained model from: the best that the run kept, otherwise the newest.

    Which epoch was the best is said by the newest checkpoint, so that nothing but the folder is needed.

    Args:
        path: the folder of a run, or that of one checkpoint, which is returned as it is.

    Raises:
        NotFoundError: there is no checkpoint.
    """
    newest = latest(path)
    if newest == path:
        return path
    try:
        meta = json.loads(read_regular(newest / _META, _MOST_META_BYTES))
    except (OSError, ValueError, RecursionError):
        return newest  # loading it says what is wrong with it
    step = meta.get("best") if isinstance(meta, dict) else None
    found = newest.parent / _name(step) if type(step) is int else newest
    return found if found.is_dir() else newest


def saved_steps(folder: Path) -> list[int]:
    """The steps of the checkpoints in the folder of a run's checkpoints, in their order."""
    return [int(path.name.removeprefix("step-")) for path in _all(folder)]


def copy_best(checkpoint: Checkpoint, folder: Path) -> None:
    """Copy the best checkpoint of the run that is continued, where it continues in another folder.

    Args:
        checkpoint: what the run goes on from.
        folder: of the checkpoints of the run that goes on.

    Raises:
        OSError: it cannot be read or written.
    """
    step = checkpoint.meta.get("best")
    if type(step) is not int or checkpoint.path is None or checkpoint.path.parent.name != "checkpoints":
        return
    source, copied = checkpoint.path.parent / _name(step), folder / _name(step)
    if source.is_dir() and not copied.exists():
        make_folder(folder)
        write_folder(copied, {name: read_regular(source / name) for name in (_ARRAYS, _META)})


def load(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Args:
        path: a checkpoint's folder.

    Raises:
        CheckpointError: it is damaged, or was written by another version of hal; names an earlier one that is whole.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load as parse

    try:
        meta = json.loads(read_regular(path / _META, _MOST_META_BYTES))
        content = read_regular(path / _ARRAYS)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"{_META} is truncated or is not JSON ({error})") from error
    except OSError as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(meta, dict) or "schema_version" not in meta:
        raise _damaged(path, f"{_META} has no schema version")
    if meta.get("schema_version") != SCHEMA:
        raise CheckpointError(
            f"{path} has schema version {meta.get('schema_version')}, but this version of hal reads only {SCHEMA}",
            fix="resume it with the version of hal that wrote it",
        )
    if _checksum(zlib.crc32(content), meta) != meta.get("crc32"):
        raise _damaged(path, f"{_ARRAYS} or {_META} is truncated or was changed after it was written")
    if type(meta.get("step")) is not int or meta["step"] < 0:
        raise _damaged(path, f"{_META} holds no step")
    try:
        arrays = parse(content)
    except SafetensorError as error:
        raise _damaged(path, str(error)) from error
    return Checkpoint(meta["step"], nested(arrays), meta, path)


def _checksum(arrays: int, meta: Mapping[str, Any]) -> int:
    """A checksum of both files, from that of the arrays; of the JSON only what it means counts, not its white space."""
    rest = {key: value for key, value in meta.items() if key != "crc32"}
    return zlib.crc32(json.dumps(rest, sort_keys=True).encode(), arrays)


def _damaged(path: Path, why: str) -> CheckpointError:
    for earlier in reversed([other for other in _all(path.parent) if other < path]):
        try:
            load(earlier)
        except CheckpointError:
            continue
        return CheckpointError(
            f"the checkpoint {path} is damaged: {why}",
            fix=f"resume from an earlier checkpoint that is intact: resume={earlier}",
        )
    return CheckpointError(
        f"the checkpoint {path} is damaged: {why}",
        fix="start a new run without resume=, because no earlier checkpoint is intact either",
    )


def _name(step: int) -> str:
    return f"step-{step:09d}"


def _all(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("step-*") if path.name.removeprefix("step-").isdigit())
