"""What ``hal tune`` prints: live progress, a table of the best plans, and how to use them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.live import Live
from rich.progress import BarColumn, Progress
from rich.table import Table

from hal.cli.styled import PlainColumn, console, escaped
from hal.contract.text import bytes_text, counted, estimate_text, number, plan_changes, ratio_text, seconds_text
from hal.tuner.messages import Description
from hal.tuner.observer import TuneObserver, TuningProgress
from hal.tuner.ranking import best_of
from hal.tuner.report import REPORT
from hal.tuner.result import ControlMeasurement, Finalist, Tuning
from hal.tuner.space import Space
from hal.tuner.trial_result import OBJECTIVES, Objective, Outcome, Trial

__all__ = ["TuneView"]

_TOP = 8


class TuneView(TuneObserver):
    """Watches a tuning on the terminal.

    Args:
        to_stderr: leave stdout to the JSON.
    """

    def __init__(self, to_stderr: bool = False) -> None:
        self.console = console(to_stderr)
        self._live: Live | None = None
        self._space: Space | None = None
        self._best: int | None = None

    def started(self, described: Description, space: Space, folder: Path, resumed: int) -> None:
        """Say what is tuned where."""
        self._space = space
        device = described.device
        work = described.workload
        where = f"on [bold]{escaped(device)}[/] {escaped(device.name)} ({escaped(device.arch)})"
        if described.target is not None:
            many = counted(described.devices, "device")
            where = (
                f"for [bold]{escaped(described.target)}[/]: {escaped(device.name)}, {many}. "
                "This hardware is not in this machine, so plans are only compiled, and all numbers are estimates."
            )
        self.console.print(f"[bold]{escaped(work.model)}[/] ({work.mode}) {where}", soft_wrap=True)
        varied = [f"{name} {len(values)}" for name, values in space.dimensions.items() if len(values) > 1]
        self.console.print(
            f"[dim]{counted(len(space), 'plan')}: {escaped(' × '.join(varied))} · data {escaped(work.data)}[/]"
        )
        self.console.print(f"[dim]Writing to {escaped(str(folder))}[/]")
        if resumed:
            self.console.print(f"[dim]Continuing after {counted(resumed, 'trial')} of an earlier session[/]")
        if self.console.is_terminal:
            self._bar = Progress(
                PlainColumn("{task.description}"),
                BarColumn(bar_width=24),
                PlainColumn("{task.fields[numbers]}"),
                console=self.console,
            )
            self._task = self._bar.add_task("starting", total=None, numbers="")
            self._live = Live(self._bar, console=self.console, refresh_per_second=4, transient=True)
            self._live.start()

    def note(self, text: str) -> None:
        """One dim line."""
        self.console.print(f"[dim]{escaped(text, lines=True)}[/]")

    def trying(self, trial: str, progress: TuningProgress) -> None:
        """Name the plan beside the bar."""
        self._move(f"trying {trial}", progress)

    def trial(self, trial: Trial, progress: TuningProgress) -> None:
        """One line; a new best in green."""
        new = progress.best is not None and progress.best.number == trial.number and self._best != trial.number
        if new:
            self._best = trial.number
        color = "green" if new else "default" if trial.outcome is Outcome.OK else "yellow"
        result = _result(trial)
        if self._space is not None:
            said = " ".join(f"{k}={v}" for k, v in trial.plan.changes(self._space.default).items())
            self.console.print(
                f"{trial.number:>3}  [{color}]{escaped(result)}[/]  {escaped(said or 'the default plan')}",
                soft_wrap=True,
            )
        self._move("", progress)

    def control(self, control: ControlMeasurement) -> None:
        """Say so if the machine has changed."""
        if abs(control.drift - 1) > 0.1:
            self.note(f"The default plan now runs at {control.drift:.2f} times its initial speed.")

    def finals(self, trials: Sequence[Trial]) -> None:
        """Say what is measured again."""
        plans = f"the best {len(trials)} plans" if len(trials) > 1 else "the best plan"
        self.note(f"Measuring {plans} again, in turn, each in a fresh process.")

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
        if (folder / REPORT).is_file():  # a note has said why it is not
            self.console.print(f"Report:  [bold]{escaped(str(folder / REPORT))}[/]", soft_wrap=True)

    def close(self) -> None:
        """Take the bar away."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _move(self, doing: str, progress: TuningProgress) -> None:
        if self._live is None:
            return
        spent = progress.elapsed_s / max(progress.elapsed_s + progress.left_s, 1e-9)
        best = "" if progress.best is None else f"best {escaped(_result(progress.best))}  "
        count = f"{progress.done}/{progress.expected}" if progress.expected else str(progress.done)
        self._bar.update(
            self._task,
            description=f"{count} trials",
            total=1.0,
            completed=min(1.0, spent),
            numbers=f"{best}[dim]{seconds_text(progress.left_s)} left  {escaped(doing)}[/]",
        )


