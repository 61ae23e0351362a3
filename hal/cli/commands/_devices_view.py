"""What ``hal devices`` prints."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from hal.api import BackendStatus
from hal.cli.styled import console, escaped
from hal.contract import Unavailable
from hal.contract.device import PRECISIONS, Device
from hal.contract.text import bytes_text

__all__ = ["device_json", "show_devices"]


def show_devices(seen: tuple[BackendStatus, ...]) -> None:
    """A table of devices, then the backends that find none and why."""
    out = console()
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("device", "name", "arch", "memory", "precisions", "runtime"):
        table.add_column(column, overflow="fold")
    for entry in seen:
        for device in entry.devices:
            table.add_row(
                f"[bold]{escaped(device)}[/]",
                escaped(device.name),
                escaped(device.arch),
                "unknown" if device.memory_bytes is None else bytes_text(device.memory_bytes),
                _precisions(device),
                escaped(getattr(entry.state, "detail", "")),
            )
    out.print(table)
    out.print("[dim]* The hardware accelerates this precision.[/]")
    for device in (device for entry in seen for device in entry.devices):
        if lacks := device.facts.get("lacks"):
            out.print(f"[dim]{escaped(device)} lacks {escaped(lacks)}.[/]")
    for entry in seen:
        if isinstance(entry.state, Unavailable):
            out.print(f"\n[bold]{escaped(entry.backend)}[/] finds no device: {escaped(entry.state.reason, lines=True)}")
            out.print(f"  [green]→[/] {escaped(entry.state.fix, lines=True)}")


def _precisions(device: Device) -> str:
    words = []
    for name in PRECISIONS:
        entry = device.capabilities.precisions.get(name)
        if entry is not None and entry.supported:
            words.append(f"[green]{name}*[/]" if entry.accelerated else name)
    return " ".join(words)


def device_json(seen: tuple[BackendStatus, ...]) -> dict[str, Any]:
    """What each backend finds, as one JSON object."""
    found = []
    for entry in seen:
        about: dict[str, Any] = {"backend": entry.backend, "available": not isinstance(entry.state, Unavailable)}
        if isinstance(entry.state, Unavailable):
            about |= {"reason": entry.state.reason, "fix": entry.state.fix}
        else:
            about |= {"runtime": entry.state.detail, "devices": [_facts(device) for device in entry.devices]}
        found.append(about)
    return {"backends": found}


def _facts(device: Device) -> dict[str, Any]:
    found = device.to_dict()
    can = found.pop("capabilities")
    return {"device": str(device), **found, **can}
