"""What current drivers tell of a card beside power, clock and memory, on stand-ins for vendors' libraries."""

import os
from types import SimpleNamespace

import pytest
from test_telemetry import FULL, AmdSmiException, FakeAmdSmi, FakeNvml, NVMLError

from hal.backends._torch.pci import Link, read_link
from hal.backends._torch.processes import count_others
from hal.backends.cuda.telemetry import NvmlReader
from hal.backends.rocm.telemetry import AmdSmiReader
from hal.contract import Telemetry
from hal.errors import UnsupportedError


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


class TestNvmlOfToday:
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

    def test_other_processes(self, monkeypatch):
        monkeypatch.setattr("psutil.pid_exists", lambda number: False)

        def others(*numbers):
            running = [SimpleNamespace(pid=number) for number in numbers]
            return NvmlReader(FakeNvmlOfToday(ComputeRunningProcesses=running)).read(uuid="abc").others

        assert others() == 0
        assert others(os.getpid(), 1, 2) == 2
        assert others(1) == 0  # in a container this process has another number outside

    def test_other_processes_before_this_one_has_used_the_card(self, monkeypatch):
        monkeypatch.setattr("psutil.pid_exists", lambda number: True)
        nvml = FakeNvmlOfToday(ComputeRunningProcesses=[SimpleNamespace(pid=1)])
        assert NvmlReader(nvml).read(uuid="abc").others == 1

    def test_a_slot_that_is_too_narrow_is_seen(self, tmp_path, monkeypatch):
        (tmp_path / "0000:c1:00.0").mkdir()
        (tmp_path / "0000:c1:00.0" / "max_link_width").write_text("16\n")
        monkeypatch.setattr("hal.backends.cuda.telemetry.read_link", lambda pci: read_link(pci, tmp_path))
        reader = NvmlReader(FakeNvmlOfToday(CurrPcieLinkWidth=8, MaxPcieLinkWidth=8))
        found = reader.read(uuid="abc", pci="0000:C1:00.0")
        assert (found.link_width, found.link_max_width) == (8, 16)
        assert reader.read(uuid="abc").link_max_width == 8  # the kernel says nothing

    def test_power_is_capped(self):
        nvml = FakeNvmlOfToday()
        NvmlReader(nvml).limit_power(450, uuid="abc")
        assert nvml.limits == [450_000]
        with pytest.raises(UnsupportedError, match="refused to set the power limit to 450 W"):
            NvmlReader(FakeNvmlOfToday("rights")).limit_power(450, uuid="abc")
        with pytest.raises(UnsupportedError, match="NVML does not show this card"):
            NvmlReader(FakeNvmlOfToday()).limit_power(450, uuid="other")


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

    def amdsmi_set_power_cap(self, handle, sensor, microwatts):
        self.values.setdefault("caps", []).append(microwatts)
        self._value("set")

    def __getattr__(self, name):
        key = name.removeprefix("amdsmi_get_")
        if key not in self.__dict__["values"]:
            raise AttributeError(name)
        return lambda *asked: self._value(key)


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

    @pytest.mark.parametrize(("known", "others"), [(True, 2), (False, 1)])
    def test_other_processes(self, monkeypatch, known, others):
        monkeypatch.setattr("psutil.pid_exists", lambda number: known)
        assert self.read(gpu_process_list=[{"pid": 1}, {"pid": 2}]).others == others

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


class TestProcesses:
    """Which of the processes on a card is this one."""

    def test_on_the_host_they_are_told_by_their_numbers(self):
        parent = os.getppid()
        assert count_others([]) == 0
        assert count_others([os.getpid()]) == 0
        assert count_others([os.getpid(), parent]) == 1
        assert count_others([parent]) == 1  # this one has not used the card yet

    def test_in_a_container_one_is_this_one(self):
        unknown = 2**31 - 2
        assert count_others([unknown]) == 0
        assert count_others([unknown, unknown - 1]) == 1


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
