"""Keys of ``hal predict`` and ``hal export``."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from hal.config import LARGEST_SEED, PlanKeys
from hal.contract.plan import LARGEST_COUNT

__all__ = ["ExportConfig", "PredictConfig"]


class _UseConfig(PlanKeys):
    """The keys of every command that uses a trained model."""

    model: str | None = Field(
        default=None,
        description="Where the code of the model is, for a run of somebody else's with a model of its own: "
        "path/to/file.py:Name. Default: what the run says.",
    )
    backend: str | None = Field(
        default=None, description="The backend to run on: cpu, cuda, rocm, ... Default: that of the run."
    )
    device: int | str | None = Field(
        default=None,
        description="The device: its index in the backend (0, 1, ...), or its full name. Default: the first one.",
    )

    @field_validator("backend", mode="before")
    @classmethod
    def _null(cls, value: Any) -> Any:
        return "null" if value is None else value  # YAML reads the backend's name as nothing

    def where(self, *others: str) -> dict[str, Any]:
        """The keys that :func:`hal.load` takes, as far as they were given.

        Args:
            others: keys of the plan that mean something else here.
        """
        keys = {name: getattr(self, name) for name in ("model", "backend", "device")}
        return {**{name: value for name, value in keys.items() if value is not None}, **self._plan(others)}

    def _plan(self, others: tuple[str, ...]) -> dict[str, Any]:
        return {name: value for name, value in self.given().items() if name not in others}


class PredictConfig(_UseConfig):
    """The keys of ``hal predict``."""

    top: int = Field(default=3, ge=1, le=LARGEST_COUNT, description="How many classes to show, the best first.")
    text: str | None = Field(
        default=None, description="A text to put into a class, or the beginning of a text that the model continues."
    )
    column: str | None = Field(
        default=None,
        description="Name of the column with the texts, in a table (.csv). Default: a column with a usual name.",
    )
    length: int = Field(default=300, ge=1, le=LARGEST_COUNT, description="Characters to write, for a model of text.")
    temperature: float = Field(
        default=0.7, gt=0, description="Sampling temperature of written text. Lower values choose likely characters."
    )
    samples: int = Field(default=16, ge=1, le=LARGEST_COUNT, description="Samples to make, for a gan.")
    seed: int = Field(default=0, ge=0, le=LARGEST_SEED, description="Seed of written text and of samples.")
    format: Literal["table", "csv", "jsonl"] = Field(
        default="table",
        description="Form of the output: table, csv, or jsonl (one JSON object a line). Each is written as the "
        "predictions are made.",
    )
    out: str | None = Field(
        default=None,
        description="File to write the predictions to, instead of printing them; for a gan the folder of its samples.",
    )


class ExportConfig(_UseConfig):
    """The keys of ``hal export``."""

    precision: Literal["fp32", "fp16", "bf16", "int8"] | None = Field(
        default=None,
        description="Number format of the file: fp32, fp16, bf16, or int8 (quantized on training samples). Default: "
        "fp32.",
    )
    batch: int | None = Field(
        default=None, ge=1, le=LARGEST_COUNT, description="The only batch size that the file takes. Default: any."
    )

    out: str | None = Field(
        default=None, description="Folder for the files. Default: exports/FORMAT in the folder of the run."
    )
    opset: int | None = Field(
        default=None, ge=1, le=1000, description="Version of ONNX's operators. Default: that of PyTorch's exporter."
    )
    samples: int | None = Field(
        default=None,
        ge=1,
        le=LARGEST_COUNT,
        description="Held-out samples on which the export is compared with the model. Default: all.",
    )
    calibration: int = Field(
        default=256,
        ge=1,
        le=LARGEST_COUNT,
        description="Training samples from which precision=int8 learns the ranges of values.",
    )
    provider: str = Field(
        default="CPUExecutionProvider",
        description="Execution provider of onnxruntime that runs an ONNX file to prove it.",
    )
