"""What ``hal bench`` prints."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table

from hal.cli.styled import console, escaped
from hal.contract.text import bytes_text, estimate_text, interval_text, number, plan_line, ratio_text, seconds_text
from hal.measure import Measurement
from hal.run import Bench

__all__ = ["show_bench"]


def show_bench(found: Bench) -> None:
    """The measurement as a table, the ratio of two plans, and what makes the numbers doubtful."""
    out = console()
    device = found.device
    out.print(
        f"[bold]{escaped(found.workload.model)}[/] ({found.workload.mode}) on [bold]{escaped(device)}[/] "
        f"{escaped(device.name)} ({escaped(device.arch)})"
    )
    plans = {"plan": found.plan} if found.versus is None else {"plan": found.plan, "versus": found.versus}
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("", "throughput", "step time", "first call", "blocks", "settings"):
        table.add_column(column, overflow="fold")
    for name, plan in plans.items():
        m = found.measurement if found.comparison is None else found.comparison.measurements[name]
        table.add_row(
            name,
            escaped(estimate_text(m.throughput)),
            escaped(estimate_text(m.step_ms)),
            seconds_text(m.first_call_s),
            str(m.blocks),
            escaped(plan_line(plan)),
        )
    out.print(table)
    for line in _lines(found, found.measurement):
        out.print(line)


def _lines(found: Bench, m: Measurement) -> Iterable[str]:
    if found.comparison is not None:
        ratio, verdict = found.comparison.ratios["versus"], found.comparison.verdict("versus")
        yield f"Throughput, versus / plan: [bold]{escaped(ratio_text(ratio))}[/], {verdict}"
        if verdict == "faster" and found.versus is not None:
            changed = " ".join(f"{key}={value}" for key, value in found.versus.changes(found.plan).items())
            yield f"To use it:  [bold]hal run model={escaped(found.workload.model)} {escaped(changed)}[/]"
    if m.latency is not None:
        tails = (("p95", m.latency.p95_ms), ("p99", m.latency.p99_ms))
        yield f"Latency: p50 {escaped(estimate_text(m.latency.p50_ms))}" + "".join(
            f" · {name} {number(tail.value)} {tail.unit} {escaped(interval_text(tail.low, tail.high))}"
            for name, tail in tails
            if tail is not None
        )
    if m.peak_memory_bytes is not None:
        yield f"Peak memory: {bytes_text(m.peak_memory_bytes)}"
    if m.power_w is not None:
        yield f"Power: {number(m.power_w)} W"
    yield (
        "[dim]Values are medians with 95% bootstrap intervals over blocks of steps. Each block ends in a "
        "synchronization, and loading data is part of it.[/]"
    )
    if found.origin:
        yield f"[dim]{escaped(found.origin)}[/]"
    for note in found.notes():
        yield f"[yellow]Note:[/] {escaped(note)}"
