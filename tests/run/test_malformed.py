"""Whatever a file holds, its reader answers with a result or with one error of hal: no traceback, no hang, no code run.

Each reader is given a good file and then mutations of it: damaged bytes, and JSON whose values have other types, are
missing, or are nested without end. Seeds are numbers, so that a failure can be run again.
"""

import io
import json
import random
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from fuzzing import (
    SEEDS,
    mutated,
    strange_array,
    strange_npz,
    strange_png,
    strange_safetensors,
    survives,
    twisted,
)
from PIL import Image
from run_helpers import CNN, train

import hal
from hal.config import build, plan_keys, read
from hal.data import Wanted, load
from hal.data.convert import as_inputs
from hal.parity import store
from hal.run import checkpoint
from hal.run.config import RunConfig

# As in a user's process, where hal.data.pictures filters what Pillow says of odd files.
pytestmark = pytest.mark.filterwarnings("ignore:::PIL")

IMAGE = Wanted("image", (8, 8, 1))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good") / "run"
    train(folder, steps=2)
    return folder


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good") / "trace"
    hal.verify(model=CNN["model"], backend="cpu", data={"name": "synthetic:80"}, record=str(folder), steps=1)
    return folder


def yaml_config(path):
    return build(RunConfig, read(RunConfig, [], path))


def of_data(source, wanted=IMAGE):
    def call(path):
        split = load(f"{source}:{path}", wanted)
        for part in (split.train, split.validation):
            part.check(whole=True)
            part.take(np.arange(len(part)))

    return call


def good_npz(path):
    np.savez(path, x=np.zeros((6, 4, 4, 1), np.uint8), y=np.arange(6) % 2)


def good_text(path):
    path.write_text("abcdefgh" * 40)


def good_yaml(path):
    path.write_text(json.dumps({"model": "cnn", "backend": "cpu", "steps": 2, "data": {"name": "digits"}, "seed": 1}))


def good_plan(path):
    path.write_text(json.dumps({"batch": 64, "precision": "fp32", "parallel": "none", "threads": 1}))


FILES = {
    "npz": (good_npz, of_data("npz")),
    "text": (good_text, of_data("text", Wanted("text", (8,)))),
    "yaml": (good_yaml, yaml_config),
    "plan": (good_plan, lambda path: plan_keys(str(path))),
}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", FILES)
def test_files(tmp_path, kind, seed):
    make, call = FILES[kind]
    path = tmp_path / f"file.{kind}"
    make(path)
    call(path)
    path.write_bytes(mutated(path.read_bytes(), random.Random(f"{kind} {seed}")))
    survives(lambda: call(path), f"{kind}, seed {seed}")


@pytest.mark.parametrize("seed", SEEDS)
def test_archives_with_an_odd_array(tmp_path, seed):
    path = tmp_path / "file.npz"
    path.write_bytes(strange_npz(random.Random(f"odd npz {seed}")))
    survives(lambda: of_data("npz")(path), f"npz with an odd array, seed {seed}")


@pytest.mark.parametrize("seed", SEEDS)
def test_inputs_of_a_trained_model(seed):
    """Arrays that a program of a user's own may hand over."""
    rng = random.Random(f"inputs {seed}")
    try:
        array = np.lib.format.read_array(io.BytesIO(strange_array(rng)))
    except (ValueError, MemoryError, SyntaxError, TypeError, OverflowError):
        array = np.array([None, "x"])
    for wanted in (Wanted("image", (4, 4, 1)), Wanted("text", (1,)), Wanted("sequence", (4, 4))):
        survives(lambda wanted=wanted: as_inputs(array, wanted, "ab"), f"inputs to predict, seed {seed}")


