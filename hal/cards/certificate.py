"""What ``hal card`` found of a device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from hal.cards.correct import Check
from hal.contract.device import DeviceFacts
from hal.measure import Environment, HardwareUse

__all__ = ["Answer", "Certificate", "Figure", "PowerLimit", "Reason", "Steady", "Sweep"]

Answer = Literal["yes", "no", "withheld", "unknown"]
"""``withheld``: the machine was too busy to judge; ``unknown``: nothing is known that it could be judged by."""

_FAST: Mapping[Answer, str] = {
    "yes": "It is as fast as it should be.",
    "withheld": "Whether it is fast cannot be said, because the machine is busy.",
    "unknown": "Nothing is known of what devices of its kind reach.",
}
_STEADY: Mapping[Answer, str] = {
    "yes": "It holds its speed.",
    "withheld": "Whether it holds its speed cannot be said, because the machine is busy.",
    "unknown": "Whether it holds its speed was not measured.",
}

_STRICT = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Figure(BaseModel):
    """One measured figure, with what the sheet promises and what healthy devices of the kind reach."""

    model_config = _STRICT

    name: str
    group: str
    precision: str = ""
    size: str = ""
    unit: str = Field(description="TFLOP/s, GB/s, us or samples/s.")
    median: float
    low: float = Field(description="Lower end of the 95% interval.")
    high: float
    sheet: float | None = Field(default=None, description="What the catalogue or the units and the clock promise.")
    achievable: float | None = Field(default=None, description="What healthy devices of this kind reach.")
    loaded: bool = Field(default=False, description="Whether other processes took cores of the host meanwhile.")
    joules: float | None = Field(default=None, description="Energy of one run, where the device counts it.")
    joules_per_sample: float | None = Field(default=None, description="The same for one sample.")

    @property
    def of_sheet(self) -> float | None:
        """Share of what the sheet promises."""
        return None if self.sheet is None else self.median / self.sheet

    @property
    def of_achievable(self) -> float | None:
        """Share of what healthy devices reach."""
        return None if self.achievable is None else self.median / self.achievable


class Steady(BaseModel):
    """A stretch of time under load."""

    model_config = _STRICT

    seconds: float
    first: float = Field(description="TFLOP/s in the first quarter.")
    last: float = Field(description="TFLOP/s in the last quarter.")
    hardware: HardwareUse | None = None

    @property
    def change(self) -> float:
        """By which part the speed changed from the first quarter to the last."""
        return self.last / self.first - 1


class Reason(BaseModel):
    """Something that holds a device back, or could."""

    model_config = _STRICT

    kind: Literal[
        "wrong result",
        "busy",
        "throttle",
        "link",
        "power limit",
        "clock",
        "memory",
        "slice",
        "shared",
        "build",
        "ecc",
        "unsteady",
        "unknown cause",
    ]
    ill: bool = Field(description="Whether it makes the device ill; otherwise it is only told.")
    text: str
    fix: str = ""


class PowerLimit(BaseModel):
    """One power cap and what came of it."""

    model_config = _STRICT

    limit_w: float
    tflops: float
    power_w: float | None
    samples_per_joule: float | None = Field(description="Images of the convolution per joule.")


class Sweep(BaseModel):
    """What several power caps gave."""

    model_config = _STRICT

    before_w: float
    limits: tuple[PowerLimit, ...]
    best_w: float | None = Field(description="The cap with the most samples per joule; None without a counter.")


class Certificate(BaseModel):
    """All that one examination of a device found."""

    model_config = _STRICT

    schema_version: Literal[1] = 1
    device: DeviceFacts
    product: str | None = Field(description="Name of the product in the catalogue; None if it is not there.")
    correct: Answer
    fast: Answer
    steady_clock: Answer = Field(description="Whether speed, clock and temperature held under load.")
    checks: tuple[Check, ...]
    figures: tuple[Figure, ...]
    steady: Steady | None
    reasons: tuple[Reason, ...]
    counters: Mapping[str, float | bool | str | tuple[float, ...] | tuple[str, ...] | None] = Field(
        description="Counters of the hardware under load, as far as they are known."
    )
    environment: Environment
    seconds: float
    changes: tuple[str, ...] = Field(default=(), description="What changed since the last certificate.")
    sweep: Sweep | None = None

    @property
    def healthy(self) -> bool:
        """Whether nothing was found wrong; what could not be judged is not wrong."""
        answers = (self.correct, self.fast, self.steady_clock)
        return "no" not in answers and not any(reason.ill for reason in self.reasons)

    @property
    def sentence(self) -> str:
        """The verdict in a sentence."""
        if self.correct == "no":
            return "It computes wrong results. Do not use it."
        right = "It computes right" if self.correct == "yes" else "Whether it computes right was not checked"
        ill = [reason.text for reason in self.reasons if reason.ill]
        if ill or not self.healthy:
            joint = "but" if self.correct == "yes" else "and"
            return f"{right}, {joint} something is wrong: " + (ill[0] if ill else "see below.")
        if self.correct == self.fast == self.steady_clock == "yes":
            return "It computes right, as fast as it should, and holds its speed."
        return f"{right}. {_FAST[self.fast]} {_STEADY[self.steady_clock]}"
