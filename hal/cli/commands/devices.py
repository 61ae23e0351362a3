"""``hal devices``: what each backend finds on this machine."""

from __future__ import annotations

from hal.cli.command import Command, Json, Panel
from hal.cli.guard import guard
from hal.cli.terminal import print_json

__all__ = ["COMMAND"]


def devices(json_output: Json = False) -> None:
    """List backends and devices."""

    def work() -> int:
        from hal import api
        from hal.cli.commands._devices_view import device_json, show_devices

        seen = api.devices()
        if json_output:
            print_json(device_json(seen))
        else:
            show_devices(seen)
        return 0

    guard(work, json_output)


COMMAND = Command(
    devices,
    help="List the devices that each backend finds.\n\n"
    "If a backend finds none, the reason is shown, and what to do about it.",
    panel=Panel.DEVICES,
    examples=("hal devices", "hal devices --json"),
)
