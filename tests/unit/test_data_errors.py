"""Each wrong request and each kind of damage gets its own error, which names what was found and what to do."""

import gzip
import re
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from data_helpers import IMAGE, SEQUENCE, TEXT, fails, says
from PIL import Image

from hal.data import Wanted, batches, bigram_entropy, load
from hal.data.arrays import shuffled_split
from hal.errors import ConfigError, DataError, NotFoundError

# Requests


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("digit", ["data=digit", r"did you mean digits\?", "use one of: csv:FILE, digits"]),
        ("mnits:/x", [r"did you mean mnist\?"]),
        ("", ["use one of"]),
        ("digits:5", ["takes no argument after a colon", "data=digits"]),
        ("mnist", ["needs a path", "data=mnist:DIR"]),
        ("npz:", ["needs a path", "data=npz:FILE"]),
        ("synthetic:many", ["'many'", "data=synthetic:4096"]),
        ("synthetic:1", ["2 or more"]),
        ("synthetic:-5", ["'-5'"]),
        ("topics", ["gives text data", "takes image data", "digits"]),
        ("text:/nowhere", ["gives text data"]),
    ],
)
def test_sources_that_cannot_be(source, parts):
    fails(ConfigError, *parts, source=source)


@pytest.mark.parametrize("source", ["digits", "mnist:/x", "images:/x", "npz:/x"])
def test_sources_without_text(source):
    fails(ConfigError, "takes text data", "topics", source=source, wanted=TEXT)


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5, float("nan")])
def test_share_out_of_range(share):
    fails(ConfigError, f"validation={share}", "above 0 and below 1", source="digits", validation=share)


def test_negative_seed():
    fails(ConfigError, "seed=-1", source="digits", seed=-1)


@pytest.mark.parametrize(
    ("kind", "shape"),
    [("image", (8, 8)), ("sequence", (8,)), ("text", ()), ("text", (3, 3)), ("image", (8, -1, 1)), ("sound", (3,))],
)
def test_wanted_shapes(kind, shape):
    with pytest.raises(ConfigError) as caught:
        Wanted(kind, shape)
    says(caught.value, kind)


def test_batches_out_of_range():
    train = load("synthetic:20", IMAGE, validation=0.5).train
    with pytest.raises(ConfigError) as caught:
        batches(train, 11, seed=0, epoch=0)
    says(caught.value, "batch=11", "10 samples", "batch=10 or less")
    with pytest.raises(ConfigError) as caught:
        batches(train, 0, seed=0, epoch=0)
    says(caught.value, "batch=0")
    for start in (-1, 4):
        with pytest.raises(ConfigError) as caught:
            batches(train, 3, seed=0, epoch=0, start=start)
        says(caught.value, f"start={start}", "3 batches")
    with pytest.raises(ConfigError, match="0 or more"):
        batches(train, 3, seed=0, epoch=-1)
    with pytest.raises(ConfigError, match="0 or more"):
        batches(train, 3, seed=-1, epoch=0)


def test_bigram_entropy_of_images():
    with pytest.raises(ConfigError) as caught:
        bigram_entropy(load("digits", IMAGE).train)
    says(caught.value, "data=digits is not text", "data=topics")


@pytest.mark.parametrize("labels", [[], [0], [0, 1, 2]])
def test_too_few_samples_for_a_split(labels):
    with pytest.raises(DataError) as caught:
        shuffled_split("npz:x", np.asarray(labels, np.int64), len(labels), 0.5, 0)
    says(caught.value, f"{len(labels)} samples for training and 0")


# Paths


@pytest.mark.parametrize("source", ["mnist", "images", "npz", "text"])
def test_paths_that_are_not_there(source, tmp_path):
    wanted = TEXT if source == "text" else IMAGE
    missing = tmp_path / "nothing"
    fails(NotFoundError, f"{missing} does not exist", source=f"{source}:{missing}", wanted=wanted)


