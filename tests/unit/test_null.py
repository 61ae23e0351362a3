"""The null backend's types and its place among backends."""

import copy

import numpy as np
import pytest
from null_helpers import BACKEND, DEVICE, XP, f32, form, put

from hal.backends._traced import dtypes
from hal.contract import Available
from hal.contract.plan import Plan
from hal.errors import HalError, UnsupportedError

# Types


@pytest.mark.parametrize(
    ("a", "b", "wanted"),
    [
        ("float32", "float64", "float64"),
        ("float16", "float32", "float32"),
        ("bfloat16", "float16", "float32"),
        ("bfloat16", "float32", "float32"),
        ("bfloat16", "bfloat16", "bfloat16"),
        ("bfloat16", "int64", "bfloat16"),
        ("int64", "float32", "float32"),
        ("int8", "uint8", "int16"),
        ("bool", "int8", "int8"),
        ("float64", "complex64", "complex128"),
        ("float32", "complex64", "complex64"),
    ],
)
def test_promotion(a, b, wanted):
    types = [getattr(XP, name) for name in (a, b)]
    assert XP.result_type(*types) == XP.result_type(*types[::-1]) == getattr(XP, wanted)
    assert (XP.ones(2, dtype=types[0]) + XP.ones(2, dtype=types[1])).dtype == getattr(XP, wanted)
    assert XP.can_cast(types[0], getattr(XP, wanted))


def test_scalars_are_weak():
    for name in ("bfloat16", "float16", "float64"):
        x = XP.ones(2, dtype=getattr(XP, name))
        for y in (x * 2, 2.5 * x, x + True, 1 / x, np.float64(2.0) * x, np.float32(2) - x, x**2, -x, abs(x)):
            assert y.dtype == getattr(XP, name)
    ids = XP.ones(2, dtype=XP.int32)
    assert (ids + 1).dtype == XP.int32
    assert (ids * 0.5).dtype == (ids / 2).dtype == XP.float32
    assert (ids == 1).dtype == (ids > 1).dtype == XP.bool
    assert (~ids & 1 | 2 ^ ids << 1).dtype == XP.int32
    assert XP.where(ids > 0, 1.0, 0.0).dtype == XP.float32
    assert (XP.ones(2, dtype=XP.float64) * 1j).dtype == XP.complex128
    with pytest.raises(UnsupportedError, match="integers and booleans"):
        XP.ones(2) & 1
    with pytest.raises(UnsupportedError, match="no common type"):
        XP.ones(2, dtype=XP.uint64) + XP.ones(2, dtype=XP.int64)


def test_type_facts():
    assert XP.bfloat16 not in {XP.float32, XP.float16}
    assert XP.isdtype(XP.bfloat16, ("integral", "real floating"))
    assert not XP.isdtype(XP.int8, "unsigned integer")
    assert XP.isdtype(XP.bool, XP.bool)
    assert XP.finfo(XP.bfloat16).max == 3.3895313892515355e38
    assert XP.finfo(XP.float16).bits == 16
    assert XP.finfo(XP.complex64).dtype == XP.float32
    assert XP.iinfo(XP.int8).max == 127
    assert XP.ones(2, dtype=XP.bfloat16).nbytes == 4
    assert XP.astype(XP.ones(2), XP.bfloat16).dtype == XP.bfloat16
    assert copy.deepcopy(XP.bfloat16) == XP.bfloat16
    assert dtypes.as_dtype("torch.bfloat16") is XP.bfloat16
    for wrong in ("float8", object):
        with pytest.raises(UnsupportedError, match="use one of"):
            XP.ones(2, dtype=wrong)
    with pytest.raises(UnsupportedError, match="use one of"):
        XP.isdtype(XP.int8, "integer")


# The contract


def test_contract():
    assert isinstance(BACKEND.probe(), Available)
    assert (BACKEND.name, BACKEND.priority, DEVICE.vendor, DEVICE.memory_bytes) == ("null", -1, "none", None)
    for precision in ("fp32", "tf32", "bf16", "fp16"):
        for level in ("eager", "default", "max"):
            for layout in ("nhwc", "nchw"):
                plan = Plan(precision=precision, compile=level, layout=layout, threads=2).resolve(DEVICE)
                assert BACKEND.compile(len, plan) is len
    with pytest.raises(HalError):
        Plan(parallel="dp=2").resolve(DEVICE)
    assert not any(entry.accelerated for entry in DEVICE.capabilities.precisions.values())
    assert BACKEND.classify(ValueError()) is None
    assert BACKEND.ops(DEVICE) is XP
    x = BACKEND.from_host(np.ones((2, 3), np.int8), DEVICE, axes="IO", layout="nchw")
    assert form(x) == ((2, 3), "int8")
    assert x.to_device(DEVICE) is x
    with pytest.raises(UnsupportedError, match="device"):
        XP.ones(2, device="cuda")


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "rmsprop"])
def test_optimizers(name):
    params = {"w": put(f32(3, 4)), "b": [put(f32(4))]}
    optimizer = BACKEND.optimizer(name, {})
    state = optimizer.init(params)
    new, after = optimizer.update(params, state, params, 0.1, skip=XP.asarray(False))
    assert form(new["w"]) == form(params["w"])
    assert form(new["b"]) == form(params["b"])
    assert after.keys() == state.keys()
    assert form(after["step"]) == ((), "float32")
