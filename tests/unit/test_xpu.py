"""What the XPU backend decides about recorded cards, builds and machines, and what it asks of PyTorch; needs no GPU."""

import contextlib
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from card_helpers import recorded

from hal import registry
from hal.backends._torch.architectures import load
from hal.backends._torch.build import Build
from hal.backends.xpu import XpuBackend
from hal.backends.xpu.decisions import availability, describe, release
from hal.backends.xpu.host import Host, pci_address, read_host
from hal.backends.xpu.runtime import Properties, Runtime, read_runtime
from hal.backends.xpu.telemetry import read_counters
from hal.contract import Available, MemoryUse, Telemetry, Unavailable
from hal.contract.device import PRECISIONS
from hal.contract.plan import Plan
from hal.errors import DeviceLostError, OutOfMemoryError, UnsupportedError

BUILD = Build("2.13.0+xpu")
RECORDED = recorded("xpu")
CARDS = {name: Properties(**card["properties"]) for name, card in RECORDED.items()}
HERE = Host(cards=1, render="open")


def runtime(*names):
    return Runtime("20250302", tuple(CARDS[name] for name in names))


def described(name):
    return describe(runtime(name))[0]


def any_card(**facts):
    return Properties(**{**RECORDED["arc_b580"]["properties"], **facts})


@pytest.mark.parametrize("name", RECORDED)
class TestRecordedCards:
    def test_identity(self, name):
        device, expected = described(name), RECORDED[name]["expected"]
        assert (str(device), device.name) == ("xpu:0", CARDS[name].name)
        for field in ("vendor", "arch", "memory_bytes", "compute_units"):
            assert getattr(device, field) == expected[field]
        assert expected["facts"].items() <= device.facts.items()
        assert ("lacks" in device.facts) == (not CARDS[name].has_fp64)

    def test_defaults(self, name):
        can, expected = described(name).capabilities, RECORDED[name]["expected"]
        assert can.layouts[0] == expected["layout"]
        assert list(can.compile) == expected["compile"]
        assert (can.parallel, can.spread) == (("dp", "fsdp"), 1)
        assert "launch" not in can.choices()

    @pytest.mark.parametrize("precision", PRECISIONS)
    def test_precisions(self, name, precision):
        device, level = described(name), RECORDED[name]["expected"]["precisions"][precision]
        entry = device.capabilities.precisions[precision]
        assert (entry.supported, entry.accelerated) == (level != "unsupported", level == "accelerated")
        assert entry.accelerated or entry.note

    def test_available(self, name):
        state = availability(BUILD, runtime(name), HERE, {})
        assert state == Available(f"torch 2.13.0+xpu, XPU 20250302, driver {CARDS[name].driver_version}")


class TestDecisions:
    def test_the_two_stacks_of_a_card_are_devices(self):
        devices = describe(runtime("max_1550", "max_1550", "arc_a770"))
        assert [str(device) for device in devices] == ["xpu:0", "xpu:1", "xpu:2"]
        assert [device.capabilities.spread for device in devices] == [2, 2, 1]

    def test_releases(self):
        assert [release(CARDS[name]) for name in RECORDED] == ["12.55", "20.1", "12.60"]

    def test_a_release_that_the_table_does_not_have(self):
        (device,) = describe(Runtime("1", (any_card(architecture=((35 << 22) | (10 << 14)) << 8),)))
        assert device.arch == "xe-35.10"
        assert "treated like 30.0" in device.capabilities.precisions["fp32"].note
        (unknown,) = describe(Runtime("1", (any_card(architecture=0),)))
        assert "treated like 12.55" in unknown.capabilities.precisions["fp32"].note

    def test_without_matrix_units(self):
        found = any_card(architecture=((12 << 22) | (70 << 14)) << 8, has_subgroup_matrix_multiply_accumulate=False)
        (device,) = describe(Runtime("1", (found,)))
        can = device.capabilities.precisions
        assert [name for name in PRECISIONS if can[name].accelerated] == ["fp32"]
        assert device.capabilities.supported_precisions() == ("fp32", "bf16", "fp16")

    @pytest.mark.parametrize(
        ("facts", "name", "said"),
        [
            ({"has_bfloat16_conversions": False}, "bf16", "conversion"),
            ({"has_fp16": False}, "fp16", "the driver does not offer it"),
        ],
    )
    def test_what_the_driver_denies(self, facts, name, said):
        (device,) = describe(Runtime("1", (any_card(**facts),)))
        entry = device.capabilities.precisions[name]
        assert not entry.accelerated
        assert said in entry.note

    def test_an_integrated_one(self):
        (device,) = describe(Runtime("1", (any_card(is_integrated_gpu=True, gpu_subslice_count=8),)))
        assert device.facts["memory"] == "shared with the host"
        assert "16 Xe cores" in device.facts["compile=max"]

    def test_the_table(self):
        rows = load("hal.backends.xpu")
        assert len({row.extra["target"] for row in rows.values()}) == len(rows)


