"""Writes a trained model to files for other runtimes, and proves them before they are kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from hal import registry
from hal.after.about import about, card, metadata_of
from hal.after.config import ExportConfig
from hal.after.onnx_files import onnx_runner, quantized, require_onnxruntime
from hal.after.proof import ExportPrecision, Proof, prove
from hal.after.proof_metrics import metric_of
from hal.after.samples import RunSamples
from hal.after.trained import Trained, load
from hal.after.weights import weights_file, weights_runner
from hal.contract import ExportedFunction, ExportsPrograms, Unavailable
from hal.errors import ConfigError, RunError, UnavailableError, UnsupportedError
from hal.job.carry import place_for_inference
from hal.job.errors import classified
from hal.job.precision import cast_params
from hal.job.step import prediction
from hal.tensor import namespace
from hal.util.files import check_new, write_folder
from hal.util.paths import user_path

__all__ = ["Export", "Format", "export"]

Format = Literal["onnx", "torch", "stablehlo", "safetensors"]

_ONNX = "model.onnx"
_EXAMPLES = 4
"""Samples that a program is traced with; of one or two, runtimes take the size for a constant."""

_PLAIN = {"conv": "direct", "pool": "window", "crop": "gather", "compile": "eager"}
"""The plan of an exported program: the ops of the model as they are, for which the other runtime chooses algorithms."""

_NOTED_LOSS = 0.01
"""A larger loss of accuracy, R2 or F1 gets a note."""

_FILES = (".onnx", ".pt2", ".safetensors", ".mlirbc", ".json")


class Export(BaseModel):
    """An export that was written."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    run: str
    checkpoint: str
    model: str
    to: Format
    precision: ExportPrecision
    batch: int | None = Field(description="The only batch size that the file takes; None: any.")
    folder: str
    files: dict[str, int] = Field(description="Size of each file in bytes, by its name.")
    proof: Proof
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Made:
    """Files that were made, and what runs them."""

    files: Mapping[str, bytes]
    run: Callable[[Mapping[str, np.ndarray]], np.ndarray]
    runtime: str


def export(run: str | Path, to: str, config: ExportConfig) -> Export:
    """Write a trained model to a folder, after it was compared with the model on held-out samples.

    Args:
        run: the folder of a run, or of one checkpoint.
        to: the format.
        config: the keys of ``hal export``.

    Raises:
        ConfigError: a wrong key, or something that the format cannot hold.
        UnavailableError: a package or backend that is needed is not here.
        UnsupportedError: the model cannot be written in this format.
        RunError: the export differs from the model.
        OSError: a file cannot be written.
    """
    if to not in get_args(Format):
        raise ConfigError(f"{to} is not a known format of exports", fix=f"use one of: {', '.join(get_args(Format))}")
    form: Any = to
    precision: ExportPrecision = config.precision or "fp32"
    _check(to, precision, config)
    folder = _folder(run, to, precision, config)
    if to == "onnx":
        require_onnxruntime()
    trained = load(run, **config.where("precision", "batch"), precision="fp32")
    samples = RunSamples.of(trained, config.model)
    if precision == "int8" and not samples.own:
        raise UnsupportedError(
            f"precision=int8 is calibrated on the data of the run, but {samples.source}",
            fix="make the data available as they were for the run, or use precision=fp16",
        )
    found = about(trained, precision, to)
    if to == "safetensors":
        made = _weights(trained, precision, found)
    else:
        made = _program(trained, to, precision, config, samples, metadata_of(found))
    size = config.batch or trained.job.plan.batch
    proof = prove(
        samples.held_out(config.samples, size, padded=config.batch is not None),
        samples.source,
        trained.outputs,
        lambda inputs: made.run(_named(inputs)),
        runtime=made.runtime,
        precision=precision,
        decides=lambda shape: _decides(trained, shape),
        metric=lambda: metric_of(trained.job.split.train),
    )
    result = Export(
        run=str(run),
        checkpoint=str(trained.chosen.checkpoint.path),
        model=found["model"],
        to=form,
        precision=precision,
        batch=config.batch,
        folder=str(folder),
        files={name: len(content) for name, content in made.files.items()},
        proof=proof,
        notes=tuple(_notes(proof, precision)),
    )
    _write(folder, trained, found, made, result)
    return result


def _decides(trained: Trained, shape: Sequence[int]) -> bool:
    """Whether one class is chosen by outputs of a shape; of tags each is there or not, and numbers choose nothing."""
    data = trained.job.split.train
    return trained.writes or (data.task == "classify" and trained.model.gives_logits(data, tuple(shape)))


def _check(to: str, precision: str, config: ExportConfig) -> None:
    """Refuse what a format cannot hold, before anything is computed."""
    if precision == "int8" and to != "onnx":
        raise ConfigError(
            f"precision=int8 is possible only with --to onnx, not with --to {to}",
            fix="use --to onnx, or precision=fp16",
        )
    if precision == "bf16" and to == "onnx":
        raise ConfigError(
            "precision=bf16 is not possible with --to onnx: an export is proved by running it, and onnxruntime has no "
            "bf16 on a CPU",
            fix="use precision=fp16 or int8, or --to torch or stablehlo",
        )
    if config.opset is not None and to != "onnx":
        raise ConfigError(f"opset= is a key of --to onnx, not of --to {to}", fix="leave opset= out")
    if config.batch is not None and to == "safetensors":
        raise ConfigError(
            "batch= has no meaning for weights: --to safetensors holds no program", fix="leave batch= out"
        )


