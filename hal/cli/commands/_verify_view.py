"""What ``hal verify`` prints: the ops that matter, then gradients, optimizer and loss, then the verdict."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

from hal.cli.styled import console, escaped
from hal.contract.text import counted
from hal.parity import Deviation, DeviceComparison, Finding, LossFinding, OpFinding, Verification
from hal.parity.verdict import advice, verdict

__all__ = ["show_verification"]

_ROWS = 20
_WORST = 4


def show_verification(found: Verification, *, to_stderr: bool = False) -> None:
    """Print the comparison with each device, or where the trace is."""
    out = console(to_stderr)
    subject, device = found.subject, found.reference.device
    out.print(
        f"[bold]{escaped(subject.workload.model)}[/] in {subject.precision}, batch {subject.batch}, data "
        f"{escaped(subject.workload.data)}; reference [bold]{escaped(found.reference)}[/] {escaped(device.name)} "
        f"({escaped(device.arch)})"
    )
    if found.recorded is not None:
        out.print(f"The trace is in {escaped(found.recorded)}. On the other machine, run:", soft_wrap=True)
        out.print(f"  [bold]hal verify against={escaped(found.recorded)} backend=...[/]", soft_wrap=True)
    for comparison in found.comparisons:
        _show(out, comparison, found)


def _show(out: Console, found: DeviceComparison, verification: Verification) -> None:
    device = found.side.device
    out.print(f"\n[bold]{escaped(found.side)}[/] {escaped(device.name)} ({escaped(device.arch)})")
    rows = _chosen(found.ops)
    out.print(_table(found.ops, rows))
    left_out = (
        f"{len(rows)} of {len(found.ops)} ops are shown: the first that exceed the tolerance and those that deviate "
        "most. --json lists all.\n"
    )
    limit = found.tolerance.op
    out.print(
        f"[dim]{left_out if len(rows) < len(found.ops) else ''}"
        "forward and gradient: deviation of one op that received the reference's inputs, relative to the scale of "
        f"the tensor. The tolerance is {limit.largest:.0e} for the largest element and ~{limit.typical:.0e} for a "
        "typical one.\n"
        "drift: deviation that accumulates if each op continues from this device's own results.[/]"
    )
    lines = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    lines.add_column(style="dim", no_wrap=True)
    lines.add_column(overflow="fold")
    for name, text in _whole(found, verification):
        lines.add_row(name, text)
    out.print(lines)
    style = "bold green" if found.agrees else "bold red"
    out.print(f"[{style}]{escaped(verdict(found, verification.reference), lines=True)}[/]")
    if next_step := advice(found):
        out.print(f"[green]→[/] {escaped(next_step, lines=True)}")


def _chosen(ops: Sequence[OpFinding]) -> list[OpFinding]:
    """All ops of a short model; of a long one those that exceed first, and those that differ most."""
    if len(ops) <= _ROWS:
        return list(ops)
    chosen = {op.index for op in [op for op in ops if op.exceeds][: _ROWS - 3 * _WORST]}
    for share in (_forward_share, _gradient_share, _drift_share):
        chosen |= {op.index for op in sorted(ops, key=share, reverse=True)[:_WORST]}
    return [op for op in ops if op.index in chosen]


def _forward_share(op: OpFinding) -> float:
    return op.limit.share(op.forward)


def _gradient_share(op: OpFinding) -> float:
    return -1.0 if op.gradient is None else op.limit.share(op.gradient)


def _drift_share(op: OpFinding) -> float:
    return op.limit.share(op.drift)


def _table(ops: Sequence[OpFinding], rows: Sequence[OpFinding]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("op", justify="right")
    table.add_column("", overflow="fold")
    table.add_column("shape", overflow="fold", max_width=14)
    for name in ("forward", "gradient", "drift"):
        table.add_column(name, justify="right", no_wrap=True)
    first = next((op.index for op in ops if op.exceeds), None)
    for op in rows:
        style = "red" if op.exceeds else ""
        place = f"{'→ ' if op.index == first else ''}{op.index}"
        where = f"[dim]{escaped(op.layer or op.part)}[/] {escaped(op.op)}"
        cells = (
            place,
            where,
            "×".join(map(str, op.shape)),
            _cell(op, op.forward, "forward"),
            "" if op.gradient is None else _cell(op, op.gradient, "gradient"),
            _number(op.drift),
        )
        table.add_row(*cells, style=style)
    return table


def _cell(op: OpFinding, each: Deviation, kind: str) -> str:
    if kind not in op.exceeds:
        return _number(each)
    throughout = each.problem is None and each.largest <= op.limit.largest
    return f"[bold]✗ {f'~{each.typical:.0e}' if throughout else _number(each)}[/]"


def _number(each: Deviation) -> str:
    if each.problem is not None:
        return escaped(each.problem.split()[0])
    return "0" if each.largest == 0 else f"{each.largest:.0e}"


def _whole(found: DeviceComparison, verification: Verification) -> Iterable[tuple[str, str]]:
    yield "gradients", _worst(found.gradients, "of the whole model")
    yield "optimizer", _worst(found.updates, "after 3 updates with equal gradients")
    for each in found.loss_after:
        yield "loss", f"{escaped(each.name)} with equal parameters, after {each.step} steps: {_pair(each)}"
    steps = found.losses[-1].step if found.losses else 0
    for each in found.losses:
        if each.step == steps:
            grown = f"; one rounding error at the start grows to {each.amplified:.0e} by then" if each.off else ""
            yield "training", f"{escaped(each.name)} after {steps} steps, each device on its own: {_pair(each)}{grown}"
    amount = found.compared
    yield (
        "compared",
        f"{counted(amount.values, 'value')} and {counted(amount.op_gradient_values, 'gradient value')} of "
        f"{counted(amount.ops, 'op')}, {counted(amount.gradient_values, 'value')} in the gradients of the whole model, "
        f"{counted(amount.updates, 'optimizer update')}, {amount.losses:,} losses over "
        f"{counted(amount.steps, 'step')}",
    )
    for left_out in amount.skipped:
        yield "except", f"{left_out.what} ({left_out.count:,}): {left_out.why}"


def _worst(findings: Sequence[Finding], what: str) -> str:
    if not findings:
        return f"no parameters to compare {what}"
    worst = max(findings, key=lambda each: (each.exceeds, each.found.problem is not None, each.found.largest))
    mark = "[bold red]✗[/] " if worst.exceeds else ""
    return (
        f"{mark}{counted(len(findings), 'parameter')} {what}: at most {_number(worst.found)}, in {escaped(worst.name)}"
    )


def _pair(each: LossFinding) -> str:
    if each.off is None or each.expected is None or each.found is None:
        return "[bold red]✗[/] not finite on one device"
    mark = "[bold red]✗[/] " if each.exceeds else ""
    return f"{mark}{each.expected:.6g} and {each.found:.6g}, off by {each.off:.0e}"
