"""What `hal compile` shows."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.status import Status
from rich.table import Table

from hal.contract.text import plan_line
from hal.targets.compile import Compilation

__all__ = ["Compiling", "show_compilation"]


class Compiling(contextlib.AbstractContextManager["Compiling"]):
    """Says what is being built while it is; where nobody watches, the first of it alone, on stderr.

    Args:
        to_stderr: leave stdout to the JSON.
    """

    def __init__(self, to_stderr: bool = False) -> None:
        self.console = Console(stderr=to_stderr, highlight=False)
        self._status: Status | None = None
        self._said = False

    def __call__(self, text: str) -> None:
        """Show what is being done."""
        if not self.console.is_terminal:
            if not self._said:
                Console(stderr=True, highlight=False).print(escape(text))
            self._said = True
            return
        if self._status is None:
            self._status = self.console.status(text)
            self._status.start()
        self._status.update(escape(text))

    def __exit__(self, *error: object) -> None:
        if self._status is not None:
            self._status.stop()


def show_compilation(found: Compilation) -> None:
    """Whether it builds, its memory against the device's, the largest batch, what it costs and what to do next."""
    console = Console(highlight=False)
    spread = found.devices if found.plan.parallel != "none" else 1
    console.print(
        f"[bold]{escape(found.workload.model)}[/] ({found.workload.mode}) for [bold]{escape(found.target)}[/]: "
        f"{escape(found.device.name)}, {spread} of {found.devices} device{'s' * (found.devices > 1)}"
    )
    console.print(f"[dim]{plan_line(found.plan)}[/]")
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _rows(found, spread):
        table.add_row(name, value)
    console.print(table)
    for line in _next(found):
        console.print(line)


def _rows(found: Compilation, spread: int) -> Iterator[tuple[str, str]]:
    took = "" if found.compile_s is None else f" in {found.compile_s:.1f} s"
    if found.stage == "lowered":
        yield "builds", f"lowered to StableHLO{took}; no compiler for it runs here, so no memory is known"
    elif found.stage == "refused" and found.fits is not False:
        yield "builds", "[bold red]no[/]"
        yield "reason", escape(found.reason)
    else:
        yield "builds", f"yes{took}" if found.compile_s is not None else "refused, since it does not fit"
        yield "fits", _fits(found)
        if found.fits is False:
            yield "reason", escape(found.reason)
    if found.memory is not None:
        each = "of each device" if spread > 1 else "of the device"
        yield "memory", f"{_bytes(found.memory.total)} {each}" + _share(found)
        for kind in ("arguments", "outputs", "temporaries", "code"):
            size = getattr(found.memory, kind)
            if kind == "outputs":
                size -= found.memory.aliased
            yield f"  {kind}", _bytes(size) + (" beside donated arguments" if kind == "outputs" else "")
    if found.largest is not None:
        yield "largest batch", _largest(found)
    if found.cost is not None:
        yield from _cost(found, spread)
    for path in found.artifacts:
        yield "kept", escape(path)


def _fits(found: Compilation) -> str:
    if found.fits is None:
        return "not known"
    return "yes" if found.fits else "[bold red]no[/]"


def _share(found: Compilation) -> str:
    if not found.usable_bytes or found.memory is None:
        return ""
    return f", {found.memory.total / found.usable_bytes:.2%} of the {_bytes(found.usable_bytes)} that a program may use"


def _largest(found: Compilation) -> str:
    limit = found.largest
    assert limit is not None
    builds = f"{limit.builds} build{'s' * (limit.builds != 1)} in {limit.seconds:.0f} s"
    if not limit.batch:
        return f"none fits ({builds})"
    refused = "" if limit.refused is None else f", {limit.refused:,} does not"
    stopped = f"; {escape(limit.stopped)}" if limit.stopped else ""
    if limit.likely is not None:
        stopped += ", and it probably fits: what does not is refused far sooner"
    return f"[bold]{limit.batch:,}[/] fits{refused}{stopped} ({builds})"


def _cost(found: Compilation, spread: int) -> Iterator[tuple[str, str]]:
    cost = found.cost
    assert cost is not None
    each = " a device" if spread > 1 else ""
    if cost.flops is not None and cost.bytes is not None:
        yield "work", f"{_scaled(cost.flops)}FLOP and {_scaled(cost.bytes)}B{each} a step, says {escape(cost.counted)}"
    if cost.estimate_s is None:
        yield "step time", escape(cost.source)
        return
    yield "step time", f"about {cost.estimate_s * 1e3:.3g} ms, an estimate: {escape(cost.source)}"
    if found.samples_per_s is not None:
        yield "throughput", f"about {_scaled(found.samples_per_s)}samples/s by that estimate, data path not counted"


def _next(found: Compilation) -> Iterable[str]:
    limit = found.largest
    if found.fits is False and limit is not None and limit.batch:
        yield f"[green]→[/] use batch={limit.batch} or less"
    elif found.fits is False:
        yield "[green]→[/] use a smaller batch=, precision=bf16, more devices (parallel=dp=N), or a smaller model"
    elif limit is not None and limit.refused is not None and limit.refused > 1.1 * limit.batch:
        yield "[green]→[/] more time tells more about the largest batch: seconds=600; bf16 builds faster than fp32"
    elif not found.artifacts and found.stage != "refused":
        yield "[dim]--out DIR keeps the program's texts, memory and cost[/]"


def _scaled(value: Any) -> str:
    for limit, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.3g} {prefix}"
    return f"{value:.3g} "


def _bytes(count: int) -> str:
    for limit, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if abs(count) >= limit:
            return f"{count / limit:.3g} {unit}"
    return f"{count} B"
