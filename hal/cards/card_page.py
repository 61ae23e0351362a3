"""The certificate of a device as one HTML page."""

from __future__ import annotations

from collections.abc import Iterator

from hal import __version__
from hal.cards.certificate import Certificate, Figure, Sweep
from hal.cards.correct import Check
from hal.cards.counting import count, subject
from hal.cards.roofline import Point, Roof, roofline
from hal.config import DataSection, ModelSection
from hal.contract.text import number
from hal.errors import HalError
from hal.page import Number, Page, Plot, Section, Table, rendered
from hal.workload import BUILT_IN

__all__ = ["html_text"]

_QUESTIONS = (("correct", "Computes right"), ("fast", "As fast as it should"), ("steady_clock", "Holds its speed"))


def html_text(found: Certificate) -> str:
    """The page."""
    device = found.device
    return rendered(
        Page(
            title=f"hal card: {device.name}",
            subject=f"{device} · {device.name}" + (f" · {found.product}" if found.product else ""),
            headline=found.sentence,
            lead="Figures are medians with 95% intervals. The sheet is what the vendor promises; the other column is "
            "what healthy devices of this kind were seen to reach.",
            numbers=tuple(Number(label, getattr(found, name)) for name, label in _QUESTIONS),
            sections=tuple(_sections(found)),
            footer=f"Written by hal card, hal {__version__}, {found.environment.timestamp:%d %B %Y %H:%M} UTC.",
        )
    )


def _sections(found: Certificate) -> Iterator[Section]:
    if found.reasons:
        notes = tuple(f"{reason.text}{f' What to do: {reason.fix}.' if reason.fix else ''}" for reason in found.reasons)
        yield Section("why", "Why", notes=notes)
    if found.changes:
        yield Section("changes", "What changed since the last certificate", notes=found.changes)
    plots = tuple(_plots(found))
    yield Section("fast", "Fast", plots=plots, tables=(_figures(found.figures),))
    rows = tuple(
        (check.op, check.precision, "agrees" if check.agrees else "wrong", _deviation(check)) for check in found.checks
    )
    yield Section(
        "correct",
        "Correct",
        texts=("Each op is compared with float64 on the host. Above 1 it deviates by more than rounding allows.",),
        tables=(Table("checks", ("op", "precision", "", "deviation over what is allowed#"), rows, folded=True),),
    )
    if found.steady is not None:
        steady = found.steady
        text = f"{steady.first:.4g} TFLOP/s at the start and {steady.last:.4g} after {steady.seconds:.0f} s under load."
        counters = tuple((name, _value(value)) for name, value in found.counters.items())
        yield Section(
            "steady", "Steady", texts=(text,), tables=(Table("counters", ("counter under load", "value"), counters),)
        )
    if found.sweep is not None:
        yield _sweep(found.sweep)


def _deviation(check: Check) -> str:
    if check.worst is None:
        return "failed" if check.failure else "not finite"
    return number(check.worst)


def _figures(figures: tuple[Figure, ...]) -> Table:
    rows = tuple(
        (
            f"{figure.name}{f' {figure.precision}' if figure.precision not in ('', figure.name) else ''}",
            figure.size,
            f"{number(figure.median)} [{number(figure.low)}, {number(figure.high)}] {figure.unit}",
            "unknown" if figure.of_sheet is None else f"{figure.of_sheet:.0%} of {number(figure.sheet or 0)}",
            "unknown" if figure.of_achievable is None else f"{figure.of_achievable:.0%} of {figure.achievable:g}",
        )
        for figure in figures
    )
    return Table("figures", ("work", "size", "measured#", "of the sheet#", "of what healthy ones reach#"), rows)


def _plots(found: Certificate) -> Iterator[Plot]:
    products = [figure for figure in found.figures if figure.unit == "TFLOP/s" and figure.group == "product"]
    copies = [figure for figure in found.figures if figure.group == "memory"]
    if not products or not copies:
        return
    best = max(products, key=lambda figure: figure.median)
    stream = max(copies, key=lambda figure: figure.median)
    roofs = [Roof(f"measured ({best.precision})", best.median * 1e12, stream.median * 1e9)]
    if best.sheet and stream.sheet:
        roofs.append(Roof("sheet", best.sheet * 1e12, stream.sheet * 1e9))
    points = list(_models())
    alt = f"Roofline: {best.median:.4g} TFLOP/s and {stream.median:.4g} GB/s, with the ops of hal's models."
    yield roofline("roofline", roofs, points, alt)


def _models() -> Iterator[Point]:
    """The ops of hal's models by kind, at their default batches."""
    for name in BUILT_IN:
        try:
            found = subject(ModelSection(name=name), DataSection.model_validate({}), "train")
            cost = count(found, found.default_batch, "fp32")
        except HalError:
            continue  # a model whose data are not here is left out of the picture
        for total in cost.totals():
            if total.bytes and total.flops:
                yield Point(f"{name}: {total.kind}", total.flops / total.bytes)


def _sweep(sweep: Sweep) -> Section:
    rows = tuple(
        (
            f"{each.limit_w:g} W",
            number(each.tflops),
            "unknown" if each.power_w is None else number(each.power_w),
            "unknown" if each.samples_per_joule is None else number(each.samples_per_joule),
        )
        for each in sweep.limits
    )
    best = next((index for index, each in enumerate(sweep.limits) if each.limit_w == sweep.best_w), None)
    columns = ("power limit", "TFLOP/s#", "power, W#", "samples per joule#")
    text = f"The limit of {sweep.before_w:g} W that was set before was restored."
    return Section("power", "Power limits", texts=(text,), tables=(Table("limits", columns, rows, best=best),))


def _value(value: object) -> str:
    if isinstance(value, float | int) and not isinstance(value, bool):
        return number(value)
    return ", ".join(map(str, value)) or "none" if isinstance(value, tuple | list) else str(value)
