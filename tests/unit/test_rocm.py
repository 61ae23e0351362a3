"""What the ROCm backend decides about recorded cards, builds and machines; needs no GPU."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from hal import registry
from hal.backends._torch.architectures import load
from hal.backends._torch.build import Build, Properties, describe_torch
from hal.backends.rocm import RocmBackend
from hal.backends.rocm.decisions import availability, describe, gfx, serves
from hal.backends.rocm.host import Host, gfx_name, read_host
from hal.contract import Available, Backend, Telemetry, Unavailable
from hal.contract.device import PRECISIONS
from hal.contract.plan import Plan
from hal.errors import UnavailableError, UnsupportedError

CARDS = Path(__file__).parents[1] / "golden" / "cards"
BUILDS = json.loads((CARDS / "builds.json").read_text())
DRIVEN = Host(kfd="open", cards=("gfx1100",))


def recorded(backend):
    cards = {path.stem: json.loads(path.read_text()) for path in sorted(CARDS.glob("*.json")) if path.stem != "builds"}
    return {name: card for name, card in cards.items() if card["expected"]["backend"] == backend}


RECORDED = recorded("rocm")


def build(name, *devices):
    given = dict(BUILDS[name])
    return Build(**{**given, "archs": tuple(given.get("archs", ())), "devices": devices})


def properties(name):
    return Properties(**RECORDED[name]["properties"])


def described(name):
    return describe(build(RECORDED[name]["build"], properties(name)), {})[0]


def any_card(arch_name, name="card"):
    return Properties(name, 9, 0, 2**33, 10, arch_name=arch_name)


@pytest.mark.parametrize("name", RECORDED)
class TestRecordedCards:
    def test_identity(self, name):
        device, expected = described(name), RECORDED[name]["expected"]
        assert device.name == RECORDED[name]["properties"]["name"]
        assert str(device) == "rocm:0"
        for field in ("vendor", "arch", "memory_bytes", "compute_units"):
            assert getattr(device, field) == expected[field]
        assert expected["facts"].items() <= device.facts.items()
        assert "overridden" not in device.facts

    def test_defaults(self, name):
        capabilities, expected = described(name).capabilities, RECORDED[name]["expected"]
        assert capabilities.layouts[0] == expected["layout"]
        assert set(capabilities.layouts) == {"nhwc", "nchw"}
        assert list(capabilities.compile) == expected["compile"]
        assert not capabilities.threads

    @pytest.mark.parametrize("precision", PRECISIONS)
    def test_precisions(self, name, precision):
        device, expected = described(name), RECORDED[name]["expected"]
        level, entry = expected["precisions"][precision], device.capabilities.precisions[precision]
        assert (entry.supported, entry.accelerated) == (level != "unsupported", level == "accelerated")
        assert entry.accelerated or entry.note
        assert expected.get("notes", {}).get(precision, "") in entry.note
        plan = Plan(precision=precision)
        if entry.supported:
            assert plan.resolve(device).layout == expected["layout"]
        else:
            with pytest.raises(UnsupportedError, match=f"precision={precision} is not supported on rocm:0") as raised:
                plan.resolve(device)
            assert "use one of: fp32, bf16, fp16" in str(raised.value)

    def test_compile(self, name):
        device = described(name)
        if "default" in RECORDED[name]["expected"]["compile"]:
            assert Plan(compile="default").resolve(device).compile == "default"
        else:
            with pytest.raises(UnsupportedError, match="compile=default is not supported"):
                Plan(compile="default").resolve(device)

    def test_available_with_its_build(self, name):
        state = availability(build(RECORDED[name]["build"], properties(name)), DRIVEN, {})
        assert isinstance(state, Available)
        assert state.detail.startswith(f"torch {BUILDS[RECORDED[name]['build']]['torch_version']}, HIP ")

    def test_official_build(self, name):
        card = properties(name)
        state = availability(build("rocm7.0", card), DRIVEN, {})
        assert isinstance(state, Available) == (RECORDED[name]["official_build"] == "rocm7.0")
        if isinstance(state, Unavailable):
            assert f"no kernels for {card.name} ({gfx(card)}), only for gfx908" in state.reason

    def test_other_vendors_build(self, name):
        arch = RECORDED[name]["expected"]["arch"]
        state = availability(build("cu130"), Host("open", (arch,)), {})
        assert isinstance(state, Unavailable)
        assert f"an AMD {arch} GPU was found" in state.reason
        assert "your torch is built for NVIDIA (torch 2.13.0+cu130, CUDA 13.0)" in state.reason
        assert "use backend=cuda" in state.fix
        assert "ROCm build of torch" in state.fix


class TestUnavailable:
    def state(self, installed, host=DRIVEN, environ=None):
        state = availability(installed, host, environ or {})
        assert isinstance(state, Unavailable)
        assert state.reason
        assert state.fix
        return state

    def test_no_torch(self):
        assert self.state(None).reason == "an AMD gfx1100 GPU was found, but torch is not installed"
        assert self.state(None, Host()).reason == "no AMD GPU was found, and torch is not installed"

    def test_broken_torch(self):
        state = self.state(Build("2.13.0", broken="libamdhip64.so.7: cannot open shared object file"))
        assert "cannot be imported: libamdhip64.so.7" in state.reason
        assert state.fix == "reinstall torch"

    def test_cpu_build_with_a_card(self):
        state = self.state(build("cpu"))
        assert state.reason == "an AMD gfx1100 GPU was found, but torch 2.13.0+cpu is not a ROCm build"
        assert state.fix == "install a ROCm build of torch: see pytorch.org, Get Started, platform ROCm"

    def test_cpu_build_without_a_card(self):
        state = self.state(build("cpu"), Host())
        assert state.reason == "no AMD GPU was found, and torch 2.13.0+cpu is not a ROCm build"
        assert state.fix.startswith("on a machine with an AMD GPU, install a ROCm build")

    def test_a_card_without_a_driver(self):
        assert "an AMD GPU was found, but torch" in self.state(build("cpu"), Host(cards=("card",))).reason

    def test_no_driver(self):
        state = self.state(build("rocm7.0"), Host("absent", ("card", "card")))
        assert "torch 2.13.0+rocm7.0 for HIP 7.0.51831 is installed, but /dev/kfd is absent" in state.reason
        assert "an AMD GPU was found (and 1 more)" in state.reason
        assert "--device=/dev/kfd" in state.fix

    def test_no_permission(self):
        state = self.state(build("rocm7.0"), Host("denied", ("gfx1030",)))
        assert "not allowed to open /dev/kfd; an AMD gfx1030 GPU was found" in state.reason
        assert "usermod -aG render,video" in state.fix

    @pytest.mark.parametrize("name", ["HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"])
    @pytest.mark.parametrize("value", ["", "-1", "3"])
    def test_hidden_by_one_variable(self, name, value):
        state = self.state(build("rocm7.0"), environ={name: value})
        assert f"{name}='{value}' leaves no GPU visible" in state.reason
        assert state.fix == f"unset {name}"

    def test_hidden_by_two_variables_that_do_not_fit(self):
        state = self.state(build("rocm7.0"), environ={"HIP_VISIBLE_DEVICES": "1", "ROCR_VISIBLE_DEVICES": "1"})
        assert "HIP_VISIBLE_DEVICES='1' and ROCR_VISIBLE_DEVICES='1' together leave no GPU visible" in state.reason
        assert state.fix == "unset ROCR_VISIBLE_DEVICES"

    def test_nothing_explains_it(self):
        state = self.state(Build("2.13.0+rocm7.0", hip="7.0", failure="No HIP GPUs are available"))
        assert "No HIP GPUs are available" in state.reason
        assert state.fix == "run: rocminfo"

    @pytest.mark.parametrize("arch", ["gfx1031", "gfx1032"])
    def test_override_is_named_where_it_helps(self, arch):
        fix = self.state(build("rocm7.0", any_card(arch))).fix
        assert f"a build of torch that has {arch}" in fix
        assert "unofficially, HSA_OVERRIDE_GFX_VERSION=10.3.0" in fix

    @pytest.mark.parametrize("arch", ["gfx1100", "gfx1201"])
    def test_override_is_warned_of_where_it_hurts(self, arch):
        state = self.state(Build("2.8", hip="6.4", archs=("gfx942",), devices=(any_card(arch),)))
        assert "do not set HSA_OVERRIDE_GFX_VERSION" in state.fix

    def test_override_is_left_out_elsewhere(self):
        fix = self.state(build("rocm7.0", any_card("gfx906"))).fix
        assert "HSA_OVERRIDE" not in fix
        assert "PyTorch do not include it" in fix

    def test_an_override_that_is_set_comes_first(self):
        state = self.state(build("rocm7.0", any_card("gfx1010")), environ={"HSA_OVERRIDE_GFX_VERSION": "10.1.0"})
        assert state.fix.startswith("unset HSA_OVERRIDE_GFX_VERSION, which is 10.1.0")

    def test_no_message_names_a_download_host(self):
        for host in [Host(), DRIVEN, Host("denied"), Host("absent", ("card",))]:
            for installed in [
                None,
                build("cpu"),
                build("cu130"),
                build("rocm7.0"),
                build("rocm7.0", any_card("gfx906")),
            ]:
                state = availability(installed, host, {})
                assert isinstance(state, Unavailable)
                assert "http" not in state.reason + state.fix
                assert "index" not in state.fix


@pytest.mark.parametrize(
    ("archs", "arch_name", "expected"),
    [
        ((), "gfx900", True),  # the build says nothing
        (("gfx942",), "gfx942:sramecc+:xnack-", True),
        (("gfx90a:xnack+",), "gfx90a:sramecc+:xnack-", True),
        (("gfx1030",), "gfx1031", False),
        (("gfx1100",), "gfx1101", False),
        (("gfx11-generic",), "gfx1101", True),
        (("gfx10-3-generic",), "gfx1034", True),
        (("gfx9-generic",), "gfx90a", False),
        (("sm_90",), "gfx942", False),
    ],
)
def test_serves(archs, arch_name, expected):
    assert serves(archs, any_card(arch_name)) is expected


def test_a_set_override_is_recorded():
    device = describe(build("rocm7.0", any_card("gfx1030")), {"HSA_OVERRIDE_GFX_VERSION": "10.3.0"})[0]
    assert device.facts["overridden"] == "HSA_OVERRIDE_GFX_VERSION=10.3.0: the GPU may be a different one"


def test_a_card_without_kernels_keeps_its_place_and_supports_nothing():
    devices = describe(build("rocm7.0", any_card("gfx1036", "inside the processor"), any_card("gfx1100")), {})
    assert [str(d) for d in devices] == ["rocm:0", "rocm:1"]
    assert devices[0].capabilities.supported_precisions() == ()
    with pytest.raises(UnsupportedError, match=r"no kernels for inside the processor \(gfx1036\)"):
        Plan().resolve(devices[0])
    assert Plan().resolve(devices[1]).layout == "nchw"


@pytest.mark.parametrize(("arch", "like"), [("gfx1152", "gfx1151"), ("gfx1250", "gfx1201"), ("gfx902", "gfx900")])
def test_an_unknown_card_is_taken_for_the_nearest_and_says_so(arch, like):
    device = describe(Build("3.0", hip="9.0", devices=(any_card(arch),)), {})[0]
    assert device.arch == arch
    for entry in device.capabilities.precisions.values():
        assert entry.note.endswith(f"{arch} is not in hal's table and is treated like {like}")


def test_instinct_and_radeon_differ_in_layout_and_wavefront():
    for row in load("hal.backends.rocm").values():
        instinct = row.name.startswith("CDNA")
        assert row.layouts[0] == ("nhwc" if instinct else "nchw")
        assert row.extra["wavefront"] == (64 if instinct or row.name.startswith("Vega") else 32)
        assert tuple(row.precisions) == PRECISIONS
        assert row.cards


def test_what_each_generation_accelerates():
    rows = load("hal.backends.rocm")
    bf16 = {key for key, row in rows.items() if row.precisions["bf16"].accelerated}
    matrix_cores = ("gfx908", "gfx90a", "gfx94", "gfx95", "gfx11", "gfx12")
    assert bf16 == {key for key in rows if key.startswith(matrix_cores)}
    assert {key for key, row in rows.items() if row.precisions["tf32"].supported} == {"gfx942", "gfx950"}
    assert {key for key, row in rows.items() if row.extra["official_wheels"]} == set(BUILDS["rocm7.0"]["archs"])
    assert rows["gfx942"].fp8 == "e4m3fnuz, largest value 240"
    assert rows["gfx950"].fp8 == "e4m3fn, largest value 448"
    assert not rows["gfx1100"].fp8


class TestHost:
    MISSING = SimpleNamespace(detect_gpus=list)

    def node(self, topology, number, version):
        folder = topology / str(number)
        folder.mkdir(parents=True)
        (folder / "properties").write_text(f"cpu_cores_count 0\nsimd_count 192\ngfx_target_version {version}\n")

    def test_topology(self, tmp_path):
        for number, version in [(0, 0), (1, 110000), (2, 90402), (10, 90010)]:
            self.node(tmp_path / "nodes", number, version)
        kfd = tmp_path / "kfd"
        kfd.touch()
        host = read_host(self.MISSING, tmp_path / "nodes", kfd, tmp_path / "none")
        assert host == Host("open", ("gfx1100", "gfx942", "gfx90a"))

    def test_no_permission(self, tmp_path, monkeypatch):
        kfd = tmp_path / "kfd"
        kfd.touch()
        monkeypatch.setattr("os.access", lambda path, mode: False)
        assert read_host(self.MISSING, tmp_path / "none", kfd, tmp_path / "none") == Host("denied")

    def test_a_node_that_cannot_be_read_is_left_out(self, tmp_path):
        self.node(tmp_path, 1, 110000)
        (tmp_path / "2" / "properties").mkdir(parents=True)
        assert read_host(self.MISSING, tmp_path, tmp_path / "kfd", tmp_path).cards == ("gfx1100",)

    def test_bootstrap_where_the_topology_is_missing(self, tmp_path):
        found = SimpleNamespace(target=SimpleNamespace(name="gfx1201"))
        bootstrap = SimpleNamespace(detect_gpus=lambda: [found])
        assert read_host(bootstrap, tmp_path, tmp_path / "kfd", tmp_path).cards == ("gfx1201",)

    def test_a_target_that_bootstrap_does_not_know(self, tmp_path):
        def detect():
            raise ValueError("gfx9999")

        assert read_host(SimpleNamespace(detect_gpus=detect), tmp_path, tmp_path / "kfd", tmp_path) == Host()

    def test_a_card_without_a_driver(self, tmp_path):
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "vendor").write_text("0x1002\n")
        (tmp_path / "a" / "class").write_text("0x120000\n")
        assert read_host(self.MISSING, tmp_path / "none", tmp_path / "kfd", tmp_path) == Host(cards=("card",))

    def test_nothing(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "rocm_bootstrap", None)
        assert read_host(None, tmp_path, tmp_path / "kfd", tmp_path) == Host()

    @pytest.mark.parametrize("name", load("hal.backends.rocm"))
    def test_gfx_name(self, name):
        major, minor, stepping = int(name[3:-2]), int(name[-2], 16), int(name[-1], 16)
        assert gfx_name(major * 10000 + minor * 100 + stepping) == name


def test_a_hip_build_is_described():
    card = SimpleNamespace(
        name="AMD Instinct MI300X",
        major=9,
        minor=4,
        total_memory=196592 * 2**20,
        multi_processor_count=304,
        gcnArchName="gfx942:sramecc+:xnack-",
    )
    cuda = SimpleNamespace(
        get_arch_list=lambda: ["gfx942"],
        is_available=lambda: True,
        device_count=lambda: 1,
        get_device_properties=lambda index: card,
    )
    version = SimpleNamespace(cuda=None, hip="7.0.51831")
    found = describe_torch(SimpleNamespace(__version__="2.13.0+rocm7.0", version=version, cuda=cuda))
    assert found == Build("2.13.0+rocm7.0", None, "7.0.51831", ("gfx942",), (properties("mi300x"),))


def test_variables_that_contradict_each_other_are_carried():
    def count():
        raise RuntimeError("HIP_VISIBLE_DEVICES contains more devices than ROCR_VISIBLE_DEVICES")

    cuda = SimpleNamespace(get_arch_list=list, is_available=lambda: True, device_count=count)
    version = SimpleNamespace(cuda=None, hip="7.0")
    found = describe_torch(SimpleNamespace(__version__="2.13.0+rocm7.0", version=version, cuda=cuda))
    assert found.failure == "HIP_VISIBLE_DEVICES contains more devices than ROCR_VISIBLE_DEVICES"
    assert found.devices == ()


class TestBackend:
    def backend(self, installed, host=DRIVEN):
        backend = RocmBackend()
        backend.__dict__.update(_build=installed, _host=host)
        return backend

    def test_class(self):
        assert issubclass(RocmBackend, Backend)
        assert (RocmBackend.name, RocmBackend.priority, RocmBackend.device_type) == ("rocm", 10, "cuda")

    def test_devices(self):
        backend = self.backend(build("rocm7.0", properties("rx_7900_xtx")))
        assert isinstance(backend.probe(), Available)
        assert [d.arch for d in backend.devices()] == ["gfx1100"]

    @pytest.mark.parametrize("installed", [None, build("cpu"), build("cu130"), build("rocm7.0")])
    def test_unavailable_has_no_devices(self, installed):
        backend = self.backend(installed, Host())
        assert isinstance(backend.probe(), Unavailable)
        assert backend.devices() == []

    def test_telemetry_asks_for_the_right_card(self):
        asked = {}
        card = Properties("card", 11, 0, 1, 48, arch_name="gfx1100", pci="0000:2d:00.0")
        backend = self.backend(build("rocm7.0", card))
        backend.__dict__["_counters"] = SimpleNamespace(read=lambda **kwargs: asked.update(kwargs) or Telemetry())
        assert backend.telemetry(backend.devices()[0]) == Telemetry()
        assert asked == {"pci": "0000:2d:00.0"}


def test_asking_for_it_on_the_other_vendors_build_ends_with_status_3(monkeypatch):
    backend = RocmBackend()
    backend.__dict__.update(_build=build("cu130"), _host=Host())
    monkeypatch.setattr(registry, "backend", {"rocm": backend}.__getitem__)
    with pytest.raises(UnavailableError, match="backend=rocm is not available: ") as raised:
        registry.select("rocm")
    assert raised.value.exit_status == 3
    assert BUILDS["cu130"]["torch_version"] in raised.value.message
    assert "use backend=cuda, or " in raised.value.fix


def test_importing_the_backend_imports_no_framework():
    code = "import sys, hal.backends.rocm; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[2]).returncode == 0
