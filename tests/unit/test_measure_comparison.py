"""compare against machines whose time is a script."""

import itertools

import pytest
from measure_helpers import Machine, noisy

from hal.measure import Comparison, Estimate, Settings, compare

pytestmark = pytest.mark.usefixtures("quiet_host")


def pair(machine, factor, spread=0.02, **options):
    return compare(
        {
            "old": (machine.step(noisy(0.01, spread, 1), "old"), machine.synchronize, 32),
            "new": (machine.step(noisy(0.01 / factor, spread, 2), "new"), machine.synchronize, 32),
        },
        baseline="old",
        clock=machine.clock,
        **options,
    )


@pytest.mark.parametrize(("factor", "verdict"), [(1.25, "faster"), (0.9, "slower"), (1.0, "no difference shown")])
def test_ratio_of_two(factor, verdict):
    result = pair(Machine(), factor)
    assert result.ratios["new"].median == pytest.approx(factor, rel=0.02)
    assert result.ratios["new"].unit == "x"
    assert result.verdict("new") == verdict
    assert verdict in str(result)
    assert "(baseline)" in str(result)
    assert result.ratios["old"] == Estimate(median=1, low=1, high=1, n=result.ratios["old"].n, unit="x")
    assert {m.stopped for m in result.measurements.values()} == {"narrow enough"}
    assert all(m.steady_s >= 1.0 for m in result.measurements.values())
    assert Comparison.model_validate_json(result.model_dump_json()) == result


def test_drift_of_the_machine_cancels_in_the_ratio():
    machine = Machine()

    def drifting(step_s):
        while True:
            yield step_s * (1 + 0.5 * (machine.now - 100))

    result = compare(
        {
            "a": (machine.step(drifting(0.02), "a"), machine.synchronize, 10),
            "b": (machine.step(drifting(0.016), "b"), machine.synchronize, 10),
        },
        baseline="a",
        settings=Settings(max_seconds=3, warmup_tolerance=1),
        clock=machine.clock,
    )
    assert result.ratios["b"].median == pytest.approx(1.25, rel=0.03)
    spread = result.measurements["a"].step_ms
    assert result.ratios["b"].relative_half_width < spread.relative_half_width / 3
    assert any("drifted" in note for note in result.notes())


def test_samples_per_step_count_in_the_ratio():
    machine = Machine()
    result = compare(
        {
            "small": (machine.step(itertools.repeat(0.02)), machine.synchronize, 10),
            "large": (machine.step(itertools.repeat(0.03)), machine.synchronize, 20),
        },
        baseline="small",
        clock=machine.clock,
    )
    assert result.ratios["large"].median == pytest.approx(20 / 10 * 0.02 / 0.03)
    ratio = result.measurements["large"].throughput.median / result.measurements["small"].throughput.median
    assert result.ratios["large"].median == pytest.approx(ratio)


def rounds_of(seed):
    machine = Machine()
    names = ("a", "b", "c")
    result = compare(
        {name: (machine.step(noisy(0.02, 0.01, i), name), machine.synchronize, 1) for i, name in enumerate(names)},
        baseline="a",
        settings=Settings(seed=seed),
        clock=machine.clock,
    )
    return machine, result


def test_rounds_take_turns_in_an_order_by_seed():
    machine, result = rounds_of(0)
    assert list(result.measurements) == ["a", "b", "c"]
    assert len({m.blocks for m in result.measurements.values()}) == 1
    assert len({machine.steps[name] for name in "abc"}) == 1
    # Two rounds may meet with the same candidate, so no run is longer than two blocks.
    rounds = result.ratios["b"].n
    assert len(machine.order) >= 2 * rounds
    assert rounds_of(0)[0].order == machine.order
    assert rounds_of(1)[0].order != machine.order


@pytest.mark.parametrize(("slower", "same"), [(1.05, True), (1.5, True), (3.5, True), (8.0, False)])
def test_blocks_have_equally_many_steps_unless_too_long(slower, same):
    machine = Machine()
    result = compare(
        {
            "quick": (machine.step(itertools.repeat(0.0001)), machine.synchronize, 1),
            "slow": (machine.step(itertools.repeat(0.0001 * slower)), machine.synchronize, 1),
        },
        baseline="quick",
        clock=machine.clock,
    )
    quick, slow = result.measurements["quick"], result.measurements["slow"]
    assert (quick.steps_per_block == slow.steps_per_block) is same
    assert quick.block_ms[0] == pytest.approx(11, rel=0.02)
    assert slow.block_ms[0] == pytest.approx(11 * slower if same else 11, rel=0.1)
    assert result.ratios["slow"].median == pytest.approx(1 / slower)


def test_a_disturbed_warm_up_does_not_shorten_the_blocks():
    calm = Machine().measure(itertools.repeat(0.001))
    disturbed = Machine().measure(itertools.chain([0.001] * 3, [0.003] * 30, itertools.repeat(0.001)))
    assert disturbed.steps_per_block == calm.steps_per_block


def test_short_steps_run_one_untimed_after_each_change():
    machine = Machine()
    result = compare(
        {
            "short": (machine.step(itertools.repeat(0.001), "short"), machine.synchronize, 1),
            "long": (machine.step(itertools.repeat(0.02), "long"), machine.synchronize, 1),
        },
        baseline="long",
        clock=machine.clock,
    )
    short, long = result.measurements["short"], result.measurements["long"]
    warm = 1 + round(short.warmup_s / 0.001)
    assert machine.steps["short"] == warm + short.blocks * (short.steps_per_block + 1)
    assert machine.steps["long"] == 1 + round(long.warmup_s / 0.02) + long.blocks
    assert short.step_ms.median == pytest.approx(1)


def test_comparison_times_out():
    settings = Settings(min_seconds=0.2, max_seconds=1, target_relative_width=1e-5)
    result = pair(Machine(), 1.1, spread=0.3, settings=settings)
    assert {m.stopped for m in result.measurements.values()} == {"time out"}
    # Steps that are not timed take the rest of two seconds.
    assert 1.2 <= sum(m.steady_s for m in result.measurements.values()) <= 2.1


def test_verdict_needs_enough_rounds():
    settings = Settings(min_seconds=0, min_blocks=3, max_blocks=3, max_seconds=1)
    assert pair(Machine(), 2.0, settings=settings).verdict("new") == "no difference shown"


def test_comparisons_that_cannot_be():
    machine = Machine()
    one = (machine.step(itertools.repeat(0.02)), machine.synchronize, 1)
    with pytest.raises(ValueError, match="two or more"):
        compare({"a": one}, baseline="a")
    with pytest.raises(ValueError, match="choose one of a, b"):
        compare({"a": one, "b": one}, baseline="c")
    with pytest.raises(ValueError, match="samples_per_step=0 of b"):
        compare({"a": one, "b": (*one[:2], 0)}, baseline="a")