class TestAvailability:
    @pytest.mark.parametrize(
        ("changes", "reason", "fix"),
        [
            ({"build": None}, "an Intel GPU was found, but torch is not installed", "platform XPU"),
            ({"build": Build("2.13.0+xpu", broken="no libsycl")}, "cannot be imported: no libsycl", "reinstall torch"),
            ({"runtime": Runtime()}, "is not an XPU build", "platform XPU"),
            ({"runtime": Runtime(), "host": Host()}, "no Intel GPU was found", "on a machine with an Intel GPU"),
            ({"host": Host(1, "absent")}, "/dev/dri has no render node", "--device=/dev/dri"),
            (
                {"host": Host(2, "denied")},
                "not allowed to open /dev/dri/renderD*; an Intel GPU was found (and 1",
                "usermod",
            ),
            (
                {"runtime": runtime("arc_a770"), "environ": {"PYTORCH_ENABLE_XPU_FALLBACK": "1"}},
                "PYTORCH_ENABLE_XPU_FALLBACK=1 lets PyTorch compute on the processor",
                "unset PYTORCH_ENABLE_XPU_FALLBACK",
            ),
            ({"environ": {"ZE_AFFINITY_MASK": "7"}}, "ZE_AFFINITY_MASK='7' leaves no GPU", "unset ZE_AFFINITY_MASK"),
            ({}, "its runtime sees no device; an Intel GPU was found (its message: no driver)", "libze-intel-gpu1"),
        ],
    )
    def test_not_here(self, changes, reason, fix):
        given = {"build": BUILD, "runtime": Runtime("20250302", failure="no driver"), "host": HERE, "environ": {}}
        state = availability(**{**given, **changes})
        assert isinstance(state, Unavailable)
        assert reason in state.reason
        assert fix in state.fix


class TestReading:
    def torch(self, *devices, available=True):
        def init():
            raise RuntimeError("no device was found\nmore")

        xpu = SimpleNamespace(
            is_available=lambda: available,
            init=init,
            device_count=lambda: len(devices),
            get_device_properties=lambda index: devices[index],
        )
        return SimpleNamespace(version=SimpleNamespace(xpu="20250302"), xpu=xpu)

    def test_what_an_older_torch_leaves_out(self):
        found = SimpleNamespace(name="Intel(R) Arc(TM) A770 Graphics", total_memory=5, has_fp64=False, extra=1)
        assert read_runtime(self.torch(found)).devices == (Properties(found.name, total_memory=5),)

    def test_no_device(self):
        assert read_runtime(self.torch(available=False)) == Runtime("20250302", failure="no device was found")

    def test_another_build(self):
        assert read_runtime(SimpleNamespace(version=SimpleNamespace(xpu=None))) == Runtime()
        assert read_runtime(SimpleNamespace(version=SimpleNamespace())) == Runtime()

    def test_the_machine(self, tmp_path):
        pci(tmp_path / "pci", "0000:03:00.0", vendor="0x8086", device="0x56a0", **{"class": "0x030000"})
        pci(tmp_path / "pci", "0000:00:00.0", vendor="0x8086", device="0x1234", **{"class": "0x060000"})
        (tmp_path / "dri").mkdir()
        assert read_host(tmp_path / "pci", tmp_path / "dri") == Host(1, "absent")
        (tmp_path / "dri" / "renderD128").touch()
        assert read_host(tmp_path / "pci", tmp_path / "dri") == Host(1, "open")


