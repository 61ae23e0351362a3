"""Which plans are tried, and which never."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tuner_helpers import description

from hal.config import PlanKeys
from hal.contract.plan import Plan
from hal.errors import ConfigError
from hal.tuner.config import SpaceSection
from hal.tuner.space import Space, costlier, key_of, signature_of


def space(described=None, objectives=("throughput",), fixed=None, **listed):
    return Space(described or description(), PlanKeys(**(fixed or {})), SpaceSection(**listed), objectives)


def test_derived_from_the_device_and_the_workload():
    found = space()
    assert found.dimensions["batch"] == (64, 32, 16, 128, 256, 512, 1024)
    assert found.dimensions["precision"] == ("fp32", "bf16"), "fp16 has no units here"
    assert found.dimensions["compile"] == ("eager", "default")
    assert set(found.dimensions["threads"]) == {None, 1, 2}, "four threads are the framework's own choice"
    assert found.dimensions["accumulate"] == (1,)
    assert found.default.batch == 64
    assert len(found) == 7 * 2 * 2 * 3


def test_listed_and_fixed():
    assert space(precision=["fp16"]).dimensions["precision"] == ("fp16",)
    assert {p.precision for p in space(precision=["fp16"]).plans.values()} == {"fp16"}
    fixed = space(description(batch=32), fixed={"batch": 32})
    assert {p.batch for p in fixed.plans.values()} == {32}
    with pytest.raises(ConfigError, match="fixes the value for which space"):
        space(fixed={"batch": 32}, batch=[32, 64])
    with pytest.raises(ConfigError, match=r"no plan is possible .*: precision=tf32 is not supported"):
        space(precision=["tf32"])


def test_impossible_ones_are_left_out():
    found = space(batch=[10, 64], accumulate=[1, 4])
    assert all(p.batch % p.accumulate == 0 for p in found.plans.values())
    assert {(p.batch, p.accumulate) for p in found.plans.values()} == {(10, 1), (64, 1), (64, 4)}


def test_what_is_not_compiled_in_a_precision_is_left_out():
    found = space(description(needs={"compile=default": {"precision": ("fp32",)}}))
    assert {(p.precision, p.compile) for p in found.plans.values()} == {
        ("fp32", "eager"),
        ("fp32", "default"),
        ("bf16", "eager"),
    }


@pytest.mark.parametrize(("images", "varied"), [(True, "conv"), (False, "recurrence")])
def test_keys_that_mean_nothing_for_the_data_are_left_out(images, varied):
    offered = {"conv": ("direct", "search"), "recurrence": ("filled", "steps"), "tile": ("6x16", "4x4")}
    found = space(description(algorithms=offered).model_copy(update={"images": images}))
    assert {key for key in offered if len(found.dimensions[key]) > 1} == {varied, "tile"}


def test_batches_fit_the_data():
    assert max(p.batch for p in space(description(samples=100)).plans.values()) == 64
    assert max(p.batch for p in space(description(mode="infer", samples=100)).plans.values()) == 64
    assert max(p.batch for p in space(description(mode="infer")).plans.values()) == 1024


def test_memory_brings_accumulation():
    assert space(objectives=("memory",)).dimensions["accumulate"] == (1, 2, 4)


def test_latency_of_inference_keeps_the_batch():
    assert space(description(mode="infer", batch=1), ("latency",)).dimensions["batch"] == (1,)


def test_devices_of_a_kind():
    assert space().dimensions["parallel"] == ("none",)
    several = description(parallel=("dp",)).model_copy(update={"devices": 5})
    assert space(several).dimensions["parallel"] == ("none", "dp=2", "dp=4")


def test_processes_on_one_device():
    here = description(parallel=("dp", "fsdp"), spread=4)
    found = space(here)
    assert found.dimensions["parallel"] == ("none", "dp=2", "dp=4")
    assert {p.threads for p in found.plans.values() if p.parallel == "dp=2"} == {None}, "they share the cores"
    shared = space(here, objectives=("memory",)).dimensions["parallel"]
    assert shared == ("none",), "one process's part of a memory that all share is no plan's memory"
    card = description(parallel=("dp", "fsdp"), threads=False).model_copy(update={"devices": 4})
    assert space(card, objectives=("memory",)).dimensions["parallel"][-2:] == ("fsdp=2", "fsdp=4")
    assert space(card, objectives=("energy",)).dimensions["parallel"] == ("none",), "one card's energy of four"
    assert {p.threads for p in space(here, threads=[1]).plans.values() if p.parallel == "dp=2"} == {1}
    odd = space(description(batch=6, parallel=("dp",), spread=4), batch=[6], accumulate=[1, 2])
    assert {(p.parallel, p.accumulate) for p in odd.plans.values()} == {("none", 1), ("none", 2), ("dp=2", 1)}


def test_no_plan_twice():
    found = space(threads=[1, 1, 2], batch=[64, 64])
    assert len({key_of(p) for p in found.plans.values()}) == len(found)


PLANS = st.builds(
    Plan,
    batch=st.sampled_from([16, 32, 64]),
    precision=st.sampled_from(["fp32", "bf16"]),
    layout=st.sampled_from(["nhwc", "nchw"]),
    compile=st.sampled_from(["eager", "default"]),
    threads=st.sampled_from([None, 1]),
    accumulate=st.sampled_from([1, 2]),
    parallel=st.sampled_from(["none", "dp=2", "fsdp=2"]),
)


@given(PLANS, PLANS, PLANS)
def test_costlier_is_an_order(a, b, c):
    assert costlier(a, a)
    if costlier(a, b) and costlier(b, c):
        assert costlier(a, c)
    if costlier(a, b):
        assert a.batch >= b.batch
        assert a.parallel == b.parallel, "who shares a memory is not known here"


@given(PLANS, PLANS)
def test_keys_are_canonical(a, b):
    assert (key_of(a) == key_of(b)) == (a == b)
    if signature_of(a) == signature_of(b):
        assert a.model_copy(update={"threads": None}) == b.model_copy(update={"threads": None})
