"""``python -m hal.cards.restore DEVICE WATTS``: restores a power cap when the process at the other end of stdin ends.

Started by :mod:`hal.cards.sweep`. A killed process closes its pipes, so this one reads to the end of stdin; it restores
the cap unless the last word was that this has been done.
"""

from __future__ import annotations

import sys

from hal import registry
from hal.contract import MeasuresDevices

__all__ = ["main"]


def main(device_name: str, watts: float) -> None:
    """Wait for the end of the other process, then restore the cap."""
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    if sys.stdin.read() == "done\n":
        return
    device = registry.device(device_name)
    backend = registry.backend(device.backend)
    if isinstance(backend, MeasuresDevices):
        backend.limit_power(device, watts)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
