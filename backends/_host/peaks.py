"""How fast the host's processor can multiply at most, by its units and its clock."""

from __future__ import annotations

from collections.abc import Mapping

from hal.backends._host.host import Host

__all__ = ["host_peaks"]


def host_peaks(host: Host, clock_mhz: float | None) -> Mapping[str, float]:
    """Peak FLOP/s of all cores that this process may run on; empty where the units are not known.

    Vector units from the vendors' optimization manuals: two multiply-adds of 256 bits per clock wherever AVX2 has FMA;
    two of 512 bits on Intel's servers with AVX-512 and on AMD's family 26, one in two halves on family 25.

    Args:
        host: the machine.
        clock_mhz: the highest clock that the kernel tells, or the clock now.
    """
    lanes = _lanes(host)
    if not lanes or clock_mhz is None or host.cores is None:
        return {}
    return {"fp32": 2.0 * lanes * host.cores * clock_mhz * 1e6}


def _lanes(host: Host) -> int:
    """Multiply-adds in fp32 of one core in one clock; 0 where not known."""
    if "avx512f" in host.flags:
        if host.vendor == "AuthenticAMD":
            return {25: 16, 26: 32}.get(host.family or 0, 0)
        return 32 if "Xeon" in host.name or "-10" in host.name else 0
    return 16 if {"avx2", "fma"} <= host.flags else 0