def _result(trial: Trial) -> str:
    if trial.outcome is not Outcome.OK:
        return f"{trial.outcome.value}: {trial.message}"
    about = "cut short at about " if trial.cut_short else "about " if trial.estimate is not None else ""
    parts = [f"{about}{', '.join(_value(value, name) for name, value in trial.values.items())}"]
    parts += ["estimated, not measured"] if trial.estimate is not None else []
    parts += ["certainly not the best"] if trial.cut_short else []
    parts += [f"exceeds constraint.{name} by a factor of {ratio:.2f}" for name, ratio in trial.violations.items()]
    return ", ".join(parts)


def _value(value: float, name: Objective) -> str:
    return bytes_text(int(value)) if name == "memory" else f"{number(value)} {OBJECTIVES[name][0]}"


def _closing(tuning: Tuning) -> Iterable[str]:
    why = {
        "done": "all plans were tried",
        "settled": "none of the remaining plans is expected to be better",
        "budget": "the time budget was used up",
        "trials": "the requested number of trials was reached",
        "interrupted": "it was interrupted",
    }[tuning.status]
    spent = f"{counted(len(tuning.trials), 'trial')} in {seconds_text(tuning.seconds)}"
    yield f"[dim]The search ended after {spent}: {why}.[/]"


def _table(tuning: Tuning) -> Table:
    """The best plans: finalists as they were measured last, then the others."""
    finals = {f.trial: f for f in tuning.finalists if not f.message}
    numbers = [f.trial for f in tuning.finalists if not f.message]
    numbers += [t.number for t in best_of(tuning.trials, tuning.objectives[0]) if t.number not in finals]
    shown = [tuning.trial(number) for number in numbers[: max(_TOP, len(finals))]]
    rows = [
        {
            "": "[green]best[/]"
            if trial.number == tuning.winner_trial
            else "finalist"
            if trial.number in finals
            else "",
            **(_estimated(tuning, trial) if tuning.target else _measured(tuning, trial, finals.get(trial.number))),
            "plan": escaped(plan_changes(trial.plan, tuning.default)),
        }
        for trial in shown
    ]
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    names = [name for name in (rows[0] if rows else {}) if name == "" or any(row[name] for row in rows)]
    for name in names:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(row[name] for name in names))
    return table


def _measured(tuning: Tuning, trial: Trial, final: Finalist | None) -> dict[str, str]:
    found = trial.measurement
    assert found is not None, "what may win was measured"
    return {
        "samples/s": escaped(estimate_text((final and final.throughput) or found.throughput, unit=False)),
        "over default": escaped(ratio_text(final.over_default if final else None)),
        "over fp32 eager": escaped(
            ratio_text(final.over_baseline if final and tuning.baseline != tuning.default else None)
        ),
        "memory": "" if found.peak_memory_bytes is None else bytes_text(found.peak_memory_bytes),
        "J/sample": "" if found.energy_j_per_sample is None else number(found.energy_j_per_sample),
        "compile time": "" if trial.phases.compile_s is None else seconds_text(trial.phases.compile_s),
    }


