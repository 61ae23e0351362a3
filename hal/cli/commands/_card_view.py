"""What ``hal card`` prints."""

from __future__ import annotations

from rich.panel import Panel
from rich.table import Table

from hal.cards.certificate import Certificate, Figure
from hal.cli.styled import console, escaped
from hal.contract.text import number

__all__ = ["show_certificate"]

_STYLES: dict[str, str] = {"yes": "green", "no": "bold red", "withheld": "yellow", "unknown": "yellow"}


def show_certificate(found: Certificate, *, to_stderr: bool = False) -> None:
    """The verdict in a panel, the figures as a table, then why and what changed."""
    out = console(to_stderr=to_stderr)
    device = found.device
    answers = "   ".join(
        f"{label} [{_STYLES[answer]}]{answer}[/]"
        for label, answer in (("correct", found.correct), ("fast", found.fast), ("steady", found.steady_clock))
    )
    out.print(
        Panel(
            f"[bold]{escaped(found.sentence)}[/]\n{answers}",
            title=f"{escaped(device)} {escaped(device.name)}",
            title_align="left",
            border_style="green" if found.healthy else "red",
            expand=False,
        )
    )
    out.print(_table(found.figures))
    if found.steady is not None:
        steady = found.steady
        out.print(
            f"Under load for {steady.seconds:.0f} s: {steady.first:.4g} TFLOP/s at first, {steady.last:.4g} at last"
            f"{escaped(_counters(found))}."
        )
    for reason in found.reasons:
        mark = "[bold red]ill:[/]" if reason.ill else "[yellow]note:[/]"
        out.print(
            f"{mark} {escaped(reason.text)}" + (f" [dim]{escaped(_sentence(reason.fix))}[/]" if reason.fix else "")
        )
    for change in found.changes:
        out.print(f"[cyan]changed:[/] {escaped(change)}")
    if found.sweep is not None:
        for each in found.sweep.limits:
            best = " (best)" if each.limit_w == found.sweep.best_w else ""
            joules = "" if each.samples_per_joule is None else f", {number(each.samples_per_joule)} samples per joule"
            out.print(f"{each.limit_w:g} W: {number(each.tflops)} TFLOP/s{joules}{best}")
        out.print(f"[dim]The limit of {found.sweep.before_w:g} W was restored.[/]")


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _table(figures: tuple[Figure, ...]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("work", "measured", "of the sheet", "of healthy ones", "energy"):
        table.add_column(column, overflow="fold")
    for figure in figures:
        name = figure.name if figure.precision in ("", figure.name) else f"{figure.name} {figure.precision}"
        loaded = " (under load)" if figure.loaded else ""
        table.add_row(
            name,
            escaped(f"{number(figure.median)} [{number(figure.low)}, {number(figure.high)}] {figure.unit}{loaded}"),
            "unknown" if figure.of_sheet is None else f"{figure.of_sheet:.0%}",
            "unknown" if figure.of_achievable is None else f"{figure.of_achievable:.0%}",
            "" if figure.joules is None else f"{number(figure.joules)} J",
        )
    return table


def _counters(found: Certificate) -> str:
    words = []
    for name, unit in (("clock_mhz", "MHz"), ("power_w", "W"), ("temperature_c", "°C")):
        value = found.counters.get(name)
        if isinstance(value, float | int):
            words.append(f"{value:.0f} {unit}")
    return f" ({', '.join(words)})" if words else ""
