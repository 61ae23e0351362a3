"""Judges what was measured, and says why a device falls short: the machine first, the chip last.

Pure functions of what was seen, so that every judgement can be tested with counters that are made up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from hal.cards.certificate import Answer, Figure, Reason, Steady
from hal.cards.correct import Check
from hal.catalogue import CatalogueDevice
from hal.contract import Telemetry

__all__ = ["Evidence", "Judgement", "judge", "under_load"]

_OF_ACHIEVABLE = 0.85
"""Healthy devices of one kind differ by some 5%, and an oven of a rack makes it 10%."""

_OF_SHEET = 0.4
"""Where nobody has measured a healthy one: the lowest share of the sheet that is known of a healthy device is 51%."""

_STEADY = -0.1
_CAPPED = 0.98
_CLOCK = 0.9
_MEMORY = 0.88
BUSY_SHARE = 0.15
"""Share of the host's cores that other processes must take before it counts as busy."""

_BUSY_DEVICE_PERCENT = 15.0


@dataclass(frozen=True)
class Evidence:
    """What was seen of a device.

    Attributes:
        checks: comparisons with the host.
        figures: what was measured.
        steady: the stretch under load; None: there was none.
        before: counters before anything ran.
        load: counters under load, put together by :func:`under_load`.
        others: share of the machine's cores that other processes used meanwhile.
        on_host: whether the device is the host's processor.
        memory_bytes: memory that the device shows.
        product: what it is in the catalogue; None if it is not there.
        without_kernels: why the build has no kernels for it; empty where it has.
    """

    checks: Sequence[Check] = ()
    figures: Sequence[Figure] = ()
    steady: Steady | None = None
    before: Telemetry = field(default_factory=Telemetry)
    load: Telemetry = field(default_factory=Telemetry)
    others: float = 0.0
    on_host: bool = False
    memory_bytes: int | None = None
    product: CatalogueDevice | None = None
    without_kernels: str = ""

    @property
    def busy(self) -> bool:
        """Whether others used what was measured."""
        if self.on_host:
            return self.others > BUSY_SHARE
        return (self.before.busy_percent or 0.0) > _BUSY_DEVICE_PERCENT and (self.before.others or 0) > 0


@dataclass(frozen=True)
class Judgement:
    """The three answers, and the reasons in the order in which they are to be believed."""

    correct: Answer
    fast: Answer
    steady: Answer
    reasons: tuple[Reason, ...]


def judge(seen: Evidence) -> Judgement:
    """Judge a device by what was seen of it."""
    wrong = [check for check in seen.checks if not check.agrees]
    correct: Answer = "no" if wrong else "yes" if seen.checks else "unknown"
    short = [figure for figure in seen.figures if _short(figure)]
    judged = any(figure.achievable or figure.sheet for figure in seen.figures)
    fast: Answer = "yes" if judged else "unknown"
    if short:
        fast = "withheld" if seen.busy else "no"
    dropped = seen.steady is not None and seen.steady.change < _STEADY
    steady: Answer = "unknown" if seen.steady is None else "yes"
    if dropped:
        steady = "withheld" if seen.busy else "no"
    held = _heat(seen.load)
    if held and not seen.busy:
        steady = "no"
    reasons = [*_wrong(wrong), *_why(seen, short, dropped)]
    # A speed that drops is what is to be explained, and no cause of it.
    causes = [reason for reason in reasons if reason.ill and reason.kind not in ("wrong result", "unsteady")]
    if (fast == "no" or steady == "no") and not causes:
        reasons.append(_unknown(short, seen.steady))
    return Judgement(correct, fast, steady, tuple(reasons))


