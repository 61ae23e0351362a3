"""What ``hal run`` prints: a live bar, a line an epoch, a summary. Plain lines where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from rich.live import Live
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from hal.cli.styled import PlainColumn, console, escaped
from hal.cli.terminal import visible
from hal.contract.plan import Plan
from hal.contract.text import bytes_text, number, plan_line, seconds_text
from hal.data import summary
from hal.job.prepare import Job
from hal.run import Epoch, Record, RunObserver

__all__ = ["RunView"]

_REFRESH_S = 0.5


class RunView(RunObserver):
    """Watches a run on the terminal.

    Args:
        to_stderr: leave stdout to the JSON.
    """

    def __init__(self, to_stderr: bool = False) -> None:
        self.console = console(to_stderr)
        self._live: Live | None = None
        self._task: Any = None
        self._shown = self._began = 0.0
        self._epochs = self._first_step = 0
        self._better: tuple[str, str] = ("", "min")
        self._best: float | None = None
        self._other = ""
        self._usual: dict[str, Any] = {}

    def started(self, job: Job, folder: Path, epochs: int, resumed_step: int | None) -> None:
        """Say what runs where."""
        device, data = job.device, job.split
        where = f"[bold]{escaped(device)}[/] {escaped(device.name)} ({escaped(device.arch)})"
        self.console.print(f"[bold]{escaped(job.workload.model)}[/] on {where}")
        count = sum(_size(spec) for spec in _leaves(job.params))
        self.console.print(
            f"[dim]{count:,} parameters · data {escaped(job.workload.data)}: "
            f"{len(data.train):,} training samples, {len(data.validation):,} validation samples · "
            f"{escaped(plan_line(job.plan))}[/]"
        )
        for line in summary(data):
            self.console.print(f"[dim]{escaped(line)}[/]")
        resuming = "" if resumed_step is None else f", resuming from step {resumed_step}"
        self.console.print(f"[dim]Writing to {escaped(str(folder))}{resuming}[/]")
        self._epochs = epochs
        self._better = job.model.chosen_metric()
        self._other = _another(job)
        self._usual = Plan(batch=job.defaults.batch).resolve(device).model_dump(mode="json")
        if not self.console.is_terminal:
            return
        self._progress = Progress(
            PlainColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            PlainColumn("{task.fields[numbers]}"),
            TimeRemainingColumn(),
            console=self.console,
        )
        self._task = self._progress.add_task("starting", total=None, numbers="")
        self._live = Live(self._progress, console=self.console, refresh_per_second=4, transient=True)
        self._live.start()

    def note(self, text: str) -> None:
        """One dim line."""
        self.console.print(f"[dim]{escaped(text, lines=True)}[/]")

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
        numbers = "  ".join(f"{escaped(name)} {number(value)}" for name, value in loss().items())
        self._progress.update(
            self._task,
            description=f"epoch {epoch}/{self._epochs}",
            total=self._epochs * steps,
            completed=(epoch - 1) * steps + step,
            numbers=f"{numbers}  [cyan]{number(rate)} samples/s[/]",
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
        trained = "  ".join(f"{escaped(k)} {number(v):<7}" for k, v in epoch.train.items())
        held = "  ".join(
            f"[{style or 'default'}]val {escaped(k)} {number(v):<7}[/]"
            if k == name
            else f"val {escaped(k)} {number(v):<7}"
            for k, v in epoch.validation.items()
        )
        self.console.print(
            f"epoch {epoch.epoch:>{len(str(self._epochs))}}/{self._epochs}  {trained}  {held}  "
            f"[cyan]{number(epoch.samples_per_s)} samples/s[/]"
        )

    def ended(self, record: Record, folder: Path) -> None:
        """The summary, and what to do next."""
        self.close()
        if record.text:
            self.console.print(
                Panel(
                    Text(visible(record.text, lines=True)), title="sampled text", title_align="left", border_style="dim"
                )
            )
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        table.add_column(style="dim")
        table.add_column(overflow="fold")
        for row in _summary(record, self._better[1]):
            table.add_row(*row)
        title = {"done": "Done", "interrupted": "Stopped and saved"}[record.status]
        self.console.print(Panel(table, title=title, title_align="left", border_style="green"))
        if record.status == "interrupted":
            self.console.print(f"Continue with: [bold]hal run resume={escaped(str(folder))}[/]", soft_wrap=True)
        elif self._other:
            again = " ".join(["hal bench", *_said(record.config, self._usual), f"versus.{self._other}"])
            self.console.print(f"To compare with another plan:  [bold]{escaped(again)}[/]", soft_wrap=True)

    def close(self) -> None:
        """Take the bar away."""
        if self._live is not None:
            self._live.stop()
            self._live = None


def _summary(record: Record, better: str) -> Iterable[tuple[str, str]]:
    yield "model", f"{escaped(record.workload.model)}, {record.parameters:,} parameters"
    device = record.device
    yield "device", escaped(f"{device} {device.name} ({device.arch})")
    yield "plan", escaped(plan_line(record.plan))
    if record.best is not None:
        last = record.results.get(record.metric)
        said = f"[bold green]{number(record.best)}[/] at best (epoch {record.best_epoch}; "
        said += f"{'higher' if better == 'max' else 'lower'} is better)"
        yield escaped(record.metric), said + (f", {number(last)} at the end" if last is not None else "")
    for name, value in record.results.items():
        if name != record.metric:
            yield escaped(name), number(value)
    if record.epochs:
        rates = sorted(e.samples_per_s for e in record.epochs)
        middle = rates[len(rates) // 2]
        spread = f" (median; {number(rates[0])} to {number(rates[-1])} over {len(rates)} epochs)"
        yield "throughput", f"{number(middle)} samples/s" + (spread if len(rates) > 1 else "")
        yield "training time", seconds_text(sum(e.seconds for e in record.epochs))
    if record.peak_memory_bytes is not None:
        yield "peak memory", bytes_text(record.peak_memory_bytes)
    for note in record.environment.notes():
        yield "note", escaped(note)
    for path in record.files[-1:]:
        yield "samples", escaped(path)
    if record.checkpoint:
        yield "checkpoint", escaped(record.checkpoint)
        if record.best_checkpoint not in (None, record.checkpoint):
            yield "best checkpoint", escaped(record.best_checkpoint)
        yield "record", escaped(str(Path(record.checkpoint).parent.parent / "record.json"))


def _said(config: dict[str, Any], usual: dict[str, Any]) -> Iterable[str]:
    """The keys of a run that a benchmark of the same workload needs: those of a plan that are not as usual."""
    model = dict(config.get("model", {}))
    yield f"model={model.pop('name', '')}"
    yield from (f"model.{key}={value}" for key, value in model.items())
    for key in ("backend", "device", *Plan.model_fields):
        if key in config and config[key] != usual.get(key):
            yield f"{key}={config[key]}"


def _leaves(tree: Any) -> list[Any]:
    return [leaf for child in tree.values() for leaf in _leaves(child)] if isinstance(tree, dict) else [tree]


def _size(spec: Any) -> int:
    size = 1
    for n in spec.shape:
        size *= n
    return size


def _another(job: Job) -> str:
    """A plan key with a value that may well be faster than the job's; empty: none."""
    can, plan = job.device.capabilities, job.plan
    if plan.launch == "kernels" and "graph" in can.algorithms.get("launch", ()) and plan.parallel == "none":
        return "launch=graph"
    faster = [name for name, p in can.precisions.items() if p.accelerated and name != plan.precision]
    return f"precision={faster[0]}" if faster else ""