def pci(root, address, files=(), **attributes):
    folder = root / address
    for name, text in {**attributes, **dict(files)}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{text}\n")
    return folder


I915 = {
    "hwmon/hwmon2/energy1_input": "7000500000",
    "hwmon/hwmon2/power1_max": "190000000",
    "hwmon/hwmon2/power1_rated_max": "225000000",
    "drm/card1/gt_act_freq_mhz": "2400",
    "drm/card1/gt_RP0_freq_mhz": "2450",
}
XE = {
    "hwmon/hwmon3/energy2_input": "7000500000",
    "hwmon/hwmon3/temp2_input": "61000",
    "hwmon/hwmon3/temp3_input": "64000",
    "tile0/gt0/freq0/act_freq": "2850",
    "tile0/gt0/freq0/max_freq": "2850",
    "current_link_speed": "16.0 GT/s PCIe",
    "current_link_width": "8",
}


class TestTelemetry:
    def test_i915(self, tmp_path):
        pci(tmp_path, "0000:03:00.0", I915)
        assert read_counters("0000:03:00.0", tmp_path) == Telemetry(
            clock_mhz=2400.0,
            clock_max_mhz=2450.0,
            energy_j=pytest.approx(7000.5),
            power_limit_w=pytest.approx(190.0),
            power_limit_default_w=pytest.approx(225.0),
        )

    def test_xe(self, tmp_path):
        pci(tmp_path, "0000:03:00.0", XE)
        found = read_counters("0000:03:00.0", tmp_path)
        assert (found.temperature_c, found.clock_mhz, found.energy_j) == (64.0, 2850.0, pytest.approx(7000.5))
        assert (found.link_generation, found.link_width, found.link_max_width) == (4, 8, None)

    def test_nothing(self, tmp_path):
        assert read_counters("0000:03:00.0", tmp_path) == Telemetry()
        assert read_counters("", tmp_path) == Telemetry()
        pci(tmp_path, "0000:03:00.0", {"hwmon/hwmon0/energy1_input": "N/A"})
        assert read_counters("0000:03:00.0", tmp_path) == Telemetry()

    def test_the_address_of_one_card_alone(self, tmp_path):
        pci(tmp_path, "0000:03:00.0", vendor="0x8086", device="0x56a0", **{"class": "0x030000"})
        pci(tmp_path, "0000:00:02.0", vendor="0x8086", device="0x4680", **{"class": "0x030000"})
        assert pci_address(0x56A0, tmp_path) == "0000:03:00.0"
        pci(tmp_path, "0000:04:00.0", vendor="0x8086", device="0x56a0", **{"class": "0x030000"})
        assert pci_address(0x56A0, tmp_path) == ""


@pytest.fixture
def card(monkeypatch):
    """The backend on a machine with recorded cards: an A770, and the two stacks of a Max 1550."""
    backend, log = XpuBackend(), []
    monkeypatch.setitem(vars(backend), "_host", HERE)
    monkeypatch.setitem(vars(backend), "_runtime", runtime("arc_a770", "max_1550", "max_1550"))
    monkeypatch.setitem(vars(backend), "_build", BUILD)
    monkeypatch.setattr(torch.accelerator, "device_index", lambda index: contextlib.nullcontext(log.append(index)))
    monkeypatch.setattr(torch.accelerator.memory, "memory_allocated", lambda index: 3 + index)
    monkeypatch.setattr(torch.accelerator.memory, "max_memory_reserved", lambda index: 8 + index)
    switch = {"allow": False}
    fields = torch.backends.mkldnn.__class__.__dict__["allow_tf32"]
    monkeypatch.setattr(fields, "getter", lambda: switch["allow"])
    monkeypatch.setattr(fields, "setter", lambda value: switch.update(allow=value))
    backend.log, backend.switch = log, switch
    return backend


