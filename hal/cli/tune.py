"""What people see of a tuning: live progress, a table of the best plans, and how to use them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from hal.contract.text import bytes_text, number, plan_changes, plan_line
from hal.job.stored_plans import StoredPlan
from hal.measure import Estimate
from hal.tuner.judge import best_of
from hal.tuner.messages import Description
from hal.tuner.observer import Observer
from hal.tuner.observer import Progress as Where
from hal.tuner.report import REPORT
from hal.tuner.result import OBJECTIVES, Finalist, Objective, Outcome, Sentinel, Trial, Tuning
from hal.tuner.space import Space

__all__ = ["TuneLive", "show_plans"]

_TOP = 8


class TuneLive(Observer):
    """Watches a tuning on the terminal.

    Args:
        to_stderr: leave stdout to the JSON.
    """

    def __init__(self, to_stderr: bool = False) -> None:
        self.console = Console(stderr=to_stderr, highlight=False)
        self._live: Live | None = None
        self._space: Space | None = None
        self._best: int | None = None

    def started(self, described: Description, space: Space, folder: Path, resumed: int) -> None:
        """Say what is tuned where."""
        self._space = space
        device = described.device
        work = described.workload
        where = f"on [bold]{device}[/] {escape(device.name)} ({escape(device.arch)})"
        if described.target is not None:
            many = f"{described.devices} devices" if described.devices > 1 else "1 device"
            where = (
                f"for [bold]{escape(described.target)}[/]: {escape(device.name)}, {many}, not here: "
                "plans are built, and their numbers are estimates"
            )
        self.console.print(f"[bold]{escape(work.model)}[/] ({work.mode}) {where}", soft_wrap=True)
        varied = [f"{name} {len(values)}" for name, values in space.dimensions.items() if len(values) > 1]
        self.console.print(
            f"[dim]{len(space)} plans: {escape(' × '.join(varied))} · data {escape(work.data)} · "
            f"writing to {escape(str(folder))}[/]"
        )
        if resumed:
            self.console.print(f"[dim]going on after {resumed} trial{'s' * (resumed != 1)}[/]")
        if self.console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                TextColumn("{task.fields[numbers]}"),
                console=self.console,
            )
            self._task = self._bar.add_task("starting", total=None, numbers="")
            self._live = Live(self._bar, console=self.console, refresh_per_second=4, transient=True)
            self._live.start()

    def note(self, text: str) -> None:
        """One dim line."""
        self.console.print(f"[dim]{escape(text)}[/]")

    def trying(self, trial: str, progress: Where) -> None:
        """Name the plan beside the bar."""
        self._move(f"trying {trial}", progress)

    def trial(self, trial: Trial, progress: Where) -> None:
        """One line; a new best in green."""
        new = progress.best is not None and progress.best.number == trial.number and self._best != trial.number
        if new:
            self._best = trial.number
        colour = "green" if new else "default" if trial.outcome is Outcome.OK else "yellow"
        result = _result(trial)
        if self._space is not None:
            said = " ".join(f"{k}={v}" for k, v in trial.plan.changes(self._space.default).items())
            self.console.print(
                f"{progress.done:>3}  [{colour}]{escape(result)}[/]  {escape(said or 'the default plan')}",
                soft_wrap=True,
            )
        self._move("", progress)

    def sentinel(self, sentinel: Sentinel) -> None:
        """Say so if the machine has changed."""
        if abs(sentinel.drift - 1) > 0.1:
            self.note(f"the default plan runs at {sentinel.drift:.2f} times its first speed now")

    def finals(self, trials: Sequence[Trial]) -> None:
        """Say what is measured again."""
        numbers = f"the best {len(trials)} plans" if len(trials) > 1 else "the best plan"
        self.note(f"measuring {numbers} again, in turn, each in a fresh process")

    def ended(self, tuning: Tuning, folder: Path) -> None:
        """The table, and what to do next."""
        self.close()
        for line in _closing(tuning):
            self.console.print(line, soft_wrap=True)
        table = _table(tuning)
        if table.row_count:
            self.console.print(table)
        for line in _after(tuning, folder):
            self.console.print(line, soft_wrap=True)
        self.console.print(f"report:  [bold]{escape(str(folder / REPORT))}[/]", soft_wrap=True)

    def close(self) -> None:
        """Take the bar away."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _move(self, doing: str, progress: Where) -> None:
        if self._live is None:
            return
        spent = progress.elapsed_s / max(progress.elapsed_s + progress.left_s, 1e-9)
        best = "" if progress.best is None else f"best {_result(progress.best)}  "
        count = f"{progress.done}/{progress.expected}" if progress.expected else str(progress.done)
        self._bar.update(
            self._task,
            description=f"{count} trials",
            total=1.0,
            completed=min(1.0, spent),
            numbers=f"{best}[dim]{progress.left_s:.0f} s left  {escape(doing)}[/]",
        )


