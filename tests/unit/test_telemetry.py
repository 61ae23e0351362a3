"""Readers of hardware counters on stand-ins for vendors' libraries: what is missing reads as None, never as zero."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from hal.backends._host.telemetry import CpuReader
from hal.backends._torch.pci import Link, read_link
from hal.backends.cuda.telemetry import NvmlReader
from hal.backends.rocm.telemetry import AmdSmiReader
from hal.contract import Telemetry
from hal.errors import UnsupportedError


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


class FakeNvmlOfToday(FakeNvml):
    """What a current driver tells besides, as an H100 answered; ``given`` replaces answers."""

    NVML_CLOCK_MEM = 2
    NVML_MEMORY_ERROR_TYPE_UNCORRECTED = 1
    NVML_VOLATILE_ECC = 0

    def __init__(self, *missing, **given):
        super().__init__(*missing)
        self.given = {
            "CurrentClocksEventReasons": 0,
            "EnforcedPowerLimit": 700_000,
            "PowerManagementDefaultLimit": 700_000,
            "PowerManagementLimitConstraints": [200_000, 700_000],
            "CurrPcieLinkGeneration": 5,
            "CurrPcieLinkWidth": 16,
            "GpuMaxPcieLinkGeneration": 5,
            "MaxPcieLinkWidth": 16,
            "EccMode": [1, 1],
            "TotalEccErrors": 0,
            "UtilizationRates": SimpleNamespace(gpu=0),
            "ComputeRunningProcesses": [],
            **given,
        }
        self.limits = []

    def __getattr__(self, name):
        key = name.removeprefix("nvmlDeviceGet")
        if key == name:
            raise AttributeError(name)
        if key not in self.given:
            raise NVMLError(key)  # as a card without fans answers

        return lambda *asked: self.given[key]

    def nvmlDeviceGetClockInfo(self, handle, kind):
        return 1980 if kind == self.NVML_CLOCK_SM else 2619

    nvmlDeviceGetMaxClockInfo = nvmlDeviceGetClockInfo

    def nvmlDeviceSetPowerManagementLimit(self, handle, milliwatts):
        if "rights" in self.missing:
            raise NVMLError("Insufficient Permissions")
        self.limits.append(milliwatts)


FULL = Telemetry(
    power_w=312.5, temperature_c=61.0, clock_mhz=1980.0, memory_used_bytes=2**34, energy_j=7000.5, is_slice=False
)
TODAY = Telemetry(
    **{
        **vars(FULL),
        "clock_max_mhz": 1980.0,
        "memory_clock_mhz": 2619.0,
        "memory_clock_max_mhz": 2619.0,
        "throttle": (),
        "power_limit_w": 700.0,
        "power_limit_default_w": 700.0,
        "power_limit_range_w": (200.0, 700.0),
        "link_generation": 5,
        "link_width": 16,
        "link_max_generation": 5,
        "link_max_width": 16,
        "ecc": True,
        "ecc_errors": 0,
        "busy_percent": 0.0,
        "others": 0,
    }
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

    def test_all_that_a_current_driver_tells(self):
        assert NvmlReader(FakeNvmlOfToday()).read(uuid="abc") == TODAY

    @pytest.mark.parametrize(
        ("bits", "said"),
        [
            (0x1, ()),  # idle
            (0x4, ("power cap",)),
            (0x68, ("hardware slowdown", "thermal")),
            (0x80, ("power brake",)),
            (0x102, ("clock setting",)),
        ],
    )
    def test_what_holds_the_clock_down(self, bits, said):
        assert NvmlReader(FakeNvmlOfToday(CurrentClocksEventReasons=bits)).read(uuid="abc").throttle == said

    def test_a_driver_that_knows_the_older_name_alone(self):
        nvml = FakeNvmlOfToday(CurrentClocksThrottleReasons=0x4)
        del nvml.given["CurrentClocksEventReasons"]
        assert NvmlReader(nvml).read(uuid="abc").throttle == ("power cap",)

    def test_other_processes(self):
        def others(*numbers):
            running = [SimpleNamespace(pid=number) for number in numbers]
            return NvmlReader(FakeNvmlOfToday(ComputeRunningProcesses=running)).read(uuid="abc").others

        assert others() == 0
        assert others(os.getpid(), 1, 2) == 2
        assert others(1) == 0  # in a container this process has another number outside

    def test_power_is_capped(self):
        nvml = FakeNvmlOfToday()
        NvmlReader(nvml).limit_power(450, uuid="abc")
        assert nvml.limits == [450_000]
        with pytest.raises(UnsupportedError, match="refused to set the power limit to 450 W"):
            NvmlReader(FakeNvmlOfToday("rights")).limit_power(450, uuid="abc")
        with pytest.raises(UnsupportedError, match="NVML does not show this card"):
            NvmlReader(FakeNvmlOfToday()).limit_power(450, uuid="other")

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

    def amdsmi_set_power_cap(self, handle, sensor, microwatts):
        self.values.setdefault("caps", []).append(microwatts)
        self._value("set")


class FakeAmdSmiOfToday(FakeAmdSmi):
    """What a current library tells besides; values are named after the functions without their prefix."""

    def __init__(self, **values):
        today = {
            "violation_status": {"active_ppt_pwr": False, "active_socket_thrm": False, "active_hbm_thrm": "N/A"},
            "power_cap_info": {
                "power_cap": 750_000_000,
                "default_power_cap": 750_000_000,
                "min_power_cap": 0,
                "max_power_cap": 750_000_000,
            },
            "pcie_info": {
                "pcie_static": {"max_pcie_width": 16, "max_pcie_speed": 32000},
                "pcie_metric": {"pcie_width": 16, "pcie_speed": 32000},
            },
            "gpu_fan_speed": AmdSmiException("no fan"),
            "gpu_fan_speed_max": 255,
            "gpu_ecc_enabled": 5,
            "gpu_total_ecc_count": {"correctable_count": 3, "uncorrectable_count": 0},
            "gpu_activity": {"gfx_activity": 12, "umc_activity": 0},
            "gpu_process_list": [{"pid": os.getpid()}, {"pid": 1}],
            "gpu_compute_partition": "SPX",
            "set": None,
        }
        super().__init__(**{**today, **values})

    def __getattr__(self, name):
        key = name.removeprefix("amdsmi_get_")
        if key not in self.__dict__["values"]:
            raise AttributeError(name)
        return lambda *asked: self._value(key)


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


class TestAmdSmiOfToday:
    @staticmethod
    def read(**values):
        return AmdSmiReader(FakeAmdSmiOfToday(**values)).read(pci="0000:2d:00.0")

    def test_all(self):
        found = self.read()
        assert (found.throttle, found.clock_max_mhz) == ((), 2105.0)
        assert (found.power_limit_w, found.power_limit_default_w, found.power_limit_range_w) == (750, 750, (0, 750))
        assert (found.link_generation, found.link_width) == (5, 16)
        assert (found.link_max_generation, found.link_max_width) == (5, 16)
        assert (found.fan_percent, found.ecc, found.ecc_errors) == (None, True, 0)
        assert (found.busy_percent, found.others, found.is_slice) == (12.0, 1, False)

    def test_what_holds_the_clock_down(self):
        status = {"active_ppt_pwr": True, "active_socket_thrm": True, "active_vr_thrm": True}
        assert self.read(violation_status=status).throttle == ("power cap", "thermal")
        assert self.read(violation_status={"active_ppt_pwr": "N/A"}).throttle is None

    def test_a_partition_is_a_slice(self):
        assert self.read(gpu_compute_partition="CPX").is_slice is True
        assert self.read(gpu_compute_partition="N/A").is_slice is None

    def test_fans_and_caps_in_watts(self):
        assert self.read(gpu_fan_speed=51).fan_percent == pytest.approx(20)
        assert self.read(power_cap_info={"power_cap": 303, "default_power_cap": "N/A"}).power_limit_w == 303

    def test_power_is_capped(self):
        smi = FakeAmdSmiOfToday()
        AmdSmiReader(smi).limit_power(600, pci="0000:2d:00.0")
        assert smi.values["caps"] == [600_000_000]
        refusing = FakeAmdSmiOfToday(set=AmdSmiException("no permission"))
        with pytest.raises(UnsupportedError, match="run as root"):
            AmdSmiReader(refusing).limit_power(600, pci="0000:2d:00.0")


class TestLink:
    """The PCIe link as the kernel shows it, where no library does."""

    def test_all(self, tmp_path):
        entry = tmp_path / "0000:c1:00.0"
        entry.mkdir()
        for name, text in {
            "current_link_speed": "8.0 GT/s PCIe",
            "max_link_speed": "32.0 GT/s PCIe",
            "current_link_width": "4",
            "max_link_width": "16",
        }.items():
            (entry / name).write_text(text + "\n")
        assert read_link("0000:C1:00.0", tmp_path) == Link(3, 4, 5, 16)

    @pytest.mark.parametrize("text", ["Unknown", "", "0"])
    def test_what_is_not_known(self, tmp_path, text):
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "current_link_speed").write_text(text)
        (tmp_path / "a" / "current_link_width").write_text(text)
        assert read_link("a", tmp_path) == Link()
        assert read_link("b", tmp_path) == Link()
        assert read_link("", tmp_path) == Link()


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
