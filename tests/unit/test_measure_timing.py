"""measure and compare against a machine whose time is a script: nothing here reads a real clock."""

import itertools
from collections import Counter

import numpy as np
import pytest
from pydantic import ValidationError

from hal.contract import Telemetry
from hal.measure import Comparison, Environment, Estimate, Measurement, Settings, compare, measure
from hal.measure._blocks import Looks


@pytest.fixture(autouse=True)
def quiet_host(monkeypatch):
    """The host that runs the tests may be busy; the one in the tests is not."""

    class Watch:
        def __init__(self, versions):
            quiet = {"load_1min_start": 0.0, "cpu_clock_start_mhz": None}
            self.environment = Environment.read(versions).model_copy(update=quiet)

        def stop(self):
            return self.environment

    for module in ("timing", "comparison"):
        monkeypatch.setattr(f"hal.measure.{module}.EnvironmentWatch", Watch)


class Machine:
    """A device that runs asynchronously: steps queue work, synchronising spends the time, the clock shows it."""

    def __init__(self):
        self.now = 100.0
        self.queued = 0.0
        self.steps = Counter()
        self.order = []

    def clock(self):
        return self.now

    def synchronize(self):
        self.now += self.queued
        self.queued = 0.0

    def step(self, durations, name="step"):
        """A step function that takes the seconds that an iterator says."""
        script = iter(durations)

        def run():
            self.queued += next(script)
            self.steps[name] += 1
            if not self.order or self.order[-1] != name:
                self.order.append(name)

        return run

    def measure(self, durations, **options):
        options.setdefault("samples_per_step", 32)
        return measure(self.step(durations), self.synchronize, clock=self.clock, **options)


def noisy(step_s, spread, seed=0):
    rng = np.random.default_rng(seed)
    while True:
        yield step_s * float(np.exp(spread * rng.normal()))


def test_phases_apart():
    machine = Machine()
    result = machine.measure(itertools.chain([2.0, 0.5], itertools.repeat(0.004)))
    assert result.first_call_s == pytest.approx(2.0)
    # One slow step, one of 4 ms that is too short to time, then two blocks of three that agree.
    assert result.warmup_s == pytest.approx(0.5 + 0.004 + 0.012 + 0.012)
    assert result.warmup_settled
    assert result.steps_per_block == 3
    assert result.step_ms.median == pytest.approx(4.0)
    assert result.throughput.median == pytest.approx(32 / 0.004)
    assert result.throughput.unit == "samples/s"
    assert result.stopped == "narrow enough"
    assert result.steady_s == pytest.approx(sum(result.block_ms) / 1000)
    assert 1.0 <= result.steady_s <= 1.25
    assert result.blocks == len(result.block_ms)
    assert result.overall_samples_per_s == pytest.approx(32 / 0.004)
    assert result.notes() == ()


def test_every_step_that_ran_is_accounted_for():
    machine = Machine()
    result = machine.measure(itertools.repeat(0.1))
    warmup_steps = round(result.warmup_s / 0.1)
    assert machine.steps["step"] == 1 + warmup_steps + result.blocks * result.steps_per_block
    assert machine.now == pytest.approx(100 + result.first_call_s + result.warmup_s + result.steady_s)


@pytest.mark.parametrize("step_s", [1e-6, 3.3e-4, 0.0099, 0.02])
def test_blocks_are_long_enough(step_s):
    result = Machine().measure(noisy(step_s, 0.02), settings=Settings(min_seconds=0.1, max_seconds=0.5))
    assert np.median(result.block_ms) >= 10
    if step_s < 0.01:
        assert np.median(result.block_ms) <= 10 * 1.1 * 1.02 + 1000 * step_s


def test_throughput_and_step_time_agree():
    result = Machine().measure(noisy(0.02, 0.05))
    assert result.throughput.median == pytest.approx(32_000 / result.step_ms.median)
    assert result.throughput.low == pytest.approx(32_000 / result.step_ms.high)
    assert result.throughput.high == pytest.approx(32_000 / result.step_ms.low)


def test_noise_runs_until_the_interval_is_narrow():
    quiet = Machine().measure(noisy(0.02, 0.01))
    loud = Machine().measure(noisy(0.02, 0.15))
    assert quiet.stopped == loud.stopped == "narrow enough"
    assert quiet.blocks < loud.blocks
    assert loud.step_ms.relative_half_width <= 0.02
    assert loud.step_ms.low <= 20 <= loud.step_ms.high
    assert any("spread wide" in note for note in loud.notes())


def test_time_out_keeps_what_there_is():
    result = Machine().measure(noisy(0.02, 0.5), settings=Settings(max_seconds=2, target_relative_width=1e-4))
    assert result.stopped == "time out"
    assert 2.0 <= result.steady_s < 2.2
    assert result.step_ms.relative_half_width > 1e-4


def test_slow_steps_end_at_the_time_limit_with_a_note():
    result = Machine().measure(itertools.repeat(6.0))
    assert (result.stopped, result.blocks) == ("time out", 2)
    assert any("2 blocks are too few" in note for note in result.notes())
    assert "too few" in str(result)


