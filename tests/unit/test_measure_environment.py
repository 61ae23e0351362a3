"""The environment of a measurement, and the device's counters over it."""

import threading
from collections import namedtuple

import pytest
from pydantic import ValidationError

from hal.contract import Telemetry
from hal.measure import Environment, EnvironmentWatch, HardwareUse, Sampler
from hal.measure import environment as environment_module


def environment(**fields):
    return Environment.read({"runtime": "1.0"}).model_copy(
        update={"cpu_threads": 4, "load_1min_start": 0.1, "cpu_clock_start_mhz": None} | fields
    )


def test_read_gives_facts():
    found = Environment.read({"runtime": "1.0"})
    assert found.cpu_model
    assert found.cpu_threads >= 1
    assert found.memory_bytes > 2**20
    assert found.python.split()[1].startswith("3.")
    assert found.versions == {"runtime": "1.0"}
    assert found.timestamp.tzinfo is not None
    assert found.load_1min_end is None
    assert Environment.model_validate_json(found.model_dump_json()) == found


def test_environment_is_closed_and_frozen():
    found = Environment.read()
    with pytest.raises(ValidationError, match="frozen"):
        found.cpu_threads = 3
    with pytest.raises(ValidationError, match="extra"):
        Environment(**found.model_dump(), hostname="secret")


@pytest.mark.parametrize(
    ("fields", "note"),
    [
        ({"load_1min_start": 4.5}, "load average 4.5 is above the 4 hardware threads"),
        ({"load_1min_end": 9.0}, "load average 9.0"),
        ({"others_cores": 1.3}, "other processes kept 1.3 cores busy"),
        ({"stolen_cores": 0.5}, "the hypervisor took 0.50 cores away"),
        ({"cpu_clock_start_mhz": 3000.0, "cpu_clock_end_mhz": 2000.0}, "clock changed from 3000 to 2000 MHz"),
    ],
)
def test_noise_is_told(fields, note):
    (found,) = environment(**fields).notes()
    assert note in found


def test_a_quiet_machine_has_no_notes():
    quiet = {"load_1min_end": 3.9, "others_cores": 0.1, "stolen_cores": 0.0}
    clock = {"cpu_clock_start_mhz": 3000.0, "cpu_clock_end_mhz": 2900.0}
    assert environment(**quiet, **clock).notes() == ()
    assert environment(load_1min_start=None).notes() == ()


def watched(monkeypatch, start, end):
    readings = iter([environment_module._Counters(*start), environment_module._Counters(*end)])
    monkeypatch.setattr(environment_module._Counters, "read", lambda: next(readings))
    return EnvironmentWatch({"runtime": "1"}).stop()


def test_watch_counts_what_others_used(monkeypatch):
    found = watched(monkeypatch, (10.0, 100.0, 20.0, 5.0), (14.0, 112.0, 24.0, 6.0))
    assert found.others_cores == pytest.approx((12 - 4) / 4)
    assert found.stolen_cores == pytest.approx(1 / 4)
    assert found.versions == {"runtime": "1"}
    assert Environment.model_validate_json(found.model_dump_json()) == found


def test_watch_never_reports_less_than_nothing(monkeypatch):
    found = watched(monkeypatch, (10.0, 100.0, 20.0, 5.0), (14.0, 102.0, 24.0, 5.0))
    assert (found.others_cores, found.stolen_cores) == (0.0, 0.0)


def test_idle_stolen_and_guest_time_is_not_busy(monkeypatch):
    times = {"user": 1.0, "system": 2.0, "irq": 4.0, "guest": 0.5, "idle": 100.0, "iowait": 50.0, "steal": 8.0}
    system = namedtuple("scputimes", times)(**times)
    monkeypatch.setattr(environment_module.psutil, "cpu_times", lambda: system)
    counters = environment_module._Counters.read()
    assert (counters.busy_s, counters.stolen_s) == (7.0, 8.0)
    assert counters.own_s > 0


def test_watch_of_a_moment_knows_nothing_of_others(monkeypatch):
    found = watched(monkeypatch, (10.0, 100.0, 20.0, 5.0), (10.1, 100.1, 20.0, 5.0))
    assert found.others_cores is found.stolen_cores is None


def test_watch_reads_the_real_machine():
    found = EnvironmentWatch().stop()
    assert found.cpu_threads == Environment.read().cpu_threads