class TestBackend:
    def test_it_is_registered(self):
        assert type(registry.backend("xpu")) is XpuBackend

    def test_its_devices(self, card):
        assert isinstance(card.probe(), Available)
        assert [device.arch for device in card.devices()] == ["acm-g10", "pvc", "pvc"]
        assert card.memory(card.devices()[1]) == MemoryUse(4, 9)
        assert card.versions()["xpu"] == "20250302"
        assert card.versions()["driver"] == "1.6.32567+18"

    def test_counters_of_a_card_that_cannot_be_told_from_another_are_unknown(self, card, monkeypatch, tmp_path):
        pci(tmp_path, "0000:03:00.0", XE, vendor="0x8086", device="0x56a0", **{"class": "0x030000"})
        monkeypatch.setattr("hal.backends.xpu.backend.pci_address", lambda number: pci_address(number, tmp_path))
        monkeypatch.setattr("hal.backends.xpu.backend.read_counters", lambda place: read_counters(place, tmp_path))
        first, second, _ = card.devices()
        assert card.telemetry(first).clock_mhz == 2850.0
        assert card.telemetry(second) == Telemetry()

    @pytest.mark.parametrize("precision", ["fp32", "tf32"])
    def test_tf32_is_a_switch_of_onednn(self, card, precision):
        device, switch = card.devices()[1], card.switch
        with card.settings(Plan(batch=8, precision=precision).resolve(device), device):
            assert switch["allow"] is (precision == "tf32")
            assert card.log == [1]
        assert switch["allow"] is False
        lines = card.native_code(Plan(batch=8, precision="tf32").resolve(device), device)
        assert "torch.backends.mkldnn.allow_tf32 = True" in lines
        assert 'model.to("xpu:1")' in lines

    def test_wide_floats_are_refused_where_the_device_has_none(self, card, monkeypatch):
        arc, stack, _ = card.devices()
        with pytest.raises(UnsupportedError, match=r"xpu:0 .* has no 64-bit floating point"):
            card.from_host(np.ones(3), arc)
        real = torch.Tensor.to
        monkeypatch.setattr(torch.Tensor, "to", lambda tensor, where, **more: real(tensor, "cpu"))
        assert card.from_host(np.ones(3), stack).dtype == torch.float64

    @pytest.mark.parametrize(
        ("words", "operation"),
        [
            (
                "Aten Op fallback from XPU to CPU happends. This may have performance implications.",
                "one of the operations",
            ),
            ("The operator 'aten::x on the XPU backend is falling back to run on the CPU.", "aten::x"),
            ("The operator 'aten::x' on the XPU backend is falling back to run on the CPU.", "aten::x"),
        ],
    )
    def test_an_operation_that_falls_back_raises(self, card, words, operation):
        device = card.devices()[0]
        with card.settings(Plan(batch=8).resolve(device), device):
            assert torch.is_warn_always_enabled(), "or PyTorch would say it once in a process"
            with pytest.raises(UserWarning) as caught:
                warnings.warn(words, stacklevel=1)
        error = card.classify(caught.value)
        assert isinstance(error, UnsupportedError)
        assert f"PyTorch cannot compute {operation} on Intel GPUs" in error.message

    @pytest.mark.parametrize(
        ("words", "kind"),
        [
            ("Native API failed. Native API returns: 39 (UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)", OutOfMemoryError),
            ("level_zero backend failed with error: 20 (UR_RESULT_ERROR_DEVICE_LOST)", DeviceLostError),
            ("Required aspect fp64 is not supported on the device", UnsupportedError),
        ],
    )
    def test_errors(self, words, kind):
        found = XpuBackend().classify(RuntimeError(words))
        assert type(found) is kind
        assert found.fix

    def test_other_errors_keep_their_name(self):
        for error in (RuntimeError("shapes differ"), ValueError("UR_RESULT_ERROR_DEVICE_LOST"), KeyError("fp64")):
            assert XpuBackend().classify(error) is None
