"""What ``hal choose`` found as one HTML page."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

from hal import __version__, catalogue
from hal.cards.choice import Candidate, Choice
from hal.cards.predictor import class_text, device_rate
from hal.cards.roofline import Point, Roof, roofline
from hal.contract.text import number
from hal.page import Number, Page, Plot, Section, Table, rendered
from hal.page.figures import axis, figure, log_axis

__all__ = ["html_text"]

_NAMED = 5
"""How many devices the picture names, and a note lists."""

_LETTER, _LINE = 0.009, 0.06
"""Width of a letter and height of a line, as shares of the picture."""


def html_text(found: Choice) -> str:
    """The page."""
    known = [each for each in found.candidates if each.prediction is not None]
    return rendered(
        Page(
            title=f"hal choose: {found.model}",
            subject=f"model={found.model} mode={found.mode} batch={found.batch}",
            headline=found.sentence,
            lead=f"Predictions rest on {found.measurements:,} public measurements of {class_text(found.workload)}, "
            "none of this workload. Intervals are meant to hold in 80%; devices of one group cannot be told apart.",
            numbers=(
                Number("Parameters", number(found.parameters)),
                Number("FLOP per sample", number(found.flops_per_sample)),
                Number("Devices that fulfil it", str(len(found.candidates))),
            ),
            sections=tuple(_sections(found, known)),
            footer=f"Written by hal choose, hal {__version__}.",
            kind="estimated",
        )
    )


def _sections(found: Choice, known: list[Candidate]) -> Iterator[Section]:
    if known:
        yield Section(
            "speed",
            "Predicted throughput",
            tuple(_about_scatter(known)),
            plots=(_scatter(known),),
            tables=(_table(known),),
            kind="estimated",
        )
        yield Section("why", "What decides", plots=(_roofs(found, known),), tables=(_ops(found),), kind="estimated")
    unknown = tuple((each.name, each.unknown) for each in found.candidates if each.prediction is None)
    if unknown:
        table = Table("devices without prediction", ("device", "why nothing is predicted"), unknown)
        yield Section("unknown", "Devices that fulfil it, of whose speed nothing is known", tables=(table,))
    rows = tuple((each.name, each.why) for each in found.left_out)
    if rows:
        table = Table("devices left out", ("device", "why"), rows, folded=True)
        yield Section("left", "Left out", tables=(table,))


def _across(known: list[Candidate]) -> tuple[str, list[float | None]]:
    """What the picture has across: the price where prices are known, else the watts."""
    prices = [each.price for each in known]
    if any(price is not None for price in prices):
        return "price", prices
    return "watts", [each.watts for each in known]


def _scatter(known: list[Candidate]) -> Plot:
    label, across = _across(known)
    shown = [(x, each.name, each.prediction) for x, each in zip(across, known, strict=True) if x and each.prediction]
    speeds = [told.samples_per_s for _, _, told in shown]
    lows, highs = [told.low for _, _, told in shown], [told.high for _, _, told in shown]
    right = 1.2 * max((x for x, _, _ in shown), default=1.0)
    decades = math.log10(max(highs, default=10.0) / min(lows, default=1.0))
    sides = _sides(
        [(x / right, math.log10(told.samples_per_s) / decades, name) for x, name, told in shown[:_NAMED]],
    )
    data: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "markers+text",
            "x": [x for x, _, _ in shown],
            "y": speeds,
            "text": [name if index < len(sides) else "" for index, (_, name, _) in enumerate(shown)],
            "textposition": [*sides, *["middle right"] * (len(shown) - len(sides))],
            "textfont": {"size": 12, "color": "@ink"},
            "customdata": [name for _, name, _ in shown],
            "hovertemplate": "%{customdata}<br>%{y:.4g} samples/s<extra></extra>",
            "error_y": {
                "type": "data",
                "symmetric": False,
                "array": [high - value for high, value in zip(highs, speeds, strict=True)],
                "arrayminus": [value - low for low, value in zip(lows, speeds, strict=True)],
                "color": "@line",
            },
            "marker": {"color": "@accent", "size": 7},
        }
    ]
    up = log_axis("samples/s", min(lows, default=1.0), max(highs, default=10.0))
    shape = figure(data, xaxis=axis(label, range=[0, right]), yaxis=up)
    alt = f"Predicted throughput against {label}, with intervals."
    return Plot("scatter", shape, alt, height=420)


def _sides(points: Iterable[tuple[float, float, str]]) -> list[str]:
    """At which side of its point each name is written, so that names do not overlap, as far as that can be.

    Args:
        points: places as shares of the width and the height, and the names.
    """
    taken: list[tuple[float, float, float]] = []
    found = []
    for x, y, name in points:
        length, gap = _LETTER * len(name), _LETTER
        places = {
            f"{across} {along}": (start, start + length, y + step)
            for across, step in (("middle", 0.0), ("top", _LINE), ("bottom", -_LINE))
            for along, start in (("right", x + gap), ("left", x - gap - length))
        }
        free = (
            side
            for side, (start, end, line) in places.items()
            if start >= 0
            and end <= 1
            and all(start > right or end < left or abs(line - other) > _LINE for left, right, other in taken)
        )
        found.append(next(free, "middle right"))
        taken.append(places[found[-1]])
    return found


def _about_scatter(known: list[Candidate]) -> Iterator[str]:
    label, across = _across(known)
    absent = [each.name for x, each in zip(across, known, strict=True) if x is None]
    if absent:
        few = ", ".join(absent[:_NAMED]) + (f" and {len(absent) - _NAMED} more" if len(absent) > _NAMED else "")
        why = "the list of prices has no price for them" if label == "price" else "no source says their watts"
        yield f"Not in the picture, since {why}: {few}. The table has them."
    if any(each.prediction and each.prediction.extrapolated for each in known):
        yield "* No device of this generation was measured; the interval is that of generations left out."


def _roofs(found: Choice, known: list[Candidate]) -> Plot:
    roofs = []
    for each in (known[0], known[-1]) if len(known) > 1 else (known[0],):
        device = catalogue.devices()[each.id]
        rate = device_rate(device, each.precision)
        if rate is not None and device.bandwidth is not None:
            roofs.append(Roof(f"{each.name} ({each.precision}, sheet)", rate, device.bandwidth))
    points = [Point(each.kind, each.flops_per_byte) for each in found.decides if each.flops_per_byte > 0]
    return roofline("roofline", roofs, points, "Roofline of the fastest and the slowest candidate with the ops.")


def _ops(found: Choice) -> Table:
    rows = tuple(
        (each.kind, f"{each.calls:,}", number(each.flops), number(each.bytes), number(each.flops_per_byte))
        for each in found.decides
    )
    return Table("ops of a step", ("ops", "calls#", "FLOP#", "bytes#", "FLOP per byte#"), rows)


def _table(known: list[Candidate]) -> Table:
    priced = any(each.price is not None for each in known)
    hourly = any(each.cost_per_epoch is not None for each in known)
    columns = ["device", "group#", "samples/s#", *["price#"] * priced, *["cost per epoch#"] * hourly]
    columns += ["step, ms#", "bound by", "largest batch#", "watts#", "J per sample#", "builds"]
    rows = []
    for each in known:
        told = each.prediction
        if told is None:
            continue
        row = [
            each.name + ("*" if told.extrapolated else ""),
            str(each.group),
            f"{number(told.samples_per_s)} [{number(told.low)}, {number(told.high)}]",
            *["" if each.price is None else number(each.price)] * priced,
            *["" if each.cost_per_epoch is None else number(each.cost_per_epoch)] * hourly,
            f"{told.step_ms:.4g}",
            told.bound,
            each.largest_batch_text(),
            "unknown" if each.watts is None else f"{each.watts:g}",
            "unknown" if each.joules_per_sample is None else number(each.joules_per_sample),
            each.builds,
        ]
        rows.append(tuple(row))
    return Table("candidates", tuple(columns), tuple(rows), wide=True)