def _folder(run: str | Path, to: str, precision: str, config: ExportConfig) -> Path:
    if config.out is None:
        return user_path(run) / "exports" / (to if precision == "fp32" else f"{to}-{precision}")
    out = user_path(config.out)
    if out.suffix in _FILES:
        raise ConfigError(
            f"out={config.out} names a file, but an export is a folder with the model and what it says of itself",
            fix=f"write out={out.with_suffix('')}",
        )
    check_new(out)
    return out


def _named(inputs: Any) -> dict[str, np.ndarray]:
    """Inputs by the names that they have in a file."""
    if isinstance(inputs, Mapping):
        return {f"input_{name}" if name.isdigit() else name: x for name, x in inputs.items()}
    return {"inputs": inputs}


def _program(
    trained: Trained,
    to: str,
    precision: ExportPrecision,
    config: ExportConfig,
    samples: RunSamples,
    metadata: Mapping[str, str],
) -> _Made:
    backend = _exporter(to)
    device = backend.devices()[0]
    choices = device.capabilities.choices()
    plain = {key: value for key, value in _PLAIN.items() if value in choices.get(key, ())}
    keys = {"model": config.model} if config.model is not None else {}
    computes = "fp32" if precision == "int8" else precision
    other = load(trained.run, **keys, device=str(device), **plain, precision=computes)
    job = other.job
    rows = config.batch or _EXAMPLES
    example = next(samples.held_out(rows, rows, padded=True)).inputs
    original = list(example) if isinstance(example, Mapping) else []
    predict = prediction(job.model, job.plan, job.params)

    def function(params: Any, state: Any, inputs: Any) -> Any:
        given = dict(zip(original, inputs.values(), strict=True)) if original else inputs
        outputs = predict(params, state, given)
        xp = namespace(outputs)
        return xp.astype(outputs, xp.float32)

    with classified(backend), backend.settings(job.plan, device):
        params, state = place_for_inference(job, other.params, other.state)
        exported = ExportedFunction(
            function=function,
            params=cast_params(params, job.params, job.plan.precision),
            state=state,
            inputs=_named(example),
            single=not original,
            any_batch=config.batch is None,
            metadata=metadata,
            opset=config.opset,
        )
        files = backend.export_program(to, exported)
        run = backend.load_program(to, files)
    if run is not None:
        versions = ", ".join(f"{name} {version}" for name, version in list(backend.versions().items())[:1])
        return _Made(files, run, versions or backend.name)
    if precision == "int8":
        files = {**files, _ONNX: quantized(files[_ONNX], _calibration(samples, config))}
    runner, runtime = onnx_runner(files[_ONNX], config.provider)
    return _Made(files, runner, runtime)


def _calibration(samples: RunSamples, config: ExportConfig) -> Iterator[Mapping[str, np.ndarray]]:
    size = config.batch or samples.trained.job.plan.batch
    for inputs in samples.training(config.calibration, size):
        yield _named(inputs)


def _exporter(to: str) -> ExportsPrograms:
    """The backend that writes a format: the host's own where several do, so that files name no other device.

    Raises:
        UnavailableError: none is here; says which steps would make one available.
    """
    reasons = []
    for name in sorted(registry.names(), key=lambda name: name != "cpu"):
        try:
            backend = registry.backend(name)
        except UnavailableError as error:
            reasons.append((error.message, error.fix))
            continue
        if isinstance(backend, ExportsPrograms) and to in backend.export_formats:
            state = backend.probe()
            if not isinstance(state, Unavailable):
                return backend
            reasons.append((state.reason, state.fix))
    why, fix = reasons[0] if reasons else ("no backend writes it", "use another format")
    raise UnavailableError(f"--to {to} is not available: {why}", fix=fix)


def _weights(trained: Trained, precision: ExportPrecision, found: Mapping[str, Any]) -> _Made:
    """Plain weights: read back, and computed with by hal."""
    files = weights_file(trained, precision, metadata_of(dict(found)))
    return _Made(files, weights_runner(trained, files), f"hal on {trained.job.device}, with the weights read back")


def _notes(proof: Proof, precision: str) -> Iterator[str]:
    name, before, after = proof.measured() or ("", 0.0, 0.0)
    if before - after > _NOTED_LOSS:
        points = f"costs {100 * (before - after):.1f} percentage points of accuracy"
        said = points if name == "accuracy" else f"lowers {name} by {before - after:.3f}"
        yield f"precision={precision} {said}; use another precision, or more samples with calibration="
    if proof.samples_of.startswith("random inputs"):
        yield f"compared on {proof.samples_of}"


def _write(folder: Path, trained: Trained, found: dict[str, Any], made: _Made, result: Export) -> None:
    files = {
        **made.files,
        "README.md": card(trained, found, result.proof, list(made.files)).encode(),
        "export.json": (json.dumps({**found, "export": result.model_dump(mode="json")}, indent=1) + "\n").encode(),
    }
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        write_folder(folder, files)
    except OSError as error:
        raise RunError(
            f"cannot write {error.filename or folder}: {error.strerror}", fix="choose another out="
        ) from error