@pytest.mark.parametrize("source", ["mnist", "images", "npz", "text"])
def test_paths_of_the_wrong_kind(source, tmp_path):
    file = tmp_path / "file"
    file.write_text("text")
    if source in ("mnist", "images"):
        fails(NotFoundError, f"{file} is a file, but a folder was expected", source=f"{source}:{file}")
    else:
        wanted = TEXT if source == "text" else IMAGE
        fails(NotFoundError, f"{tmp_path} is a folder, but a file", source=f"{source}:{tmp_path}", wanted=wanted)


@pytest.mark.parametrize("source", ["mnist", "images", "npz", "text"])
def test_paths_that_may_not_be_read(source, tmp_path, monkeypatch):
    path = tmp_path / "data"
    path.touch()

    def refuse(self, *args, **kwargs):
        raise PermissionError(13, "Permission denied", str(self))

    for name in ("open", "iterdir", "read_bytes"):
        monkeypatch.setattr(Path, name, refuse)
    wanted = TEXT if source == "text" else IMAGE
    fails(NotFoundError, f"{path} cannot be read: permission denied", source=f"{source}:{path}", wanted=wanted)


def test_a_folder_whose_kind_is_a_secret(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()

    def refuse(self, **kwargs):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "is_dir", refuse)
    fails(NotFoundError, "permission denied", source=f"images:{tmp_path}")


def test_other_failures_of_the_disk(tmp_path, monkeypatch):
    def refuse(self, *args):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "open", refuse)
    (tmp_path / "x").touch()
    fails(NotFoundError, "Input/output error", source=f"text:{tmp_path / 'x'}", wanted=TEXT)


def test_home_folder_of_nobody():
    fails(NotFoundError, "home", "whole path", source="text:~nobody-of-this-name/x", wanted=TEXT)


# IDX


def idx(array):
    array = np.asarray(array, np.uint8)
    return struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


GOOD_IMAGES = idx(np.zeros((6, 4, 4)))
GOOD_LABELS = idx(np.arange(6) % 2)


def mnist(folder, images=GOOD_IMAGES, labels=GOOD_LABELS, end=""):
    (folder / f"train-images-idx3-ubyte{end}").write_bytes(images)
    (folder / f"train-labels-idx1-ubyte{end}").write_bytes(labels)
    return f"mnist:{folder}"


@pytest.mark.parametrize(
    ("images", "parts"),
    [
        (b"", ["bytes none", "00000803"]),
        (b"\x89PNG\r\n", ["89504e47", "00000803"]),
        (GOOD_LABELS, ["00000801", "3 axes begins with 00000803"]),
        (GOOD_IMAGES[:9], ["inside its header", "9 of 16"]),
        (GOOD_IMAGES[:-1], ["has 95 bytes", r"\(6, 4, 4\), which is 96 bytes"]),
        (GOOD_IMAGES + b"x", ["more than 96"]),
        (struct.pack(">HBB3I", 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1) + b"12", ["has 2 bytes", "4294967295"]),
        (idx(np.zeros((0, 4, 4))), ["no samples"]),
    ],
)
def test_damaged_idx(tmp_path, images, parts):
    fails(DataError, "train-images-idx3-ubyte", *parts, source=mnist(tmp_path, images))


@pytest.mark.parametrize("damage", [lambda b: b[:-12], lambda b: b"not gzip at all", lambda b: b[:10] + b"\xff" * 20])
def test_damaged_gzip(tmp_path, damage):
    images = damage(gzip.compress(GOOD_IMAGES))
    source = mnist(tmp_path, images, gzip.compress(GOOD_LABELS), ".gz")
    fails(DataError, "train-images-idx3-ubyte.gz is not a complete gzip file", source=source)


def test_idx_of_other_length(tmp_path):
    source = mnist(tmp_path, labels=idx([0, 1]))
    fails(DataError, "train-labels-idx1-ubyte", "2 labels for 6 inputs", source=source)


