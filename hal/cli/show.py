"""What people see: a live bar, an honest summary, tables. Plain lines where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live as RichLive
from rich.markup import escape
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from hal.api import BackendStatus
from hal.contract import Unavailable
from hal.contract.device import PRECISIONS, Device
from hal.contract.plan import Plan
from hal.contract.text import bytes_text, plan_line
from hal.errors import HalError
from hal.job.prepare import Job
from hal.measure import Measurement
from hal.run import Bench, Epoch, Record, RunObserver

__all__ = ["Live", "device_json", "note", "show_bench", "show_devices", "show_error"]

_REFRESH_S = 0.5


class Live(RunObserver):
    """Watches a run on the terminal.

    Args:
        to_stderr: leave stdout to the JSON.

    Attributes:
        told: whether the run told it anything; of several processes, the run tells the first one's alone.
    """

    def __init__(self, to_stderr: bool = False) -> None:
        self.told = False
        self.console = Console(stderr=to_stderr, highlight=False)
        self._live: RichLive | None = None
        self._task: Any = None
        self._shown = self._began = 0.0
        self._epochs = self._first_step = 0
        self._better: tuple[str, str] = ("", "min")
        self._best: float | None = None
        self._other = ""

    def started(self, job: Job, folder: Path, epochs: int, resumed_step: int | None) -> None:
        """Say what runs where."""
        self.told = True
        device, data = job.device, job.split
        line = (
            f"[bold]{escape(job.workload.model)}[/] on [bold]{device}[/] {escape(device.name)} ({escape(device.arch)})"
        )
        self.console.print(line)
        count = sum(_size(spec) for spec in _leaves(job.params))
        self.console.print(
            f"[dim]{count:,} parameters · data {escape(job.workload.data)}: {len(data.train):,} to train on, "
            f"{len(data.validation):,} held back · {plan_line(job.plan)}[/]"
        )
        where = f"[dim]writing to {escape(str(folder))}[/]"
        self.console.print(where if resumed_step is None else f"{where} [dim]· going on from step {resumed_step}[/]")
        self._epochs = epochs
        self._better = type(job.model).metric_for(job.model.config)
        faster = [n for n, p in device.capabilities.precisions.items() if p.accelerated and n != job.plan.precision]
        self._other = faster[0] if faster else ""
        if not self.console.is_terminal:
            return
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[numbers]}"),
            TimeRemainingColumn(),
            console=self.console,
        )
        self._task = self._progress.add_task("starting", total=None, numbers="")
        self._live = RichLive(self._progress, console=self.console, refresh_per_second=4, transient=True)
        self._live.start()

    def note(self, text: str) -> None:
        """One dim line."""
        self.console.print(f"[dim]{escape(text)}[/]")

    def step(self, epoch: int, step: int, steps: int, samples: int, loss: Callable[[], dict[str, float]]) -> None:
        """Move the bar; fetch the loss now and then, since that waits for the device."""
        if self._live is None:
            return
        now = time.perf_counter()
        if step == 1 or self._began == 0.0:
            self._began, self._first_step = now, step
        if now - self._shown < _REFRESH_S and step < steps:
            return
        self._shown = now
        rate = (step - self._first_step) * samples / (now - self._began) if now > self._began else 0.0
        numbers = "  ".join(f"{name} {_number(value)}" for name, value in loss().items())
        self._progress.update(
            self._task,
            description=f"epoch {epoch}/{self._epochs}",
            total=self._epochs * steps,
            completed=(epoch - 1) * steps + step,
            numbers=f"{numbers}  [cyan]{rate:,.0f} samples/s[/]",
        )

    def epoch(self, epoch: Epoch) -> None:
        """One line; the best so far in green."""
        name, better = self._better
        value = epoch.validation.get(name)
        if value is not None and (
            self._best is None or (value > self._best if better == "max" else value < self._best)
        ):
            self._best, style = value, "green"
        else:
            style = ""
        trained = "  ".join(f"{k} {_number(v)}" for k, v in epoch.train.items())
        held = "  ".join(
            f"[{style or 'default'}]val {k} {_number(v)}[/]" if k == name else f"val {k} {_number(v)}"
            for k, v in epoch.validation.items()
        )
        self.console.print(
            f"epoch {epoch.epoch:>{len(str(self._epochs))}}/{self._epochs}  {trained}  {held}  "
            f"[cyan]{epoch.samples_per_s:,.0f} samples/s[/]"
        )

    def ended(self, record: Record, folder: Path) -> None:
        """The summary, and what to do next."""
        self.close()
        if record.text:
            self.console.print(Panel(Text(record.text), title="sample", title_align="left", border_style="dim"))
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        table.add_column(style="dim")
        table.add_column(overflow="fold")
        for row in _summary(record, self._better[1]):
            table.add_row(*row)
        title = {"done": "done", "interrupted": "stopped and saved"}[record.status]
        self.console.print(Panel(table, title=title, title_align="left", border_style="green"))
        if record.status == "interrupted":
            self.console.print(f"go on with: [bold]hal run resume={escape(str(folder))}[/]", soft_wrap=True)
        elif self._other:
            again = " ".join(["hal bench", *_said(record.config), f"versus.precision={self._other}"])
            self.console.print(f"is another plan faster?  [bold]{escape(again)}[/]", soft_wrap=True)

    def close(self) -> None:
        """Take the bar away."""
        if self._live is not None:
            self._live.stop()
            self._live = None


def _summary(record: Record, better: str) -> Iterable[tuple[str, str]]:
    yield "model", f"{escape(record.workload.model)}, {record.parameters:,} parameters"
    device = record.device
    yield "device", escape(f"{device} {device.name} ({device.arch})")
    yield "plan", plan_line(record.plan)
    if record.best is not None:
        last = record.results.get(record.metric)
        said = f"[bold green]{_number(record.best)}[/] best ({'higher' if better == 'max' else 'lower'} is better)"
        yield record.metric, said + (f", {_number(last)} at the end" if last is not None else "")
    for name, value in record.results.items():
        if name != record.metric:
            yield name, _number(value)
    if record.epochs:
        rates = sorted(e.samples_per_s for e in record.epochs)
        middle = rates[len(rates) // 2]
        spread = f" ({rates[0]:,.0f} to {rates[-1]:,.0f} over {len(rates)} epochs)" if len(rates) > 1 else ""
        yield "throughput", f"{middle:,.0f} samples/s in the median{spread}"
        yield "training time", f"{sum(e.seconds for e in record.epochs):.1f} s"
    if record.peak_memory_bytes is not None:
        yield "peak memory", bytes_text(record.peak_memory_bytes)
    for note in record.environment.notes():
        yield "noise", escape(note)
    for path in record.files[-1:]:
        yield "samples", escape(path)
    if record.checkpoint:
        yield "checkpoint", escape(record.checkpoint)
        yield "record", escape(str(Path(record.checkpoint).parent.parent / "record.json"))


def show_devices(seen: tuple[BackendStatus, ...]) -> None:
    """A table of devices, then the backends that see none and why."""
    console = Console(highlight=False)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("device", "name", "arch", "memory", "precisions", "runtime"):
        table.add_column(column, overflow="fold")
    for entry in seen:
        for device in entry.devices:
            table.add_row(
                f"[bold]{device}[/]",
                escape(device.name),
                escape(device.arch),
                "unknown" if device.memory_bytes is None else bytes_text(device.memory_bytes),
                _precisions(device),
                escape(getattr(entry.state, "detail", "")),
            )
    console.print(table)
    console.print("[dim]* accelerated by the hardware[/]")
    for entry in seen:
        if isinstance(entry.state, Unavailable):
            console.print(f"\n[bold]{escape(entry.backend)}[/] sees nothing: {escape(entry.state.reason)}")
            console.print(f"  [green]→[/] {escape(entry.state.fix)}")


def _precisions(device: Device) -> str:
    words = []
    for name in PRECISIONS:
        entry = device.capabilities.precisions.get(name)
        if entry is not None and entry.supported:
            words.append(f"[green]{name}*[/]" if entry.accelerated else name)
    return " ".join(words)


def device_json(seen: tuple[BackendStatus, ...]) -> dict[str, Any]:
    """The same as one JSON object."""
    found = []
    for entry in seen:
        about: dict[str, Any] = {"backend": entry.backend, "available": not isinstance(entry.state, Unavailable)}
        if isinstance(entry.state, Unavailable):
            about |= {"reason": entry.state.reason, "fix": entry.state.fix}
        else:
            about |= {"runtime": entry.state.detail, "devices": [_facts(device) for device in entry.devices]}
        found.append(about)
    return {"backends": found}


def _facts(device: Device) -> dict[str, Any]:
    can = device.capabilities
    return {
        "device": str(device),
        "vendor": device.vendor,
        "name": device.name,
        "arch": device.arch,
        "memory_bytes": device.memory_bytes,
        "compute_units": device.compute_units,
        "facts": dict(device.facts),
        "precisions": {name: vars(entry) for name, entry in can.precisions.items()},
        "layouts": list(can.layouts),
        "compile": list(can.compile),
        "algorithms": {key: list(values) for key, values in can.algorithms.items()},
        "parallel": list(can.parallel),
        "spread": can.spread,
    }


def show_bench(found: Bench) -> None:
    """The measurement as a table, the ratio of two plans, and what makes the numbers doubtful."""
    console = Console(highlight=False)
    device = found.device
    console.print(
        f"[bold]{escape(found.workload.model)}[/] ({found.workload.mode}) on [bold]{device}[/] "
        f"{escape(device.name)} ({escape(device.arch)})"
    )
    plans = {"plan": found.plan} if found.versus is None else {"plan": found.plan, "versus": found.versus}
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("", "throughput", "step", "first call", "blocks", "settings"):
        table.add_column(column, overflow="fold")
    for name, plan in plans.items():
        m = found.measurement if found.comparison is None else found.comparison.measurements[name]
        table.add_row(
            name, _short(m.throughput), _short(m.step_ms), f"{m.first_call_s:.2f} s", str(m.blocks), plan_line(plan)
        )
    console.print(table)
    console.print(Group(*(Text.from_markup(line) for line in _bench_lines(found, found.measurement))))


def _bench_lines(found: Bench, m: Measurement) -> Iterable[str]:
    if found.comparison is not None:
        ratio, verdict = found.comparison.ratios["versus"], found.comparison.verdict("versus")
        yield f"versus / plan: [bold]{ratio}[/], {verdict}"
        if verdict == "faster" and found.versus is not None:
            changed = " ".join(f"{key}={value}" for key, value in found.versus.changes(found.plan).items())
            yield f"use it:  [bold]hal run model={escape(found.workload.model)} {changed}[/]"
    if m.latency is not None:
        yield f"latency p50 {m.latency.p50_ms}" + "".join(
            f" · {name} {value}" for name, value in (("p95", m.latency.p95_ms), ("p99", m.latency.p99_ms)) if value
        )
    if m.peak_memory_bytes is not None:
        yield f"peak memory {bytes_text(m.peak_memory_bytes)}"
    if m.power_w is not None:
        yield f"power {m.power_w:.0f} W"
    yield "[dim]medians with 95% bootstrap intervals over synchronised blocks, the data path included[/]"
    if found.origin:
        yield f"[dim]{escape(found.origin)}[/]"
    for note in found.notes():
        yield f"[yellow]note:[/] {escape(note)}"


def note(text: str) -> None:
    """One dim line on stderr about what is done."""
    Console(stderr=True, highlight=False).print(f"[dim]{escape(text)}[/]")


def show_error(error: HalError) -> None:
    """One message on stderr: what is wrong, then what to do."""
    console = Console(stderr=True, highlight=False)
    console.print(f"[bold red]error:[/] {escape(error.message)}", soft_wrap=True)
    if error.fix is not None:
        console.print(f"[green]→[/] {escape(error.fix)}", soft_wrap=True)


def _said(config: dict[str, Any]) -> Iterable[str]:
    """The keys of a run that a benchmark of the same workload needs."""
    model = dict(config.get("model", {}))
    yield f"model={model.pop('name', '')}"
    yield from (f"model.{key}={value}" for key, value in model.items())
    for key in ("backend", "device", *Plan.model_fields):
        if key in config:
            yield f"{key}={config[key]}"


def _short(estimate: object) -> str:
    """An estimate without its count, which has a column of its own."""
    return str(estimate).rpartition(" (n=")[0]


def _leaves(tree: Any) -> list[Any]:
    return [leaf for child in tree.values() for leaf in _leaves(child)] if isinstance(tree, dict) else [tree]


def _size(spec: Any) -> int:
    size = 1
    for n in spec.shape:
        size *= n
    return size


def _number(value: float) -> str:
    return f"{value:.4f}" if 1e-3 <= abs(value) < 1e3 else f"{value:.3g}"
