"""Counters of AMD GPUs through AMD SMI (PyPI: amdsmi, the extra ``amd``).

The energy counter is left out: it stands still or jumps on several cards. Power is polled instead.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import math
import threading
from collections.abc import Callable, Iterable
from typing import Any

from hal.contract import Telemetry

__all__ = ["AmdSmiReader"]

_UNKNOWN = tuple(2**bits - 1 for bits in (16, 32, 64))
"""How the library's C side says that it does not know a number; its Python side translates only the first of them."""
_POWER_KEYS = ("current_socket_power", "average_socket_power", "socket_power")


class AmdSmiReader:
    """Reads counters of one card at a time; a counter that the card or the library does not offer is None.

    Args:
        amdsmi: the module amdsmi or a stand-in; None: import it if it is installed.
    """

    def __init__(self, amdsmi: Any = None) -> None:
        self._given = amdsmi
        self._lock = threading.Lock()
        self._tried = False
        self._amdsmi: Any = None

    def read(self, *, pci: str) -> Telemetry:
        """Counters of a card now.

        A card with two dies shows the power of both on the first and none on the second; a card in partitions shows
        the whole card's.

        Args:
            pci: the card's address, ``domain:bus:device.function``.
        """
        smi = self._library()
        if smi is None or not pci:
            return Telemetry()
        handle = self._ask(lambda: smi.amdsmi_get_processor_handle_from_bdf(pci))
        if handle is None:
            return Telemetry()
        power = self._ask(lambda: smi.amdsmi_get_power_info(handle)) or {}
        clock = self._ask(lambda: smi.amdsmi_get_clock_info(handle, smi.AmdSmiClkType.GFX)) or {}
        memory = self._ask(lambda: smi.amdsmi_get_gpu_memory_usage(handle, smi.AmdSmiMemoryType.VRAM))
        used = _number(memory)
        return Telemetry(
            # A card that computes draws power: zero is the second die's way to say that it does not know.
            power_w=_first(_number(power.get(key)) or None for key in _POWER_KEYS),
            temperature_c=_first(self._temperature(smi, handle, sensor) for sensor in ("HOTSPOT", "EDGE")),
            clock_mhz=_first(_number(clock.get(key)) for key in ("clk", "cur_clk")),
            memory_used_bytes=None if used is None else int(used),
        )

    def _temperature(self, smi: Any, handle: Any, sensor: str) -> float | None:
        kind = getattr(smi.AmdSmiTemperatureType, sensor, None)
        if kind is None:
            return None
        metric = smi.AmdSmiTemperatureMetric.CURRENT
        return _number(self._ask(lambda: smi.amdsmi_get_temp_metric(handle, kind, metric)))

    def _ask(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except (self._amdsmi.AmdSmiException, AttributeError):
            return None

    def _library(self) -> Any:
        with self._lock:
            if not self._tried:
                self._tried = True
                self._amdsmi = self._start()
            return self._amdsmi

    def _start(self) -> Any:
        try:
            # Without the driver's library the module prints advice and raises KeyError.
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                smi = self._given or importlib.import_module("amdsmi")
        except (ImportError, KeyError, OSError, AttributeError):
            return None
        try:
            smi.amdsmi_init()
        except smi.AmdSmiException:
            return None
        return smi


def _number(value: Any) -> float | None:
    """A finite number, or None for ``"N/A"``, other words and nothing at all, and for what means "not known"."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value in _UNKNOWN:
        return None
    return float(value)


def _first(values: Iterable[float | None]) -> float | None:
    return next((value for value in values if value is not None), None)