def _result(trial: Trial) -> str:
    if trial.outcome is not Outcome.OK:
        return f"{trial.outcome.value}: {trial.message}"
    about = "cut short at about " if trial.cut_short else "about " if trial.estimate is not None else ""
    parts = [f"{about}{', '.join(_value(value, name) for name, value in trial.values.items())}"]
    parts += ["estimated, not measured"] if trial.estimate is not None else []
    parts += ["surely not the best"] if trial.cut_short else []
    parts += [f"breaks {name} by {ratio:.2f}x" for name, ratio in trial.violations.items()]
    return ", ".join(parts)


def _value(value: float, name: Objective) -> str:
    return bytes_text(int(value)) if name == "memory" else f"{number(value)} {OBJECTIVES[name][0]}"


def _closing(tuning: Tuning) -> Iterable[str]:
    why = {
        "done": "all plans were tried",
        "settled": "the plans that were not tried promise nothing more",
        "budget": "the time is up",
        "trials": "that was the number of trials",
        "interrupted": "stopped",
    }[tuning.status]
    count = len(tuning.trials)
    yield f"[dim]{count} trial{'s' * (count != 1)} in {tuning.seconds:.0f} s: {why}[/]"


def _table(tuning: Tuning) -> Table:
    """The best plans: finalists as they were measured last, then the others."""
    finals = {f.trial: f for f in tuning.finalists if not f.message}
    numbers = [f.trial for f in tuning.finalists if not f.message]
    numbers += [t.number for t in best_of(tuning.trials, tuning.objectives[0]) if t.number not in finals]
    shown = [tuning.trial(number) for number in numbers[: max(_TOP, len(finals))]]
    rows = [
        {
            "": "[green]best[/]" if trial.number == tuning.winner_trial else "again" if trial.number in finals else "",
            **(_estimated(tuning, trial) if tuning.target else _measured(tuning, trial, finals.get(trial.number))),
            "plan": escape(plan_changes(trial.plan, tuning.default)),
        }
        for trial in shown
    ]
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    names = [name for name in (rows[0] if rows else {}) if name == "" or any(row[name] for row in rows)]
    for name in names:
        table.add_column(name, overflow="fold", no_wrap=name != "plan")
    for row in rows:
        table.add_row(*(row[name] for name in names))
    return table


def _were(count: int) -> str:
    return "was" if count == 1 else "were"


def _measured(tuning: Tuning, trial: Trial, final: Finalist | None) -> dict[str, str]:
    found = trial.measurement
    assert found is not None, "what may win was measured"
    return {
        "samples/s": _number((final.throughput if final is not None else None) or found.throughput),
        "over default": _ratio(final.over_default if final else None),
        "over fp32 eager": _ratio(final.over_baseline if final and tuning.baseline != tuning.default else None),
        "memory": "" if found.peak_memory_bytes is None else bytes_text(found.peak_memory_bytes),
        "J/sample": "" if found.energy_j_per_sample is None else f"{found.energy_j_per_sample:.3g}",
        "compile": "" if trial.phases.compile_s is None else f"{trial.phases.compile_s:.1f} s",
    }


def _estimated(tuning: Tuning, trial: Trial) -> dict[str, str]:
    found = trial.estimate
    assert found is not None, "what may win was built"
    first = next((t.estimate for t in tuning.trials if t.plan == tuning.default), None)
    base = None if first is None else first.throughput
    return {
        "est. samples/s": "" if found.throughput is None else f"about {found.throughput:,.3g}",
        "est. step": "" if found.step_ms is None else f"{found.step_ms:.3g} ms",
        "over default": f"{found.throughput / base:.2f}x" if found.throughput and base else "",
        "memory": "" if found.memory_bytes is None else bytes_text(found.memory_bytes),
        "build": "" if trial.phases.compile_s is None else f"{trial.phases.compile_s:.1f} s",
    }


