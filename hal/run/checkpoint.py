"""Checkpoints: arrays as safetensors, the rest as JSON, in a folder that appears whole or not at all.

Arrays are stored in their logical shape and order, so that any backend reads what any other wrote.
"""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hal.errors import CheckpointError, NotFoundError
from hal.util.files import make_folder, sync_folder
from hal.util.trees import flat, nested

__all__ = ["SCHEMA", "Checkpoint", "latest", "load", "save"]

SCHEMA = 1
_KEPT = 2
_ARRAYS, _META = "arrays.safetensors", "checkpoint.json"


@dataclass(frozen=True)
class Checkpoint:
    """What is needed to go on as if nothing had happened.

    Attributes:
        step: optimizer steps done.
        carry: ``params``, ``state``, ``optimizers`` and ``scale`` as NumPy arrays.
        meta: everything else, as JSON holds it.
        path: its folder, if it was read from one.
    """

    step: int
    carry: dict[str, Any]
    meta: dict[str, Any]
    path: Path | None = None


def save(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint beside the earlier ones; keep it and the last before it.

    Later ones are removed too: they are there after a run was resumed from before them, and are no part of it any more.

    Args:
        folder: where the run keeps its checkpoints.
        checkpoint: what to write.

    Returns:
        The new checkpoint's folder.
    """
    from safetensors.numpy import save as serialize

    make_folder(folder)
    for left_over in folder.glob(".step-*.part"):  # of a process that was killed
        shutil.rmtree(left_over, ignore_errors=True)
    final = folder / f"step-{checkpoint.step:09d}"
    temporary = folder / f".{final.name}.{os.getpid()}.part"
    temporary.mkdir()
    arrays = serialize(flat(checkpoint.carry))
    meta = {**checkpoint.meta, "schema_version": SCHEMA, "step": checkpoint.step}
    meta["crc32"] = _checksum(arrays, meta)
    for name, content in ((_ARRAYS, arrays), (_META, json.dumps(meta, indent=1).encode())):
        with (temporary / name).open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    sync_folder(temporary)
    if final.exists():  # a resumed run that came by here again
        _discard(final)
    temporary.replace(final)
    sync_folder(folder)
    kept = [path for path in _all(folder) if path <= final][-_KEPT:]
    for path in _all(folder):
        if path not in kept:
            _discard(path)
    return final


def latest(path: Path) -> Path:
    """The newest checkpoint of a run's folder; a checkpoint's own folder is itself.

    Raises:
        NotFoundError: there is none.
    """
    if (path / _META).is_file():
        return path
    found = _all(path / "checkpoints")
    if not found:
        raise NotFoundError(f"there is no checkpoint in {path}", fix="give resume= the folder of a run: runs/...")
    return found[-1]


def load(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Args:
        path: a checkpoint's folder.

    Raises:
        CheckpointError: it is damaged or of a newer hal; names another one beside it that can be used.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load as parse

    try:
        meta = json.loads((path / _META).read_text(encoding="utf-8"))
        content = (path / _ARRAYS).read_bytes()
    except ValueError as error:
        raise _damaged(path, f"{_META} is truncated or no JSON ({error})") from error
    except OSError as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(meta, dict) or "schema_version" not in meta:
        raise _damaged(path, f"{_META} says no schema version")
    if meta.get("schema_version") != SCHEMA:
        raise CheckpointError(
            f"{path} has schema version {meta.get('schema_version')}; this hal reads {SCHEMA}",
            fix="resume it with the hal that wrote it",
        )
    if _checksum(content, meta) != meta.get("crc32"):
        raise _damaged(path, f"{_ARRAYS} or {_META} is truncated or was changed after it was written")
    try:
        arrays = parse(content)
    except SafetensorError as error:
        raise _damaged(path, str(error)) from error
    return Checkpoint(int(meta["step"]), nested(arrays), meta, path)


def _checksum(arrays: bytes, meta: Mapping[str, Any]) -> int:
    """Of both files; of the JSON its meaning, so that white space may change."""
    rest = {key: value for key, value in meta.items() if key != "crc32"}
    return zlib.crc32(json.dumps(rest, sort_keys=True).encode(), zlib.crc32(arrays))


def _discard(path: Path) -> None:
    """Remove a checkpoint so that no part of it is seen: first its name, then what it holds."""
    hidden = path.with_name(f".{path.name}.{os.getpid()}.old.part")
    path.replace(hidden)
    shutil.rmtree(hidden)


def _damaged(path: Path, why: str) -> CheckpointError:
    for earlier in reversed([other for other in _all(path.parent) if other < path]):
        try:
            load(earlier)
        except CheckpointError:
            continue
        return CheckpointError(
            f"the checkpoint {path} is damaged: {why}", fix=f"an earlier one is whole: resume={earlier}"
        )
    return CheckpointError(
        f"the checkpoint {path} is damaged: {why}", fix="none before it is whole: start the run anew without resume="
    )


def _all(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*")) if folder.is_dir() else []
