"""What stands at the top of the report: the result in a line and a sentence, and the few numbers that matter."""

from __future__ import annotations

from collections.abc import Iterator

from hal.contract.plan import Plan
from hal.contract.text import (
    bytes_text,
    counted,
    estimate_text,
    interval_text,
    number,
    plan_line,
    ratio_text,
    seconds_text,
)
from hal.measure import Estimate
from hal.page import Number
from hal.tuner.report.values import (
    ENDED,
    NAMES,
    capital,
    listed,
    scaled,
    unit_of,
    value_of,
)
from hal.tuner.result import Tuning
from hal.tuner.trial_result import OBJECTIVES, Objective

__all__ = ["headline_of", "numbers_of"]

_BETTER: dict[Objective, str] = {
    "throughput": "faster than the default plan",
    "latency": "lower latency than the default plan",
    "energy": "less energy per sample than the default plan",
    "memory": "less memory than the default plan",
    "time_to_loss": "less time to the same loss than the default plan",
}


def headline_of(tuning: Tuning) -> tuple[str, str]:
    """The result in a line, and the sentence under it."""
    winner, name, ratio = tuning.winner, tuning.objectives[0], tuning.over_default
    if tuning.nearest_miss is not None:
        key, over = tuning.nearest_miss
        return (
            f"No plan meets constraint.{key}",
            f"The closest of the plans that were tried needs {number(over)} times the limit.",
        )
    if winner is None and not tuning.searched.tried:
        return (
            "No plan of the search space was tried",
            "There was only time for the plans that it is compared with; raise budget=.",
        )
    if winner is None:
        return "No plan worked", f"Plans tried: {len(tuning.trials):,}. The section on failures says what went wrong."
    said = f"{plan_line(winner)} on {tuning.device.name} ({tuning.device.arch})."
    said += (
        f" Its numbers are not measured but estimated by {tuning.estimated_by}." if tuning.target is not None else ""
    )
    if len(tuning.objectives) > 1:
        more = f" It has {ratio_text(ratio)} the throughput of the default plan." if ratio is not None else ""
        head = f"{counted(len(tuning.pareto), 'plan')} on the Pareto front of {listed(tuning)}"
        return head, f"The one with the best {NAMES[name]} is {said}{more}"
    if winner == tuning.default:
        return "The default plan is the best that was tried", f"It is {said}"
    if name == "throughput" and ratio is not None:
        how = "It was measured in turn with the default plan, in fresh processes. The interval has 95% confidence."
        if ratio.low <= 1 <= ratio.high:
            return f"No plan is significantly faster than the default: {ratio_text(ratio)}", f"The best is {said} {how}"
        return f"{ratio_text(ratio)} {_BETTER[name]}", f"{capital(said)} {how}"
    mine, its = _value(tuning, winner, name), _value(tuning, tuning.default, name)
    if not mine or not its:
        return f"The best plan is {plan_line(winner)}", "The default plan gave no value to compare it with."
    gain = mine / its if OBJECTIVES[name][1] == "maximize" else its / mine
    how = f"{number(mine)} instead of {number(its)} {unit_of(name)}. This ratio has no interval."
    return f"{gain:.2f}× {_BETTER[name]}", f"{capital(said)} {capital(NAMES[name])}: {how}"


def _value(tuning: Tuning, plan: Plan, name: Objective) -> float | None:
    """A plan's value as last measured."""
    final = next((f.values[name] for f in tuning.finalists if f.plan == plan and name in f.values), None)
    trial = next((t for t in tuning.trials if t.plan == plan), None)
    return scaled(name, final) if final is not None else None if trial is None else value_of(trial, name)


def numbers_of(tuning: Tuning) -> Iterator[Number]:
    """The few numbers that matter, each with what it is compared with."""
    searched, ratio = tuning.searched, tuning.over_baseline
    if tuning.winner is not None:
        if tuning.target is not None:
            yield from _guesses(tuning, tuning.winner)
        best, default = _throughput(tuning, tuning.winner), _throughput(tuning, tuning.default)
        if best is not None:
            interval = f"95% interval {interval_text(best.low, best.high)}"
            yield Number(
                "Throughput", f"{number(best.median)} samples/s", (interval, _than(estimate_text(default, unit=False)))
            )
        if ratio is not None and tuning.baseline != tuning.default:
            interval = f"95% interval [{ratio.low:.2f}, {ratio.high:.2f}]"
            yield Number("Over fp32 eager", f"{ratio.median:.2f}×", (interval,))
        mine, its = _measured(tuning, tuning.winner), _measured(tuning, tuning.default)
        for label, say, used, usual in (
            ("Peak memory", bytes_text, mine[0], its[0]),
            ("Energy", lambda joules: f"{number(joules)} J/sample", mine[1], its[1]),
        ):
            if used is not None:
                yield Number(label, say(used), (_than("" if usual is None else say(usual)),))
    yield Number("Time to tune", seconds_text(tuning.seconds), (ENDED[tuning.status],))
    share = f"{searched.tried / searched.plans:.0%} of {searched.plans:,}" if searched.plans else ""
    ruled_out = f"{searched.ruled_out:,} more ruled out: too much memory" if searched.ruled_out else ""
    by = f"chosen by sampler={searched.sampler}" if searched.sampler != "hal" else ""
    yield Number("Plans tried", f"{searched.tried:,}", (share, ruled_out, by))
    if searched.remaining and searched.likely_gain is not None and searched.remaining_s is not None:
        high = max(searched.likely_gain, searched.likely_gain_high or 0.0)
        more = f"in about {seconds_text(searched.remaining_s)}, at most about {high:.1%}"
        yield Number("Expected gain from trying the rest", f"{searched.likely_gain:.1%}", (more,), kind="estimated")


def _guesses(tuning: Tuning, winner: Plan) -> Iterator[Number]:
    """The winner's numbers on hardware that is not present, beside the default's."""
    of = {plan: next((t for t in tuning.trials if t.plan == plan), None) for plan in (winner, tuning.default)}
    say = {"throughput": lambda value: f"{number(value)} samples/s", "memory": lambda value: bytes_text(value * 2**20)}
    labels: dict[Objective, str] = {"throughput": "Throughput", "memory": "Memory per device"}
    for name, label in labels.items():
        mine, its = (None if (t := of[plan]) is None else value_of(t, name) for plan in (winner, tuning.default))
        if mine is not None:
            yield Number(label, say[name](mine), (_than("" if its is None else say[name](its)),), kind="estimated")


def _than(default: str) -> str:
    return f"default {default}" if default else ""


def _throughput(tuning: Tuning, plan: Plan) -> Estimate | None:
    """A plan's throughput as last measured."""
    final = next((f.throughput for f in tuning.finalists if f.plan == plan and f.throughput is not None), None)
    return final or next((t.measurement.throughput for t in tuning.trials if t.plan == plan and t.measurement), None)


def _measured(tuning: Tuning, plan: Plan) -> tuple[float | None, float | None]:
    """A plan's peak memory in bytes and its energy in J/sample."""
    found = next((t.measurement for t in tuning.trials if t.plan == plan and t.measurement), None)
    return (None, None) if found is None else (found.peak_memory_bytes, found.energy_j_per_sample)