def _after(tuning: Tuning, folder: Path) -> Iterable[str]:
    if tuning.pareto:
        yield f"[dim]Pareto front of {', '.join(tuning.objectives)}: trials {', '.join(map(str, tuning.pareto))}[/]"
    cut = sum(t.cut_short for t in tuning.trials)
    if cut:
        yield f"[dim]cut short: {cut} trial{'s' * (cut > 1)}, surely not the best[/]"
    for outcome, numbers in tuning.failures.items():
        yield f"[yellow]{outcome.value}[/]: {len(numbers)} trial{'s' * (len(numbers) > 1)}"
    for note in tuning.notes:
        yield f"[yellow]note:[/] {escape(note)}"
    if tuning.winner is None:
        yield from _without_winner(tuning, folder)
        return
    searched = tuning.searched
    if searched.remaining and searched.likely_gain is not None and searched.remaining_s is not None:
        high = max(searched.likely_gain, searched.likely_gain_high or 0.0)
        yield (
            f"more time: {searched.remaining} of {searched.plans} plans were not tried (about "
            f"{searched.remaining_s / 60:.0f} min); they are expected to bring {searched.likely_gain:.1%} more, hardly "
            f"over {high:.1%}.  Go on with: [bold]hal tune resume={escape(str(folder))} budget=...[/]"
        )
    best = escape(str(folder / "best.yaml"))
    if tuning.target is not None:
        yield f"to try it on the device itself:  [bold]hal bench --config {best}[/]"
        yield from _native_code(tuning)
        return
    if tuning.remembered:
        yield f"to use it:  [bold]{escape(f'{tuning.command} plan=tuned')}[/]"
        yield f"  or on another machine:  [bold]{tuning.program} --config {best}[/]"
    elif len(tuning.objectives) == 1:
        yield f"to use it:  [bold]{tuning.program} --config {best}[/]"
    yield from _native_code(tuning)


def _without_winner(tuning: Tuning, folder: Path) -> Iterable[str]:
    if tuning.nearest_miss is not None:
        key, ratio = tuning.nearest_miss
        yield f"[bold red]no plan keeps constraint.{key}[/]: the closest has {ratio:.3g} times as much"
        yield "[green]→[/] allow more, or try more plans: budget=, space.batch=[...]"
    elif not tuning.searched.tried:
        yield "[bold red]no plan of the space was tried[/]: there was time for those to compare with alone"
        yield f"[green]→[/] go on with more: [bold]hal tune resume={escape(str(folder))} budget=...[/]"
    else:
        yield f"[bold red]no plan worked[/] of the {len(tuning.trials)} that {_were(len(tuning.trials))} tried"
        if Outcome.TIMEOUT in tuning.failures:
            yield "[green]→[/] give each more time, limit=5m budget=30m, or fewer to choose from: space.batch=[64]"
        else:
            yield f"[green]→[/] what workers said is in {escape(str(folder / 'workers.log'))}"


def _native_code(tuning: Tuning) -> Iterable[str]:
    if tuning.native_code:
        yield "[dim]outside hal:[/]"
        yield from (f"[dim]    {escape(line)}[/]" for line in tuning.native_code.rstrip().splitlines())


def show_plans(plans: Sequence[StoredPlan]) -> None:
    """The plans that are remembered, three lines each."""
    console = Console(highlight=False)
    if not plans:
        console.print("no plan is stored yet; find one with: [bold]hal tune model=cnn[/]")
        return
    for each in plans:
        at = each.fingerprint
        device = f"{escape(at.backend)} {escape(at.name)} ({escape(at.arch)})"
        console.print(f"[bold]{escape(at.model)}[/] ({at.mode}) for {each.objective} on {device}, {each.when[:10]}")
        console.print(f"  [green]{escape(plan_line(each.plan))}[/]")
        over = f", {_ratio(each.over_default)} of the default" if each.over_default else ""
        console.print(f"  {_short(each.throughput)}{over}")
    console.print("\nused by: [bold]hal run ... plan=tuned[/]; to share: [bold]hal plans --export FILE[/]")


def _ratio(found: Estimate | None) -> str:
    return "" if found is None else f"{found.median:.2f}x [{found.low:.2f}, {found.high:.2f}]".replace("[", "\\[")


def _number(found: Estimate) -> str:
    return f"{found.median:,.0f} \\[{found.low:,.0f}, {found.high:,.0f}]"


def _short(estimate: Estimate) -> str:
    return str(estimate).rpartition(" (n=")[0].replace("[", "\\[")