@pytest.mark.parametrize("seed", SEEDS)
def test_pictures_with_an_odd_header(tmp_path, seed):
    rng = random.Random(f"png {seed}")
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for index in range(2):
            Image.new("RGB", (9, 7)).save(tmp_path / name / f"{index}.png")
    victim = tmp_path / "cat" / "0.png"
    victim.write_bytes(strange_png(victim.read_bytes(), rng))
    survives(lambda: of_data("images")(tmp_path), f"png with an odd header, seed {seed}")


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".gif", ".bmp", ".tif", ".webp", ".ppm"])
def test_pictures(tmp_path, suffix, seed):
    rng = random.Random(f"{suffix} {seed}")
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for index in range(2):
            pixels = np.random.default_rng(index).integers(0, 255, (9, 7, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{index}{suffix}")
    victim = tmp_path / "cat" / f"0{suffix}"
    victim.write_bytes(mutated(victim.read_bytes(), rng))
    survives(lambda: of_data("images")(tmp_path), f"{suffix}, seed {seed}")


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"])
def test_idx(tmp_path, name, seed):
    images = struct.pack(">HBBIII", 0, 8, 3, 6, 4, 4) + bytes(96)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(images)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(struct.pack(">HBBI", 0, 8, 1, 6) + bytes([0, 1] * 3))
    path = tmp_path / name
    path.write_bytes(mutated(path.read_bytes(), random.Random(f"{name} {seed}")))
    survives(lambda: of_data("mnist")(tmp_path), f"{name}, seed {seed}")


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", ["checkpoint.json", "arrays.safetensors"])
def test_checkpoints(run, tmp_path, name, seed):
    at = Path(shutil.copytree(checkpoint.latest(run), tmp_path / "step-000000002"))
    rng = random.Random(f"{name} {seed}")
    (at / name).write_bytes(mutated((at / name).read_bytes(), rng))
    survives(lambda: checkpoint.load(at), f"{name}, seed {seed}")


@pytest.mark.parametrize("seed", SEEDS)
def test_checkpoints_with_another_meaning(run, tmp_path, seed):
    """The checksum is right, since whoever wrote it knew how."""
    at = Path(shutil.copytree(checkpoint.latest(run), tmp_path / "step-000000002"))
    rng = random.Random(f"meaning {seed}")
    meta = twisted(json.loads((at / "checkpoint.json").read_text()), rng)
    if isinstance(meta, dict):
        arrays = (at / "arrays.safetensors").read_bytes()
        meta["crc32"] = checkpoint._checksum(zlib.crc32(arrays), meta)
    (at / "checkpoint.json").write_text(json.dumps(meta))
    survives(
        lambda: hal.train(resume=str(at), steps=3, out=str(tmp_path / "again")),
        f"checkpoint, other meaning, seed {seed}",
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_checkpoints_with_other_arrays(run, tmp_path, seed):
    """A header of safetensors with one value changed, under a right checksum."""
    at = Path(shutil.copytree(checkpoint.latest(run), tmp_path / "step-000000002"))
    arrays = strange_safetensors((at / "arrays.safetensors").read_bytes(), random.Random(f"arrays {seed}"))
    meta = json.loads((at / "checkpoint.json").read_text())
    (at / "arrays.safetensors").write_bytes(arrays)
    (at / "checkpoint.json").write_text(json.dumps({**meta, "crc32": checkpoint._checksum(zlib.crc32(arrays), meta)}))
    survives(
        lambda: hal.train(resume=str(at), steps=3, out=str(tmp_path / "again")),
        f"checkpoint, other arrays, seed {seed}",
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_traces_with_another_meaning(trace, tmp_path, seed):
    """The checksum is right, since whoever wrote it knew how."""
    folder = Path(shutil.copytree(trace, tmp_path / "trace"))
    meta = twisted(json.loads((folder / "trace.json").read_text()), random.Random(f"trace {seed}"))
    if isinstance(meta, dict):
        meta["crc32"] = store._checksum((folder / "trace.safetensors").read_bytes(), meta)
    (folder / "trace.json").write_text(json.dumps(meta))
    survives(lambda: hal.verify(against=str(folder), backend="cpu"), f"trace, other meaning, seed {seed}")


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", ["trace.json", "trace.safetensors"])
def test_traces(trace, tmp_path, name, seed):
    folder = Path(shutil.copytree(trace, tmp_path / "trace"))
    (folder / name).write_bytes(mutated((folder / name).read_bytes(), random.Random(f"{name} {seed}")))
    survives(lambda: store.load(folder), f"{name}, seed {seed}")
