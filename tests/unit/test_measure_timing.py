"""measure against a machine whose time is a script."""

import itertools

import numpy as np
import pytest
from measure_helpers import Machine, noisy
from pydantic import ValidationError

from hal.contract import Telemetry
from hal.measure import Estimate, Measurement, Settings, measure
from hal.measure._blocks import Looks

pytestmark = pytest.mark.usefixtures("quiet_host")


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
    assert any("spread widely" in note for note in loud.notes())


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
    assert any("warm-up ended at its time limit" in note for note in result.notes())


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
    assert any("correlated" in note for note in result.notes())
    assert Machine().measure(noisy(0.02, 0.01)).notes() == ()


def test_bimodal_blocks_are_told():
    result = Machine().measure(itertools.chain([0.02] * 3, itertools.cycle([0.02, 0.03])))
    assert result.stopped == "time out"
    assert (result.step_ms.low, result.step_ms.high) == (pytest.approx(20), pytest.approx(30))
    assert any("spread widely" in note for note in result.notes())


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
