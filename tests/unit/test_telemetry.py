"""Readers of hardware counters on stand-ins for vendors' libraries: what is missing reads as None, never as zero."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from hal.backends._host.telemetry import CpuReader
from hal.backends.cuda.telemetry import NvmlReader
from hal.backends.rocm.telemetry import AmdSmiReader
from hal.contract import Telemetry


class NVMLError(Exception):
    pass


class FakeNvml:
    """A card at an identifier and an address, and a slice of it; counters named in ``missing`` raise."""

    NVMLError = NVMLError
    NVML_TEMPERATURE_GPU = 0
    NVML_CLOCK_SM = 1
    handles = ("GPU-abc", "0000:c1:00.0", "MIG-def")

    def __init__(self, *missing):
        self.missing = missing
        self.started = 0

    def _value(self, name, value):
        if name in self.missing:
            raise NVMLError(name)
        return value

    def nvmlInit(self):
        self.started += 1
        self._value("init", None)

    def nvmlDeviceGetHandleByUUID(self, uuid):
        return self._value("uuid", uuid) if uuid in self.handles else self._fail()

    def nvmlDeviceGetHandleByPciBusId(self, pci):
        return self._value("pci", pci) if pci in self.handles else self._fail()

    def _fail(self):
        raise NVMLError("not found")

    def nvmlDeviceGetPowerUsage(self, handle):
        return self._value("power", 312_500)

    def nvmlDeviceGetTemperature(self, handle, sensor):
        return self._value("temperature", 61)

    def nvmlDeviceGetClockInfo(self, handle, kind):
        assert kind == self.NVML_CLOCK_SM
        return self._value("clock", 1980)

    def nvmlDeviceGetMemoryInfo(self, handle):
        return SimpleNamespace(used=self._value("memory", 2**30 if handle.startswith("MIG") else 2**34))

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):
        return self._value("energy", 7_000_500)


FULL = Telemetry(
    power_w=312.5, temperature_c=61.0, clock_mhz=1980.0, memory_used_bytes=2**34, energy_j=7000.5, is_slice=False
)


class TestNvml:
    def test_by_identifier(self):
        assert NvmlReader(FakeNvml("pci")).read(uuid="abc", pci="0000:c1:00.0") == FULL

    def test_by_address_where_the_identifier_is_not_known(self):
        assert NvmlReader(FakeNvml()).read(uuid="other", pci="0000:c1:00.0") == FULL
        assert NvmlReader(FakeNvml()).read(pci="0000:c1:00.0") == FULL

    @pytest.mark.parametrize(
        ("missing", "field"),
        [
            ("power", "power_w"),
            ("temperature", "temperature_c"),
            ("clock", "clock_mhz"),
            ("memory", "memory_used_bytes"),
            ("energy", "energy_j"),
        ],
    )
    def test_one_counter_missing(self, missing, field):
        assert NvmlReader(FakeNvml(missing)).read(uuid="abc") == Telemetry(**{**vars(FULL), field: None})

    def test_a_library_too_old_for_a_counter(self, monkeypatch):
        monkeypatch.delattr(FakeNvml, "nvmlDeviceGetTotalEnergyConsumption")
        assert NvmlReader(FakeNvml()).read(uuid="abc") == Telemetry(**{**vars(FULL), "energy_j": None})

    def test_a_slice_has_memory_alone(self):
        assert NvmlReader(FakeNvml()).read(uuid="def", mig=True) == Telemetry(memory_used_bytes=2**30, is_slice=True)

    def test_a_slice_is_never_taken_for_its_card(self):
        assert NvmlReader(FakeNvml()).read(uuid="abc", pci="0000:c1:00.0", mig=True) == Telemetry()

    @pytest.mark.parametrize("asked", [{}, {"uuid": "other"}, {"uuid": "other", "pci": "0000:00:00.0"}])
    def test_unknown_card(self, asked):
        assert NvmlReader(FakeNvml()).read(**asked) == Telemetry()

    def test_no_driver(self):
        nvml = FakeNvml("init")
        reader = NvmlReader(nvml)
        assert reader.read(uuid="abc") == Telemetry()
        assert reader.read(uuid="abc") == Telemetry()
        assert nvml.started == 1

    def test_no_library(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "pynvml", None)
        assert NvmlReader().read(uuid="abc") == Telemetry()


class AmdSmiException(Exception):
    pass


class FakeAmdSmi:
    """A card at an address; values are those that the module returns, exceptions among them are raised."""

    AmdSmiException = AmdSmiException
    AmdSmiClkType = SimpleNamespace(GFX="gfx")
    AmdSmiMemoryType = SimpleNamespace(VRAM="vram")
    AmdSmiTemperatureType = SimpleNamespace(EDGE="edge", HOTSPOT="hotspot")
    AmdSmiTemperatureMetric = SimpleNamespace(CURRENT="current")

    def __init__(self, **values):
        self.values = {
            "init": None,
            "power": {"current_socket_power": 717, "average_socket_power": "N/A"},
            "clock": {"clk": 2105, "min_clk": 132, "max_clk": 2105},
            "hotspot": 62,
            "edge": 55,
            "memory": 2**35,
            **values,
        }

    def _value(self, name):
        value = self.values[name]
        if isinstance(value, Exception):
            raise value
        return value

    def amdsmi_init(self):
        self._value("init")

    def amdsmi_get_processor_handle_from_bdf(self, bdf):
        if bdf != "0000:2d:00.0":
            raise AmdSmiException(bdf)
        return object()

    def amdsmi_get_power_info(self, handle):
        return self._value("power")

    def amdsmi_get_clock_info(self, handle, kind):
        return self._value("clock")

    def amdsmi_get_temp_metric(self, handle, sensor, metric):
        return self._value(sensor)

    def amdsmi_get_gpu_memory_usage(self, handle, kind):
        return self._value("memory")


def amd(**values):
    return AmdSmiReader(FakeAmdSmi(**values)).read(pci="0000:2d:00.0")


class TestAmdSmi:
    def test_all(self):
        assert amd() == Telemetry(
            power_w=717.0, temperature_c=62.0, clock_mhz=2105.0, memory_used_bytes=2**35, clock_max_mhz=2105.0
        )

    def test_energy_is_never_claimed(self):
        assert amd().energy_j is None

    @pytest.mark.parametrize(
        ("power", "expected"),
        [
            ({"current_socket_power": "N/A", "average_socket_power": 94}, 94.0),  # MI200
            ({"socket_power": 212, "current_socket_power": "N/A", "average_socket_power": "N/A"}, 212.0),
            ({"current_socket_power": "N/A", "average_socket_power": "N/A"}, None),
            ({"current_socket_power": 0, "average_socket_power": 0}, None),  # second die of a card
            ({"current_socket_power": 0xFFFFFFFF, "average_socket_power": 0xFFFF}, None),  # the library's "not known"
            ({"current_socket_power": 2**64 - 1, "average_socket_power": 94}, 94.0),
            ({}, None),
            (AmdSmiException("not supported"), None),
        ],
    )
    def test_power(self, power, expected):
        assert amd(power=power).power_w == expected

    def test_temperature_at_the_edge_where_there_is_no_other(self):
        assert amd(hotspot=AmdSmiException("not supported")).temperature_c == 55.0
        assert amd(hotspot="N/A", edge="N/A").temperature_c is None

    @pytest.mark.parametrize(
        ("clock", "expected"), [({"cur_clk": 1700}, 1700.0), ({"clk": "N/A"}, None), (AmdSmiException(), None)]
    )
    def test_clock(self, clock, expected):
        assert amd(clock=clock).clock_mhz == expected

    @pytest.mark.parametrize("memory", ["N/A", AmdSmiException("not supported")])
    def test_memory(self, memory):
        assert amd(memory=memory).memory_used_bytes is None

    @pytest.mark.parametrize("pci", ["", "0000:00:00.0"])
    def test_unknown_card(self, pci):
        assert AmdSmiReader(FakeAmdSmi()).read(pci=pci) == Telemetry()

    def test_no_driver(self):
        assert amd(init=AmdSmiException("driver not loaded")) == Telemetry()

    def test_no_library(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "amdsmi", None)
        assert AmdSmiReader().read(pci="0000:2d:00.0") == Telemetry()

    def test_a_module_without_its_shared_library_is_silent(self, tmp_path):
        (tmp_path / "amdsmi.py").write_text("print('Unable to find libamd_smi.so')\nraise KeyError('libamd_smi.so')\n")
        code = (
            f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
            "from hal.backends.rocm.telemetry import AmdSmiReader\n"
            "print(AmdSmiReader().read(pci='0000:2d:00.0').power_w)"
        )
        root = Path(__file__).parents[2]
        done = subprocess.run([sys.executable, "-c", code], check=True, cwd=root, capture_output=True, text=True)
        assert (done.stdout, done.stderr) == ("None\n", "")


class FakeProcessor:
    """A powercap folder and a clock that the test moves."""

    def __init__(self, folder, packages=("package-0",), limit=1_000_000):
        self.folder = folder
        self.now = 100.0
        for number, name in enumerate([*packages, "psys"]):
            self.domain(f"intel-rapl:{number}", name, 500_000, limit)
        self.domain("intel-rapl:0:0", "core", 1, limit)
        self.domain("intel-rapl-mmio:0", "package-0", 1, limit)

    def domain(self, path, name, energy, limit):
        where = self.folder / path
        where.mkdir(parents=True)
        (where / "name").write_text(name + "\n")
        (where / "energy_uj").write_text(f"{energy}\n")
        (where / "max_energy_range_uj").write_text(f"{limit}\n")

    def set(self, energy, number=0, seconds=1.0):
        (self.folder / f"intel-rapl:{number}" / "energy_uj").write_text(f"{energy}\n")
        self.now += seconds

    def reader(self, **given):
        given = {"temperatures": dict, "frequency": lambda: None, **given}
        memory = SimpleNamespace(total=100, available=60)
        return CpuReader(self.folder, memory=lambda: memory, clock=lambda: self.now, **given)


class TestRapl:
    def test_energy_counts_from_the_first_reading(self, tmp_path):
        machine = FakeProcessor(tmp_path)
        reader = machine.reader()
        first = reader.read()
        assert (first.energy_j, first.power_w) == (0.0, None)
        machine.set(700_000, seconds=0.5)
        second = reader.read()
        assert second.energy_j == pytest.approx(0.2)
        assert second.power_w == pytest.approx(0.4)

    def test_wraparound(self, tmp_path):
        machine = FakeProcessor(tmp_path)
        reader = machine.reader()
        reader.read()
        machine.set(900_000)
        reader.read()
        machine.set(100_000)
        after = reader.read()
        assert after.energy_j == pytest.approx(0.6)
        assert after.power_w == pytest.approx(0.2)

    def test_packages_are_added_and_what_contains_them_is_not(self, tmp_path):
        machine = FakeProcessor(tmp_path, ("package-0", "package-1"))
        reader = machine.reader()
        reader.read()
        machine.set(600_000, number=0)
        machine.set(800_000, number=1)
        machine.set(999_999, number=2)
        assert reader.read().energy_j == pytest.approx(0.4)

    def test_without_permission(self, tmp_path):
        machine = FakeProcessor(tmp_path)
        (tmp_path / "intel-rapl:0" / "energy_uj").unlink()
        reader = machine.reader()
        assert (reader.read().energy_j, reader.read().power_w) == (None, None)

    def test_one_unreadable_package_hides_the_sum(self, tmp_path):
        machine = FakeProcessor(tmp_path, ("package-0", "package-1"))
        (tmp_path / "intel-rapl:1" / "energy_uj").write_text("")
        assert machine.reader().read().energy_j is None

    def test_a_package_that_goes_and_comes_back_starts_anew(self, tmp_path):
        machine = FakeProcessor(tmp_path)
        reader = machine.reader()
        reader.read()
        machine.set("")
        assert reader.read().energy_j is None
        machine.set(900_000)
        back = reader.read()
        assert (back.energy_j, back.power_w) == (0.0, None)

    def test_two_readings_at_one_moment_have_no_power(self, tmp_path):
        reader = FakeProcessor(tmp_path).reader()
        reader.read()
        assert reader.read().power_w is None

    def test_no_folder(self, tmp_path):
        reader = CpuReader(tmp_path / "none", temperatures=dict, frequency=lambda: None)
        found = reader.read()
        assert (found.energy_j, found.power_w, found.temperature_c, found.clock_mhz) == (None, None, None, None)


class TestProcessor:
    def read(self, tmp_path, **given):
        return FakeProcessor(tmp_path).reader(**given).read()

    @pytest.mark.parametrize(
        ("sensors", "expected"),
        [
            ({"coretemp": [("Core 0", 40.0), ("Package id 0", 52.0)]}, 52.0),
            ({"k10temp": [("Tctl", 63.5)], "nvme": [("Composite", 30.0)]}, 63.5),
            ({"cpu_thermal": [("", 48.0)]}, 48.0),
            ({"nvme": [("Composite", 30.0)]}, None),
            ({"coretemp": [("Package id 0", 0.0)]}, None),
            ({}, None),
        ],
    )
    def test_temperature(self, tmp_path, sensors, expected):
        found = {
            driver: [SimpleNamespace(label=label, current=current) for label, current in entries]
            for driver, entries in sensors.items()
        }
        assert self.read(tmp_path, temperatures=lambda: found).temperature_c == expected

    @pytest.mark.parametrize(
        ("frequency", "expected"), [(SimpleNamespace(current=2596.1), 2596.1), (SimpleNamespace(current=0.0), None)]
    )
    def test_clock(self, tmp_path, frequency, expected):
        assert self.read(tmp_path, frequency=lambda: frequency).clock_mhz == expected

    def test_files_that_fail(self, tmp_path):
        def fail():
            raise OSError

        found = self.read(tmp_path, frequency=fail, temperatures=fail)
        assert (found.clock_mhz, found.temperature_c) == (None, None)

    def test_memory_in_use(self, tmp_path):
        assert self.read(tmp_path).memory_used_bytes == 40
