"""Modules whose parameters are sharded over processes, block by block."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
from torch import nn
from user_files import GAN

import hal
from hal.errors import ConfigError
from hal.torch.blocks import blocks_of

# Blocks with a number as a parameter, shards that cannot be equal, a parameter that takes no part, a frozen one, and
# weights that a block shares with another part.
DEEP = """
import torch
from torch import nn

class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 9), nn.Linear(9, width)
        self.gain = nn.Parameter(torch.tensor(0.5))
        self.down.bias.requires_grad_(False)

    def forward(self, x):
        return x + self.gain * self.down(torch.tanh(self.up(self.norm(x))))

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(64, 7)
        self.blocks = nn.ModuleList(Block(7) for _ in range(3))
        self.spare = nn.Linear(2, 2)
        self.last = nn.ModuleList([nn.Linear(7, 7), nn.Linear(7, 7)])
        self.last[1].weight = self.last[0].weight
        self.head = nn.Linear(7, 10)

    def forward(self, x):
        x = self.first(x.flatten(1))
        for block in self.blocks:
            x = block(x)
        return self.head(self.last[1](torch.relu(self.last[0](x))))
"""


def train(folder, name, **keys):
    return hal.train(
        model=name, backend="cpu", threads=1, batch=32, out=str(folder), **{"steps": 4, "lr": 0.01, **keys}
    )


def loaded(path):
    return safetensors.torch.load_file(path / "model.safetensors")


@pytest.mark.parametrize(
    "keys", [{"clip": 1.0, "accumulate": 2}, {"precision": "fp16", "ema": 0.9}], ids=["clipped parts", "fp16"]
)
def test_two_processes_compute_what_one_does(tmp_path, keys):
    (tmp_path / "net.py").write_text(DEEP)
    name = f"{tmp_path / 'net.py'}:Net"
    alone = train(tmp_path / "alone", name, **keys)
    both = train(tmp_path / "both", name, parallel="fsdp=2", **keys)
    near = 1e-5 if "precision" not in keys else 3e-3
    assert {**both.epochs[0].train, **both.results} == pytest.approx(
        {**alone.epochs[0].train, **alone.results}, rel=near
    )
    wanted, found = loaded(tmp_path / "alone"), loaded(tmp_path / "both")
    assert found.keys() == wanted.keys()
    for path, value in wanted.items():
        assert (found[path] - value).abs().max() < near * 10, path


FED = GAN.replace("torch.randn(images.shape[0], 4, device=images.device)", "images.flatten(1)[:, :4]")
"""Its noise comes with the data: what the module drew itself, each process would draw anew."""


def test_parts_with_losses_of_their_own(tmp_path):
    (tmp_path / "net.py").write_text(FED)
    name = f"{tmp_path / 'net.py'}:Pair"
    alone = train(tmp_path / "alone", name)
    both = train(tmp_path / "both", name, parallel="fsdp=2")
    assert both.results == pytest.approx(alone.results, rel=1e-5)


def test_a_resumed_run_is_the_uninterrupted_one(tmp_path):
    (tmp_path / "net.py").write_text(DEEP)
    keys = {"name": f"{tmp_path / 'net.py'}:Net", "parallel": "fsdp=2", "schedule": "constant"}
    train(tmp_path / "whole", **keys)
    train(tmp_path / "first", **{**keys, "steps": 2})
    train(tmp_path / "rest", **keys, resume=str(tmp_path / "first"))
    whole, rest = loaded(tmp_path / "whole"), loaded(tmp_path / "rest")
    assert all(value.equal(rest[path]) for path, value in whole.items())


def test_a_module_that_a_single_process_cannot_hold(tmp_path):
    """Where a process may use 16 bytes for each parameter, one fails and two do not, with the module's own 4 bytes."""
    program = Path(__file__).with_name("limited.py")
    # The allocator of the C library would keep what was freed, in steps that depend on the sizes before.
    settings = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "1000000"}
    found = {}
    for parallel in ("none", "fsdp=2"):
        folder = tmp_path / parallel
        folder.mkdir()
        found[parallel] = subprocess.run(
            [sys.executable, str(program), parallel, str(folder)],
            capture_output=True,
            text=True,
            env=settings,
            check=False,
        )
    assert "OutOfMemoryError" in found["none"].stderr
    assert found["fsdp=2"].returncode == 0, found["fsdp=2"].stderr


class Stage(nn.Sequential):
    pass


class Layer(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))


class Step(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layers = nn.ModuleList([Layer(width), Layer(width)])
        self.down = nn.Linear(width, 2 * width)


@pytest.mark.parametrize(
    ("net", "wanted"),
    [
        (nn.ModuleDict({"layers": nn.ModuleList([Layer(2), Layer(2)])}), ["layers.0", "layers.1"]),
        (nn.Sequential(Step(2), Step(4)), ["0.layers.0", "0.layers.1", "1.layers.0", "1.layers.1"]),
        (nn.Sequential(Step(2), Step(2)), ["0", "1"]),
        (nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2), nn.ReLU()), ["0", "2"]),
        (nn.Sequential(nn.Conv2d(1, 1, 1), nn.Linear(2, 2)), []),
    ],
)
def test_blocks_are_found(net, wanted):
    assert list(blocks_of(net, None)) == wanted


def test_blocks_that_the_user_names():
    net = nn.Sequential(Step(2), Step(2))
    assert list(blocks_of(net, ["0.layers", "1.down"])) == ["0.layers.0", "0.layers.1", "1.down"]
    with pytest.raises(ConfigError, match=r"no submodule of that name") as raised:
        blocks_of(net, ["0.layer"], "net.py:Net")
    assert "did you mean 0.layers" in raised.value.fix
    with pytest.raises(ConfigError, match=r"'0.down' within '0'"):
        blocks_of(net, ["0", "0.down"], "net.py:Net")


def test_blocks_in_a_file_are_checked_before_anything_runs(tmp_path):
    (tmp_path / "net.py").write_text(DEEP + "\nblocks = ['block']\n")
    with pytest.raises(ConfigError, match="did you mean blocks"):
        train(tmp_path / "run", f"{tmp_path / 'net.py'}:Net")
    (tmp_path / "other.py").write_text(DEEP + "\nblocks = 'blocks'\n")
    with pytest.raises(ConfigError, match="not a list of names"):
        train(tmp_path / "run", f"{tmp_path / 'other.py'}:Net")
