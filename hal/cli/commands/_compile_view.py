"""What ``hal compile`` prints."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from rich.status import Status
from rich.table import Table
from rich.text import Text

from hal.cli.styled import console, escaped, note
from hal.cli.terminal import visible
from hal.contract.text import bytes_text, counted, number, plan_line, prefixed, seconds_text
from hal.targets.compile import Compilation

__all__ = ["Compiling", "show_compilation"]

_KERNELS = 4
"""So many kernels are printed; all are in the JSON."""


class Compiling(contextlib.AbstractContextManager["Compiling"]):
    """Shows what is being compiled. Where stdout is no terminal, only the first message is printed, to stderr.

    Args:
        to_stderr: leave stdout to the JSON.
    """

    def __init__(self, to_stderr: bool = False) -> None:
        self.console = console(to_stderr)
        self._status: Status | None = None
        self._said = False

    def __call__(self, text: str) -> None:
        """Show what is being done."""
        if not self.console.is_terminal:
            if not self._said:
                note(text)
            self._said = True
            return
        if self._status is None:
            self._status = self.console.status(Text(visible(text)))
            self._status.start()
        self._status.update(Text(visible(text)))

    def __exit__(self, *error: object) -> None:
        if self._status is not None:
            self._status.stop()


def show_compilation(found: Compilation) -> None:
    """Whether it builds, its memory against the device's, the largest batch, what it costs and what to do next."""
    out = console()
    spread = found.devices if found.plan.parallel != "none" else 1
    out.print(
        f"[bold]{escaped(found.workload.model)}[/] ({found.workload.mode}) for [bold]{escaped(found.target)}[/]: "
        f"{escaped(found.device.name)}, {spread} of {counted(found.devices, 'device')}"
    )
    out.print(f"[dim]{escaped(plan_line(found.plan))}[/]")
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _rows(found, spread):
        table.add_row(name, value)
    out.print(table)
    for line in _next(found):
        out.print(line)


def _rows(found: Compilation, spread: int) -> Iterator[tuple[str, str]]:
    took = "" if found.compile_s is None else f" in {seconds_text(found.compile_s)}"
    if found.stage == "lowered":
        yield (
            "compiles",
            f"lowered to StableHLO{took}; no compiler for this target runs without the device, so the memory "
            f"use is unknown",
        )
    elif found.stage == "refused" and found.fits is not False:
        yield "compiles", "[bold red]no[/]"
        yield "reason", escaped(found.reason, lines=True)
    else:
        yield "compiles", f"yes{took}" if found.compile_s is not None else "no, because it does not fit in memory"
        yield "fits in memory", _fits(found)
        if found.fits is False:
            yield "reason", escaped(found.reason, lines=True)
    if found.memory is not None:
        each = " on each device" if spread > 1 else ""
        yield "memory", f"{bytes_text(found.memory.total)}{each}{_share(found)}"
        for kind in ("arguments", "outputs", "temporaries", "code"):
            size = getattr(found.memory, kind)
            if kind == "outputs":
                size -= found.memory.aliased
            reused = ", without those that reuse the arguments' memory" if kind == "outputs" else ""
            yield f"  {kind}", bytes_text(size) + reused
    if found.kernels:
        yield from _kernels(found)
    if found.largest is not None:
        yield "largest batch", _largest(found)
    if found.cost is not None:
        yield from _cost(found, spread)
    for path in found.artifacts:
        yield "written", escaped(path)


def _kernels(found: Compilation) -> Iterator[tuple[str, str]]:
    """Whether all kernels run in registers, and those of which the fewest run side by side."""
    kernels = found.kernels
    through = [kernel for kernel in kernels if kernel.spilled_registers or kernel.scratch_bytes]
    if through:
        said = f"[bold red]{len(through)} keep values in memory for which registers are missing[/]"
    else:
        said = "none needs more registers than there are"
    yield "kernels", f"{len(kernels)} compiled, and {said}"
    for kernel in kernels[:_KERNELS]:
        registers = ", ".join(f"{count} {name}" for name, count in kernel.registers.items())
        local = f", {bytes_text(kernel.local_bytes)} of local memory" if kernel.local_bytes else ""
        waves = f"{kernel.waves} of {kernel.most_waves} waves side by side"
        yield f"  {escaped(kernel.label)}", f"{registers}{local}, {waves}"
    if len(kernels) > _KERNELS:
        yield "", f"{len(kernels) - _KERNELS} more, of which as many or more waves run side by side"


def _fits(found: Compilation) -> str:
    if found.fits is None:
        return "unknown"
    return "yes" if found.fits else "[bold red]no[/]"


def _share(found: Compilation) -> str:
    if not found.usable_bytes or found.memory is None:
        return ""
    share = found.memory.total / found.usable_bytes
    return f", {share:.2%} of the {bytes_text(found.usable_bytes)} that a program may use"


def _largest(found: Compilation) -> str:
    limit = found.largest
    assert limit is not None
    builds = (
        f"compiled {counted(limit.builds, 'time')} in {seconds_text(limit.seconds)}" if limit.builds else "no search"
    )
    stopped = f"; {escaped(limit.stopped)}" if limit.stopped else ""
    if not limit.batch:
        return f"none was found{stopped} ({builds})" if stopped else f"no batch fits ({builds})"
    refused = "" if limit.refused is None else f", and {limit.refused:,} does not"
    if limit.likely is not None:
        stopped += "; it probably fits, because batches that do not fit are refused much sooner"
    return f"[bold]{limit.batch:,}[/] fits{refused}{stopped} ({builds})"


def _cost(found: Compilation, spread: int) -> Iterator[tuple[str, str]]:
    cost = found.cost
    assert cost is not None
    each = " on each device" if spread > 1 else ""
    if cost.flops is not None and cost.bytes is not None:
        work = f"{prefixed(cost.flops, 'FLOP')} and {prefixed(cost.bytes, 'B')} of memory traffic per step{each}"
        yield "work", f"{work}, counted by {escaped(cost.counted)}"
    if cost.estimate_s is None:
        yield "step time", escaped(cost.source)
        return
    yield "step time", f"about {number(cost.estimate_s * 1e3)} ms (estimate: {escaped(cost.source)})"
    if found.samples_per_s is not None:
        yield "throughput", f"about {number(found.samples_per_s)} samples/s by that estimate, without loading data"


def _next(found: Compilation) -> Iterable[str]:
    limit = found.largest
    if found.fits is False and limit is not None and limit.batch:
        yield f"[green]→[/] Use batch={limit.batch} or less."
    elif found.fits is False:
        yield "[green]→[/] Use a smaller batch=, precision=bf16, more devices (parallel=dp=N) or a smaller model."
    elif limit is not None and limit.refused is not None and limit.refused > 1.1 * limit.batch:
        yield (
            "[green]→[/] To narrow down the largest batch, give the search more time, for example seconds=600. "
            "bf16 compiles faster than fp32."
        )
    elif not found.artifacts and found.stage != "refused":
        yield "[dim]To keep the compiled program, its memory use and its cost, use --out DIR.[/]"
