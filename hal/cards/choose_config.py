"""The keys of ``hal choose``."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from hal.catalogue.model import Form
from hal.config import DataSection, Keys, ModelSection
from hal.contract.device import PrecisionName
from hal.contract.plan import LARGEST_COUNT
from hal.errors import ConfigError

__all__ = ["ChooseConfig"]


class ChooseConfig(Keys):
    """The keys of ``hal choose``."""

    model: ModelSection | None = Field(
        default=None, description="The model to run. Its own keys are given as model.<key>."
    )
    data: DataSection = Field(
        default_factory=lambda: DataSection.model_validate({}),
        description="The data, from which the shapes of the inputs and the number of samples follow.",
    )
    mode: Literal["train", "infer"] = Field(default="train", description="What to do with the model: train or infer.")
    batch: int | None = Field(
        default=None, ge=1, le=LARGEST_COUNT, description="Samples of a step. Default: the model's own."
    )
    precision: PrecisionName | None = Field(
        default=None, description="Precision to compute in. Default: 16 bits where the device accelerates them."
    )
    devices: int = Field(default=1, ge=1, le=1024, description="Number of equal devices that divide each batch (dp).")
    memory: float | None = Field(default=None, gt=0, description="Least memory of a device in GB.")
    watts: float | None = Field(default=None, gt=0, description="Most watts of a device.")
    price: float | None = Field(default=None, gt=0, description="Highest price of a device, in the unit of prices=.")
    form: Form | None = Field(
        default=None, description="Form of a device: desktop, workstation, datacenter, laptop, edge or cloud."
    )
    vendor: str | None = Field(default=None, description="Maker of the device.")
    use: Literal["training", "inference", "edge"] | None = Field(
        default=None, description="What it is for: training, inference or edge. May be written as for=."
    )
    prices: str | None = Field(
        default=None, description="CSV file with the columns device and price, per_hour or both. hal knows no prices."
    )
    measured: str | None = Field(
        default=None,
        description="What was measured here: a file of hal bench out=FILE or of hal card --json, or the folder of a "
        "run. It anchors the predictions.",
    )
    html: str | None = Field(default=None, description="File to write the result to as a page for a browser.")

    @model_validator(mode="after")
    def _agreeing(self) -> Self:
        if self.use == "training" and self.mode == "infer":
            raise ConfigError(
                "use=training trains, but mode=infer only computes outputs", fix="leave one of the two keys out"
            )
        if self.use == "inference" and "mode" in self.model_fields_set and self.mode == "train":
            raise ConfigError(
                "use=inference only computes outputs, but mode=train trains", fix="leave one of the two keys out"
            )
        if self.use == "edge" and self.form not in (None, "edge", "laptop"):
            raise ConfigError(
                f"use=edge is for small devices, but form={self.form} is not one of them",
                fix="leave one of the two keys out",
            )
        if self.price is not None and self.prices is None:
            raise ConfigError("price= limits a price, but hal knows no prices", fix="give a list with prices=FILE")
        return self

    @property
    def what(self) -> Literal["train", "infer"]:
        """What is done with the model, as ``mode`` and ``use`` say together."""
        return "infer" if self.use == "inference" else self.mode
