"""Traces on disk: arrays as safetensors, the rest as JSON, in a folder that appears whole or not at all."""

from __future__ import annotations

import json
import math
import os
import shutil
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from hal.errors import ConfigError, NotFoundError
from hal.parity.evaluate import Evaluated
from hal.parity.trace import Given, OpTrace, Side, Subject, Trace, TrainingTrace
from hal.util.files import check_writable, make_folder, sync_folder, write_whole
from hal.util.trees import flat, nested

__all__ = ["free", "load", "save"]

_ARRAYS, _META = "trace.safetensors", "trace.json"


class _Op(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    part: str
    layer: str
    op: str
    dtypes: tuple[str, ...]
    gradients: tuple[str, ...]


class _Meta(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    side: Side
    subject: Subject
    batches: int
    ops: tuple[_Op, ...]
    losses: tuple[dict[str, float | None], ...]
    loss_after: dict[str, float | None]
    amplified: dict[str, float]
    crc32: int


def free(folder: Path) -> Path:
    """Refuse a folder that a trace cannot be written to, because it is not empty; else give it back.

    Raises:
        ConfigError: the folder is not empty, or is a file.
        NotFoundError: it cannot be made.
    """
    check_writable(folder.parent, "choose another record=")
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise ConfigError(f"record={folder} already exists and is not overwritten", fix="choose another record=")
    return folder


def save(trace: Trace, folder: Path) -> None:
    """Write a trace.

    Raises:
        ConfigError: the folder is not empty, or is a file.
        NotFoundError: the folder cannot be made.
    """
    from safetensors.numpy import save as serialize

    free(folder)
    make_folder(folder.parent)
    content = serialize(dict(_arrays(trace)))
    meta = _Meta(
        side=trace.side,
        subject=trace.subject,
        batches=len(trace.given.batches),
        ops=tuple(
            _Op(part=op.part, layer=op.layer, op=op.op, dtypes=op.found.dtypes, gradients=tuple(op.found.gradients))
            for op in trace.ops
        ),
        losses=tuple(_finite(each) for each in trace.training.losses),
        loss_after=_finite(trace.loss_after),
        amplified=dict(trace.amplified),
        crc32=zlib.crc32(content),
    )
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    temporary.mkdir()
    try:
        write_whole(temporary / _ARRAYS, content)
        write_whole(temporary / _META, (meta.model_dump_json(indent=1) + "\n").encode())
        temporary.replace(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_folder(folder.parent)


def load(folder: Path) -> Trace:
    """Read a trace.

    Raises:
        NotFoundError: there is no trace, it is damaged, or another version of hal wrote it.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load as parse

    if not (folder / _META).is_file():
        raise NotFoundError(
            f"there is no trace in {folder}",
            fix="record one on the machine whose results are correct: hal verify model=... record=DIR",
        )
    try:
        meta = _Meta.model_validate_json((folder / _META).read_bytes())
        content = (folder / _ARRAYS).read_bytes()
        if zlib.crc32(content) != meta.crc32:
            raise _damaged(folder, f"{_ARRAYS} is truncated or was changed after it was written")
        return _trace(meta, parse(content))
    except ValidationError as error:
        version = _version(folder / _META)
        if version not in (None, 1):
            raise NotFoundError(
                f"the trace in {folder} has schema version {version}, but this version of hal reads only 1",
                fix="use the version of hal that wrote it, or record a new trace",
            ) from error
        raise _damaged(folder, f"{_META} does not contain a trace in JSON") from error
    except (SafetensorError, KeyError) as error:
        raise _damaged(folder, f"{_ARRAYS} does not contain what {_META} lists") from error
    except OSError as error:
        raise _damaged(folder, str(error)) from error


def _version(path: Path) -> Any:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None
    return found.get("schema_version") if isinstance(found, dict) else None


def _damaged(folder: Path, why: str) -> NotFoundError:
    return NotFoundError(
        f"the trace in {folder} cannot be read: {why}", fix="copy the folder again, or record a new trace"
    )


def _arrays(trace: Trace) -> Iterable[tuple[str, np.ndarray]]:
    batches = {f"{index:05d}": batch for index, batch in enumerate(trace.given.batches)}
    ops = {
        f"{index:05d}": {
            "outputs": {str(place): x for place, x in enumerate(op.found.outputs)},
            "gradients": {str(place): x for place, x in enumerate(op.found.gradients.values())},
        }
        for index, op in enumerate(trace.ops)
    }
    yield from flat(
        {
            "given": {"params": trace.given.params, "state": trace.given.state, "batches": batches},
            "ops": ops,
            "gradients": {name: nested(each) for name, each in trace.gradients.items()},
            "updates": {name: nested(each) for name, each in trace.updates.items()},
            "trained": {"params": trace.training.params, "state": trace.training.state},
        }
    ).items()


def _trace(meta: _Meta, arrays: Mapping[str, np.ndarray]) -> Trace:
    tree = nested(arrays)
    given, ops = tree["given"], []
    for index, op in enumerate(meta.ops):
        held = tree["ops"][f"{index:05d}"]
        gradients = {name: held["gradients"][str(place)] for place, name in enumerate(op.gradients)}
        outputs = tuple(held["outputs"][str(place)] for place in range(len(op.dtypes)))
        ops.append(OpTrace(op.part, op.layer, op.op, Evaluated(outputs, op.dtypes, gradients)))
    trained = tree["trained"]
    return Trace(
        side=meta.side,
        subject=meta.subject,
        given=Given(
            given["params"],
            given.get("state", {}),
            tuple(given["batches"][f"{index:05d}"] for index in range(meta.batches)),
        ),
        ops=tuple(ops),
        gradients={name: flat(each) for name, each in tree["gradients"].items()},
        updates={name: flat(each) for name, each in tree["updates"].items()},
        training=TrainingTrace(
            tuple(_numbers(each) for each in meta.losses), trained["params"], trained.get("state", {})
        ),
        loss_after=_numbers(meta.loss_after),
        amplified=meta.amplified,
    )


def _finite(numbers: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in numbers.items()}


def _numbers(found: Mapping[str, float | None]) -> dict[str, float]:
    return {name: math.nan if value is None else value for name, value in found.items()}
