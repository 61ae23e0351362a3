"""Plans against devices made up here: what is filled in, what is refused, and in which words."""

import re

import pytest
from pydantic import ValidationError

from hal.contract.device import Capabilities, Device, Precision
from hal.contract.plan import Plan
from hal.errors import PlanError, UnsupportedError


def device(**capabilities):
    can = {
        "precisions": {
            "fp32": Precision(supported=True, accelerated=True),
            "tf32": Precision(supported=False, note="a format of others"),
            "bf16": Precision(supported=True),
        },
        "layouts": ("nchw", "nhwc"),
        "compile": ("eager", "default"),
        "parallel": ("dp",),
        "algorithms": {"conv": ("patches", "direct"), "pool": ("window",)},
        "threads": True,
    }
    return Device(
        backend="fake",
        index=1,
        vendor="Acme",
        name="Model T",
        arch="t1000",
        memory_bytes=None,
        compute_units=None,
        capabilities=Capabilities(**{**can, **capabilities}),
    )


def refused(plan, on, kind=UnsupportedError):
    with pytest.raises(kind) as caught:
        plan.resolve(on)
    return caught.value


def test_auto_becomes_the_devices_default():
    assert Plan().resolve(device()).layout == "nchw"
    assert Plan().resolve(device(layouts=("nhwc",))).layout == "nhwc"
    assert Plan(layout="nhwc").resolve(device()).layout == "nhwc"
    plan = Plan(conv="auto").resolve(device())
    assert (plan.compile, plan.conv, plan.pool) == ("eager", "patches", "window")
    assert Plan(conv="direct").resolve(device()).conv == "direct"


def test_what_the_device_can_do_passes_unchanged():
    plan = Plan(batch=12, precision="bf16", layout="nhwc", compile="default", threads=3, parallel="dp=2", accumulate=2)
    plan = plan.model_copy(update={"conv": "direct", "pool": "window"})
    assert plan.resolve(device()) == plan


def test_resolving_twice_changes_nothing():
    once = Plan().resolve(device())
    assert once.resolve(device()) == once


@pytest.mark.parametrize(
    ("keys", "asked", "allowed"),
    [
        ({"precision": "tf32"}, r"precision=tf32 .*fake:1 \(Model T, t1000\): a format of others", "fp32, bf16"),
        ({"precision": "fp16"}, r"precision=fp16 .*fake:1 \(Model T, t1000\)$", "fp32, bf16"),
        ({"compile": "max"}, r"compile=max .*fake:1 \(Model T\)", "eager, default"),
        ({"parallel": "fsdp=4"}, r"parallel=fsdp=4 .*fake:1 \(Model T\)", "none, dp=N"),
        ({"pool": "reshape"}, r"pool=reshape .*fake:1 \(Model T\)", "window"),
    ],
)
def test_refusals_say_what_was_asked_and_what_is_allowed(keys, asked, allowed):
    error = refused(Plan(**keys), device())
    assert re.search(asked, error.message)
    assert error.fix == f"use one of: {allowed}"
    assert error.exit_status == 2


def test_a_layout_that_the_device_lacks():
    error = refused(Plan(layout="nchw"), device(layouts=("nhwc",)))
    assert "layout=nchw" in error.message
    assert error.fix == "use one of: nhwc"


NEEDS = {
    "algorithms": {"conv": ("direct",), "pool": ("blocked", "window")},
    "needs": {"pool=blocked": {"layout": ("nchw",), "compile": ("eager",)}},
}


def test_an_algorithm_that_needs_other_keys_is_the_default_where_they_allow_it():
    assert Plan().resolve(device(**NEEDS)).pool == "blocked"
    assert Plan(layout="nhwc").resolve(device(**NEEDS)).pool == "window"
    assert Plan(compile="default").resolve(device(**NEEDS)).pool == "window"
    once = Plan().resolve(device(**NEEDS))
    assert once.resolve(device(**NEEDS)) == once


