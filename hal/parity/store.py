"""Traces on disk: arrays as safetensors, the rest as JSON, in a folder that appears whole or not at all.

A checksum covers both files. A trace of a model that is no built-in one carries a seal, by which the user who recorded
it is known again: only then may the file of the model that the trace names be run.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from hal.errors import ConfigError, NotFoundError
from hal.parity.deviation import Scale
from hal.parity.evaluate import Evaluated, Scales
from hal.parity.trace import Given, OpTrace, Side, Subject, Trace, TrainingTrace
from hal.util.files import check_writable, make_folder, write_folder
from hal.util.paths import user_path
from hal.util.reading import available_bytes, read_regular
from hal.util.seal import seal, sealed
from hal.util.trees import flat, nested
from hal.workload import BUILT_IN

__all__ = ["free", "load", "save"]

_ARRAYS, _META = "trace.safetensors", "trace.json"
_MOST_META_BYTES = 2**28


class _Op(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    part: str
    layer: str
    op: str
    dtypes: tuple[str, ...]
    gradients: tuple[str, ...]
    output_scales: tuple[Scale, ...]
    gradient_scales: tuple[Scale, ...]

    @model_validator(mode="after")
    def _a_scale_each(self) -> _Op:
        if len(self.gradient_scales) != len(self.gradients):
            raise ValueError(f"{self.op} has another number of scales than of gradients")
        return self


class _Meta(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[3] = 3
    side: Side
    subject: Subject
    batches: int
    ops: tuple[_Op, ...]
    scales: dict[str, dict[str, Scale]]
    losses: tuple[dict[str, float | None], ...]
    loss_after: dict[str, float | None]
    amplified: dict[str, float]
    seal: str


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
            _Op(
                part=op.part,
                layer=op.layer,
                op=op.op,
                dtypes=op.found.dtypes,
                gradients=tuple(op.found.gradients),
                output_scales=op.scales.outputs,
                gradient_scales=tuple(op.scales.gradients[name] for name in op.found.gradients),
            )
            for op in trace.ops
        ),
        scales={part: dict(each) for part, each in trace.scales.items()},
        losses=tuple(_finite(each) for each in trace.training.losses),
        loss_after=_finite(trace.loss_after),
        amplified=dict(trace.amplified),
        seal="" if trace.subject.workload.model in BUILT_IN else seal(_sealed_text(trace.subject.workload.model)),
    ).model_dump(mode="json")
    meta["crc32"] = _checksum(content, meta)
    write_folder(folder, {_ARRAYS: content, _META: (json.dumps(meta, indent=1) + "\n").encode()})


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
        held = json.loads(read_regular(folder / _META, _MOST_META_BYTES))
        content = read_regular(folder / _ARRAYS, available_bytes() // 2)  # it is in memory twice while it is read
    except OSError as error:
        raise _damaged(folder, f"{error.filename}: {error.strerror}" if error.strerror else str(error)) from error
    except (ValueError, RecursionError) as error:
        raise _damaged(folder, f"{_META} does not hold a trace as JSON") from error
    if not isinstance(held, dict):
        raise _damaged(folder, f"{_META} does not hold a trace as JSON")
    if held.get("schema_version", 3) != 3:
        raise NotFoundError(
            f"the trace in {folder} has schema version {str(held['schema_version'])[:20]}, but this version of hal "
            "reads only 3",
            fix="record a new trace with this version of hal, or use the version of hal that wrote it",
        )
    if held.pop("crc32", None) != _checksum(content, held):
        raise _damaged(folder, f"{_ARRAYS} or {_META} is truncated or was changed after it was written")
    try:
        # As JSON, since JSON has no tuples.
        meta = _Meta.model_validate_json(json.dumps(held))
        arrays = parse(content)
        found = _trace(meta, arrays)
    except ValidationError as error:
        raise _damaged(folder, f"{_META} does not hold a trace as JSON") from error
    except (SafetensorError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(folder, f"{_ARRAYS} does not hold what {_META} lists") from error
    if set(dict(_arrays(found))) != set(arrays) or any(x.dtype.kind not in "biuf" for x in arrays.values()):
        raise _damaged(folder, f"{_ARRAYS} does not hold what {_META} lists")
    return found


def _checksum(arrays: bytes, meta: Mapping[str, Any]) -> int:
    """A checksum of both files; of the JSON only what it means counts, so that white space may change."""
    rest = {key: value for key, value in meta.items() if key != "crc32"}
    return zlib.crc32(json.dumps(rest, sort_keys=True).encode(), zlib.crc32(arrays))


def _sealed_text(model: str) -> str:
    """The model with the place of its file here: the same words in another folder name another file."""
    path, colon, name = model.rpartition(":")
    return f"trace of {user_path(path).resolve()}{colon}{name}"


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
        scales = Scales(op.output_scales, dict(zip(op.gradients, op.gradient_scales, strict=True)))
        ops.append(OpTrace(op.part, op.layer, op.op, Evaluated(outputs, op.dtypes, gradients), scales))
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
        scales=meta.scales,
        updates={name: flat(each) for name, each in tree["updates"].items()},
        training=TrainingTrace(
            tuple(_numbers(each) for each in meta.losses), trained["params"], trained.get("state", {})
        ),
        loss_after=_numbers(meta.loss_after),
        amplified=meta.amplified,
        own=meta.subject.workload.model in BUILT_IN or sealed(_sealed_text(meta.subject.workload.model), meta.seal),
    )


def _finite(numbers: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in numbers.items()}


def _numbers(found: Mapping[str, float | None]) -> dict[str, float]:
    return {name: math.nan if value is None else value for name, value in found.items()}
