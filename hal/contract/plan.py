"""How to run a workload: the knobs that change speed and memory but not what is computed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from hal.contract.device import Device, PrecisionName
from hal.errors import PlanError, UnsupportedError

__all__ = ["LARGEST_COUNT", "KeyTraits", "Plan"]

Layout = Literal["auto", "nhwc", "nchw"]
Compile = Literal["auto", "eager", "default", "max"]
Conv = Literal["auto", "direct", "search", "patches"]
Pool = Literal["auto", "window", "blocked", "reshape"]
Crop = Literal["auto", "gather", "products"]
Launch = Literal["auto", "kernels", "graph"]
Heap = Literal["auto", "keep", "trim"]
Tile = Literal["auto", "2x4", "4x4", "4x8", "8x4", "8x8", "4x16", "6x16", "8x16", "4x24", "6x32", "8x32", "4x48"]
Workgroup = Literal["auto", "1", "8", "32", "64", "128", "256"]
Sums = Literal["auto", "pieces", "whole"]
Recurrence = Literal["auto", "filled", "whole", "steps"]

LARGEST_COUNT = 2**31 - 1
"""The largest count that a key may be: that of a C int, which frameworks pass counts in."""

_MOST_THREADS = 1024
"""More threads than the cores of any machine; a framework starts each of them, and fails where it cannot."""


@dataclass(frozen=True)
class KeyTraits:
    """What is known of a plan key beside its type, its default and its description.

    The defaults suit a key that chooses among the algorithms of a backend, so such a key needs no traits.

    Attributes:
        named: texts show the key's name beside its value.
        clear: values that a plan in one line shows without the key's name all the same.
        always: a plan in one line shows the key even where it has its default.
        usual: further values that a plan in one line leaves out.
        unit: what the value counts, in the singular; empty where it counts nothing.
        images: the key matters for models of images alone; False: for those of anything else alone; None: for all.
        vendor: values that tell the vendor's libraries what to do, so that they matter also where a module of the
            framework runs by itself instead of hal's ops; None: all.
        searched: `hal tune` varies the key by itself; otherwise only where the user lists values of it.
        ordered: the values are texts with numbers in them, such as dp=4, and are compared by these: on a scale of
            logarithms, as the values of every key of integers are, so that twice as much is always as far away.
    """

    named: bool = True
    clear: tuple[str, ...] = ()
    always: bool = False
    usual: tuple[str, ...] = ()
    unit: str = ""
    images: bool | None = None
    searched: bool = True
    vendor: tuple[str, ...] | None = None
    ordered: bool = False


def _parallel_form(value: str | None) -> str | None:
    if value not in (None, "none") and not re.fullmatch(r"[a-z]+=[1-9][0-9]*(,[a-z]+=[1-9][0-9]*)*", value):
        raise ValueError("write none, dp=N or fsdp=N, for example dp=2")
    return value


class Plan(BaseModel):
    """How to run. ``auto`` and ``None`` stand for the device's own default until :meth:`resolve` fills them in.

    A key is declared here and nowhere else: configs, the tuner's space, help and texts follow from this class. A key
    whose default is ``auto`` chooses among what a device offers in :attr:`Capabilities.algorithms` under its name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch: Annotated[int, KeyTraits(always=True)] = Field(
        default=128,
        ge=1,
        le=LARGEST_COUNT,
        description="Samples per optimizer step, on all devices together. Default: the model's own.",
    )
    precision: Annotated[PrecisionName, KeyTraits(named=False, always=True)] = Field(
        default="fp32",
        description="Number format that layers compute in: fp32, tf32, bf16 or fp16. Parameters stay in fp32.",
    )
    layout: Annotated[Layout, KeyTraits(named=False, always=True, images=True)] = Field(
        default="auto", description="Order of an image's axes in memory: nhwc, nchw, or auto (the device's default)."
    )
    compile: Annotated[Compile, KeyTraits(clear=("auto", "eager"), always=True)] = Field(
        default="auto",
        description="How much the framework compiles: eager (nothing), default, max, or auto (the device's default).",
    )
    conv: Annotated[Conv, KeyTraits(usual=("direct",), images=True, vendor=("direct", "search"))] = Field(
        default="auto",
        description="Convolution algorithm: direct (the one that the library's rules choose), search (the fastest that "
        "the library finds by trying its algorithms at the first call with each shape), patches (patches of the image, "
        "multiplied by the kernel as one matrix), or auto (the device's default).",
    )
    pool: Annotated[Pool, KeyTraits(usual=("window",), images=True, vendor=("window",))] = Field(
        default="auto",
        description="Max-pooling algorithm: window (the framework's own), blocked (the image is copied to the order in "
        "memory that the vendor's library pools fastest), reshape (the maximum of strided slices), or auto (the "
        "device's default).",
    )
    crop: Annotated[Crop, KeyTraits(usual=("gather",), images=True)] = Field(
        default="auto",
        description="How random crops move images: gather (read each pixel from its old place), products (multiply by "
        "shift matrices), or auto (the device's default).",
    )
    launch: Annotated[Launch, KeyTraits(usual=("kernels",))] = Field(
        default="auto",
        description="How a step reaches the device: kernels (one after the other), graph (recorded once, then launched "
        "as one, which saves the processor the time of each launch), or auto (the device's default).",
    )
    heap: Annotated[Heap, KeyTraits(usual=("keep",), searched=False)] = Field(
        default="auto",
        description="What a CPU process does with memory that a step has freed: keep (reuse it in the next step), trim "
        "(follow the C library's rules, which return large blocks to the system), or auto (the device's default).",
    )
    tile: Annotated[Tile, KeyTraits(usual=("4x4", "6x16", "8x32"))] = Field(
        default="auto",
        description="Rows and columns of a tile of a matrix product's result, which hal's own kernels sum in "
        "registers, for example 4x4, or auto (the device's default).",
    )
    workgroup: Annotated[Workgroup, KeyTraits(usual=("32", "256"))] = Field(
        default="auto",
        description="Work-items in a work-group of a matrix product in hal's own kernels (on a processor, the most "
        "tiles in a column that one core computes in turn), or auto (the device's default).",
    )
    sums: Annotated[Sums, KeyTraits(usual=("pieces",))] = Field(
        default="auto",
        description="How hal's own kernels add up the long sums of matrix products: pieces (several work-groups add up "
        "a part each where there are few results), whole, or auto (the device's default).",
    )
    recurrence: Annotated[Recurrence, KeyTraits(usual=("filled",), images=False)] = Field(
        default="auto",
        description="How hal's own kernels compute a recurrent layer: whole (all steps in one launch, which divides "
        "the sequences of a batch among the compute units), steps (one by one), filled (whole where a batch has "
        "enough sequences for that, otherwise steps), or auto (the device's default).",
    )
    threads: Annotated[int | None, KeyTraits(unit="thread")] = Field(
        default=None,
        ge=1,
        le=_MOST_THREADS,
        description="CPU threads per process. Default: the framework's own choice.",
    )
    parallel: Annotated[str, AfterValidator(_parallel_form), KeyTraits(named=False, ordered=True)] = Field(
        default="none",
        description="How to spread over devices: none, dp=N (each batch is split over N devices), or fsdp=N (the "
        "parameters are split too).",
    )
    accumulate: int = Field(
        default=1,
        ge=1,
        le=LARGEST_COUNT,
        description="Number of parts that each batch is processed in, one after the other. Their gradients are "
        "averaged.",
    )

    @classmethod
    def traits(cls, key: str) -> KeyTraits:
        """What is known of a key beside its type, its default and its description."""
        found = (each for each in cls.model_fields[key].metadata if isinstance(each, KeyTraits))
        return next(found, KeyTraits())

    @classmethod
    def ordered(cls, key: str) -> bool:
        """Whether values of a key are compared as numbers: those of integers, and those whose traits say so."""
        kind = cls.model_fields[key].annotation
        return cls.traits(key).ordered or any(k is int or isinstance(k, int) for k in (kind, *get_args(kind)))

    @classmethod
    def algorithms(cls) -> dict[str, tuple[str, ...]]:
        """The keys that choose among the algorithms of a backend, with all values that a backend may offer."""
        return {
            key: tuple(value for value in get_args(field.annotation) if value != "auto")
            for key, field in cls.model_fields.items()
            if field.default == "auto" and key not in ("layout", "compile")
        }

    def resolve(self, device: Device) -> Plan:
        """This plan with the device's defaults filled in.

        Raises:
            PlanError: the plan contradicts itself.
            UnsupportedError: the device cannot do what the plan asks; says what it can do.
        """
        if self.batch % self.accumulate:
            raise PlanError(
                f"batch={self.batch} cannot be split into accumulate={self.accumulate} equal parts",
                fix=f"choose a batch that is a multiple of {self.accumulate}",
            )
        can = device.capabilities
        if self.precision not in can.supported_precisions():
            entry = can.precisions.get(self.precision)
            raise UnsupportedError(
                f"precision={self.precision} is not supported on {device} ({device.name}, {device.arch})"
                + (f": {entry.note}" if entry and entry.note else ""),
                fix=f"use one of: {', '.join(can.supported_precisions())}",
            )
        settled = self
        for key in ("layout", "compile", *self.algorithms()):
            settled = settled.model_copy(update={key: settled._possible(device, key, can.choices().get(key, ()))})
        if len(self.spread()) > 1:
            raise PlanError(
                f"parallel={self.parallel} combines two kinds of parallelism, which is not possible",
                fix="use one of them",
            )
        for kind, count in self.spread().items():
            if kind not in can.parallel:
                raise UnsupportedError(
                    f"parallel={self.parallel} is not supported on {device} ({device.name})",
                    fix=f"use one of: {', '.join(['none', *(f'{kind}=N' for kind in can.parallel)])}",
                )
            if self.batch % (count * self.accumulate):
                parts = f" in {self.accumulate} parts" if self.accumulate > 1 else ""
                raise PlanError(
                    f"batch={self.batch}{parts} cannot be divided evenly among the devices of parallel={self.parallel}",
                    fix=f"choose a batch that is a multiple of {count * self.accumulate}",
                )
        if self.threads is not None and not can.threads:
            raise UnsupportedError(
                f"threads={self.threads} was given, but {device} does not support the key threads",
                fix="leave threads= out",
            )
        return settled

    def spread(self) -> dict[str, int]:
        """How many devices each kind of parallelism spreads over; empty for none."""
        if self.parallel == "none":
            return {}
        return {kind: int(count) for kind, _, count in (part.partition("=") for part in self.parallel.split(","))}

    def _chosen(self, device: Device, key: str, offered: tuple[str, ...]) -> str:
        """The value of a key on a device that offers some; the key stays ``auto`` where it offers none."""
        value: str = getattr(self, key)
        if not offered and value != "auto":
            raise UnsupportedError(
                f"{key}={value} was given, but {device} does not support the key {key}", fix=f"leave {key}= out"
            )
        if value != "auto" and value not in offered:
            raise UnsupportedError(
                f"{key}={value} is not supported on {device} ({device.name})", fix=f"use one of: {', '.join(offered)}"
            )
        return offered[0] if offered and value == "auto" else value

    def _possible(self, device: Device, key: str, offered: tuple[str, ...]) -> str:
        """The value of a key on a device that offers some, for a plan whose keys it may depend on are resolved."""
        possible = tuple(value for value in offered if not self._lacks(device, key, value))
        chosen = self._chosen(device, key, offered)
        if getattr(self, key) == "auto":
            return possible[0] if possible else chosen
        if chosen not in possible and offered:
            lacking = self._lacks(device, key, chosen)
            raise UnsupportedError(
                f"{key}={chosen} is not supported on {device} ({device.name}) together with "
                + " and ".join(f"{other}={getattr(self, other)}" for other in lacking),
                fix="use "
                + " and ".join(f"{other}={' or '.join(values)}" for other, values in lacking.items())
                + (f", or one of: {', '.join(f'{key}={value}' for value in possible)}" if possible else ""),
            )
        return chosen

    def _lacks(self, device: Device, key: str, value: str) -> dict[str, tuple[str, ...]]:
        """The keys of this plan that a value of another key does not go with, and the values that it needs."""
        needs = device.capabilities.needs.get(f"{key}={value}", {})
        return {other: values for other, values in needs.items() if str(getattr(self, other)) not in values}

    def changes(self, other: Plan) -> dict[str, Any]:
        """The keys in which this plan differs from another, with this plan's values."""
        mine, theirs = self.model_dump(), other.model_dump()
        return {key: value for key, value in mine.items() if value != theirs[key]}
