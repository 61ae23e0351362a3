"""The catalogue of devices: its form, its sources, and whether its numbers can be true."""

import tomllib
from importlib import resources

import pytest
from card_helpers import CARDS

from hal import catalogue
from hal.catalogue import lookup
from hal.catalogue.model import DECISIVE
from hal.errors import ConfigError

DEVICES = catalogue.devices()
WHOLE = [device for device in DEVICES.values() if device.part_of is None]


def figures():
    return [(device, name, figure) for device in DEVICES.values() for name, figure in device.figures() if figure]


def test_there_are_enough_of_all_kinds():
    assert len(DEVICES) >= 100
    assert {device.vendor for device in WHOLE} >= {"NVIDIA", "AMD", "Google", "Intel", "Apple"}
    assert {device.form for device in WHOLE} == {"desktop", "workstation", "datacenter", "laptop", "edge", "cloud"}


def test_every_number_names_known_sources():
    known = catalogue.sources()
    used = {source for _, _, figure in figures() for source in (*figure.sources, *figure.differ)}
    used |= {
        source
        for device in DEVICES.values()
        for figure in catalogue.achievable(device).values()
        for source in figure.sources
    }
    assert used <= set(known)
    assert set(known) - used == set()  # a source that nothing names is dead
    assert {source.same_as for source in known.values()} - {None} <= set(known)


def test_contradictions_are_contradictions():
    for device, name, figure in figures():
        for source, other in figure.differ.items():
            assert abs(other - figure.value) > 0.045 * figure.value, (device.id, name, source)
            assert source not in figure.sources, (device.id, name, source)


@pytest.mark.parametrize("device", WHOLE, ids=lambda device: device.id)
def test_plausible(device):
    """Units times clock give the rates, and all lies within what hardware of these years can be."""
    rates = {name: figure.value for name in catalogue.RATES if (figure := getattr(device.rates, name))}
    clock = device.clock_mhz and device.clock_mhz.value / 1e6
    if device.lanes and clock and "fp32" in rates:
        ratio = rates["fp32"] / (2 * device.lanes.value * clock)
        assert any(ratio == pytest.approx(issue, rel=0.03) for issue in (1, 2))  # 2: units that issue two at once
    adds = catalogue.multiply_adds(device)
    if adds and device.matrix_units and clock and "fp16" in rates:
        # Vendors' sheets may take a lower clock than the boost clock.
        assert 0.88 < rates["fp16"] / (2 * device.matrix_units.value * adds[0] * clock) < 1.01
    if "bf16" in rates and "fp16" in rates and device.vendor != "Intel":
        assert rates["bf16"] in (pytest.approx(rates["fp16"]), pytest.approx(rates["fp16"] / 2, rel=0.05))
    if "fp8" in rates and "fp16" in rates:
        assert rates["fp8"] >= rates["fp16"]
    for name, low, high in [("memory_gb", 0.4, 600), ("bandwidth_gbps", 4, 10_000), ("watts", 1, 1500)]:
        figure = getattr(device, name)
        assert figure is None or low <= figure.value <= high
    if device.bandwidth and rates:
        assert 3 < max(rates.values()) * 1e12 / device.bandwidth < 1300


def test_what_is_reached_is_less_than_what_is_promised():
    for device in DEVICES.values():
        for name, figure in catalogue.achievable(device).items():
            promised = device.bandwidth if name == "copy" else device.rate(name)
            assert 0.45 < figure.value * (1e9 if name == "copy" else 1e12) / promised < 1, (device.id, name)


def test_a_slice_is_a_share_of_its_card():
    card, part = DEVICES["a100-sxm-80gb"], DEVICES["a100-sxm-80gb-mig-1g-10gb"]
    assert part.rate("bf16") == pytest.approx(card.rate("bf16") * 14 / 108)
    assert part.bandwidth == pytest.approx(card.bandwidth / 8)
    assert part.watts is None


@pytest.mark.parametrize("name", CARDS)
def test_recorded_cards_are_found(name):
    """A card that a driver described is in the catalogue, with the memory that the driver sees of it."""
    told = CARDS[name]["properties"]
    found = catalogue.match(told["name"], told["total_memory"])
    if name in ("jetson_agx_orin_32gb", "mi250", "max_1550", "a100_80gb_mig_1g_10gb"):
        return  # named after no product, a half of one, or a slice of a card whose slices are not listed
    assert found.memory_bytes == pytest.approx(told["total_memory"], rel=0.13)


def test_by_any_name():
    assert catalogue.find("H100-SXM").id == "h100-sxm"
    assert catalogue.match("nvidia geforce rtx 4090").id == "rtx4090"
    assert catalogue.match("Voodoo 2") is None
    with pytest.raises(ConfigError, match="did you mean rtx4090"):
        catalogue.find("rtx4091")


def test_where_no_source_speaks_nothing_is_said():
    missing = catalogue.unknown()
    assert "nnp-t" in missing["memory_gb"]
    assert "ncs2" in missing["watts"]
    for name in DECISIVE:
        for key in missing[name]:
            assert getattr(DEVICES[key], name) is None


def test_sources_that_copy_from_each_other_count_once():
    both = catalogue.Figure(value=1, sources=("techpowerup", "huggingface", "computed"))
    assert lookup.independent(both) == {"techpowerup"}


def test_every_target_is_served_or_not():
    rows = tomllib.loads(resources.files("hal.catalogue").joinpath("software.toml").read_text("utf-8"))["serves"]
    used = {catalogue.served_by(device).target for device in DEVICES.values()}
    assert used == {row["target"] for row in rows}
    assert catalogue.served_by(DEVICES["p40"]).until
