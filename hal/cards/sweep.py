"""Tries power caps, and puts back the one that was set before, whatever happens to this process."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator

from hal.cards.certificate import PowerLimit, Sweep
from hal.cards.measuring import Meter
from hal.cards.work import Work, best_precision, convolution, product
from hal.contract import MeasuresDevices, Telemetry
from hal.contract.device import Device
from hal.errors import ConfigError, RunError, UnsupportedError

__all__ = ["restored", "sweep_power"]

_SECONDS = 3.0
_READY = b"ready\n"
_DONE = b"done\n"


def sweep_power(
    backend: MeasuresDevices,
    device: Device,
    limits: tuple[float, ...],
    before: Telemetry,
    note: Callable[[str], object] = lambda text: None,
) -> Sweep:
    """Measure a product and a convolution under each power cap.

    Args:
        backend: drives the device.
        device: what is capped.
        limits: caps in watts.
        before: counters before anything ran, which tell the cap to restore.
        note: called with a sentence about what is done.

    Raises:
        ConfigError: a cap lies outside of what the device allows.
        UnsupportedError: the device does not tell its cap, or this process may not set it.
    """
    usual = before.power_limit_w
    if usual is None:
        raise UnsupportedError(
            f"{device} does not tell its power limit, so it could not be restored",
            fix="install the library that reads its counters (see: hal devices), or leave power_limits= out",
        )
    allowed = before.power_limit_range_w
    outside = [watts for watts in limits if allowed and not allowed[0] <= watts <= allowed[1]]
    if outside and allowed:
        raise ConfigError(
            f"power_limits={outside[0]:g} is outside of what {device} allows",
            fix=f"use values from {allowed[0]:g} to {allowed[1]:g} W",
        )
    meter = Meter(backend, device)
    square = product(backend, device, best_precision(device))
    images = convolution(backend, device, best_precision(device))
    found = []
    backend.limit_power(device, usual)  # raises where this process has not the rights
    with restored(backend, device, usual):
        for watts in limits:
            note(f"measuring under {watts:g} W")
            backend.limit_power(device, watts)
            found.append(_under(meter, watts, square, images))
    known = [each for each in found if each.samples_per_joule is not None]
    best = max(known, key=lambda each: each.samples_per_joule or 0.0, default=None)
    return Sweep(before_w=usual, limits=tuple(found), best_w=None if best is None else best.limit_w)


def _under(meter: Meter, watts: float, square: Work, images: Work) -> PowerLimit:
    first = len(meter.readings)
    speed = meter.measure(square, _SECONDS).figure
    images_figure = meter.measure(images, _SECONDS).figure
    powers = [each.power_w for each in meter.readings[first:] if each.power_w is not None]
    joules = images_figure.joules_per_sample
    return PowerLimit(
        limit_w=watts,
        tflops=speed.median,
        power_w=sum(powers) / len(powers) if powers else None,
        samples_per_joule=1 / joules if joules else None,
    )


@contextlib.contextmanager
def restored(backend: MeasuresDevices, device: Device, watts: float) -> Iterator[None]:
    """Restore a power cap when the body ends, and also if this process is killed: another process waits for its end.

    Raises:
        RunError: that process cannot be started; then nothing has been changed.
    """
    guard = subprocess.Popen(
        [sys.executable, "-m", "hal.cards.restore", str(device), repr(watts)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # a Ctrl-C of the terminal is for this process alone
    )
    assert guard.stdin is not None
    assert guard.stdout is not None
    try:
        if guard.stdout.readline() != _READY:
            raise RunError(
                "the process that would restore the power limit did not start", fix="leave power_limits= out"
            )
        try:
            yield
        finally:
            backend.limit_power(device, watts)
            with contextlib.suppress(OSError):
                guard.stdin.write(_DONE)
                guard.stdin.flush()
    finally:
        # Without the word that all is done, the other process restores the cap once more when the pipe closes.
        guard.stdin.close()
        guard.stdout.close()
        guard.wait()
