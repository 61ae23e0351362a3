"""Lines of a native framework for a plan are a program."""

import ast
import itertools

import pytest

from hal import registry
from hal.contract import Available
from hal.contract.plan import Plan


@pytest.mark.parametrize("name", ["cpu", "cuda", "rocm", "jax"])
def test_they_are_python(name):
    backend = registry.backend(name)
    devices = backend.devices() if isinstance(backend.probe(), Available) else [None]
    for precision, compiled, accumulate, threads in itertools.product(
        ("fp32", "tf32", "bf16", "fp16"), ("eager", "default", "max"), (1, 4), (None, 2)
    ):
        plan = Plan(
            batch=92, precision=precision, layout="nhwc", compile=compiled, accumulate=accumulate, threads=threads
        )
        text = backend.native_code(plan, devices[0])
        assert ast.parse(text).body
        assert str(92 // accumulate) in text
        assert ("compile" in text or "jit" in text) == (compiled != "eager")


def test_null_has_none():
    backend = registry.backend("null")
    assert backend.native_code(Plan(), backend.devices()[0]) == ""
    backend.clear_caches(backend.devices()[0])
