"""Modules of a user's own on real devices: a few steps give what the processor gives."""

import pytest

import hal

# Said of recurrent layers on a card without these libraries.
pytestmark = pytest.mark.filterwarnings("ignore:PyTorch was compiled without cuDNN/MIOpen support")

NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, rate: float = 0.0, recurrent: bool = True):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.AvgPool2d(3, 1, padding=1), nn.ReLU(), nn.MaxPool2d(2)
        )
        self.drop = nn.Dropout(rate)
        self.rows = nn.LSTM(32, 16, batch_first=True) if recurrent else None
        self.head = nn.Linear(16 if recurrent else 128, 10)

    def forward(self, images):
        maps = self.drop(self.body(images))
        if self.rows is None:
            return self.head(maps.flatten(1))
        return self.head(self.rows(maps.permute(0, 2, 1, 3).flatten(2))[0][:, -1])
"""


@pytest.fixture
def train(tmp_path):
    (tmp_path / "net.py").write_text(NET)

    def run(device, name, **keys):
        keys = {"model": f"{tmp_path / 'net.py'}:Net", "steps": 4, "batch": 32, "compile": "eager", **keys}
        return hal.train(device=str(device), out=str(tmp_path / name), **keys)

    return run


@pytest.mark.parametrize(
    "keys",
    [{}, {"layout": "nhwc"}, {"precision": "bf16"}, {"precision": "fp16"}, {"accumulate": 2}, {"launch": "graph"}],
    ids=lambda keys: "-".join(map(str, keys.values())) or "plain",
)
def test_a_module_trains_as_on_the_processor(device, train, tmp_path, keys):
    capabilities = device.capabilities
    if keys.get("precision", "fp32") not in capabilities.supported_precisions():
        pytest.skip(f"{device} has no {keys['precision']}")
    if keys.get("layout", capabilities.layouts[0]) not in capabilities.layouts:
        pytest.skip(f"{device} has no choice of layouts")
    if "launch" in keys and "launch" not in capabilities.choices():
        pytest.skip(f"{device} records no graphs")
    narrow = "precision" in keys
    if narrow:  # which recurrent layers take is a matter of the vendor's library
        keys = {**keys, "model": {"name": f"{tmp_path / 'net.py'}:Net", "recurrent": False}}
    there = train(device, "there", **keys)
    here = train("cpu:0", "here", **{key: value for key, value in keys.items() if key != "launch"})
    tolerance = 3e-2 if narrow else 2e-3
    assert there.results["loss"] == pytest.approx(here.results["loss"], rel=tolerance)


@pytest.mark.parametrize("launch", ["kernels", "graph"])
def test_dropout_draws_the_same_where_a_run_resumes(device, train, tmp_path, launch):
    if launch not in device.capabilities.choices().get("launch", ("kernels",)):
        pytest.skip(f"{device} records no graphs")
    keys = {"model": {"name": f"{tmp_path / 'net.py'}:Net", "rate": 0.5}, "schedule": "constant"}
    keys |= {"launch": launch} if launch == "graph" else {}
    whole = train(device, "whole", **keys)
    train(device, "first", **{**keys, "steps": 2})
    rest = train(device, "rest", resume=str(tmp_path / "first"), **keys)
    assert rest.results["loss"] == pytest.approx(whole.results["loss"], rel=1e-4)
