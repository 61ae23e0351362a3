"""Compares devices with one another, or with a trace from another machine, as ``hal verify`` does."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from hal.config import DataSection, ModelSection, build
from hal.contract.device import PrecisionName
from hal.errors import ConfigError, HalError, NotFoundError, RunError, UnsupportedError
from hal.job.carry import differences
from hal.job.errors import classified
from hal.job.prepare import Job, prepare
from hal.parity import store
from hal.parity.check import DeviceComparison, check
from hal.parity.complete import missing
from hal.parity.config import VerifyConfig
from hal.parity.record import record
from hal.parity.trace import Given, Side, Subject, Trace
from hal.util.files import check_new, write_result
from hal.util.paths import user_path
from hal.util.telling import lasting_note
from hal.workload import BUILT_IN, configure, model_class

__all__ = ["Verification", "verify"]

Note = Callable[[str], object]


class Verification(BaseModel):
    """What a verification found: a comparison for each device but the reference; none where a trace was recorded."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    subject: Subject
    reference: Side
    comparisons: tuple[DeviceComparison, ...] = ()
    recorded: str | None = Field(default=None, description="Folder of the trace that was written; None if none was.")
    agrees: bool = Field(description="Whether every device agrees with the reference.")


def verify(config: VerifyConfig, note: Note = lambda text: None) -> Verification:
    """Compare devices op by op, gradient by gradient and step by step.

    Args:
        config: what to compare.
        note: called with a sentence about what is done.

    Raises:
        RequestError: the request is wrong; nothing was run or written.
        UnavailableError: a backend or device is not available.
        UnsavedError: the result cannot be written to ``out``; carries it.
        HalError: the model failed while it ran.
    """
    note = lasting_note(note)
    out = None if config.out is None else user_path(config.out)
    if out is not None:
        check_new(out)
    _one_task(config)
    if config.record is not None:
        found = _record(config, user_path(config.record), note)
    elif config.against is not None:
        found = _against(config, user_path(config.against), note)
    else:
        found = _side_by_side(config, note)
    if out is not None:
        write_result(out, found)
    return found


def _one_task(config: VerifyConfig) -> None:
    tasks = [key for key in ("backends", "record", "against") if getattr(config, key) is not None]
    if len(tasks) != 1:
        raise ConfigError(
            f"{' and '.join(f'{key}=' for key in tasks)} were given together"
            if tasks
            else "there is nothing to compare with",
            fix="use one of backends=cpu,... (compare devices of this machine), record=DIR (write a trace of one "
            "device) or against=DIR (compare one device with a trace)",
        )
    if config.data.augment:
        raise ConfigError(
            "data.augment changes images at random, so devices cannot be compared", fix="leave data.augment out"
        )
    if config.backends is None:
        return
    if {"backend", "device"} & config.model_fields_set:
        raise ConfigError(
            "backends= names all devices, but backend= or device= was given too", fix="leave backend= and device= out"
        )
    if len(config.backends) < 2:
        raise ConfigError(
            f"backends={','.join(config.backends)} names one device, but a comparison needs two",
            fix="add another device after a comma, or use record=DIR here and against=DIR on the other machine",
        )


def _side_by_side(config: VerifyConfig, note: Note) -> Verification:
    first, *rest = [config.model_copy(update=_target(name)) for name in config.backends or ()]
    jobs = [_reference(first, note), *map(_prepare, rest)]
    names = [str(job.device) for job in jobs]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ConfigError(f"backends= names {', '.join(sorted(twice))} twice", fix="use two different devices")
    reference, *others = jobs
    trace = _traced(reference, config, note)
    if _precision(config) == "tf32":
        trace = replace(trace, subject=trace.subject.model_copy(update={"precision": "tf32"}))
    return _found(trace, tuple(_checked(job, trace, note) for job in others))


def _precision(config: VerifyConfig) -> PrecisionName | None:
    asked: PrecisionName | None = getattr(config, "precision")  # noqa: B009 - the plan's keys are added to the class
    return asked


def _reference(config: VerifyConfig, note: Note) -> Job:
    """The job that others are compared with; TF32 rounds what fp32 would compute, so that fp32 stands for it."""
    try:
        return _prepare(config)
    except UnsupportedError:
        if _precision(config) != "tf32":
            raise
    job = _prepare(config.model_copy(update={"precision": "fp32"}))
    note(f"{job.device} has no tf32: its results in fp32 are the reference")
    return job


def _prepare(config: VerifyConfig) -> Job:
    """A job whose model computes in neutral ops, which are what is compared."""
    job = prepare(config)
    return replace(job, model=job.model.in_neutral_ops())


def _target(name: str) -> dict[str, Any]:
    backend, colon, _ = name.partition(":")
    return {"backend": backend, "device": name if colon else None}


