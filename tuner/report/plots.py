"""The figures, as Plotly reads them. Colors are names that the page looks up in its style sheet: ``@accent``."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from hal.contract.text import interval_text, number, plan_changes, plan_line, ratio_text
from hal.page.figures import Figure, axis, error_bars, figure, row_axis, scatter, text_lines
from hal.tuner.report.values import (
    NAMES,
    among,
    interval_of,
    median,
    state_of,
    unit_of,
    value_of,
    varied,
)
from hal.tuner.result import Tuning
from hal.tuner.trial_result import OBJECTIVES, Objective, Trial

__all__ = [
    "FIELD_HEIGHT",
    "Figure",
    "finalists",
    "guard",
    "history",
    "parallel",
    "slices",
    "strip_height",
    "time_spent",
    "trade_off",
]

_STATES: dict[str, dict[str, Any]] = {
    "measured": {"symbol": "circle", "color": "@dot", "size": 8},
    "estimated": {"symbol": "circle", "color": "@dot", "size": 8},
    "cut short": {"symbol": "circle-open", "color": "@dot", "size": 7},
    "over a limit": {"symbol": "triangle-up-open", "color": "@bad", "size": 9},
}
_FAILED = {"symbol": "x-thin", "size": 8, "color": "@bad", "line": {"width": 2, "color": "@bad"}}
_WINNER = {"symbol": "diamond", "color": "@accent", "size": 13, "line": {"color": "@surface", "width": 2}}
_DEFAULT = {"symbol": "square-open", "color": "@ink", "size": 12, "line": {"width": 2}}
_RAMP = ("worst fifth", "", "", "", "best fifth")
_LEAST_SHARE = 1e-3
FIELD_HEIGHT = 360
"""Pixels for the values of all trials in the history."""


def finalists(tuning: Tuning, names: Mapping[int, str]) -> Figure:
    """Speed-ups with their intervals, a row a finalist; ``names`` are those of the rows by the trial's number."""
    filled = {"symbol": "circle", "size": 11, "color": "@accent"}
    hollow = {"symbol": "circle-open", "size": 10, "color": "@muted", "line": {"width": 2}}
    ratios = [("over the default plan", filled, {f.trial: f.over_default for f in tuning.finalists})]
    if tuning.baseline != tuning.default:
        ratios.append(("over fp32 eager", hollow, {f.trial: f.over_baseline for f in tuning.finalists}))
    data = []
    for name, marker, of in ratios:
        held = [(f, r) for f in tuning.finalists if (r := of[f.trial]) is not None]
        texts = [text_lines(names[f.trial], plan_line(f.plan), f"{ratio_text(r)} {name}") for f, r in held]
        bars = error_bars([(r.median, (r.low, r.high)) for _, r in held], marker, 2)
        x, y = [r.median for _, r in held], [names[f.trial] for f, _ in held]
        data.append(scatter(name, x, y, texts, marker=marker, error_x=bars))
    rows = [names[f.trial] for f in tuning.finalists if f.over_default is not None or f.over_baseline is not None]
    one = {"type": "line", "x0": 1, "x1": 1, "y0": 0, "y1": 1, "yref": "paper", "layer": "below"}
    shapes = [{**one, "line": {"color": "@muted", "width": 1.5, "dash": "dot"}}]
    return figure(
        data,
        shapes=shapes,
        xaxis=axis("throughput ratio", ticksuffix="×"),
        yaxis=row_axis(rows),
        showlegend=len(data) > 1,
    )


