"""What the CUDA backend decides about recorded cards, builds and machines; needs no GPU."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from hal import registry
from hal.backends._torch.architectures import load
from hal.backends._torch.build import Build, Properties
from hal.backends.cuda import CudaBackend
from hal.backends.cuda.decisions import availability, describe, mig_profile, serves
from hal.backends.cuda.host import Host
from hal.contract import Available, Backend, Telemetry, Unavailable
from hal.contract.device import PRECISIONS
from hal.contract.plan import Plan
from hal.errors import UnavailableError, UnsupportedError

CARDS = Path(__file__).parents[1] / "golden" / "cards"
BUILDS = json.loads((CARDS / "builds.json").read_text())
DRIVEN = Host(driver="580.65.06", cuda=(13, 0), cards=("NVIDIA H100 80GB HBM3",))


def recorded(backend):
    cards = {path.stem: json.loads(path.read_text()) for path in sorted(CARDS.glob("*.json")) if path.stem != "builds"}
    return {name: card for name, card in cards.items() if card["expected"]["backend"] == backend}


RECORDED = recorded("cuda")


def build(name, *devices):
    given = dict(BUILDS[name])
    return Build(**{**given, "archs": tuple(given.get("archs", ())), "devices": devices})


def properties(name):
    return Properties(**RECORDED[name]["properties"])


def described(name):
    return describe(build(RECORDED[name]["build"], properties(name)), DRIVEN)[0]


def any_card(major, minor, name="card"):
    return Properties(name, major, minor, 2**33, 10)


@pytest.mark.parametrize("name", RECORDED)
class TestRecordedCards:
    def test_identity(self, name):
        device, expected = described(name), RECORDED[name]["expected"]
        assert device.name == RECORDED[name]["properties"]["name"]
        assert str(device) == "cuda:0"
        for field in ("vendor", "arch", "memory_bytes", "compute_units"):
            assert getattr(device, field) == expected[field]
        assert expected["facts"].items() <= device.facts.items()
        assert device.facts["driver"] == DRIVEN.driver

    def test_a_slice_alone_is_called_one(self, name):
        assert ("mig" in described(name).facts) == ("mig" in name)

    def test_defaults(self, name):
        capabilities, expected = described(name).capabilities, RECORDED[name]["expected"]
        assert capabilities.layouts[0] == expected["layout"]
        assert set(capabilities.layouts) == {"nhwc", "nchw"}
        assert list(capabilities.compile) == expected["compile"]
        assert not capabilities.threads

    @pytest.mark.parametrize("precision", PRECISIONS)
    def test_precisions(self, name, precision):
        device, level = described(name), RECORDED[name]["expected"]["precisions"][precision]
        entry = device.capabilities.precisions[precision]
        assert (entry.supported, entry.accelerated) == (level != "unsupported", level == "accelerated")
        assert entry.accelerated or entry.note
        plan = Plan(precision=precision)
        if entry.supported:
            assert plan.resolve(device).layout == RECORDED[name]["expected"]["layout"]
        else:
            with pytest.raises(UnsupportedError, match=f"precision={precision} is not supported on cuda:0") as raised:
                plan.resolve(device)
            assert "use one of: fp32" in str(raised.value)

    def test_threads_have_no_meaning(self, name):
        with pytest.raises(UnsupportedError, match="does not support the key threads"):
            Plan(threads=2).resolve(described(name))

    def test_available_with_its_build(self, name):
        state = availability(build(RECORDED[name]["build"], properties(name)), DRIVEN, {})
        assert isinstance(state, Available)
        assert state.detail.startswith(f"torch {BUILDS[RECORDED[name]['build']]['torch_version']}, CUDA ")

    def test_official_build(self, name):
        card = properties(name)
        state = availability(build("cu130", card), DRIVEN, {})
        if RECORDED[name]["official_build"] == "cu130":
            assert isinstance(state, Available)
        else:
            assert isinstance(state, Unavailable)
            assert f"no kernels for {card.name} (sm_{card.major}{card.minor})" in state.reason

    def test_other_vendors_build(self, name):
        state = availability(build("rocm7.0"), Host(cards=(properties(name).name,)), {})
        assert isinstance(state, Unavailable)
        assert "your torch is built for AMD (torch 2.13.0+rocm7.0, HIP 7.0.51831)" in state.reason
        assert properties(name).name in state.reason
        assert "use backend=rocm" in state.fix
        assert "CUDA build of torch" in state.fix


class TestUnavailable:
    def state(self, installed, host=DRIVEN, environ=None):
        state = availability(installed, host, environ or {})
        assert isinstance(state, Unavailable)
        assert state.reason
        assert state.fix
        return state

    def test_no_torch(self):
        state = self.state(None)
        assert state.reason == "torch is not installed; an NVIDIA H100 80GB HBM3 was found"
        assert state.fix.startswith("install a CUDA build of torch")

    def test_broken_torch(self):
        state = self.state(Build("2.13.0", broken="libcudart.so.13: cannot open shared object file"))
        assert "cannot be imported: libcudart.so.13" in state.reason
        assert state.fix == "reinstall torch"

    def test_cpu_build_with_a_card(self):
        state = self.state(build("cpu"))
        assert state.reason == "torch 2.13.0+cpu is built without CUDA; an NVIDIA H100 80GB HBM3 was found"
        assert state.fix == "install a CUDA build of torch: see pytorch.org, Get Started, platform CUDA"

    def test_cpu_build_without_a_card(self):
        state = self.state(build("cpu"), Host())
        assert state.reason.endswith("no NVIDIA GPU was found")
        assert state.fix.startswith("on a machine with an NVIDIA GPU, install a CUDA build")

    def test_several_cards(self):
        assert "an NVIDIA GPU was found (and 7 more)" in self.state(build("cpu"), Host(cards=("card",) * 8)).reason

    def test_no_driver(self):
        state = self.state(
            Build("2.13.0+cu130", cuda="13.0", failure="Found no NVIDIA driver on your system."), Host(cards=("card",))
        )
        assert "torch 2.13.0+cu130 for CUDA 13.0 is installed, but no NVIDIA driver is loaded" in state.reason
        assert "an NVIDIA GPU was found" in state.reason
        assert "Found no NVIDIA driver" in state.reason
        assert state.fix.startswith("install the NVIDIA driver")

    def test_old_driver(self):
        state = self.state(build("cu130"), Host(driver="550.54.15", cuda=(12, 4), cards=("NVIDIA L4",)))
        assert "driver 550.54.15 supports CUDA 12.4 at most" in state.reason
        assert state.fix == "update the NVIDIA driver to one that supports CUDA 13.0"

    def test_minor_versions_of_the_driver_are_compatible(self):
        state = self.state(Build("2.8.0+cu128", cuda="12.8"), Host(driver="550.54.15", cuda=(12, 4)))
        assert "at most" not in state.reason

    @pytest.mark.parametrize("value", ["", "-1", "7"])
    def test_hidden_by_the_environment(self, value):
        state = self.state(build("cu130"), environ={"CUDA_VISIBLE_DEVICES": value})
        assert f"CUDA_VISIBLE_DEVICES='{value}' leaves no GPU visible" in state.reason
        assert state.fix == "unset CUDA_VISIBLE_DEVICES"

    def test_nothing_explains_it(self):
        state = self.state(Build("2.13.0+cu130", cuda="13.0", failure="CUDA unknown error"))
        assert "CUDA unknown error" in state.reason
        assert state.fix == "run: nvidia-smi"

    def test_volta_is_pointed_to_the_last_build_that_has_it(self):
        state = self.state(build("cu130", properties("v100_sxm2_16gb")))
        assert "only for sm_75, sm_80" in state.reason
        assert "CUDA 12.6, the last that has sm_70" in state.fix

    def test_jetson_is_pointed_to_its_own_build(self):
        assert (
            "NVIDIA's build of torch for Jetson AGX Orin"
            in self.state(build("cu130", properties("jetson_agx_orin_32gb"))).fix
        )

    def test_future_card(self):
        state = self.state(Build("2.13.0+cu130", cuda="13.0", archs=("sm_120",), devices=(any_card(13, 0),)))
        assert "a build of torch that has sm_130" in state.fix

    def test_no_message_names_a_download_host(self):
        hosts = [Host(), DRIVEN, Host(driver="550", cuda=(12, 4))]
        builds = [None, build("cpu"), build("rocm7.0"), build("cu130"), build("cu130", any_card(7, 0))]
        for host in hosts:
            for installed in builds:
                state = availability(installed, host, {})
                assert isinstance(state, Unavailable)
                assert "http" not in state.reason + state.fix
                assert "index" not in state.fix


@pytest.mark.parametrize(
    ("archs", "card", "expected"),
    [
        ((), (3, 5), True),  # the build says nothing
        (("sm_80",), (8, 0), True),
        (("sm_80",), (8, 6), True),
        (("sm_86",), (8, 0), False),
        (("sm_80", "sm_86"), (8, 7), False),  # embedded cards want code of their own
        (("sm_87",), (8, 7), True),
        (("sm_87",), (8, 9), False),
        (("sm_80",), (9, 0), False),
        (("sm_90a",), (9, 0), True),
        (("sm_100a",), (10, 3), False),
        (("sm_100f",), (10, 3), True),
        (("sm_120",), (12, 1), True),
        (("compute_80",), (9, 0), True),
        (("compute_120",), (9, 0), False),
        (("gfx942",), (9, 4), False),
    ],
)
def test_serves(archs, card, expected):
    assert serves(archs, any_card(*card)) is expected


def test_a_card_without_kernels_keeps_its_place_and_supports_nothing():
    devices = describe(build("cu130", any_card(7, 0, "old"), any_card(9, 0, "new")), DRIVEN)
    assert [str(d) for d in devices] == ["cuda:0", "cuda:1"]
    assert devices[0].capabilities.supported_precisions() == ()
    with pytest.raises(UnsupportedError, match=r"has no kernels for old \(sm_70\)"):
        Plan().resolve(devices[0])
    assert Plan().resolve(devices[1]).precision == "fp32"


def test_an_unknown_newer_card_is_taken_for_the_nearest_and_says_so():
    device = describe(Build("3.0+cu150", cuda="15.0", devices=(any_card(13, 4),)), DRIVEN)[0]
    assert device.arch == "sm_134"
    for entry in device.capabilities.precisions.values():
        assert entry.supported
        assert entry.note == "13.4 is not in hal's table and is treated like 12.1"


@pytest.mark.parametrize("card", [(5, 0), (5, 2), (6, 0), (6, 1)])
def test_before_tensor_cores_fp32_is_all(card):
    device = describe(build("cu126", any_card(*card)), DRIVEN)[0]
    assert device.capabilities.supported_precisions() == ("fp32",)
    assert "CUDA 12.6" in device.capabilities.precisions["fp32"].note
    assert device.capabilities.layouts[0] == "nchw"
    assert device.capabilities.compile == ("eager",)
    with pytest.raises(UnsupportedError, match="hal offers fp32 alone before compute capability"):
        Plan(precision="fp16").resolve(device)


def test_a_card_older_than_the_table_is_taken_for_its_oldest_row():
    state = availability(build("cu126", any_card(3, 5)), DRIVEN, {})
    assert isinstance(state, Unavailable)
    device = describe(Build("1.0", cuda="10.2", devices=(any_card(3, 5),)), DRIVEN)[0]
    assert device.capabilities.precisions["fp32"].note.endswith("3.5 is not in hal's table and is treated like 5.0")


def test_the_table_is_in_order_and_complete():
    keys = [tuple(int(part) for part in key.split(".")) for key in load("hal.backends.cuda")]
    assert keys == sorted(keys)
    for row in load("hal.backends.cuda").values():
        assert tuple(row.precisions) == PRECISIONS
        assert row.cards
        assert bool(row.fp8) == (tuple(int(part) for part in row.key.split(".")) >= (8, 9))


def test_mig_profile():
    assert mig_profile("NVIDIA H100 80GB HBM3") == ""


class TestBackend:
    def backend(self, installed, host=DRIVEN):
        backend = CudaBackend()
        backend.__dict__.update(_build=installed, _host=host)
        return backend

    def test_class(self):
        assert issubclass(CudaBackend, Backend)
        assert (CudaBackend.name, CudaBackend.priority, CudaBackend.device_type) == ("cuda", 10, "cuda")

    def test_devices(self, monkeypatch):
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        backend = self.backend(build("cu130", properties("h200_sxm5_141gb")))
        assert isinstance(backend.probe(), Available)
        assert [d.name for d in backend.devices()] == ["NVIDIA H200"]

    @pytest.mark.parametrize("installed", [None, build("cpu"), build("rocm7.0"), build("cu130")])
    def test_unavailable_has_no_devices(self, installed):
        backend = self.backend(installed, Host())
        assert isinstance(backend.probe(), Unavailable)
        assert backend.devices() == []

    def test_telemetry_asks_for_the_right_card(self):
        asked = {}
        card = Properties("NVIDIA A100 80GB PCIe MIG 1g.10gb", 8, 0, 1, 14, uuid="abc", pci="0000:c1:00.0")
        backend = self.backend(build("cu130", card))
        backend.__dict__["_counters"] = SimpleNamespace(read=lambda **kwargs: asked.update(kwargs) or Telemetry())
        assert backend.telemetry(backend.devices()[0]) == Telemetry()
        assert asked == {"uuid": "abc", "pci": "0000:c1:00.0", "mig": True}

    def test_versions_name_the_driver(self):
        assert self.backend(build("cu130")).versions()["driver"] == DRIVEN.driver


def test_asking_for_it_on_the_other_vendors_build_ends_with_status_3(monkeypatch):
    backend = CudaBackend()
    backend.__dict__.update(_build=build("rocm7.0"), _host=Host())
    monkeypatch.setattr(registry, "backend", {"cuda": backend}.__getitem__)
    with pytest.raises(UnavailableError, match="backend=cuda is not available: ") as raised:
        registry.select("cuda")
    assert raised.value.exit_status == 3
    assert BUILDS["rocm7.0"]["torch_version"] in raised.value.message
    assert "use backend=rocm, or " in raised.value.fix


def test_importing_the_backend_imports_no_framework():
    code = "import sys, hal.backends.cuda; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[2]).returncode == 0
