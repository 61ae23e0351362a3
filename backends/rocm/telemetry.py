"""Counters of AMD GPUs through AMD SMI (PyPI: amdsmi, the extra ``amd``).

The energy counter is left out: it stands still or jumps on several cards. Power is polled instead.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import math
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from hal.backends._torch.pci import Link, generation_of, read_link
from hal.backends._torch.processes import count_others
from hal.contract import Telemetry
from hal.contract.counters import Throttle
from hal.errors import UnsupportedError

__all__ = ["AmdSmiReader"]

_UNKNOWN = tuple(2**bits - 1 for bits in (16, 32, 64))
"""How the library's C side says that it does not know a number; its Python side translates only the first of them."""
_VIOLATIONS: Mapping[str, Throttle] = {
    "active_ppt_pwr": "power cap",
    "active_socket_thrm": "thermal",
    "active_vr_thrm": "thermal",
    "active_hbm_thrm": "thermal",
    "active_prochot_thrm": "hardware slowdown",
}
"""Fields of ``amdsmi_get_violation_status`` that are true while something holds the clock down."""
_MICROWATTS_FROM = 10_000
"""Power caps from here on are in microwatts, as the library has them on Linux; no card draws as many watts."""
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
            clock_max_mhz=_first(_number(clock.get(key)) for key in ("max_clk", "clk_max")),
            throttle=self._throttle(smi, handle),
            **self._caps(smi, handle),
            **self._link(smi, handle, pci),
            **self._health(smi, handle),
        )

    def limit_power(self, watts: float, *, pci: str) -> None:
        """Set the cap of a card's power.

        Raises:
            UnsupportedError: the library is missing, or the driver refuses, mostly for want of rights.
        """
        smi = self._library()
        handle = None if smi is None else self._ask(lambda: smi.amdsmi_get_processor_handle_from_bdf(pci))
        if smi is None or handle is None:
            raise UnsupportedError(
                "the power limit cannot be set: AMD SMI does not show this card", fix="pip install 'hal-tensor[amd]'"
            )
        try:
            smi.amdsmi_set_power_cap(handle, 0, round(watts * 1e6))
        except smi.AmdSmiException as error:
            raise UnsupportedError(
                f"the driver refused to set the power limit to {watts:g} W: {error}",
                fix="run as root, or leave power_limits= out",
            ) from error

    def _throttle(self, smi: Any, handle: Any) -> tuple[Throttle, ...] | None:
        status = self._ask(lambda: smi.amdsmi_get_violation_status(handle)) or {}
        known = {name: status[key] for key, name in _VIOLATIONS.items() if isinstance(status.get(key), bool)}
        if not known:
            return None
        return tuple(dict.fromkeys(name for key, name in _VIOLATIONS.items() if status.get(key) is True))

    def _caps(self, smi: Any, handle: Any) -> dict[str, Any]:
        caps = self._ask(lambda: smi.amdsmi_get_power_cap_info(handle)) or {}
        low, high = _watts(caps.get("min_power_cap")), _watts(caps.get("max_power_cap"))
        return {
            "power_limit_w": _watts(caps.get("power_cap")),
            "power_limit_default_w": _watts(caps.get("default_power_cap")),
            "power_limit_range_w": None if low is None or high is None else (low, high),
        }

    def _link(self, smi: Any, handle: Any, pci: str) -> dict[str, Any]:
        info = self._ask(lambda: smi.amdsmi_get_pcie_info(handle)) or {}
        static, now = info.get("pcie_static") or {}, info.get("pcie_metric") or {}
        told = Link(
            _generation(now.get("pcie_speed")),
            _integer(now.get("pcie_width")),
            _generation(static.get("max_pcie_speed")),
            _integer(static.get("max_pcie_width")),
        )
        kernel = read_link(pci)
        return {
            "link_generation": told.generation or kernel.generation,
            "link_width": told.width or kernel.width,
            "link_max_generation": told.max_generation or kernel.max_generation,
            "link_max_width": told.max_width or kernel.max_width,
        }

    def _health(self, smi: Any, handle: Any) -> dict[str, Any]:
        speed = _number(self._ask(lambda: smi.amdsmi_get_gpu_fan_speed(handle, 0)))
        fastest = _number(self._ask(lambda: smi.amdsmi_get_gpu_fan_speed_max(handle, 0)))
        enabled = _integer(self._ask(lambda: smi.amdsmi_get_gpu_ecc_enabled(handle)))
        errors = self._ask(lambda: smi.amdsmi_get_gpu_total_ecc_count(handle)) or {}
        activity = self._ask(lambda: smi.amdsmi_get_gpu_activity(handle)) or {}
        processes = self._ask(lambda: smi.amdsmi_get_gpu_process_list(handle))
        partition = self._ask(lambda: smi.amdsmi_get_gpu_compute_partition(handle))
        numbers = [each["pid"] for each in processes if "pid" in each] if isinstance(processes, list) else None
        return {
            "fan_percent": 100 * speed / fastest if speed is not None and fastest else None,
            "ecc": None if enabled is None else enabled != 0,
            "ecc_errors": _integer(errors.get("uncorrectable_count")),
            "busy_percent": _number(activity.get("gfx_activity")),
            "others": None if numbers is None else count_others(numbers),
            "is_slice": partition != "SPX" if isinstance(partition, str) and partition not in ("", "N/A") else None,
        }

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


def _integer(value: Any) -> int | None:
    number = _number(value)
    return None if number is None else int(number)


def _watts(value: Any) -> float | None:
    number = _number(value)
    return number / 1e6 if number is not None and number >= _MICROWATTS_FROM else number


def _generation(megatransfers: Any) -> int | None:
    number = _number(megatransfers)
    return None if number is None else generation_of(number / 1e3)
