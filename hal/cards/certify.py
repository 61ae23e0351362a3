"""Examines a device, as ``hal card`` does: correct, fast, steady, and if not, why."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping

import numpy as np

from hal import catalogue, registry
from hal.cards import history
from hal.cards.certificate import Certificate, Figure, Sweep
from hal.cards.config import CardConfig
from hal.cards.correct import check_precision
from hal.cards.measuring import Meter
from hal.cards.reasons import Evidence, judge, under_load
from hal.cards.sweep import sweep_power
from hal.cards.work import best_precision, product, works
from hal.catalogue import CatalogueDevice
from hal.contract import Backend, MeasuresDevices, Telemetry
from hal.contract.device import Device, DeviceFacts
from hal.errors import NotFoundError, UnsavedError, UnsupportedError
from hal.job.errors import classified
from hal.measure import EnvironmentWatch
from hal.util.files import check_new, write_text
from hal.util.paths import user_path

__all__ = ["certify"]

Note = Callable[[str], object]

_STEADY_SHARE, _LONGEST_STEADY_S = 0.3, 30.0
_KINDS_OF_WORK = 15
"""About as many figures share the time that is left."""

_TERA, _GIGA = 1e12, 1e9


def certify(config: CardConfig, note: Note = lambda text: None) -> Certificate:
    """Examine a device, keep the certificate, and write its page if one is wanted.

    Args:
        config: which device, and for how long.
        note: called with a sentence about what is done.

    Raises:
        ConfigError: the device's name is malformed, or it computes nothing.
        UnavailableError: the backend or the device is not here.
        UnsupportedError: the power limits that were asked for cannot be set.
        UnsavedError: the certificate or its page cannot be written; carries the certificate.
        HalError: the device failed while it was measured.
    """
    page = None if config.html is None else user_path(config.html)
    if page is not None:
        check_new(page, "html")
    device = registry.device(config.device)
    backend = registry.backend(device.backend)
    if not device.capabilities.values:
        raise UnsupportedError(
            f"device={device} computes only shapes, so there is nothing to measure",
            fix="name a device that computes; see: hal devices",
        )
    start = time.perf_counter()
    with classified(backend):
        found = _examined(backend, device, config, note)
    seconds = time.perf_counter() - start
    earlier = history.last(found.device)
    found = found.model_copy(
        update={"seconds": seconds, "changes": () if earlier is None else history.changes(earlier, found)}
    )
    if config.keep:
        history.keep(found)
    if page is not None:
        from hal.cards.card_page import html_text

        try:
            write_text(page, html_text(found))
        except NotFoundError as error:
            raise UnsavedError(error.message, found, fix=error.fix) from error
    return found


def _examined(backend: Backend, device: Device, config: CardConfig, note: Note) -> Certificate:
    watch = EnvironmentWatch(backend.versions())
    entry = catalogue.match(device.name, device.memory_bytes)
    meter = Meter(backend, device)
    supported = device.capabilities.supported_precisions()
    before = _before(backend, device) if supported else backend.telemetry(device)
    without = "" if supported else next(iter(device.capabilities.precisions.values())).note
    note(f"comparing results on {device} with the host")
    checks = tuple(check for precision in supported for check in check_precision(backend, device, precision))
    figures: list[Figure] = []
    steady = sweep = None
    others = 0.0
    if supported:
        steady_s = min(_LONGEST_STEADY_S, _STEADY_SHARE * config.seconds)
        each_s = 0.6 * (config.seconds - steady_s) / _KINDS_OF_WORK
        peaks = backend.peaks(device) if isinstance(backend, MeasuresDevices) else {}
        for work in works(backend, device):
            note(f"measuring {work.name}{f' in {work.precision}' if work.precision != work.name else ''}")
            measured = meter.measure(work, each_s)
            others = max(others, measured.others_cores)
            figures.append(_expected(measured.figure, device, entry, peaks))
        note(f"keeping {device} under load for {steady_s:.0f} s")
        steady = meter.steady(product(backend, device, best_precision(device)), steady_s)
        if config.power_limits is not None:
            sweep = _swept(backend, device, config.power_limits, before, note)
    environment = watch.stop()
    load = under_load(meter.readings)
    seen = Evidence(
        checks=checks,
        figures=figures,
        steady=steady,
        before=before,
        load=load,
        others=max(others, environment.taken_cores) / environment.cpu_threads,
        on_host=meter.on_host,
        memory_bytes=None if meter.on_host else device.memory_bytes,
        product=entry,
        without_kernels=without,
    )
    verdict = judge(seen)
    return Certificate(
        device=DeviceFacts.of(device),
        product=None if entry is None else entry.name,
        correct=verdict.correct,
        fast=verdict.fast,
        steady_clock=verdict.steady,
        checks=checks,
        figures=tuple(figures),
        steady=steady,
        reasons=verdict.reasons,
        counters={key: value for key, value in dataclasses.asdict(load).items() if value is not None},
        environment=environment,
        seconds=0.0,
        sweep=sweep,
    )


def _before(backend: Backend, device: Device) -> Telemetry:
    """Counters before anything runs, but with this process on the device, so that it is told from others."""
    backend.from_host(np.zeros(1, np.float32), device)
    backend.synchronize(device)
    return backend.telemetry(device)


def _swept(backend: Backend, device: Device, limits: tuple[float, ...], before: Telemetry, note: Note) -> Sweep:
    if not isinstance(backend, MeasuresDevices):
        raise UnsupportedError(
            f"backend {backend.name} cannot cap the power of {device}", fix="leave power_limits= out of the command"
        )
    return sweep_power(backend, device, limits, before, note)


def _expected(figure: Figure, device: Device, entry: CatalogueDevice | None, peaks: Mapping[str, float]) -> Figure:
    """A figure with what the sheet promises and what healthy devices reach, where either is known."""
    if figure.group == "product":
        precision = device.capabilities.precisions.get(figure.precision)  # type: ignore[call-overload]
        if precision is not None and not precision.accelerated:
            return figure  # computed by conversion, so no sheet has a figure for it
        rate = None if entry is None else entry.own_rate(figure.precision)
        if rate is None:
            rate = peaks.get(figure.precision)
        reached = None if entry is None else catalogue.achievable(entry).get(figure.precision)
        return figure.model_copy(
            update={
                "sheet": None if rate is None else rate / _TERA,
                "achievable": None if reached is None else reached.value,
            }
        )
    if figure.group == "memory":
        bandwidth = peaks.get("memory") if entry is None or entry.bandwidth is None else entry.bandwidth
        reached = None if entry is None else catalogue.achievable(entry).get(figure.name)
        return figure.model_copy(
            update={
                "sheet": None if bandwidth is None else bandwidth / _GIGA,
                "achievable": None if reached is None else reached.value,
            }
        )
    return figure
