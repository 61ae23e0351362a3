"""PyTorch's switches for GPUs under a plan; those of precision work without one."""

import contextlib
import itertools
import warnings

import pytest
import torch

from hal.backends._torch.native_code import native_code
from hal.backends._torch.switches import switched
from hal.contract.device import PRECISIONS
from hal.contract.plan import Plan

BACKENDS = torch.backends
SWITCHES = {
    "generic": BACKENDS,
    "cudnn": BACKENDS.cudnn,
    "mkldnn": BACKENDS.mkldnn,
    "matmul": BACKENDS.cuda.matmul,
    "conv": BACKENDS.cudnn.conv,
    "rnn": BACKENDS.cudnn.rnn,
    "mkldnn.matmul": BACKENDS.mkldnn.matmul,
    "mkldnn.conv": BACKENDS.mkldnn.conv,
}
LEGACY = {
    "get_float32_matmul_precision": torch.get_float32_matmul_precision,
    "matmul.allow_tf32": lambda: BACKENDS.cuda.matmul.allow_tf32,
    "cudnn.allow_tf32": lambda: BACKENDS.cudnn.allow_tf32,
}


def read():
    """What every getter says, or that it raises."""
    found = {f"{name}.fp32_precision": switch.fp32_precision for name, switch in SWITCHES.items()}
    for name, get in LEGACY.items():
        try:
            found[name] = get()
        except RuntimeError:
            found[name] = "raises"
    return {**found, "benchmark": BACKENDS.cudnn.benchmark}


def use(settings):
    for name, value in settings.items():
        if name in SWITCHES:
            SWITCHES[name].fp32_precision = value
        elif name == "matmul_precision":
            torch.set_float32_matmul_precision(value)
        else:
            setattr(BACKENDS.cudnn, name, value)


@pytest.fixture(autouse=True)
def as_at_the_start():
    yield
    for switch in SWITCHES.values():
        switch.fp32_precision = "none"
    use({"matmul_precision": "highest", "allow_tf32": True, "benchmark": False})
    for name in ("matmul", "mkldnn.matmul"):  # which the older setter has set
        SWITCHES[name].fp32_precision = "none"


USERS = {
    "nothing": {},
    "older": {"matmul_precision": "high", "allow_tf32": False},
    "newer": {"matmul": "tf32", "conv": "ieee", "rnn": "none"},
    "for all": {"generic": "tf32"},
    "for the library": {"cudnn": "tf32", "conv": "none", "rnn": "none"},
    "search": {"benchmark": True},
}


@pytest.mark.parametrize("user", USERS.values(), ids=USERS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_getter_agrees_and_all_are_put_back(precision, user):
    use(user)
    before = read()
    with switched(Plan(precision=precision)):
        found = read()
        tf32 = precision == "tf32"
        assert found["get_float32_matmul_precision"] == ("high" if tf32 else "highest")
        assert found["matmul.allow_tf32"] is tf32
        assert found["cudnn.allow_tf32"] is tf32
        assert found["matmul.fp32_precision"] == ("tf32" if tf32 else "ieee")
        # Where the libraries' own switches say nothing, nothing that they inherit from says tf32.
        for name in ("conv", "rnn", "cudnn", "generic"):
            assert (found[f"{name}.fp32_precision"] == "tf32") == (tf32 and name in ("conv", "rnn"))
    assert read() == before


def test_what_was_inherited_is_inherited_again():
    use({"generic": "tf32", "conv": "none"})
    with switched(Plan()):
        pass
    use({"generic": "ieee"})
    assert SWITCHES["conv"].fp32_precision == "ieee"


def test_plans_nest():
    for outer, inner in itertools.product(PRECISIONS, PRECISIONS):
        with switched(Plan(precision=outer)):
            before = read()
            with contextlib.suppress(KeyError), switched(Plan(precision=inner, conv="search")):
                raise KeyError
            assert read() == before


@pytest.mark.parametrize("conv", ["direct", "search"])
def test_the_search_for_convolution_algorithms(conv):
    with switched(Plan(conv=conv)):
        assert BACKENDS.cudnn.benchmark is (conv == "search")
    assert BACKENDS.cudnn.benchmark is False


def test_lines_outside_hal_leave_no_getter_that_raises():
    """They are run as a user would, up to where the model is needed."""
    lines = native_code(Plan(batch=8, precision="tf32", layout="nchw", compile="max", conv="search"), "cuda", "train")
    exec(lines.partition("model =")[0], {})
    found = read()
    assert (found["get_float32_matmul_precision"], found["matmul.allow_tf32"]) == ("high", True)
    assert (found["cudnn.allow_tf32"], found["benchmark"]) == (True, True)


ADVICE = [
    "TensorFloat32 tensor cores for float32 matrix multiplication available but not enabled. Consider setting `torch`",
    "RNN module weights are not part of single contiguous chunk of memory. This means they need to be compacted at",
    "Please use the new API settings to control TF32 behavior, such as torch.backends.cudnn.conv.fp32_precision",
]


def test_advice_that_contradicts_the_plan_is_not_shown():
    with switched(Plan()):
        for words in ADVICE:
            warnings.warn(words, UserWarning, stacklevel=1)
        with pytest.raises(UserWarning, match="something else"):
            warnings.warn("something else", UserWarning, stacklevel=1)
    with pytest.raises(UserWarning, match="TensorFloat32"):
        warnings.warn(ADVICE[0], UserWarning, stacklevel=1)
