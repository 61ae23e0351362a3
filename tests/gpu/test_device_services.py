"""What a backend offers around computing: copies, memory counters, prefetching and telemetry, on real devices."""

import dataclasses
import threading

import numpy as np
import pytest

from hal import ops
from hal.registry import backend


@pytest.fixture
def driver(device):
    return backend(device.backend)


def test_devices_are_described(device, driver):
    assert device in driver.devices()
    assert device.name
    assert device.arch
    assert device.vendor
    assert device.memory_bytes is None or device.memory_bytes > 1 << 28
    assert "fp32" in device.capabilities.supported_precisions()


@pytest.mark.parametrize(
    ("axes", "shape"), [("", (3, 4)), ("NHWC", (2, 5, 6, 3)), ("HWIO", (3, 3, 4, 8)), ("IO", (4, 6))]
)
@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
def test_arrays_come_back_as_they_went(device, driver, axes, shape, layout):
    array = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    there = driver.from_host(array, device, axes=axes, layout=layout)
    assert tuple(there.shape) == shape
    assert np.array_equal(driver.to_host(there), array)


def test_memory_is_counted(device, driver):
    driver.synchronize(device)
    before = driver.memory(device)
    if before.allocated_bytes is None:
        pytest.skip(f"{device.backend} does not count memory")
    driver.reset_peak_memory(device)
    size = 64 << 20
    held = device.xp.zeros((size // 4,))
    during = driver.memory(device)
    assert during.allocated_bytes >= before.allocated_bytes + size
    assert during.peak_bytes is None or during.peak_bytes >= during.allocated_bytes
    del held
    after = driver.memory(device)
    assert after.allocated_bytes < during.allocated_bytes
    if during.peak_bytes is None:
        return  # the runtime counts from its own start, and had more before
    assert after.peak_bytes >= during.peak_bytes - (1 << 20), "the peak stays"
    driver.reset_peak_memory(device)
    fresh = driver.memory(device).peak_bytes
    assert fresh is None or fresh < during.peak_bytes


def test_prefetching_overlaps_and_mixes_nothing_up(device, driver):
    """Batches are copied while the device computes on those before; each holds what it should when it is used."""
    count, side = 12, 512
    host = [{"x": np.full((side, side), index, np.float32)} for index in range(count)]
    weight = driver.from_host(np.eye(side, dtype=np.float32), device)
    sums = []
    for batch in driver.prefetch(iter(host), lambda b: {k: driver.from_host(v, device) for k, v in b.items()}, device):
        x = batch["x"]
        for _ in range(10):  # keeps the device busy while the next batches arrive
            x = ops.matmul(x, weight)
        sums.append(ops.mean(x))
        del batch, x  # its memory may be taken for the next copy only when the device is done with it
    assert [float(driver.to_host(value)) for value in sums] == pytest.approx(list(range(count)), rel=1e-3)


def test_prefetching_hands_errors_on(device, driver):
    def broken():
        yield {"x": np.zeros(3, np.float32)}
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        list(driver.prefetch(broken(), lambda b: driver.from_host(b["x"], device), device))


def test_prefetching_ends_with_its_reader(device, driver):
    before = set(threading.enumerate())
    feed = driver.prefetch(({"x": np.zeros(3, np.float32)} for _ in range(1000)), lambda b: b, device)
    next(feed)
    feed.close()
    assert set(threading.enumerate()) <= before


def test_telemetry_reads_or_says_nothing(device, driver):
    """Each counter is None or plausible; energy only grows."""
    first = driver.telemetry(device)
    x = device.xp.ones((512, 512))
    for _ in range(20):
        x = ops.matmul(x, x) * 0.0 + 1.0
    driver.synchronize(device)
    second = driver.telemetry(device)
    limits = {
        "power_w": (0, 5000),
        "temperature_c": (0, 130),
        "clock_mhz": (0, 10_000),
        "memory_used_bytes": (0, 1 << 45),
        "energy_j": (0, float("inf")),
    }
    for reading in (first, second):
        for field in dataclasses.fields(reading):
            value = getattr(reading, field.name)
            low, high = limits.get(field.name, (0, 1 << 45))
            assert value is None or isinstance(value, tuple) or low <= value <= high, field.name
    if first.energy_j is not None and second.energy_j is not None:
        assert second.energy_j >= first.energy_j


def test_keys_draw_the_same_again(device, driver):
    like = device.xp.zeros((1,))
    key = driver.rng(3, device)
    first, again = (driver.to_host(ops.normal(key, (1000,), like=like)) for _ in range(2))
    other = driver.to_host(ops.normal(ops.fold_in(key, 1), (1000,), like=like))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert abs(first.mean()) < 0.2
    assert 0.9 < first.std() < 1.1
