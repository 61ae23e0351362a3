"""launch=graph: what a recorded function must not change, and what cannot be recorded."""

import pytest
import torch

import hal
from hal.backends._torch.replay import Replayed
from hal.errors import PlanError, UnsupportedError
from hal.tensor import Key


def on_card(*values):
    return torch.tensor(values, dtype=torch.float32).to("cuda")


def read(tensor):
    return tensor.cpu().tolist()


def test_results_are_the_callers_own():
    square = Replayed(lambda x: {"y": x * x, "sum": x.sum()})
    found = [square(on_card(float(n), 1.0)) for n in range(6)]
    assert [read(each["y"]) for each in found] == [[n * n, 1.0] for n in range(6)]
    assert [float(each["sum"]) for each in found] == [n + 1 for n in range(6)]


def test_donated_arguments_hold_the_results():
    def step(carry, x, lr):
        # One in place, one new, and two that change places.
        carry["a"].add_(x)
        return {"a": carry["a"], "b": carry["b"] * 2 + lr, "c": carry["d"], "d": carry["c"]}, carry["a"].sum()

    expected = {"a": [0.0, 0.0], "b": [1.0], "c": [3.0], "d": [4.0]}
    carry = {name: on_card(*values) for name, values in expected.items()}
    replayed = Replayed(step, donate=(0,))
    for n in range(6):
        carry, total = replayed(carry, on_card(float(n), 1.0), 0.5 * n)
        a = [expected["a"][0] + n, expected["a"][1] + 1]
        expected = {"a": a, "b": [expected["b"][0] * 2 + 0.5 * n], "c": expected["d"], "d": expected["c"]}
        assert {name: read(value) for name, value in carry.items()} == expected, f"call {n}"
        assert float(total) == sum(a)
    other = {
        name: on_card(*values) for name, values in {"a": (9.0, 9.0), "b": (1.0,), "c": (3.0,), "d": (4.0,)}.items()
    }
    carry, _ = replayed(other, on_card(1.0, 1.0), 0.0)
    assert {name: read(value) for name, value in carry.items()} == {"a": [10, 10], "b": [2], "c": [4], "d": [3]}


def test_shapes_and_held_arrays_may_change():
    scaled = Replayed(lambda w, x: x * w, hold=(0,))
    first, second = on_card(2.0), on_card(5.0)
    for weight in (first, second, first):
        for n in range(5):
            assert read(scaled(weight, on_card(float(n)))) == [n * float(weight)]
            assert read(scaled(weight, on_card(float(n), 1.0))) == [n * float(weight), float(weight)]
        weight.mul_(3)  # in place, as optimizers do
        assert read(scaled(weight, on_card(1.0))) == [float(weight)]


def test_many_shapes():
    doubled = Replayed(lambda x: x * 2)
    for _ in range(4):
        for size in range(1, 14):
            assert read(doubled(torch.ones(size).to("cuda"))) == [2.0] * size


def test_keys_decide_what_is_drawn():
    hal.device("cuda")
    draw = Replayed(lambda x, key: hal.ops.dropout(x, 0.5, key))
    x = torch.ones(64).to("cuda")
    torch.manual_seed(0)
    expected = torch.rand(3, device="cuda")
    torch.manual_seed(0)
    drawn = [read(draw(x, Key(seed))) for seed in (1, 2, 3, 1, 2, 3)]
    assert drawn[:3] == drawn[3:]
    assert drawn[0] != drawn[1]
    assert torch.equal(torch.rand(3, device="cuda").cpu(), expected.cpu()), "the user's own generator is as it was"


NET = """
import random
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 10)

    def forward(self, images):
        y = self.layer(images.flatten(1))
        return {line}
"""


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("y * y.mean().item()", "could not be recorded: .*net.py:13"),
        ("y * random.random()", "draws random numbers from Python's or NumPy's generator"),
        ("y + torch.tensor([0.0] * 10).to(y.device)", "could not be recorded: .*net.py:13"),
    ],
    ids=["waits for the device", "draws from Python's generator", "copies from the host"],
)
def test_what_cannot_be_recorded(tmp_path, line, said):
    (tmp_path / "net.py").write_text(NET.replace("{line}", line))
    keys = {"model": f"{tmp_path / 'net.py'}:Net", "backend": "cuda", "steps": 4, "batch": 32, "compile": "eager"}
    with pytest.raises(UnsupportedError, match=said) as caught:
        hal.train(**keys, launch="graph", out=str(tmp_path / "graph"))
    assert caught.value.fix is not None
    assert "use launch=kernels" in caught.value.fix
    assert hal.train(**keys, launch="kernels", out=str(tmp_path / "kernels")).status == "done"


def test_several_devices_are_refused():
    with pytest.raises((PlanError, UnsupportedError), match=r"launch=graph is not supported .* parallel=dp=2"):
        hal.train(model="cnn", backend="cuda", launch="graph", parallel="dp=2")
