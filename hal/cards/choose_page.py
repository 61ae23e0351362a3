"""What ``hal choose`` found as one HTML page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hal import __version__, catalogue
from hal.cards.choice import Candidate, Choice
from hal.cards.predictor import class_text, device_rate
from hal.cards.roofline import Point, Roof, roofline
from hal.contract.text import number
from hal.page import Number, Page, Plot, Section, Table, rendered
from hal.page.figures import axis, figure

__all__ = ["html_text"]


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
            "speed", "Predicted throughput", plots=(_scatter(known),), tables=(_table(known),), kind="estimated"
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


def _scatter(known: list[Candidate]) -> Plot:
    priced = [each for each in known if each.price is not None]
    shown, label = (priced, "price") if priced else ([each for each in known if each.watts is not None], "watts")
    throughputs = [each.prediction.samples_per_s if each.prediction else 0.0 for each in shown]
    highs = [each.prediction.high if each.prediction else 0.0 for each in shown]
    lows = [each.prediction.low if each.prediction else 0.0 for each in shown]
    data: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "markers",
            "x": [each.price if priced else each.watts for each in shown],
            "y": throughputs,
            "text": [each.name for each in shown],
            "hovertemplate": "%{text}<br>%{y:.4g} samples/s<extra></extra>",
            "error_y": {
                "type": "data",
                "symmetric": False,
                "array": [high - value for high, value in zip(highs, throughputs, strict=True)],
                "arrayminus": [value - low for low, value in zip(lows, throughputs, strict=True)],
                "color": "@line",
            },
            "marker": {"color": "@accent", "size": 7},
        }
    ]
    shape = figure(data, xaxis=axis(label), yaxis=axis("samples/s", type="log"))
    alt = f"Predicted throughput against {label}, with intervals."
    return Plot("scatter", shape, alt, height=420)


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
    rows = []
    for each in known:
        told = each.prediction
        if told is not None:
            rows.append(
                (
                    each.name,
                    str(each.group),
                    f"{number(told.samples_per_s)} [{number(told.low)}, {number(told.high)}]",
                    f"{told.step_ms:.4g}",
                    told.bound + ("; generation not measured" if told.extrapolated else ""),
                    each.largest_batch_text(),
                    "unknown" if each.watts is None else f"{each.watts:g}",
                    "unknown" if each.joules_per_sample is None else number(each.joules_per_sample),
                    "" if each.price is None else number(each.price),
                    "" if each.cost_per_epoch is None else number(each.cost_per_epoch),
                    each.builds,
                )
            )
    columns = (
        "device", "group#", "samples/s#", "step, ms#", "bound by", "largest batch#", "watts#", "J per sample#",
        "price#", "cost per epoch#", "builds",
    )  # fmt: skip
    return Table("candidates", columns, tuple(rows))