def test_an_algorithm_that_other_keys_exclude():
    error = refused(Plan(pool="blocked", layout="nhwc", compile="default"), device(**NEEDS))
    assert (
        error.message
        == "pool=blocked is not supported on fake:1 (Model T) together with layout=nhwc and compile=default"
    )
    assert error.fix == "use layout=nchw and compile=eager, or one of: pool=window"


def test_how_much_is_compiled_may_need_a_precision_as_well():
    here = device(compile=("default", "eager"), needs={"compile=default": {"precision": ("fp32",)}})
    assert Plan().resolve(here).compile == "default"
    assert Plan(precision="bf16").resolve(here).compile == "eager"
    error = refused(Plan(precision="bf16", compile="default"), here)
    assert error.message == "compile=default is not supported on fake:1 (Model T) together with precision=bf16"
    assert error.fix == "use precision=fp32, or one of: compile=eager"


def test_an_algorithm_may_need_what_compile_came_to():
    here = device(
        compile=("default", "eager"),
        algorithms={"conv": ("direct",), "pool": ("blocked", "window")},
        needs={"compile=default": {"precision": ("fp32",)}, "pool=blocked": {"compile": ("eager",)}},
    )
    assert Plan().resolve(here).pool == "window"
    assert Plan(precision="bf16").resolve(here).pool == "blocked"


def test_threads_where_they_mean_nothing():
    error = refused(Plan(threads=2), device(threads=False))
    assert "threads=2 was given, but fake:1 does not support the key threads" in error.message
    assert "leave threads= out" in error.fix
    assert Plan().resolve(device(threads=False)).threads is None


@pytest.mark.parametrize(("batch", "accumulate"), [(8, 3), (4, 8), (1, 2)])
def test_accumulate_has_to_divide_the_batch(batch, accumulate):
    error = refused(Plan(batch=batch, accumulate=accumulate), device(), PlanError)
    assert f"batch={batch} cannot be split into accumulate={accumulate} equal parts" in error.message
    assert f"multiple of {accumulate}" in error.fix


def test_devices_have_to_divide_the_batch():
    error = refused(Plan(batch=9, parallel="dp=2"), device(), PlanError)
    assert "batch=9 cannot be divided evenly among the devices of parallel=dp=2" in error.message
    assert "multiple of 2" in error.fix
    error = refused(Plan(batch=6, parallel="dp=2", accumulate=2), device(), PlanError)
    assert "batch=6 in 2 parts cannot be divided evenly among the devices of parallel=dp=2" in error.message
    assert "multiple of 4" in error.fix


def test_accumulate_that_divides_passes():
    assert Plan(batch=8, accumulate=4).resolve(device()).accumulate == 4


@pytest.mark.parametrize(
    "keys",
    [
        {"batch": 0},
        {"accumulate": 0},
        {"threads": 0},
        {"precision": "fp8"},
        {"layout": "chwn"},
        {"compile": "fast"},
        {"conv": "winograd"},
        {"parallel": "dp"},
        {"parallel": "dp=0"},
        {"parallel": "dp=2,"},
        {"bacth": 3},
    ],
)
def test_plans_without_a_meaning(keys):
    with pytest.raises(ValidationError):
        Plan(**keys)


@pytest.mark.parametrize("parallel", ["none", "dp=2", "dp=2,tp=4"])
def test_forms_of_parallel(parallel):
    assert Plan(parallel=parallel).parallel == parallel


def test_spread_counts_devices_by_kind():
    assert Plan().spread() == {}
    assert Plan(parallel="dp=2,tp=4").spread() == {"dp": 2, "tp": 4}


def test_changes_are_this_plans_values():
    mine, theirs = Plan(batch=8, precision="bf16"), Plan(batch=8, layout="nhwc")
    assert mine.changes(theirs) == {"precision": "bf16", "layout": "auto"}
    assert theirs.changes(mine) == {"precision": "fp32", "layout": "nhwc"}
    assert mine.changes(mine) == {}


def test_plans_are_values():
    assert Plan(batch=8) == Plan(batch=8)
    assert len({Plan(batch=8), Plan(batch=8), Plan(batch=9)}) == 2
    with pytest.raises(ValidationError, match="frozen"):
        Plan().batch = 3