def test_mnist_with_missing_files(tmp_path):
    fails(NotFoundError, "contains neither train-images-idx3-ubyte", source=f"mnist:{tmp_path}")
    source = mnist(tmp_path)
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(GOOD_IMAGES)
    fails(NotFoundError, "contains neither t10k-labels-idx1-ubyte", source=source)
    (tmp_path / "train-images-idx3-ubyte").unlink()
    fails(NotFoundError, "contains neither train-images-idx3-ubyte", source=source)


def test_mnist_file_that_may_not_be_read(tmp_path, monkeypatch):
    source = mnist(tmp_path)

    def refuse(self, *args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    fails(NotFoundError, "train-images-idx3-ubyte cannot be read: permission denied", source=source)


# Pictures


def pictures(folder, names=("a", "b"), count=3):
    for name in names:
        (folder / name).mkdir(parents=True)
        for index in range(count):
            Image.new("RGB", (5, 5), (index, 0, 0)).save(folder / name / f"{index}.png")
    return f"images:{folder}"


def take_all(source, wanted=IMAGE):
    split = load(source, wanted)
    for dataset in (split.train, split.validation):
        dataset.take(np.arange(len(dataset)))


@pytest.mark.parametrize("kind", ["text", "truncated", "empty", "bitflip"])
def test_corrupt_picture(tmp_path, kind):
    source = pictures(tmp_path)
    victim = tmp_path / "b" / "1.png"
    Image.effect_noise((64, 64), 50).save(victim)
    whole = victim.read_bytes()
    flipped = bytearray(whole)
    flipped[60:80] = bytes(20)
    victim.write_bytes({"text": b"hello", "truncated": whole[:900], "empty": b"", "bitflip": bytes(flipped)}[kind])
    with pytest.raises(DataError) as caught:
        take_all(source)
    says(caught.value, re.escape(str(victim)), "is not an image", "bytes, which begin with", "replace or remove")


def test_picture_of_floats(tmp_path):
    source = pictures(tmp_path)
    Image.new("F", (5, 5), 0.5).save(tmp_path / "a" / "0.tif")
    with pytest.raises(DataError) as caught:
        take_all(source)
    says(caught.value, "0.tif", "8 or 16 bits")


def test_picture_that_is_too_large_to_trust(tmp_path, monkeypatch):
    source = pictures(tmp_path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4)
    with pytest.raises(DataError) as caught:
        take_all(source)
    says(caught.value, "png", "decompression bomb")


def test_picture_that_has_gone(tmp_path):
    train = load(pictures(tmp_path), IMAGE).train
    for path in tmp_path.rglob("*.png"):
        path.unlink()
    with pytest.raises(NotFoundError) as caught:
        train.take(np.arange(len(train)))
    says(caught.value, "does not exist")


def test_folders_without_pictures(tmp_path):
    fails(DataError, f"{tmp_path} contains no folders", source=f"images:{tmp_path}")
    source = pictures(tmp_path)
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "readme.txt").write_text("none")
    fails(DataError, f"{tmp_path / 'c'} contains no images", ".png", source=source)


def test_parts_without_pictures(tmp_path):
    source = pictures(tmp_path / "train").replace("/train", "")
    (tmp_path / "val").mkdir()
    fails(DataError, f"{tmp_path / 'val'} contains no folders", source=source)
    (tmp_path / "val" / "a").mkdir()
    fails(DataError, "contains no images", source=source)


def test_parts_of_other_classes(tmp_path):
    source = pictures(tmp_path / "train").replace("/train", "")
    pictures(tmp_path / "val", ("a", "z"))
    fails(DataError, "class z", "a, b", source=source)


def test_too_few_pictures(tmp_path):
    fails(DataError, "2 samples for training and 0 for validation", source=pictures(tmp_path, count=1))


