"""What the machine and the installed PyTorch say about NVIDIA cards, as the CUDA backend reads it; needs no GPU."""

import sys
from types import SimpleNamespace

import pytest

from hal.backends._torch.build import Build, Properties, describe_torch
from hal.backends.cuda import host as host_module
from hal.backends.cuda.host import Host, read_host


class TestHost:
    def nvml(self, **replaced):
        class NVMLError(Exception):
            pass

        def fail(*_):
            raise NVMLError

        names = {"nvmlInit", "nvmlDeviceGetCount", "nvmlDeviceGetHandleByIndex", "nvmlDeviceGetName"}
        given = dict.fromkeys(names | {"nvmlSystemGetDriverVersion"}, fail)
        return SimpleNamespace(NVMLError=NVMLError, **{**given, **replaced})

    @pytest.mark.parametrize(
        "line",
        [
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15  Thu Jan 23 10:00:00 UTC 2026",
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build  (root@host)",
        ],
    )
    def test_procfs(self, tmp_path, line):
        (tmp_path / "version").write_text(line + "\nGCC version:  gcc version 13.2.0\n")
        for card in "01":
            folder = tmp_path / "gpus" / f"0000:0{card}:00.0"
            folder.mkdir(parents=True)
            (folder / "information").write_text("Model: \t\t NVIDIA GeForce RTX 3090\nIRQ:   100\n")
        host = read_host(self.nvml(), tmp_path, tmp_path / "none", lambda: (12, 8))
        assert host == Host("570.86.15", (12, 8), ("NVIDIA GeForce RTX 3090",) * 2)

    def test_nvml_where_procfs_is_missing(self, tmp_path):
        nvml = self.nvml(
            nvmlInit=lambda: None,
            nvmlDeviceGetCount=lambda: 1,
            nvmlDeviceGetHandleByIndex=lambda i: i,
            nvmlDeviceGetName=lambda h: "NVIDIA GeForce RTX 4090",
            nvmlSystemGetDriverVersion=lambda: "580.65",
        )
        host = read_host(nvml, tmp_path, tmp_path, lambda: None)
        assert host == Host("580.65", None, ("NVIDIA GeForce RTX 4090",))

    def test_a_card_without_a_driver(self, tmp_path):
        for name, vendor, kind in [
            ("a", "0x10de", "0x030200"),
            ("b", "0x10de", "0x040300"),
            ("c", "0x1002", "0x030000"),
        ]:
            (tmp_path / name).mkdir()
            (tmp_path / name / "vendor").write_text(vendor + "\n")
            (tmp_path / name / "class").write_text(kind + "\n")
        host = read_host(self.nvml(), tmp_path / "none", tmp_path, lambda: None)
        assert host == Host(cards=("card",))
        assert not host.has_driver

    def test_nothing(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "pynvml", None)
        assert read_host(None, tmp_path, tmp_path / "none", lambda: None) == Host()

    def test_driver_library(self, monkeypatch):
        def library(name):
            if name != "libcuda.so.1":
                raise OSError(name)

            def version(pointer):
                pointer._obj.value = 12080
                return 0

            return SimpleNamespace(cuDriverGetVersion=version)

        monkeypatch.setattr(host_module.ctypes, "CDLL", library)
        assert host_module.driver_cuda() == (12, 8)

    def test_no_driver_library(self, monkeypatch):
        def library(name):
            raise OSError(name)

        monkeypatch.setattr(host_module.ctypes, "CDLL", library)
        assert host_module.driver_cuda() is None


class FakeTorch:
    """A module like PyTorch with one card, or with an error in place of the card."""

    __version__ = "2.13.0+cu130"
    version = SimpleNamespace(cuda="13.0", hip=None)

    def __init__(self, error=None):
        def init():
            raise error

        card = SimpleNamespace(
            name="NVIDIA H100 80GB HBM3",
            major=9,
            minor=0,
            total_memory=81090 * 2**20,
            multi_processor_count=132,
            uuid="4dbfbb99-983a-79af-8527-ca9f0c139426",
            pci_domain_id=0,
            pci_bus_id=0xC1,
            pci_device_id=0,
            is_integrated=0,
        )
        self.cuda = SimpleNamespace(
            get_arch_list=lambda: ["sm_90"],
            is_available=lambda: error is None,
            init=init,
            device_count=lambda: 0 if error else 1,
            get_device_properties=lambda index: card,
        )


class TestBuild:
    def test_a_card(self):
        found = describe_torch(FakeTorch())
        assert (found.torch_version, found.cuda, found.hip, found.archs) == ("2.13.0+cu130", "13.0", None, ("sm_90",))
        assert found.devices == (
            Properties(
                "NVIDIA H100 80GB HBM3",
                9,
                0,
                81090 * 2**20,
                132,
                uuid="4dbfbb99-983a-79af-8527-ca9f0c139426",
                pci="0000:c1:00.0",
            ),
        )
        assert not found.failure

    def test_what_the_runtime_says_is_carried(self):
        found = describe_torch(FakeTorch(RuntimeError("Found no NVIDIA driver on your system.\nPlease check")))
        assert found.devices == ()
        assert found.failure == "Found no NVIDIA driver on your system."
        assert found.archs == ("sm_90",)

    def test_a_cpu_build_is_not_asked_for_cards(self):
        found = describe_torch(SimpleNamespace(__version__="2.13.0+cpu", version=SimpleNamespace(cuda=None, hip=None)))
        assert found == Build("2.13.0+cpu")
        assert found.detail == "torch 2.13.0+cpu"