def test_number_of_blocks_is_bounded():
    result = Machine().measure(noisy(0.02, 0.3), settings=Settings(max_blocks=10, target_relative_width=1e-4))
    assert (result.stopped, result.blocks) == ("enough blocks", 10)


def test_surely_slower_stops_early():
    incumbent = Estimate(median=3200, low=3100, high=3300, n=30, unit="samples/s")
    result = Machine().measure(noisy(0.0115, 0.05), beat=incumbent)
    assert result.stopped == "surely slower"
    assert 1 <= result.steady_s < 1.3, "a moment says nothing, and no more is needed"
    assert result.throughput.high < incumbent.low


@pytest.mark.parametrize("step_s", [0.0103, 0.0097])
def test_those_within_reach_of_the_incumbent_run_on(step_s):
    incumbent = Estimate(median=3200, low=3000, high=3300, n=30, unit="samples/s")
    assert Machine().measure(noisy(step_s, 0.05), beat=incumbent).stopped == "narrow enough"


@pytest.mark.parametrize(("step_s", "blocks"), [(5.0, 1), (1.7, 2), (1.4, 3)])
def test_what_is_far_behind_is_not_waited_for(step_s, blocks):
    incumbent = Estimate(median=100, low=100, high=100, n=50, unit="samples/s")
    result = Machine().measure(itertools.repeat(step_s), samples_per_step=100, beat=incumbent)
    assert (result.stopped, result.blocks) == ("surely slower", blocks)


def test_one_disturbed_block_does_not_end_it():
    incumbent = Estimate(median=100, low=100, high=100, n=50, unit="samples/s")
    steps = itertools.chain([1.0] * 4, [9.0], itertools.repeat(1.0))
    assert Machine().measure(steps, samples_per_step=100, beat=incumbent).stopped != "surely slower"


def test_warm_up_that_never_settles():
    durations = itertools.chain([1.0], itertools.cycle([0.02, 0.05]))
    result = Machine().measure(durations, settings=Settings(warmup_max_seconds=0.5))
    assert not result.warmup_settled
    assert 0.5 <= result.warmup_s < 0.6
    assert any("warm-up ended at its limit" in note for note in result.notes())


def test_warm_up_waits_for_a_late_compilation():
    result = Machine().measure(itertools.chain([3.0, 0.02, 4.0], itertools.repeat(0.02)))
    assert result.warmup_s == pytest.approx(0.02 + 4.0 + 0.02 + 0.02)
    assert max(result.block_ms) == pytest.approx(20)


def test_warm_up_compares_blocks_that_follow_each_other():
    result = Machine().measure(itertools.chain([3.0, 0.02, 0.004], itertools.repeat(0.02)))
    # The block of 4 ms was too short to time; the one of 20 ms before it is no neighbour of those of three steps after.
    assert result.warmup_s == pytest.approx(0.02 + 0.004 + 0.06 + 0.06)


def test_outliers_move_the_mean_but_not_the_median():
    durations = itertools.chain([0.02] * 10, itertools.cycle([0.02] * 9 + [0.2]))
    result = Machine().measure(durations)
    assert result.step_ms.median == pytest.approx(20)
    assert result.overall_samples_per_s < 0.7 * result.throughput.median
    assert any("stalled" in note for note in result.notes())


def test_drift_is_told():
    durations = itertools.chain([0.02] * 3, (0.02 * (1 + 0.002 * i) for i in itertools.count()))
    result = Machine().measure(durations)
    assert any("drifted" in note and "+" in note for note in result.notes())


def wandering(step_s, spread, correlation, seed=0):
    """Noise that outlasts a step: an autoregressive process of order one."""
    rng = np.random.default_rng(seed)
    state = rng.normal()
    while True:
        yield step_s * float(np.exp(spread * state))
        state = correlation * state + np.sqrt(1 - correlation**2) * rng.normal()


def test_noise_that_neighbours_share_widens_the_interval():
    covered = 0
    settings = Settings(max_seconds=3)
    for seed in range(100):
        result = Machine().measure(wandering(0.012, 0.03, 0.6, seed), settings=settings)
        covered += result.step_ms.low <= 12 <= result.step_ms.high
    assert covered >= 85


def test_a_speed_that_wanders_is_told():
    durations = itertools.chain([0.02] * 3, itertools.cycle([0.02] * 15 + [0.0204] * 30 + [0.02] * 15))
    result = Machine().measure(durations, settings=Settings(min_seconds=1.2, target_relative_width=0.5))
    assert any("wandered" in note for note in result.notes())
    assert Machine().measure(noisy(0.02, 0.01)).notes() == ()


def test_bimodal_blocks_are_told():
    result = Machine().measure(itertools.chain([0.02] * 3, itertools.cycle([0.02, 0.03])))
    assert result.stopped == "time out"
    assert (result.step_ms.low, result.step_ms.high) == (pytest.approx(20), pytest.approx(30))
    assert any("spread wide" in note for note in result.notes())


