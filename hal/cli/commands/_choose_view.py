"""What ``hal choose`` prints."""

from __future__ import annotations

from collections import Counter
from typing import Any

from rich.table import Table

from hal import catalogue
from hal.cards.choice import Candidate, Choice
from hal.cards.predictor import class_text
from hal.cli.styled import console, escaped
from hal.contract.text import bytes_text, number, prefixed

__all__ = ["devices_json", "show_choice", "show_devices", "show_unknown", "unknown_json"]

_SHOWN = 15


def show_choice(found: Choice, *, to_stderr: bool = False) -> None:
    """What decides, the candidates in groups, and why the others were left out."""
    out = console(to_stderr=to_stderr)
    out.print(f"[bold]{escaped(found.sentence)}[/]")
    out.print(
        f"[dim]model={escaped(found.model)} mode={found.mode} batch={found.batch}"
        + (f" on {found.devices} devices" if found.devices > 1 else "")
        + f": {number(found.parameters)} parameters, {prefixed(found.flops_per_sample, 'FLOP')} and "
        f"{bytes_text(int(found.bytes_per_sample))} per sample, {bytes_text(int(found.peak_bytes))} in a step in "
        f"{found.precision}.[/]"
    )
    known = [each for each in found.candidates if each.prediction is not None]
    if known:
        out.print(_table(found, known[:_SHOWN]))
    if len(known) > _SHOWN:
        out.print(f"[dim]{_further(known)} listed by --json and by html=FILE.[/]")
    unknown = [each for each in found.candidates if each.prediction is None]
    for why, names in _by(unknown).items():
        out.print(f"[yellow]Nothing is predicted[/] for {escaped(', '.join(names))}: {escaped(why)}.")
    if any(each.prediction is not None and each.prediction.extrapolated for each in known[:_SHOWN]):
        out.print("[dim]* No device of this generation was measured; the interval is that of generations left out.[/]")
    reasons = Counter(each.why for each in found.left_out)
    if reasons:
        said = "; ".join(f"{count}: {why}" for why, count in reasons.most_common(6))
        out.print(f"[dim]Left out {sum(reasons.values())}: {escaped(said)}.[/]")
    out.print(
        f"[dim]Intervals are meant to hold in 80%. They rest on {found.measurements:,} public measurements of "
        f"{escaped(class_text(found.workload))}, none of this workload."
        f"{f' {escaped(found.anchor)}' if found.anchor else ''}[/]"
    )


def _table(found: Choice, rows: list[Candidate]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    priced = any(each.price is not None for each in rows)
    hourly = any(each.cost_per_epoch is not None for each in rows)
    columns = ["group", "device", "samples/s", "bound by", "largest batch", "watts", "J/sample", "with"]
    columns += ["price"] * priced + ["per epoch"] * hourly
    for column in columns:
        table.add_column(column, overflow="fold")
    for each in rows:
        told = each.prediction
        if told is None:
            continue
        cells = [
            str(each.group),
            f"[bold]{escaped(each.name)}[/]{'*' if told.extrapolated else ''}",
            f"{_short(told.samples_per_s)} {escaped(f'[{_short(told.low)}, {_short(told.high)}]')}",
            told.bound,
            each.largest_batch_text() + (f" {each.precision}" if each.largest_batch is not None else ""),
            "unknown" if each.watts is None else f"{each.watts:g}",
            "unknown" if each.joules_per_sample is None else number(each.joules_per_sample),
            each.backend or "",
        ]
        cells += ["" if each.price is None else number(each.price)] * priced
        cells += ["" if each.cost_per_epoch is None else number(each.cost_per_epoch)] * hourly
        table.add_row(*cells)
    return table


def _further(known: list[Candidate]) -> str:
    """How many devices are not in the table; those of the last group that it shows are not called slower."""
    rest = known[_SHOWN:]
    same = sum(each.group == known[_SHOWN - 1].group for each in rest)
    slower = len(rest) - same
    said = [f"{same} more of group {known[_SHOWN - 1].group}"] * bool(same) + [f"{slower} slower"] * bool(slower)
    return f"{' and '.join(said)} {'is' if len(rest) == 1 else 'are'}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _by(candidates: list[Candidate]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for each in candidates:
        found.setdefault(each.unknown, []).append(each.name)
    return found


def show_devices() -> None:
    """The catalogue as a table."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("device", "name", "generation", "year", "memory", "bandwidth", "16 bits", "watts", "backends"):
        table.add_column(column, overflow="fold")
    for device in catalogue.devices().values():
        sixteen = device.rates.bf16 or device.rates.fp16
        table.add_row(
            device.id,
            escaped(device.name),
            escaped(device.generation),
            *("" if figure is None else f"{figure.value:.0f}" for figure in (device.year,)),
            *(
                "unknown" if figure is None else f"{figure.value:g} {unit}"
                for figure, unit in (
                    (device.memory_gb, "GB"),
                    (device.bandwidth_gbps, "GB/s"),
                    (sixteen, "TFLOP/s"),
                    (device.watts, "W"),
                )
            ),
            " ".join(catalogue.served_by(device).backends),
        )
    console().print(table)


def devices_json() -> dict[str, Any]:
    """The catalogue with its sources."""
    return {
        "devices": [device.model_dump(mode="json", exclude_none=True) for device in catalogue.devices().values()],
        "sources": {name: source.model_dump(mode="json") for name, source in catalogue.sources().items()},
    }


def show_unknown() -> None:
    """What no source says."""
    out = console()
    for name, ids in catalogue.unknown().items():
        out.print(f"[bold]{escaped(name)}[/] ({len(ids)}): {escaped(', '.join(ids))}")
    differing = [
        f"{device.id} {name}: {figure.value:g}, but {', '.join(f'{k} says {v:g}' for k, v in figure.differ.items())}"
        for device in catalogue.devices().values()
        for name, figure in device.figures()
        if figure is not None and figure.differ
    ]
    out.print(f"[bold]contradictions[/] ({len(differing)}):")
    for line in differing:
        out.print(f"  {escaped(line)}")


def unknown_json() -> dict[str, Any]:
    """The same as JSON."""
    return {"unknown": {name: list(ids) for name, ids in catalogue.unknown().items()}}