def test_pictures_of_other_channels(tmp_path):
    fails(
        ConfigError,
        "1 or 3 channels",
        "takes images of 2",
        source=f"images:{tmp_path}",
        wanted=Wanted("image", (8, 8, 2)),
    )


# NumPy archives


def archive(folder, **arrays):
    path = folder / "data.npz"
    np.savez(path, **arrays)
    return f"npz:{path}"


X = np.zeros((10, 8, 8, 1), np.uint8)
Y = np.arange(10) % 2


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 then nothing", b"\x93NUMPY\x01\x00"])
def test_no_archive(tmp_path, content):
    path = tmp_path / "data.npz"
    path.write_bytes(content)
    fails(DataError, str(path), "not an archive", "numpy.savez", source=f"npz:{path}")


def test_damaged_archives(tmp_path):
    source = archive(tmp_path, x=X + 1, y=Y)
    path = tmp_path / "data.npz"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    fails(DataError, str(path), source=source)
    at = whole.index(b"\x01" * 64)
    path.write_bytes(whole[:at] + b"\x02" + whole[at + 1 :])
    fails(DataError, str(path), "CRC", source=source)


def test_one_array(tmp_path):
    np.save(tmp_path / "one.npy", X)
    fails(DataError, "contains a single array", source=f"npz:{tmp_path / 'one.npy'}")


def test_pickled_objects_are_never_loaded(tmp_path):
    source = archive(tmp_path, x=np.asarray([{"a": 1}, None], object), y=Y[:2])
    fails(DataError, "allow_pickle", source=source)


def test_members_that_are_no_arrays(tmp_path):
    path = tmp_path / "data.npz"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x", "hello")
    fails(DataError, "contains x", "not an array", source=f"npz:{path}")


@pytest.mark.parametrize(
    ("arrays", "parts"),
    [
        ({"z": X}, ["none of the arrays x, inputs and x_train"]),
        ({"x": X, "y": Y[:9]}, ["9 labels for 10 inputs"]),
        ({"x": X, "y": Y + 0.5}, ["labels of dtype float64", "integers"]),
        ({"x": X, "y": Y - 1}, ["label -1"]),
        ({"x": X, "y": np.eye(10, dtype=int)}, [r"labels of shape \(10, 10\)", r"expected \(10,\)"]),
        ({"x": X.reshape(10, 64), "y": Y}, [r"shape \(10, 64\)", r"\(count, height, width, channels\)"]),
        ({"x": X[:0], "y": Y[:0]}, [r"shape \(0, 8, 8, 1\)"]),
        ({"x": X.astype(np.int64), "y": Y}, ["dtype int64", "uint8 or floating"]),
        ({"x": np.full((4, 8, 8), 2.5), "y": Y[:4]}, ["from 2.5 to 2.5", "0 to 1", "uint8"]),
        ({"x": np.full((4, 8, 8), np.nan), "y": Y[:4]}, ["not finite"]),
        ({"x": X[:1], "y": Y[:1]}, ["1 samples for training and 0"]),
        ({"x_train": X, "y_train": Y, "x_test": X}, ["only one of y_train and y_test"]),
        ({"x_train": X, "y_train": Y, "x_test": X[:0], "y_test": Y[:0]}, ["x_test", r"shape \(0, 8, 8, 1\)"]),
    ],
)
def test_arrays_that_do_not_fit(tmp_path, arrays, parts):
    fails(DataError, *parts, source=archive(tmp_path, **arrays))


def test_sequences_of_another_shape(tmp_path):
    source = archive(tmp_path, x=np.zeros((10, 5, 3), np.float32), y=Y)
    fails(ConfigError, r"\(5, 3\)", r"takes \(8, 8\)", source=source, wanted=SEQUENCE)


def test_images_of_other_channels(tmp_path):
    source = archive(tmp_path, x=np.zeros((10, 3, 8, 8), np.uint8), y=Y)
    fails(ConfigError, "8 channels", "takes images of 3", source=source, wanted=Wanted("image", (8, 8, 3)))