def test_interval_covers_the_true_median_despite_early_stopping():
    covered = 0
    settings = Settings(min_seconds=0.3, max_seconds=3)
    for seed in range(100):
        result = Machine().measure(noisy(0.012, 0.05, seed), settings=settings)
        covered += result.step_ms.low <= 12 <= result.step_ms.high
    assert covered >= 85


def test_latency_waits_for_every_step():
    machine = Machine()
    result = machine.measure(noisy(0.001, 0.1), latency=True)
    assert result.steps_per_block == 1
    assert result.latency is not None
    assert result.latency.p50_ms == result.step_ms
    assert result.latency.p95_ms is not None
    assert result.latency.p99_ms is not None
    assert result.latency.p95_ms.value == pytest.approx(np.quantile(result.block_ms, 0.95))
    assert result.latency.p99_ms.value == pytest.approx(np.quantile(result.block_ms, 0.99))
    assert result.step_ms.median < result.latency.p95_ms.value < result.latency.p99_ms.value


def test_latency_takes_a_hundred_steps_where_time_allows():
    result = Machine().measure(itertools.repeat(0.05), latency=True)
    assert result.blocks == 100
    result = Machine().measure(itertools.repeat(0.5), latency=True)
    assert result.blocks == 20
    assert result.latency is not None
    assert result.latency.p95_ms is not None
    assert result.latency.p99_ms is None


def test_latency_synchronises_each_step_and_throughput_each_block():
    for latency, expected in ((True, 3), (False, 1)):
        machine = Machine()
        queued = []

        def synchronize(machine=machine, queued=queued):
            queued.append(machine.queued)
            machine.synchronize()

        result = measure(
            machine.step(itertools.repeat(0.004)),
            synchronize,
            samples_per_step=1,
            latency=latency,
            clock=machine.clock,
        )
        waits = sum(1 for x in queued if x > 0)
        assert waits == pytest.approx(machine.steps["step"] * expected / 3, abs=2)
        assert result.step_ms.median == pytest.approx(4)


def test_power_energy_and_memory():
    machine = Machine()
    result = machine.measure(
        itertools.repeat(0.004),
        telemetry=lambda: Telemetry(power_w=None, energy_j=300 * machine.now, temperature_c=60, clock_mhz=1500),
        peak_memory=lambda: 12345,
        versions={"runtime": "1.2"},
    )
    assert result.power_w == pytest.approx(300)
    assert result.energy_j_per_sample == pytest.approx(300 * 0.004 / 32)
    assert result.hardware is not None
    assert result.hardware.max_temperature_c == 60
    assert result.peak_memory_bytes == 12345
    assert result.environment.versions == {"runtime": "1.2"}


def test_what_is_not_asked_for_is_unknown():
    result = Machine().measure(itertools.repeat(0.02))
    assert result.power_w is result.energy_j_per_sample is result.hardware is result.peak_memory_bytes is None
    silent = Machine().measure(itertools.repeat(0.02), telemetry=Telemetry)
    assert silent.power_w is silent.energy_j_per_sample is None


def test_measurements_survive_json():
    result = Machine().measure(noisy(0.001, 0.1), latency=True, telemetry=lambda: Telemetry(power_w=5.0))
    assert Measurement.model_validate_json(result.model_dump_json()) == result


def test_errors_of_a_step_pass_through():
    def step():
        raise MemoryError("device")

    with pytest.raises(MemoryError, match="device"):
        measure(step, lambda: None, samples_per_step=1)


def test_requests_that_cannot_be():
    with pytest.raises(ValueError, match="samples_per_step=0"):
        Machine().measure(itertools.repeat(0.02), samples_per_step=0)
    with pytest.raises(ValueError, match="beat is in ms"):
        Machine().measure(itertools.repeat(0.02), beat=Estimate(median=1, low=1, high=1, n=9, unit="ms"))
    with pytest.raises(ValueError, match="clock did not advance"):
        Machine().measure(itertools.chain([1.0] * 8, itertools.repeat(0.0)))
    with pytest.raises(ValidationError, match="max_seconds"):
        Settings(min_seconds=2, max_seconds=1)
    with pytest.raises(ValidationError, match="max_blocks"):
        Settings(min_blocks=9, max_blocks=8)
    with pytest.raises(ValidationError):
        Settings(seconds=3)


def test_a_clock_that_stands_still_is_found(monkeypatch):
    monkeypatch.setattr("hal.measure._blocks._MOST_STEPS", 1000)
    with pytest.raises(ValueError, match="clock did not advance during 1000 steps"):
        measure(lambda: None, lambda: None, samples_per_step=1, clock=lambda: 7.0)


def test_looks_are_spaced():
    looks = Looks(8)
    assert [n for n in range(1, 40) if looks.due(n)] == [8, 10, 12, 15, 18, 22, 27, 33]
    single = Looks(1)
    assert [n for n in range(1, 12) if single.due(n)] == [1, 2, 3, 4, 5, 6, 8, 10]


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
