"""What the report says, section by section: sentences, tables, and which figures stand beside them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from hal.contract.text import (
    bytes_text,
    counted,
    estimate_text,
    number,
    plan_changes,
    plan_line,
    ratio_text,
    seconds_text,
)
from hal.page import Code, Kind, Page, Plot, Section, Table
from hal.tuner.report import plots
from hal.tuner.report.headline import headline_of, numbers_of
from hal.tuner.report.values import (
    ENDED,
    NAMES,
    among,
    capital,
    cells_of,
    command_of,
    heading,
    listed,
    median,
    scaled,
    state_of,
    unit_of,
    value_of,
    varied,
)
from hal.tuner.result import Tuning
from hal.tuner.trial_result import OBJECTIVES, Objective, Trial

__all__ = ["page_of"]

_PHASES = {
    "start_s": "starting workers",
    "load_s": "loading data and parameters",
    "reference_s": "reference for the numerics check",
    "guard_s": "numerics check",
    "compile_s": "first call with compilation",
    "warmup_s": "warming up",
    "steady_s": "measuring",
}
_PLAN = "plan (changes from the default)"
_OF_VALUES = ("history", "trade-off", "slices", "parallel", "trials")
"""Sections with the values of trials."""


def page_of(tuning: Tuning, best: str, notes: tuple[str, ...] = ()) -> Page:
    """The report of a tuning.

    Args:
        tuning: what was found.
        best: the text of ``best.yaml``; empty: there is none.
        notes: sentences that belong among the doubts.
    """
    work, device = tuning.workload, tuning.device
    kind: Kind = "measured" if tuning.target is None else "estimated"
    headline, lead = headline_of(tuning)
    made = (
        _finalists(tuning) if tuning.target is None else None,
        _history(tuning),
        _trade_off(tuning),
        _slices(tuning),
        _parallel(tuning),
        _guard(tuning) if tuning.target is None else None,
        _failures(tuning),
        _time(tuning),
        _use(tuning, best),
        _doubts(tuning, notes),
        _environment(tuning),
        _every_trial(tuning),
    )
    return Page(
        title=f"{work.model} on {device.name}: {headline}",
        subject=f"{work.model} · {'training' if work.mode == 'train' else 'inference'} on {work.data} · "
        f"{tuning.target or device} {device.name}",
        headline=headline,
        lead=lead,
        numbers=tuple(numbers_of(tuning)),
        sections=tuple(
            replace(section, kind=kind if section.name in _OF_VALUES else "measured") for section in made if section
        ),
        footer=f"Written by hal {tuning.environment.hal_version} from a tuning that ended {_moment(tuning.ended)}.",
        kind=kind,
    )


def _finalists(tuning: Tuning) -> Section:
    title, name, finals = "The finalists", tuning.objectives[0], tuning.finalists
    if not finals:
        why = "the tuning was interrupted first" if tuning.status == "interrupted" else "none worked, or time ran out"
        return Section("finalists", title, (f"The best plans were not measured again: {why}.",))
    names = {}
    for final in finals:
        words = [f"#{final.trial}", "best" if final.trial == tuning.winner_trial else ""]
        words += ["default" if final.plan == tuning.default else ""]
        words += ["fp32 eager" if final.plan == tuning.baseline != tuning.default else ""]
        names[final.trial] = " · ".join(filter(None, words))
    columns = {
        "trial": list(names.values()),
        _PLAN: [plan_changes(f.plan, tuning.default) for f in finals],
        "samples/s#": [estimate_text(f.throughput, unit=False) or f.message for f in finals],
        "over default#": [ratio_text(f.over_default) for f in finals],
    }
    if tuning.baseline != tuning.default:
        columns["over fp32 eager#"] = [ratio_text(f.over_baseline) for f in finals]
    if name != "throughput":
        columns[heading(name)] = [number(scaled(name, f.values[name])) if name in f.values else "" for f in finals]
    best = next((at for at, f in enumerate(finals) if f.trial == tuning.winner_trial), None)
    table = Table("Finalists, with 95% intervals", tuple(columns), tuple(zip(*columns.values(), strict=True)), best)
    text = (
        "The best plans, the default plan and fp32 eager were measured again, block by block in turn, each in a "
        "fresh process. Dots are medians, and bars are 95% intervals. Each ratio compares blocks of the same round, so "
        "that a temporary slowdown of the machine affects both sides."
    )
    able = [f for f in finals if f.over_default is not None or f.over_baseline is not None]
    said = "; ".join(f"{names[f.trial]} {ratio_text(f.over_default or f.over_baseline)}" for f in able)
    plot = Plot("finalists", plots.finalists(tuning, names), f"Speed-ups: {said}.", 130 + 44 * len(able))
    return Section("finalists", title, (text,), (plot,) if able else (), (table,))


def _history(tuning: Tuning) -> Section:
    shown: list[Objective] = [n for n in tuning.objectives if any(value_of(t, n) is not None for t in tuning.trials)]
    counts = Counter(state_of(trial) for trial in tuning.trials)
    said = ", ".join(f"{count} {state}" for state, count in counts.items())
    alt = f"of each trial in order, with the best so far: {said}."
    height = plots.FIELD_HEIGHT + plots.strip_height(tuning)
    titles = [capital(NAMES[n]) if len(shown) > 1 else "" for n in shown]
    figures = tuple(
        Plot(f"history-{n}", plots.history(tuning, n), f"{NAMES[n]} {alt}", height, title)
        for n, title in zip(shown, titles, strict=True)
    )
    text = f"{counted(len(tuning.trials), 'trial')}: {said}. "
    if tuning.target is None:
        text += "Values are corrected for significant drift of the machine's speed. Bars are 95% intervals."
    return Section("history", "How the search went", (text,), figures)


def _trade_off(tuning: Tuning) -> Section | None:
    several = len(tuning.objectives) > 1
    up: Objective = tuning.objectives[0] if several else "throughput"
    others: tuple[Objective, ...] = tuning.objectives[1:] if several else ("memory",)
    figures = tuple(
        Plot(f"trade-off-{n}", plots.trade_off(tuning, n, up), f"{NAMES[up]} of each plan against its {NAMES[n]}.", 400)
        for n in others
        if sum(value_of(t, n) is not None and value_of(t, up) is not None for t in tuning.trials) > 1
    )
    if not figures:
        return None
    if not several:
        text = (
            "Throughput and peak memory of each plan. Memory was not an objective, so the search did not minimize it."
        )
        return Section("trade-off", "Speed against memory", (text,), figures)
    front = sorted((tuning.trial(n) for n in tuning.pareto), key=lambda t: -(value_of(t, up) or 0.0))
    rows = tuple((f"#{t.number}", plan_changes(t.plan, tuning.default), *cells_of(tuning, t)) for t in front)
    table = Table("The Pareto front", ("trial", _PLAN, *map(heading, tuning.objectives)), rows)
    text = f"No other plan is better than one of these {len(front)} in all of {listed(tuning)}. The choice is yours."
    return Section("trade-off", "The Pareto front", (text,), figures, (table,))


def _slices(tuning: Tuning) -> Section | None:
    name = tuning.objectives[0]
    if sum(value_of(t, name) is not None for t in tuning.trials) < 2 or not varied(tuning):
        return None
    rows, figures = [], []
    for key, values in varied(tuning).items():
        for value in values:
            held = [v for t in tuning.trials if getattr(t.plan, key) == value and (v := value_of(t, name)) is not None]
            best = (max if OBJECTIVES[name][1] == "maximize" else min)(held, default=None)
            cells = ["" if v is None else number(v) for v in (median(held), best)]
            rows.append((key, "auto" if value is None else str(value), str(len(held)), *cells))
        alt = f"{NAMES[name]} by {key}; the table below has the medians."
        figures.append(Plot(f"slice-{key}", plots.slices(tuning, key, name), alt, 260, key))
    columns = ("key", "value", "measured#", f"median, {unit_of(name)}#", f"best, {unit_of(name)}#")
    text = (
        "Each dot is a plan, and each bar is the median of the plans with that value. Other keys vary within a column, "
    )
    text += "and the search samples fast regions more often, so a difference is a hint and not a measured effect."
    table = Table(f"{capital(NAMES[name])} by each key's values", columns, tuple(rows), folded=True)
    return Section("slices", "What each key changes", (text,), tuple(figures), (table,))


def _parallel(tuning: Tuning) -> Section | None:
    name, keys = tuning.objectives[0], varied(tuning)
    count = sum(value_of(t, name) is not None for t in among(tuning))
    if count < 2 or len(keys) < 2:
        return None
    alt = f"A line for each of {count} plans through its values of {', '.join(keys)} to its {NAMES[name]}; "
    text = f"Each line is a plan, read from top to bottom. The strongest lines are the best fifth by {NAMES[name]}. "
    text += "Click a value to show only the plans that have it; click it again to show all."
    figure = plots.parallel(tuning, name)
    plot = Plot("parallel", figure, f"{alt}the table of all trials lists the same values.", 130 + 76 * (len(keys) + 1))
    return Section("parallel", "All keys together", (text,), (plot,))


def _guard(tuning: Tuning) -> Section:
    title, held = "Numerical correctness", [(t.plan.precision, t.guard) for t in tuning.trials if t.guard]
    if not held:
        return Section("guard", title, ("No plan reached the numerics check.",))
    passed = sum(guard.passed for _, guard in held)
    text = "The outputs of each candidate for the best plan are compared with those of fp32 eager on the same batch. "
    if tuning.workload.mode == "train":
        text = (
            "Each candidate for the best plan takes the same few training steps as fp32 eager, from the same "
            "parameters. The largest loss error and the cosine between the first updates must stay within their "
            "tolerances. "
        )
    text += f"{passed} of {counted(len(held), 'plan')} passed."
    text += " The section on failures says what is wrong with the others." if passed < len(held) else ""
    rows = []
    for precision in sorted({precision for precision, _ in held}):
        some = [guard for of, guard in held if of == precision]
        rows.append(
            (
                precision,
                f"{sum(g.passed for g in some)} of {len(some)}",
                _end(max, (g.loss_error for g in some), ".2%"),
                _end(min, (g.loss_tolerance for g in some), ".2%"),
                _end(min, (g.cosine for g in some), ".5f"),
                _end(max, (g.cosine_tolerance for g in some), ".5f"),
            )
        )
    columns = ("precision", "passed#", "largest loss error#", "tolerance#", "smallest cosine#", "required#")
    table = Table("Worst values over the plans of each precision", columns, tuple(rows))
    figure, alt = (
        plots.guard(tuning),
        "Share of the tolerances that each plan used; the table lists the worst values.",
    )
    plot = (Plot("guard", figure, alt, 150 + 50 * len(rows)),) if figure["data"] else ()
    return Section("guard", title, (text,), plot, (table,))


def _failures(tuning: Tuning) -> Section:
    causes: dict[tuple[str, str], list[Trial]] = defaultdict(list)
    for outcome, numbers in tuning.failures.items():
        for trial in map(tuning.trial, numbers):
            causes[outcome.value, trial.message].append(trial)
    if not causes:
        broken = sum(bool(t.violations) for t in tuning.trials)
        said = f" Plans excluded because they break a constraint: {broken}." if broken else ""
        return Section("failures", "Failures", (f"No trial failed.{said}",))
    rows = []
    for (cause, message), trials in causes.items():
        plans = "; ".join(f"#{t.number} {plan_changes(t.plan, tuning.default)}" for t in trials)
        rows.append((cause, str(len(trials)), message, plans))
    said = ", ".join(f"{len(numbers)} {outcome.value}" for outcome, numbers in tuning.failures.items())
    total = sum(len(numbers) for numbers in tuning.failures.values())
    text = f"{total} of {counted(len(tuning.trials), 'trial')} failed: {said}. Plans that fail are excluded."
    table = Table("Failures by cause", ("cause", "trials#", "message", "plans"), tuple(rows))
    return Section("failures", "Failures", (text,), tables=(table,))


def _time(tuning: Tuning) -> Section | None:
    spent = {text: sum(getattr(t.phases, field) or 0.0 for t in tuning.trials) for field, text in _PHASES.items()}
    wall = sum(t.phases.wall_s for t in tuning.trials)
    spent["other work in trials"] = wall - sum(spent.values())
    spent["finalists and search"] = tuning.seconds - wall
    spent = {text: seconds for text, seconds in spent.items() if seconds >= 0.05}
    if not spent:
        return None
    said = ", ".join(f"{text} {seconds:.1f} s" for text, seconds in spent.items())
    text = f"The tuning took {seconds_text(tuning.seconds)}: {ENDED[tuning.status]}."
    plot = Plot("time", plots.time_spent(spent), f"Seconds spent: {said}.", 60 + 34 * len(spent))
    return Section("time", "Where the time went", (text,), (plot,))


def _use(tuning: Tuning, best: str) -> Section | None:
    if tuning.winner is None:
        return None
    codes = [Code("On this machine", f"{tuning.command} plan=tuned")] if tuning.remembered else []
    codes += (
        [Code(f"On any machine: save as best.yaml, then {tuning.program} --config best.yaml", best.rstrip())]
        if best
        else []
    )
    codes += [Code("Without hal", tuning.native_code.rstrip())] if tuning.native_code else []
    return Section("use", "Use the plan", codes=tuple(codes))


def _doubts(tuning: Tuning, notes: tuple[str, ...]) -> Section:
    winner = None if tuning.winner_trial is None else tuning.trial(tuning.winner_trial).measurement
    found = [*notes, *tuning.notes, *tuning.environment.notes()]
    found += [f"the winner's trial: {note}" for note in (winner.notes if winner is not None else ())]
    noisy = sum(bool(t.measurement and t.measurement.notes) for t in tuning.trials)
    found += [f"{noisy} of {counted(len(tuning.trials), 'trial')} have notes about noise"] if noisy else []
    if tuning.target is not None:
        said = f"All values were estimated by {tuning.estimated_by}. They rank plans but do not predict exact speed; "
        said += "measure on the hardware before you decide."
        return Section("doubts", "Limits of these numbers", (said,), notes=tuple(found))
    text = "Intervals are 95% bootstrap intervals of the median over blocks. They cover noise within one measurement, "
    text += "not differences from day to day."
    text += "" if found else " No sign of a disturbed measurement was found."
    rows = tuple(
        (
            f"after #{s.after_trial}",
            seconds_text(s.elapsed_s),
            estimate_text(s.throughput, unit=False),
            f"{s.drift:.2f}×",
        )
        for s in tuning.sentinels
    )
    text += (
        " The default plan was measured repeatedly during the search to detect changes of the machine's speed."
        if rows
        else ""
    )
    table = Table(
        "Repeated measurements of the default plan", ("when", "elapsed#", "samples/s#", "relative to the first#"), rows
    )
    return Section("doubts", "Noise and drift", (text,), tables=(table,) if rows else (), notes=tuple(found))


def _environment(tuning: Tuning) -> Section:
    device, here, held = tuning.device, tuning.environment, tuning.fingerprint
    shape = "×".join(map(str, tuning.workload.input_shape))
    facts = {
        "device": f"{device} {device.name} ({device.arch}), {device.vendor}",
        "device memory": "" if device.memory_bytes is None else bytes_text(device.memory_bytes),
        "compute units": "" if device.compute_units is None else str(device.compute_units),
        **{key.replace("_", " "): value for key, value in {**device.facts, **held.facts}.items()},
        "processor": f"{here.cpu_model}, {here.cpu_threads} usable threads, {bytes_text(here.memory_bytes)}",
        "system": here.operating_system,
        "Python": here.python,
        "hal": here.hal_version,
        **held.versions,
        **here.versions,
        "model": f"{tuning.workload.model}, input {shape}, structure {held.structure}",
        "data": tuning.workload.data,
        "began": _moment(tuning.started),
        "ended": _moment(tuning.ended),
        "constraints": ", ".join(map(_limit, tuning.constraints.items())),
    }
    text = "The speed of a plan depends on all of these."
    text += (
        " hal uses a stored plan only where the device, the software versions and the workload are the same."
        if tuning.target is None
        else ""
    )
    table = Table("Environment", ("fact", "value"), tuple((key, value) for key, value in facts.items() if value))
    codes = (Code("The command", command_of(tuning.config)),)
    title = "Environment" if tuning.target is None else "Target and build environment"
    return Section("environment", title, (text,), tables=(table,), codes=codes)


def _every_trial(tuning: Tuning) -> Section:
    columns = ("trial", _PLAN, "chosen by", "outcome", *map(heading, tuning.objectives))
    columns += () if "memory" in tuning.objectives else (heading("memory"),)
    rows = []
    for trial in sorted(tuning.trials, key=lambda t: t.number):
        ended = f"{trial.outcome.value}: {trial.message}" if trial.message else state_of(trial)
        used = value_of(trial, "memory")
        cells = (f"#{trial.number}", plan_changes(trial.plan, tuning.default), trial.origin, ended)
        more = () if "memory" in tuning.objectives else ("" if used is None else number(used),)
        rows.append((*cells, *cells_of(tuning, trial), *more, f"{trial.phases.wall_s:.1f}"))
    best = next((at for at, row in enumerate(rows) if row[0] == f"#{tuning.winner_trial}"), None)
    table = Table("All trials", (*columns, "wall time, s#"), tuple(rows), best, folded=True)
    return Section("trials", "All trials", (f"The default plan is {plan_line(tuning.default)}.",), tables=(table,))


# Words


def _limit(item: tuple[str, float]) -> str:
    key, value = item
    return f"memory at most {bytes_text(value)}" if key == "memory" else f"a step at most {number(value)} ms"


def _end(pick: Any, values: Iterable[float | None], form: str) -> str:
    known = [value for value in values if value is not None]
    return format(pick(known), form) if known else ""


def _moment(iso: str) -> str:
    return iso[:16].replace("T", " ") + " UTC"