def _record(config: VerifyConfig, folder: Path, note: Note) -> Verification:
    store.free(folder)
    job = _prepare(config)
    trace = _traced(job, config, note)
    with classified(job.backend):
        store.save(trace, folder)
    return _found(trace, recorded=str(folder))


def _against(config: VerifyConfig, folder: Path, note: Note) -> Verification:
    trace = store.load(folder)
    job = _prepare(_as_recorded(config, trace, folder))
    _same_parameters(job, trace)
    if problem := missing(job, trace):
        raise NotFoundError(
            f"the trace in {folder} does not contain everything that is compared: {problem}",
            fix="use the version of the model that it was recorded with, or record a new trace",
        )
    try:
        return _found(trace, (_checked(job, trace, note),))
    except HalError:
        raise
    except Exception as error:
        raise RunError(
            f"model={job.workload.model} cannot be run from the values in the trace in {folder}: "
            f"{type(error).__name__}: {error}",
            fix="use the version of the model that it was recorded with, or record a new trace",
        ) from error


def _as_recorded(config: VerifyConfig, trace: Trace, folder: Path) -> VerifyConfig:
    """The config with the keys that the trace was recorded with; those that were given must be equal.

    A file of a model is run only if the command names it, or if this user recorded the trace here.
    """
    subject = trace.subject
    workload = subject.workload
    fixed = {key: getattr(subject, key) for key in ("precision", "batch", "accumulate", "seed", "steps")}
    for key, value in fixed.items():
        if key in config.model_fields_set and getattr(config, key) not in (None, value):
            _refuse(folder, f"{key}={value}", f"{key}={getattr(config, key)}", key)
    name = workload.model if config.model is None else config.model.name
    if config.model is None and not trace.own:
        raise ConfigError(
            f"the trace in {folder} was recorded elsewhere with model={name}, and hal runs no file because a trace "
            "names it",
            fix="if you trust the file, name it beside against=: model=path/to/file.py:Name",
        )
    if config.model is not None:
        if not _same_model(name, workload.model):
            _refuse(folder, f"model={workload.model}", f"model={name}", "model")
        keys = configure(model_class(name), {**workload.keys, **config.model.keys()}).model_dump(mode="json")
        for key, value in keys.items():
            if workload.keys.get(key) != value:
                _refuse(folder, f"model.{key}={workload.keys.get(key)}", f"model.{key}={value}", f"model.{key}")
    update: dict[str, Any] = {**fixed, "model": build(ModelSection, {**workload.keys, "name": name})}
    if config.data.name is None:
        update["data"] = build(DataSection, {**config.data.model_dump(), "name": workload.data})
    build(VerifyConfig, fixed)  # these are as they would be on the command line, or a sentence says why not
    return config.model_copy(update=update)


def _same_model(here: str, recorded: str) -> bool:
    """Whether two names mean one model; the file of a model may lie elsewhere on another machine."""
    if here == recorded:
        return True
    built_in = here in BUILT_IN or recorded in BUILT_IN
    return not built_in and here.rpartition(":")[2] == recorded.rpartition(":")[2]


def _refuse(folder: Path, recorded: str, asked: str, key: str) -> None:
    raise ConfigError(
        f"the trace in {folder} was recorded with {recorded}, but {asked} was asked for",
        fix=f"leave {key}= out, since the trace says what to run, or record a new trace",
    )


def _same_parameters(job: Job, trace: Trace) -> None:
    differ = differences(job.params, trace.given.params)
    if differ:
        what = differ[0].describe("the trace", "the model here")
        raise ConfigError(
            f"the trace was recorded with another version of model={job.workload.model} or with other data: {what}",
            fix="use the model and the data that the trace was recorded with, or record a new one",
        )


def _traced(job: Job, config: VerifyConfig, note: Note) -> Trace:
    note(f"{job.device}: running each op forward and backward, then {config.steps} optimizer steps three times")
    subject = Subject.of(job, config.seed, config.steps)
    with _running(job):
        return record(job, Given.drawn(job, config.seed, config.steps), subject)


def _checked(job: Job, trace: Trace, note: Note) -> DeviceComparison:
    note(f"{job.device}: running the same steps and comparing the results with the reference")
    with _running(job):
        return check(job, trace)


@contextlib.contextmanager
def _running(job: Job) -> Iterator[None]:
    with classified(job.backend), job.backend.settings(job.plan, job.device), np.errstate(all="ignore"):
        yield


def _found(trace: Trace, comparisons: tuple[DeviceComparison, ...] = (), recorded: str | None = None) -> Verification:
    return Verification(
        subject=trace.subject,
        reference=trace.side,
        comparisons=comparisons,
        recorded=recorded,
        agrees=all(each.agrees for each in comparisons),
    )