def sampled(script):
    """Readings of a script of (time, telemetry), taken by hand: the thread's interval never ends."""
    times = iter([at for at, _ in script])
    values = iter([value for _, value in script])
    with Sampler(lambda: next(values), interval_s=3600, clock=lambda: next(times)) as sampler:
        for _ in script[1:-1]:
            sampler.sample()
    return sampler.result()


def test_energy_from_the_counter():
    use = sampled(
        [
            (0.0, Telemetry(power_w=999.0, energy_j=1000.0)),
            (1.0, Telemetry(power_w=999.0)),
            (4.0, Telemetry(power_w=999.0, energy_j=1400.0)),
        ]
    )
    assert use.energy_j == pytest.approx(400)
    assert use.mean_power_w == pytest.approx(100)
    assert (use.seconds, use.readings) == (4.0, 3)


@pytest.mark.parametrize("counter", [(None, None), (5.0, None), (500.0, 3.0)])
def test_energy_from_power_where_the_counter_is_unknown_or_was_reset(counter):
    use = sampled(
        [
            (0.0, Telemetry(power_w=100.0, energy_j=counter[0])),
            (1.0, Telemetry(power_w=200.0)),
            (2.0, Telemetry()),
            (3.0, Telemetry(power_w=400.0, energy_j=counter[1])),
        ]
    )
    assert use.energy_j == pytest.approx(150 + 600)
    assert use.mean_power_w == pytest.approx(250)


def test_power_that_is_unknown_at_an_end_gives_no_energy():
    use = sampled([(0.0, Telemetry(power_w=100.0)), (1.0, Telemetry(power_w=120.0)), (2.0, Telemetry())])
    assert use.energy_j is None
    assert use.mean_power_w == pytest.approx(110)


def test_temperature_and_clock():
    use = sampled(
        [
            (0.0, Telemetry(temperature_c=50, clock_mhz=1800)),
            (1.0, Telemetry(temperature_c=80, clock_mhz=1200)),
            (2.0, Telemetry(temperature_c=70, clock_mhz=1800)),
        ]
    )
    assert (use.max_temperature_c, use.min_clock_mhz, use.mean_clock_mhz) == (80, 1200, 1600)
    assert use.notes() == ("the device's clock changed: lowest 1200 MHz, mean 1600 MHz",)


def test_what_is_unknown_stays_unknown():
    use = sampled([(0.0, Telemetry()), (1.0, Telemetry())])
    assert use == HardwareUse(seconds=1.0, readings=2)
    assert use.notes() == ()


def test_a_stretch_of_no_length_has_power_but_no_quotient():
    use = sampled([(1.0, Telemetry(power_w=80.0)), (1.0, Telemetry(power_w=100.0))])
    assert (use.energy_j, use.mean_power_w) == (0.0, 90.0)


def test_the_thread_reads_in_the_background_and_ends():
    enough = threading.Event()
    threads = set()

    def telemetry():
        threads.add(threading.current_thread())
        calls.append(1)
        if len(calls) >= 3:
            enough.set()
        return Telemetry(power_w=10.0)

    calls = []
    with Sampler(telemetry, interval_s=0.001) as sampler:
        assert enough.wait(60)
    (worker,) = threads - {threading.current_thread()}
    assert not worker.is_alive()
    assert sampler.result().readings == len(calls)
    assert sampler.result().mean_power_w == pytest.approx(10.0)


def failing():
    failed = threading.Event()

    def telemetry():
        if threading.current_thread() is threading.main_thread():
            return Telemetry()
        failed.set()
        raise OSError("driver gone")

    return telemetry, failed


def test_an_error_of_the_counters_is_raised_at_the_end():
    telemetry, failed = failing()
    with pytest.raises(OSError, match="driver gone"), Sampler(telemetry, interval_s=0.001):
        assert failed.wait(60)


def test_an_error_of_the_body_goes_first():
    telemetry, failed = failing()

    def body():
        assert failed.wait(60)
        raise KeyError("body")

    with pytest.raises(KeyError, match="body"), Sampler(telemetry, interval_s=0.001):
        body()


def test_requests_that_cannot_be():
    with pytest.raises(ValueError, match="interval_s=0"):
        Sampler(Telemetry, interval_s=0)
    with pytest.raises(ValueError, match="no readings"):
        Sampler(Telemetry).result()


@pytest.mark.parametrize(
    ("seen", "disturbed"),
    [({}, False), ({"others_cores": 0.1}, False), ({"others_cores": 3.0}, True), ({"stolen_cores": 2.0}, True)],
)
def test_disturbed(seen, disturbed):
    assert Environment.read().model_copy(update={"cpu_threads": 2, **seen}).disturbed is disturbed