def _estimated(tuning: Tuning, trial: Trial) -> dict[str, str]:
    found = trial.estimate
    assert found is not None, "what may win was built"
    first = next((t.estimate for t in tuning.trials if t.plan == tuning.default), None)
    base = None if first is None else first.throughput
    return {
        "est. samples/s": "" if found.throughput is None else f"about {number(found.throughput)}",
        "est. step time": "" if found.step_ms is None else f"{number(found.step_ms)} ms",
        "over default": f"{found.throughput / base:.2f}×" if found.throughput and base else "",
        "memory": "" if found.memory_bytes is None else bytes_text(found.memory_bytes),
        "compile time": "" if trial.phases.compile_s is None else seconds_text(trial.phases.compile_s),
    }


def _after(tuning: Tuning, folder: Path) -> Iterable[str]:
    if tuning.pareto:
        yield f"[dim]Pareto front of {', '.join(tuning.objectives)}: trials {', '.join(map(str, tuning.pareto))}[/]"
    cut = sum(t.cut_short for t in tuning.trials)
    if cut:
        yield f"[dim]Cut short because they are certainly not the best: {counted(cut, 'trial')}[/]"
    for outcome, numbers in tuning.failures.items():
        yield f"[yellow]Failed ({outcome.value})[/]: {counted(len(numbers), 'trial')}"
    for note in tuning.notes:
        yield f"[yellow]Note:[/] {escaped(note)}"
    if tuning.winner is None:
        yield from _without_winner(tuning, folder)
        return
    searched = tuning.searched
    if searched.remaining and searched.likely_gain is not None and searched.remaining_s is not None:
        high = max(searched.likely_gain, searched.likely_gain_high or 0.0)
        yield (
            f"{searched.remaining} of {searched.plans} plans were not tried. Trying them would take about "
            f"{seconds_text(searched.remaining_s)} and is expected to gain {searched.likely_gain:.1%}, at most about "
            f"{high:.1%}. Continue with: [bold]hal tune resume={escaped(str(folder))} budget=...[/]"
        )
    best = escaped(str(folder / "best.yaml"))
    if tuning.target is not None:
        yield f"To measure it on the device itself:  [bold]hal bench --config {best}[/]"
        yield from _native_code(tuning)
        return
    if tuning.remembered:
        yield f"To use it:  [bold]{escaped(f'{tuning.command} plan=tuned')}[/]"
        yield f"To use it on another machine:  [bold]{escaped(tuning.program)} --config {best}[/]"
    elif len(tuning.objectives) == 1:
        yield f"To use it:  [bold]{escaped(tuning.program)} --config {best}[/]"
    yield from _native_code(tuning)


def _without_winner(tuning: Tuning, folder: Path) -> Iterable[str]:
    if tuning.nearest_miss is not None:
        key, ratio = tuning.nearest_miss
        yield f"[bold red]No plan meets constraint.{key}.[/] The closest one needs {number(ratio)} times the limit."
        yield "[green]→[/] Raise the limit, or try more plans with budget= or space.batch=[...]."
    elif not tuning.searched.tried:
        yield (
            "[bold red]No plan of the search space was tried.[/] There was only time for the plans that it is "
            "compared with."
        )
        yield f"[green]→[/] Continue with a larger budget: [bold]hal tune resume={escaped(str(folder))} budget=...[/]"
    else:
        yield f"[bold red]No plan worked[/] in {counted(len(tuning.trials), 'trial')}."
        if Outcome.TIMEOUT in tuning.failures:
            yield "[green]→[/] Give each trial more time (limit=5m budget=30m), or try fewer plans (space.batch=[64])."
        else:
            yield f"[green]→[/] The output of the trials is in {escaped(str(folder / 'workers.log'))}"


def _native_code(tuning: Tuning) -> Iterable[str]:
    if tuning.native_code:
        yield "[dim]The same settings without hal:[/]"
        yield from (f"[dim]{escaped(line)}[/]" for line in tuning.native_code.rstrip().splitlines())