def under_load(readings: Sequence[Telemetry]) -> Telemetry:
    """Readings as one: what held the clock at any time, the fastest link, the lowest clock and limit, the most heat."""

    def known(name: str) -> list[float]:
        return [value for each in readings if (value := getattr(each, name)) is not None]

    def most(name: str) -> float | None:
        return max(known(name), default=None)

    throttles = [each.throttle for each in readings if each.throttle is not None]
    last = readings[-1] if readings else Telemetry()
    clocks = sorted(known("clock_mhz"))
    memory_clocks = sorted(known("memory_clock_mhz"))
    return Telemetry(
        power_w=most("power_w"),
        temperature_c=most("temperature_c"),
        clock_mhz=clocks[len(clocks) // 2] if clocks else None,
        memory_clock_mhz=memory_clocks[len(memory_clocks) // 2] if memory_clocks else None,
        memory_used_bytes=last.memory_used_bytes,
        clock_max_mhz=most("clock_max_mhz"),
        memory_clock_max_mhz=most("memory_clock_max_mhz"),
        throttle=tuple(dict.fromkeys(one for each in throttles for one in each)) if throttles else None,
        power_limit_w=min(known("power_limit_w"), default=None),
        power_limit_default_w=last.power_limit_default_w,
        power_limit_range_w=last.power_limit_range_w,
        link_generation=_whole(most("link_generation")),
        link_width=_whole(most("link_width")),
        link_max_generation=last.link_max_generation,
        link_max_width=last.link_max_width,
        fan_percent=most("fan_percent"),
        ecc=last.ecc,
        ecc_errors=_whole(most("ecc_errors")),
        others=_whole(most("others")),
        is_slice=last.is_slice,
    )


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def _short(figure: Figure) -> bool:
    """Whether the whole interval lies below what is to be expected; transfers are judged by their link instead."""
    if figure.group not in ("product", "memory"):
        return False
    if figure.achievable is not None:
        return figure.high < _OF_ACHIEVABLE * figure.achievable
    return figure.sheet is not None and figure.high < _OF_SHEET * figure.sheet


def _wrong(wrong: Sequence[Check]) -> Iterator[Reason]:
    for precision in dict.fromkeys(check.precision for check in wrong):
        held = [check for check in wrong if check.precision == precision]
        ops = ", ".join(check.op for check in held)
        said = next((f" ({check.failure})" for check in held if check.failure), "")
        yield Reason(
            kind="wrong result",
            ill=True,
            text=f"In {precision}, {ops} deviate{'s' if len(held) == 1 else ''} from float64 on the host by more than "
            f"rounding allows{said}.",
            fix=f"do not compute in {precision} on this device; run hal verify to see which step goes wrong",
        )


def _why(seen: Evidence, short: Sequence[Figure], dropped: bool) -> Iterator[Reason]:
    load = seen.load
    if seen.busy:
        yield Reason(kind="busy", ill=False, text=_busy_text(seen), fix="stop the other processes and measure again")
    falls_short = bool(short) or dropped
    for cause in load.throttle or ():
        if cause == "power cap":
            if falls_short and not _capped(load):
                yield Reason(
                    kind="throttle",
                    ill=False,
                    text="Its power reached the limit, which holds the clock down; that is usual under full load.",
                )
        elif cause in ("thermal", "power brake", "hardware slowdown"):
            yield Reason(
                kind="throttle",
                ill=True,
                text=f"Its clock was held down under load: {cause}"
                + (f", at {load.temperature_c:.0f} °C" if cause == "thermal" and load.temperature_c else "")
                + ".",
                fix="check the cooling" if cause == "thermal" else "check the power supply and its cables",
            )
        else:
            yield Reason(kind="throttle", ill=False, text=f"Its clock is held down: {cause}.")
    yield from _link(load)
    if _capped(load):
        yield Reason(
            kind="power limit",
            ill=falls_short and not seen.busy,
            text=f"Its power limit is {load.power_limit_w:.0f} W; it was delivered with "
            f"{load.power_limit_default_w:.0f} W.",
            fix="raise the limit, if it was not lowered on purpose",
        )
    yield from _clocks(load, falls_short)
    yield from _memory(seen)
    if load.is_slice:
        yield Reason(
            kind="slice", ill=False, text="It is a slice of a card; what the other slices do can slow its memory down."
        )
    elif seen.before.others and not seen.on_host:
        yield Reason(
            kind="shared",
            ill=False,
            text=f"Other processes hold memory on it: {seen.before.others} of them.",
        )
    if seen.without_kernels:
        yield Reason(kind="build", ill=True, text=seen.without_kernels, fix="install another build of the framework")
    if load.ecc_errors:
        yield Reason(
            kind="ecc",
            ill=True,
            text=f"Its memory had {load.ecc_errors} errors that could not be corrected since the driver was loaded.",
            fix="reset the device; if they come again, have it replaced",
        )
    if dropped and not seen.busy and seen.steady is not None:
        yield Reason(
            kind="unsteady",
            ill=True,
            text=f"Under load its speed changed by {seen.steady.change:+.0%} within {seen.steady.seconds:.0f} s.",
            fix="watch its temperature and clock; check the cooling",
        )


def _busy_text(seen: Evidence) -> str:
    if seen.on_host:
        return (
            f"The machine is busy: other processes took {seen.others:.0%} of its cores. The figures are those of what "
            "was left; the device is not blamed."
        )
    return (
        f"The device was busy before anything was measured: {seen.before.busy_percent:.0f}% of the time, with "
        f"{seen.before.others} other processes on it."
    )


def _link(load: Telemetry) -> Iterator[Reason]:
    if load.link_width and load.link_max_width and load.link_width < load.link_max_width:
        yield Reason(
            kind="link",
            ill=True,
            text=f"Its PCIe link runs with {load.link_width} of its {load.link_max_width} lanes.",
            fix="put the card into a slot with all lanes, or seat it again",
        )
    if load.link_generation and load.link_max_generation and load.link_generation < load.link_max_generation:
        yield Reason(
            kind="link",
            ill=False,
            text=f"Its PCIe link runs as generation {load.link_generation}; the card has generation "
            f"{load.link_max_generation}.",
            fix="a slot or board of the newer generation would copy faster",
        )


def _clocks(load: Telemetry, falls_short: bool) -> Iterator[Reason]:
    if not falls_short:
        return
    for name, now, most in (
        ("clock", load.clock_mhz, load.clock_max_mhz),
        ("memory clock", load.memory_clock_mhz, load.memory_clock_max_mhz),
    ):
        if name == "clock" and load.throttle:
            continue  # what holds it down is told already
        if now and most and now < _CLOCK * most:
            yield Reason(
                kind="clock",
                ill=True,
                text=f"Its {name} was {now:.0f} MHz under load, of at most {most:.0f} MHz.",
                fix="see whether the clock was locked below its highest value",
            )


def _memory(seen: Evidence) -> Iterator[Reason]:
    product = seen.product
    if product is None or product.memory_bytes is None or seen.memory_bytes is None or seen.load.is_slice:
        return
    if seen.memory_bytes < _MEMORY * product.memory_bytes:
        yield Reason(
            kind="memory",
            ill=True,
            text=f"It shows {seen.memory_bytes / 2**30:.1f} GiB of memory; {product.name} has "
            f"{product.memory_bytes / 2**30:.0f} GiB.",
            fix="see whether a part of it is reserved, and whether the driver reports errors",
        )


def _capped(load: Telemetry) -> bool:
    now, usual = load.power_limit_w, load.power_limit_default_w
    return now is not None and usual is not None and now < _CAPPED * usual


def _heat(load: Telemetry) -> Literal[True] | None:
    return True if {"thermal", "power brake", "hardware slowdown"} & set(load.throttle or ()) else None


def _unknown(short: Sequence[Figure], steady: Steady | None) -> Reason:
    if short:
        worst = min(short, key=lambda figure: figure.of_achievable or figure.of_sheet or 1.0)
        share = worst.of_achievable or worst.of_sheet or 0.0
        of = "what healthy devices of its kind reach" if worst.achievable else "its sheet"
        text = f"{worst.name} reaches {share:.0%} of {of}, and nothing that was looked at explains it."
    else:
        change = 0.0 if steady is None else steady.change
        text = f"Its speed changed by {change:+.0%} under load, and nothing that was looked at explains it."
    return Reason(
        kind="unknown cause", ill=True, text=text, fix="measure again on another machine or with another driver"
    )