def history(tuning: Tuning, name: Objective) -> Figure:
    """The value of each trial in the order of their numbers, with the best so far; failures in a strip below."""
    trials = sorted(tuning.trials, key=lambda t: t.number)
    data = _by_state(tuning, name, trials, [t.number for t in trials], intervals=True)
    better = max if OBJECTIVES[name][1] == "maximize" else min
    best: list[tuple[int, float]] = []
    for trial in trials:
        value = value_of(trial, name) if state_of(trial) in ("measured", "estimated") else None
        if value is not None:
            best.append((trial.number, better(value, best[-1][1]) if best else value))
    last = trials[-1].number
    best += [(last, best[-1][1])] if best else []
    line = {"shape": "hv", "color": "@accent", "width": 2}
    data.append(scatter("best so far", [at for at, _ in best], [value for _, value in best], mode="lines", line=line))
    winner = [t for t in trials if t.number == tuning.winner_trial]
    data.append(_points(tuning, name, winner, [t.number for t in winner], "winner", _WINNER))
    failed = [t for t in trials if state_of(t) == "failed"]
    texts = [_hover(tuning, t, name) for t in failed]
    kinds = [t.outcome.value for t in failed]
    data.append(scatter("failed", [t.number for t in failed], kinds, texts, marker=_FAILED, yaxis="y2"))
    share = strip_height(tuning) / (FIELD_HEIGHT + strip_height(tuning))
    strip = {"yaxis2": {**row_axis(sorted(set(kinds))), "domain": [0, share]}} if failed else {}
    x = axis("trial", anchor="y2" if failed else "y", tickformat="d", range=[-0.04 * (last + 1), 1.04 * last + 1])
    y = axis(_titled(name), rangemode=_from(name), domain=[share + 0.08 if failed else 0, 1])
    return figure(data, xaxis=x, yaxis=y, showlegend=True, **strip)


def strip_height(tuning: Tuning) -> int:
    """Pixels for the failures in the history: a row for each cause."""
    return 26 * len({t.outcome for t in tuning.trials if state_of(t) == "failed"})


def slices(tuning: Tuning, key: str, name: Objective) -> Figure:
    """The value of each trial over one key, with the median of each of the key's values."""
    values = varied(tuning)[key]
    held = [t for t in tuning.trials if getattr(t.plan, key) in values]
    data = _by_state(tuning, name, held, [values.index(getattr(t.plan, key)) + _jitter(t) for t in held])
    middles = [median(value_of(t, name) for t in held if getattr(t.plan, key) == value) for value in values]
    known = [(at, middle) for at, middle in enumerate(middles) if middle is not None]
    texts = [f"median {number(middle)} {unit_of(name)}" for _, middle in known]
    dash = {
        "symbol": "line-ew",
        "size": min(30, 130 / len(values)),
        "line": {"color": "@accent", "width": 3},
        "color": "@accent",
    }
    data.append(scatter("median", [at for at, _ in known], [middle for _, middle in known], texts, marker=dash))
    ticks: Figure = {"tickvals": list(range(len(values))), "ticktext": [_value(value) for value in values]}
    x = axis(range=[-0.5, len(values) - 0.5], showgrid=False, fixedrange=True, **ticks)
    return figure(data, xaxis=x, yaxis=axis(unit_of(name), rangemode=_from(name), nticks=5))


