"""Judgements of devices with counters that are made up: each cause is named, and the chip is blamed last."""

import pytest
from card_fakes import SLOW, WELL, check, evidence, figure

from hal import catalogue
from hal.cards.certificate import Steady
from hal.cards.reasons import judge, under_load
from hal.contract import Telemetry


def kinds(judgement, *, ill=None):
    return [reason.kind for reason in judgement.reasons if ill is None or reason.ill is ill]


def test_a_healthy_card():
    """Under full load a healthy card reaches its power limit; that is no reason for anything."""
    found = judge(evidence())
    assert (found.correct, found.fast, found.steady) == ("yes", "yes", "yes")
    assert found.reasons == ()


def test_a_wrong_result_in_one_precision():
    found = judge(evidence(checks=(check(), check("conv2d", "bf16", agrees=False), check(precision="bf16"))))
    assert found.correct == "no"
    (reason,) = found.reasons
    assert (reason.kind, reason.ill) == ("wrong result", True)
    assert "In bf16, conv2d deviates" in reason.text


@pytest.mark.parametrize(
    ("load", "kind", "said"),
    [
        ({"throttle": ("thermal",), "temperature_c": 91.0}, "throttle", "thermal, at 91 °C"),
        ({"throttle": ("power brake",)}, "throttle", "power brake"),
        ({"throttle": ("hardware slowdown",)}, "throttle", "hardware slowdown"),
        ({"link_width": 4}, "link", "4 of its 16 lanes"),
        ({"ecc_errors": 3}, "ecc", "3 errors"),
    ],
)
def test_ill_though_fast(load, kind, said):
    found = judge(evidence(load=load))
    assert kinds(found, ill=True) == [kind]
    assert said in found.reasons[0].text


@pytest.mark.parametrize(
    ("load", "kind", "said"),
    [
        ({"power_limit_w": 400.0}, "power limit", "400 W; it was delivered with 700 W"),
        ({"clock_mhz": 1200.0, "throttle": ()}, "clock", "1200 MHz under load, of at most 1980 MHz"),
        ({"memory_clock_mhz": 1593.0}, "clock", "memory clock was 1593 MHz"),
    ],
)
def test_why_it_is_slow(load, kind, said):
    found = judge(evidence(load=load, figures=SLOW))
    assert found.fast == "no"
    assert kinds(found, ill=True) == [kind]
    assert any(said in reason.text for reason in found.reasons)


def test_a_limit_that_slows_nothing_down_is_told_alone():
    found = judge(evidence(load={"power_limit_w": 650.0}))
    assert (found.fast, kinds(found, ill=True), kinds(found)) == ("yes", [], ["power limit"])


def test_an_older_slot_is_told_alone():
    found = judge(evidence(load={"link_generation": 4}))
    assert (kinds(found, ill=True), kinds(found)) == ([], ["link"])


def test_memory_that_is_missing():
    found = judge(evidence(memory_bytes=40 * 2**30))
    assert kinds(found, ill=True) == ["memory"]


def test_a_slice_is_held_against_its_share():
    part = catalogue.find("a100-sxm-80gb-mig-1g-10gb")
    share = part.rate("bf16") / 1e12
    whole = figure(median=0.8 * share, sheet=share, achievable=None)
    seen = evidence(Telemetry(is_slice=True), figures=(whole,), product=part, memory_bytes=10 * 2**30)
    found = judge(seen)
    assert (found.fast, kinds(found)) == ("yes", ["slice"])


def test_counters_that_are_missing_change_nothing():
    assert judge(evidence(Telemetry())).reasons == ()
    found = judge(evidence(Telemetry(), figures=SLOW))
    assert kinds(found) == ["unknown cause"]
    assert "50% of what healthy devices" in found.reasons[0].text


def test_the_usual_limit_explains_nothing():
    found = judge(evidence(figures=SLOW))
    assert (kinds(found), kinds(found, ill=True)) == (["throttle", "unknown cause"], ["unknown cause"])


def test_a_build_without_kernels():
    found = judge(evidence(checks=(), figures=(), steady=None, without_kernels="torch has no kernels for sm_61"))
    assert (found.correct, found.fast, kinds(found, ill=True)) == ("unknown", "unknown", ["build"])


class TestBusy:
    """The load of the machine is looked at before the chip is blamed."""

    SLOW_UNDER_LOAD = (figure("fp32", 0.04, sheet=0.156, achievable=None, loaded=True),)

    def test_the_host_is_never_blamed(self):
        dropped = Steady(seconds=30, first=0.1, last=0.05)
        seen = evidence(Telemetry(), figures=self.SLOW_UNDER_LOAD, others=0.7, on_host=True, steady=dropped)
        found = judge(seen)
        assert (found.fast, found.steady) == ("withheld", "withheld")
        assert (kinds(found), kinds(found, ill=True)) == (["busy"], [])

    def test_what_is_fast_even_so_is_fast(self):
        fine = (figure("fp32", 0.1, sheet=0.156, achievable=None, loaded=True),)
        found = judge(evidence(Telemetry(), figures=fine, others=0.7, on_host=True))
        assert found.fast == "yes"

    def test_a_card_that_others_compute_on(self):
        seen = evidence(figures=SLOW, before=Telemetry(busy_percent=98.0, others=2))
        found = judge(seen)
        assert found.fast == "withheld"
        assert kinds(found)[0] == "busy"
        assert "with 2 other processes on it" in found.reasons[0].text

    def test_a_busy_host_is_no_busy_card(self):
        assert judge(evidence(others=0.9)).fast == "yes"

    def test_memory_of_others_is_told(self):
        assert kinds(judge(evidence(before=Telemetry(busy_percent=0.0, others=1)))) == ["shared"]


def test_unknown_where_nothing_is_known():
    found = judge(evidence(figures=(figure(sheet=None, achievable=None),), product=None))
    assert found.fast == "unknown"


def test_without_a_healthy_one_to_compare_with_little_is_asked():
    assert judge(evidence(figures=(figure(median=450.0, achievable=None),))).fast == "yes"
    assert judge(evidence(figures=(figure(median=300.0, achievable=None),))).fast == "no"


def test_a_speed_that_drops():
    found = judge(evidence(steady=Steady(seconds=30, first=780.0, last=600.0)))
    assert found.steady == "no"
    assert kinds(found, ill=True) == ["unsteady", "unknown cause"]
    hot = judge(evidence(load={"throttle": ("thermal",)}, steady=Steady(seconds=30, first=780.0, last=600.0)))
    assert kinds(hot, ill=True) == ["throttle", "unsteady"]


def test_readings_are_put_together():
    idle = Telemetry(clock_mhz=345.0, link_generation=1, link_width=16, throttle=(), power_limit_w=700.0)
    busy = Telemetry(clock_mhz=1980.0, link_generation=5, link_width=16, throttle=("power cap",), power_limit_w=650.0)
    found = under_load([idle, busy, busy])
    assert (found.clock_mhz, found.link_generation, found.throttle) == (1980.0, 5, ("power cap",))
    assert found.power_limit_w == 650.0
    assert under_load([]) == Telemetry()
    assert under_load([WELL]).others == 0
