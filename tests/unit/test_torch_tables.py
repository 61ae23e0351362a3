"""What plans may ask of GPUs, by their architecture, and where the counters of a part of a card are."""

from types import SimpleNamespace

import pytest
import torch

from hal.backends._torch import loads
from hal.backends._torch.build import Build, Properties, describe_torch
from hal.backends.cuda.decisions import describe as describe_cuda
from hal.backends.cuda.host import Host
from hal.backends.rocm.decisions import describe as describe_rocm
from hal.contract.plan import Plan
from hal.errors import UnsupportedError


def cuda(major, minor, units=132):
    card = Properties("card", major, minor, 2**33, units)
    return describe_cuda(Build("2.13.0+cu130", cuda="13.0", devices=(card,)), Host())[0]


def rocm(arch):
    card = Properties("card", 9, 0, 2**33, 120, arch_name=arch)
    return describe_rocm(Build("2.13.0+rocm7.0", hip="7.0", devices=(card,)), {})[0]


@pytest.mark.parametrize("card", [(7, 0), (7, 2), (7, 5)])
@pytest.mark.parametrize("compiled", ["default", "max"])
def test_bf16_is_not_compiled_where_it_is_converted(card, compiled):
    """TorchInductor would leave the function as it is."""
    device = cuda(*card)
    assert Plan(precision="bf16").resolve(device).compile == "eager"
    for precision in ("fp32", "fp16"):
        assert Plan(precision=precision, compile=compiled).resolve(device).compile == compiled
    with pytest.raises(
        UnsupportedError, match=f"compile={compiled} is not supported .* together with precision=bf16"
    ) as raised:
        Plan(precision="bf16", compile=compiled).resolve(device)
    assert raised.value.fix == "use precision=fp32 or fp16, or one of: compile=eager"


@pytest.mark.parametrize("card", [(8, 0), (9, 0), (12, 0)])
def test_bf16_is_compiled_where_it_is_computed(card):
    device = cuda(*card)
    assert Plan(precision="bf16", compile="max").resolve(device).compile == "max"


@pytest.mark.parametrize(("units", "tuned"), [(58, False), (68, True)])
def test_max_says_on_which_cards_of_nvidia_it_tunes_no_products(units, tuned):
    assert ("compile=max" in cuda(8, 9, units).facts) is not tuned


@pytest.mark.parametrize(
    ("device", "kind"),
    [
        (cuda(9, 0), torch.float8_e4m3fn),
        (rocm("gfx942"), torch.float8_e4m3fnuz),
        (rocm("gfx950"), torch.float8_e4m3fn),
        (cuda(8, 0), None),
        (rocm("gfx90a"), None),
    ],
)
def test_products_in_fp8_have_the_format_of_the_units(monkeypatch, device, kind):
    asked = []
    monkeypatch.setattr(loads, "_SIZE", 16)
    monkeypatch.setattr(torch.accelerator, "synchronize", lambda device: None)
    monkeypatch.setattr(torch, "_scaled_mm", lambda a, b, **given: asked.append((a.dtype, b.dtype)))
    found = loads.accelerator_loads(torch.device("cpu"), device.facts.get("fp8", ""))
    assert ("fp8" in [each.name for each in found]) is (kind is not None)
    assert asked == ([] if kind is None else [(kind, kind)])


def test_convolutions_may_search():
    device = cuda(9, 0)
    assert Plan().resolve(device).conv == "direct"
    assert Plan(conv="search").resolve(device).conv == "search"


def test_partitions_of_a_card_are_its_functions():
    """Eight of the first card's, as it shows them in its mode CPX; the second is whole."""
    common = {"name": "card", "major": 9, "minor": 4, "total_memory": 1, "multi_processor_count": 38}
    cards = [SimpleNamespace(**common, pci_domain_id=0, pci_bus_id=bus, pci_device_id=0) for bus in [12] * 8 + [34]]
    cuda = SimpleNamespace(
        get_arch_list=list,
        is_available=lambda: True,
        device_count=lambda: len(cards),
        get_device_properties=cards.__getitem__,
    )
    found = {
        hip: [
            each.pci
            for each in describe_torch(
                SimpleNamespace(__version__="2", version=SimpleNamespace(cuda=cuda_version, hip=hip), cuda=cuda)
            ).devices
        ]
        for cuda_version, hip in [(None, "7.0"), ("13.0", None)]
    }
    assert found["7.0"] == [*(f"0000:0c:00.{n}" for n in range(8)), "0000:22:00.0"]
    # Slices of NVIDIA's cards have the address of the whole card.
    assert found[None] == ["0000:0c:00.0"] * 8 + ["0000:22:00.0"]


@pytest.mark.parametrize(("arch", "tuned"), [("gfx1030", False), ("gfx1100", True), ("gfx90a", True)])
def test_max_says_on_which_cards_of_amd_it_tunes_no_products(arch, tuned):
    device = rocm(arch)
    assert ("compile=max" in device.facts) is not tuned


@pytest.mark.parametrize("arch", ["gfx942", "gfx950"])
def test_tf32_says_that_convolutions_are_fp32(arch):
    device = rocm(arch)
    assert device.capabilities.precisions["tf32"].note.startswith("matrix products alone, MIOpen convolves in fp32")