def parallel(tuning: Tuning, name: Objective) -> Figure:
    """One line a plan, through its value of each key from the top down to the objective; stronger lines are better."""
    keys = varied(tuning)
    found = {t.number: v for t in among(tuning) if (v := value_of(t, name)) is not None}
    low, high = min(found.values()), max(found.values())
    sign = 1 if OBJECTIVES[name][1] == "maximize" else -1
    ranked = sorted((t for t in tuning.trials if t.number in found), key=lambda t: sign * found[t.number])
    count = len(keys) + 1
    data = []
    for level, said in enumerate(_RAMP):
        x: list[float | None] = []
        some = ranked[len(ranked) * level // len(_RAMP) : len(ranked) * (level + 1) // len(_RAMP)]
        for trial in some:
            shift = 0.03 * _jitter(trial)
            x += [values.index(getattr(trial.plan, k)) / (len(values) - 1) + shift for k, values in keys.items()]
            x += [(found[trial.number] - low) / (high - low) if high > low else 0.5, None]
        texts = [_hover(tuning, t, name) for t in some for _ in range(count + 1)]
        looks: Figure = {
            "line": {"color": f"@ramp{level}", "width": 2.5 if said == "best fifth" else 1.2},
            "marker": {"size": 4, "color": f"@ramp{level}"},
        }
        y = [*range(count), None] * len(some)
        data.append(scatter(said, x, y, texts, mode="lines+markers", showlegend=said != "", **looks))
    marks = [(at / (len(v) - 1), row, _value(v[at])) for row, v in enumerate(keys.values()) for at in range(len(v))]
    marks += [(at, count - 1, number(end)) for at, end in (((0, low), (1, high)) if high > low else ((0.5, low),))]
    tag: Figure = {"showarrow": False, "yshift": 14, "font": {"size": 12, "color": "@ink"}, "bgcolor": "@surface"}
    labels = [{"x": x, "y": y, "text": text, "captureevents": True, "borderpad": 1, **tag} for x, y, text in marks]
    ticks: Figure = {"tickvals": list(range(count)), "ticktext": [*keys, f"{NAMES[name]},<br>{unit_of(name)}"]}
    return figure(
        data,
        xaxis=axis(visible=False, range=[-0.08, 1.08], fixedrange=True),
        yaxis=axis(range=[count - 0.6, -0.45], fixedrange=True, **ticks),
        annotations=labels,
        showlegend=True,
    )


def trade_off(tuning: Tuning, across: Objective, up: Objective) -> Figure:
    """Two quantities of each trial against each other; of two objectives, the front is joined by a line."""
    held = [t for t in tuning.trials if value_of(t, across) is not None]
    front = sorted((t for t in held if t.number in tuning.pareto), key=lambda t: value_of(t, across) or 0.0)
    data = []
    if set(tuning.objectives) == {across, up}:
        # Between two plans of the front, what is surely reached is the one that needs less.
        line = {"color": "@accent", "width": 2, "shape": "hv" if OBJECTIVES[across][1] == "minimize" else "vh"}
        x, y = [value_of(t, across) for t in front], [value_of(t, up) for t in front]
        data.append(scatter("Pareto front", x, y, mode="lines", line=line))
    rest = [t for t in held if t not in front]
    data += _by_state(tuning, up, rest, [value_of(t, across) or 0.0 for t in rest])
    for said, some, marker in (
        ("on the front", front, {"symbol": "circle", "color": "@accent", "size": 9}),
        ("default plan", [t for t in held if t.plan == tuning.default], _DEFAULT),
        ("winner", [t for t in held if t.number == tuning.winner_trial], _WINNER),
    ):
        data.append(_points(tuning, up, some, [value_of(t, across) or 0.0 for t in some], said, marker))
    y_axis = axis(_titled(up), rangemode=_from(up))
    return figure(data, xaxis=axis(_titled(across)), yaxis=y_axis, showlegend=True)


def guard(tuning: Tuning) -> Figure:
    """How much of the guard's tolerances each plan used, by precision."""
    shares: dict[str, list[tuple[Trial, float]]] = {"loss error": [], "1 − cosine": []}
    for trial in tuning.trials:
        found = trial.guard
        if found is not None and found.loss_error is not None and found.loss_tolerance:
            shares["loss error"].append((trial, found.loss_error / found.loss_tolerance))
        if found is not None and found.cosine is not None and (found.cosine_tolerance or 1) < 1:
            shares["1 − cosine"].append((trial, max(0, 1 - found.cosine) / (1 - (found.cosine_tolerance or 0))))
    data = []
    for (name, held), symbol, good in zip(shares.items(), ("circle", "diamond-open"), ("@accent", "@dot"), strict=True):
        marker = {"symbol": symbol, "size": 9, "color": ["@bad" if share > 1 else good for _, share in held]}
        texts = [
            text_lines(f"trial {t.number}: {plan_line(t.plan)}", f"{name}: {share:.2%} of the tolerance")
            for t, share in held
        ]
        x, y = [max(share, _LEAST_SHARE) for _, share in held], [t.plan.precision for t, _ in held]
        data.append(scatter(name, x, y, texts, marker=marker))
    known = {t.plan.precision for held in shares.values() for t, _ in held}
    most = max((share for held in shares.values() for _, share in held), default=0)
    ticks: Figure = {
        "tickvals": [1e-3, 1e-2, 0.1, 1, 10, 100],
        "ticktext": ["≤0.1%", "1%", "10%", "100%", "10×", "100×"],
    }
    x_axis = axis("share of the tolerance used", type="log", **ticks)
    x_axis["range"] = [-3.15, 0.25 if most <= 1 else 0.25 + len(f"{most:.0f}")]
    limit = {
        "type": "line",
        "x0": 1,
        "x1": 1,
        "y0": 0,
        "y1": 1,
        "yref": "paper",
        "line": {"color": "@bad", "width": 1.5},
    }
    rows = row_axis([p for p in ("fp32", "tf32", "bf16", "fp16") if p in known])
    return figure(data, xaxis=x_axis, yaxis=rows, shapes=[{**limit, "layer": "below"}], showlegend=True)


def time_spent(spent: Mapping[str, float]) -> Figure:
    """Seconds by what they were spent on."""
    texts = [f"{seconds:.1f} s" for seconds in spent.values()]
    bar = {"type": "bar", "orientation": "h", "x": list(spent.values()), "y": list(spent), "text": texts}
    looks = {"textposition": "outside", "textfont": {"color": "@ink"}, "cliponaxis": False, "hoverinfo": "skip"}
    x = axis(visible=False, range=[0, 1.25 * max(spent.values())], fixedrange=True)
    return figure([{**bar, **looks, "marker": {"color": "@accent"}}], xaxis=x, yaxis=row_axis(list(spent)), bargap=0.35)


# What they share


def _by_state(
    tuning: Tuning, name: Objective, trials: Sequence[Trial], x: Sequence[float], intervals: bool = False
) -> list[Figure]:
    """A trace for each way in which trials ended that have a value."""
    found = []
    for state, marker in _STATES.items():
        some = [(t, at) for t, at in zip(trials, x, strict=True) if state_of(t) == state]
        found.append(_points(tuning, name, [t for t, _ in some], [at for _, at in some], state, marker, intervals))
    return found


def _points(
    tuning: Tuning,
    name: Objective,
    trials: Sequence[Trial],
    x: Sequence[float],
    said: str,
    marker: dict[str, Any],
    intervals: bool = False,
) -> Figure:
    held = [(t, at, value) for t, at in zip(trials, x, strict=True) if (value := value_of(t, name)) is not None]
    texts = [_hover(tuning, t, name) for t, _, _ in held]
    more = (
        {"error_y": error_bars([(value, interval_of(t, name)) for t, _, value in held], marker, 1)} if intervals else {}
    )
    return scatter(said, [at for _, at, _ in held], [value for _, _, value in held], texts, marker=marker, **more)


def _hover(tuning: Tuning, trial: Trial, name: Objective) -> str:
    value, ends = value_of(trial, name), interval_of(trial, name)
    said = [] if value is None else [number(value), interval_text(*ends) if ends is not None else "", unit_of(name)]
    state = f"{trial.outcome.value}: {trial.message}" if trial.message else state_of(trial)
    return text_lines(
        f"trial {trial.number}: {' '.join(filter(None, said)) or trial.outcome.value}",
        plan_changes(trial.plan, tuning.default),
        state,
    )


def _titled(name: Objective) -> str:
    return f"{NAMES[name]}, {unit_of(name)}"


def _from(name: Objective) -> str:
    """Speeds are read as lengths, from zero; sizes and times are read against each other."""
    return "tozero" if OBJECTIVES[name][1] == "maximize" else "normal"


def _value(value: str | int | None) -> str:
    return "auto" if value is None else html.escape(str(value))


def _jitter(trial: Trial) -> float:
    """Between -0.2 and 0.2, the same each time."""
    return 0.4 * ((trial.number * 0.618034) % 1 - 0.5)
