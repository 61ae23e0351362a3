"""The machine itself, for every backend that computes on its processor: what it is, its memory, its counters."""

from hal.backends._host.host import Host, read_host
from hal.backends._host.memory import forget_peak, resident_memory
from hal.backends._host.peaks import host_peaks
from hal.backends._host.telemetry import CpuReader

__all__ = ["CpuReader", "Host", "forget_peak", "host_peaks", "read_host", "resident_memory"]
