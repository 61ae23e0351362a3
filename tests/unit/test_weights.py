"""Files with weights from elsewhere: what is accepted, and what ends in one sentence."""

import os
import random
import zipfile

import numpy as np
import pytest
import torch
from fuzzing import SEEDS, damaged, strange_safetensors, survives
from safetensors.torch import save_file

from hal import nn
from hal.errors import DataError, NotFoundError
from hal.models._backbones import files
from hal.models._backbones.blocks import Backbone, Block
from hal.models._backbones.weights import load_weights

CONV = nn.Conv2d(4, 3, bias=False)
BACKBONE = Backbone("tiny", (Block("stem", nn.Sequential(CONV, nn.BatchNorm()), ("conv", "bn")),), "nobody", 1)


class Module(torch.nn.Module):
    """The same in torch."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3, bias=False)
        self.bn = torch.nn.BatchNorm2d(4)
        self.fc = torch.nn.Linear(4, 2)


@pytest.fixture
def module():
    torch.manual_seed(0)
    return Module()


def load(path):
    params, state = BACKBONE.specs((8, 8, 3))
    return load_weights(path, BACKBONE, params, state)


def assert_loaded(path, module, tolerance=0.0):
    params, state = load(path)
    kernel = params["stem"]["conv2d"]["kernel"]
    assert kernel.dtype == np.float32
    expected = module.conv.weight.detach().numpy().transpose(2, 3, 1, 0)
    np.testing.assert_allclose(kernel, expected, rtol=tolerance, atol=tolerance)
    np.testing.assert_array_equal(state["stem"]["batchnorm"]["variance"], 1)


# Accepted


WRAPPED = {
    "state_dict": lambda m: m.state_dict(),
    "parameters": lambda m: dict(m.named_parameters()) | dict(m.named_buffers()),
    "lightning": lambda m: {"state_dict": m.state_dict(), "epoch": 3, "optimizer_states": [{}]},
    "model": lambda m: {"model": m.state_dict(), "args": {"lr": 0.1}},
    "both": lambda m: {"model": {"state_dict": {f"module.{k}": v for k, v in m.state_dict().items()}}},
    "data-parallel": lambda m: torch.nn.DataParallel(m).state_dict(),
    "averaged": lambda m: torch.optim.swa_utils.AveragedModel(m).state_dict(),
    "compiled": lambda m: {f"module._orig_mod.{k}": v for k, v in m.state_dict().items()},
}


@pytest.mark.parametrize("how", WRAPPED)
def test_what_scripts_save(tmp_path, module, how):
    path = tmp_path / "weights.pth"
    torch.save(WRAPPED[how](module), path)
    assert_loaded(path, module)


def test_the_old_format_of_torch(tmp_path, module):
    path = tmp_path / "weights.pt"
    torch.save(module.state_dict(), path, _use_new_zipfile_serialization=False)
    assert_loaded(path, module)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_other_dtypes(tmp_path, module, dtype, suffix):
    path = tmp_path / f"weights{suffix}"
    tensors = {name: x.to(dtype) if x.is_floating_point() else x for name, x in module.state_dict().items()}
    torch.save(tensors, path) if suffix == ".pth" else save_file(tensors, path)
    assert_loaded(path, module, tolerance=0.01)


# Refused


def changed(**tensors):
    def make(module):
        return {**module.state_dict(), **{name.replace("__", "."): x for name, x in tensors.items()}}

    return make


def without(*names):
    return lambda module: {name: x for name, x in module.state_dict().items() if name not in names}


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda module: module, "holds Python objects besides tensors"),
        (lambda module: {"model": module}, "holds Python objects besides tensors"),
        (lambda module: torch.ones(3), "holds a Tensor, not tensors by name"),
        (without("conv.weight"), r"conv.weight is missing, of 5 tensors. The file holds .*fc.weight.* besides"),
        (lambda module: {"encoder.conv.weight": module.conv.weight}, "The file holds encoder.conv.weight besides"),
        (changed(conv__weight=torch.ones(4, 3, 5, 5)), r"conv.weight is \(4, 3, 5, 5\) and should be \(4, 3, 3, 3\)"),
        (changed(bn__bias=torch.full((4,), torch.nan)), "bn.bias has values that are not finite"),
        (changed(bn__bias=torch.full((4,), 1e300, dtype=torch.float64)), "bn.bias has values that are not finite"),
        (changed(bn__running_var=-torch.ones(4)), "bn.running_var has negative variances"),
        (changed(bn__bias=torch.ones(4, dtype=torch.int32)), "bn.bias holds int32"),
        (changed(bn__bias=torch.ones(4, dtype=torch.complex64)), "bn.bias holds complex64"),
        (changed(bn__bias=torch.ones(4).to_sparse()), "bn.bias holds sparse float32"),
        (changed(bn__bias=torch.ones(4, device="meta")), "bn.bias holds no values"),
        (changed(bn__bias=torch.ones(1).expand(10**9)), r"bn.bias is \(1000000000,\)"),
    ],
)
def test_one_sentence(tmp_path, module, make, said):
    path = tmp_path / "weights.pth"
    torch.save(make(module), path)
    with pytest.raises(DataError, match=said) as caught:
        load(path)
    assert caught.value.fix
    assert len(caught.value.message) < 600


def test_a_program(tmp_path, module):
    path = tmp_path / "weights.pt"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("data.pkl", "constants.pkl", "version"):
            archive.writestr(f"weights/{name}", b"3")
    with pytest.raises(DataError, match="holds a TorchScript program, which hal does not run"):
        load(path)


def test_eight_bits(tmp_path, module):
    path = tmp_path / "weights.safetensors"
    save_file({**module.state_dict(), "conv.weight": module.conv.weight.detach().to(torch.float8_e4m3fn)}, path)
    with pytest.raises(DataError, match=r"conv.weight holds F8_E4M3 and should hold fp32, fp16, bf16 or fp64"):
        load(path)


@pytest.mark.parametrize("suffix", files.SUFFIXES)
def test_what_is_no_regular_file(tmp_path, suffix):
    os.mkfifo(tmp_path / f"pipe{suffix}")
    (tmp_path / f"endless{suffix}").symlink_to("/dev/zero")
    for name in ("pipe", "endless"):
        with pytest.raises(NotFoundError, match="it is not a regular file"):
            load(tmp_path / f"{name}{suffix}")
    with pytest.raises(NotFoundError, match="cannot be read: File name too long"):
        load(tmp_path / ("x" * 300 + suffix))


@pytest.mark.parametrize("suffix", files.SUFFIXES)
def test_more_than_there_is_memory_for(tmp_path, suffix, monkeypatch):
    monkeypatch.setattr(files, "available_bytes", lambda: 2**40)
    path = tmp_path / f"huge{suffix}"
    with path.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(DataError, match=r"has 1,024 GiB, and reading it takes 2 times as much memory, but only"):
        load(path)


def test_an_archive_that_unpacks_to_more_than_there_is_memory_for(tmp_path, monkeypatch):
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data.pkl", bytes(10_000_000))
    monkeypatch.setattr(files, "available_bytes", lambda: 1_000_000)
    assert path.stat().st_size < 100_000
    with pytest.raises(DataError, match=r"has 9\.5\d MiB, and reading it takes"):
        load(path)


# Damaged


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", ["new.pth", "old.pth", "st.safetensors"])
def test_damaged_files(tmp_path, module, kind, seed):
    path = tmp_path / kind
    if kind.startswith("st"):
        save_file(module.state_dict(), path)
    else:
        torch.save(module.state_dict(), path, _use_new_zipfile_serialization=kind.startswith("new"))
    content, rng = path.read_bytes(), random.Random(f"{kind} {seed}")
    # Most of an archive is data and padding: the damage is done where the structure is, at both ends.
    head, tail = content[:1500], content[1500:]
    path.write_bytes(damaged(head, rng) + tail if rng.random() < 0.5 else damaged(content, rng))
    survives(lambda: load(path), f"{kind}, seed {seed}")


@pytest.mark.parametrize("seed", SEEDS)
def test_files_with_an_odd_header(tmp_path, module, seed):
    path = tmp_path / "w.safetensors"
    save_file(module.state_dict(), path)
    path.write_bytes(strange_safetensors(path.read_bytes(), random.Random(f"header {seed}")))
    survives(lambda: load(path), f"weights with an odd header, seed {seed}")
