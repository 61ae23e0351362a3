"""Makes the helpers of runs importable here, and small trained runs that several tests share."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.append(str(Path(__file__).parent))
sys.path.append(str(Path(__file__).parents[1] / "run"))

import hal

CLASSES = ("bars", "blank", "dots")


def picture(kind, seed):
    """A small gray picture of a class, (12, 12) uint8."""
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 40, (12, 12))
    if kind == "bars":
        pixels[:, :: 2 + seed % 2] += 200
    if kind == "dots":
        pixels[:: 2 + seed % 2, ::3] += 200
    return pixels.astype(np.uint8)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """Pictures in a folder for each class, some to train on and some held out."""
    folder = tmp_path_factory.mktemp("pictures")
    for part, seeds in (("train", range(24)), ("val", range(100, 108))):
        for kind in CLASSES:
            place = folder / part / kind
            place.mkdir(parents=True)
            for seed in seeds:
                Image.fromarray(picture(kind, seed)).save(place / f"{seed}.png")
    return folder


@pytest.fixture(scope="session")
def trained_cnn(pictures, tmp_path_factory):
    """The folder of a cnn that learned the pictures; its validation accuracy is in the record."""
    folder = tmp_path_factory.mktemp("cnn") / "run"
    hal.train(
        model={"name": "cnn", "filters": [4, 8], "dense": 16, "size": 16},
        data={"name": f"images:{pictures}", "augment": "none"},
        backend="cpu",
        batch=16,
        threads=1,
        epochs=6,
        lr=1e-2,
        out=str(folder),
    )
    return folder


@pytest.fixture(scope="session")
def trained_text(tmp_path_factory):
    """The folder of an rnn that writes text."""
    folder = tmp_path_factory.mktemp("text")
    (folder / "book.txt").write_text("the cat sat on the mat. " * 60)
    hal.train(
        model={"name": "rnn", "units": 16, "embedding": 8, "length": 12, "sample": 0},
        data=f"text:{folder / 'book.txt'}",
        backend="cpu",
        batch=8,
        threads=1,
        epochs=8,
        lr=2e-2,
        out=str(folder / "run"),
    )
    return folder / "run"


@pytest.fixture(scope="session")
def trained_gan(tmp_path_factory):
    """The folder of a gan after two steps, without a judge."""
    folder = tmp_path_factory.mktemp("gan")
    np.savez(folder / "x.npz", x=np.random.default_rng(0).random((40, 20, 20, 1), np.float32))
    hal.train(
        model={"name": "gan", "size": 20, "width": 8, "noise": 6, "grid": 2},
        data=f"npz:{folder / 'x.npz'}",
        backend="cpu",
        batch=8,
        threads=1,
        steps=2,
        out=str(folder / "run"),
    )
    return folder / "run"
