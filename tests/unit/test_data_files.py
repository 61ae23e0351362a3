"""What MNIST's files, folders of pictures and NumPy archives give."""

import gzip
import io
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from data_helpers import IMAGE, check, everything
from PIL import Image

from hal.data import Wanted, load
from hal.data.folder import each_file
from hal.data.npz import read_inputs
from hal.errors import DataError


def write_idx(path, array):
    header = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    content = header + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_picture(path, color, size=(6, 5), mode="RGB", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, color).save(path, **options)


# MNIST's files


@pytest.mark.parametrize("mark", ["-", "."])
@pytest.mark.parametrize("end", ["", ".gz"])
def test_mnist(tmp_path, mark, end):
    random = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 30), ("t10k", 7)):
        arrays[part] = random.integers(256, size=(count, 4, 6)), random.integers(10, size=count)
        write_idx(tmp_path / f"{part}-images{mark}idx3-ubyte{end}", arrays[part][0])
        write_idx(tmp_path / f"{part}-labels{mark}idx1-ubyte{end}", arrays[part][1])
    wanted = Wanted("image", (4, 6, 1))
    split = load(f"mnist:{tmp_path}", wanted)
    for part, dataset in (("train", split.train), ("t10k", split.validation)):
        check(dataset, wanted)
        batch = everything(dataset)
        np.testing.assert_allclose(batch["inputs"][..., 0] * 255, arrays[part][0], atol=1e-4)
        assert np.array_equal(batch["labels"], arrays[part][1])
    check(load(f"mnist:{tmp_path}", Wanted("image", (9, 9, 3))).train, Wanted("image", (9, 9, 3)))
    check(load(f"mnist:{tmp_path}", Wanted("sequence", (4, 6))).train, Wanted("sequence", (4, 6)))


def test_mnist_without_a_test_set_is_split(tmp_path):
    write_idx(tmp_path / "train-images-idx3-ubyte", np.zeros((50, 4, 4)))
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.arange(50) % 10)
    split = load(f"mnist:{tmp_path}", IMAGE, validation=0.2)
    assert (len(split.train), len(split.validation)) == (40, 10)
    assert sorted(everything(split.validation)["labels"]) == list(range(10))


# Pictures


def test_images_in_class_folders(tmp_path):
    for index in range(5):
        write_picture(tmp_path / "red" / f"{index}.png", (255, 0, 0))
        write_picture(tmp_path / "blue" / "more" / f"{index}.JPG", (0, 0, 255))
    (tmp_path / "red" / "notes.txt").write_text("not a picture")
    (tmp_path / ".hidden").mkdir()
    wanted = Wanted("image", (8, 10, 3))
    split = load(f"images:{tmp_path}", wanted)
    check(split.train, wanted)
    assert split.train.class_names == ("blue", "red")
    assert (len(split.train), len(split.validation)) == (8, 2)
    batch = everything(split.train)
    for image, label in zip(batch["inputs"], batch["labels"], strict=True):
        expected = (1, 0, 0) if split.train.class_names[label] == "red" else (0, 0, 1)
        np.testing.assert_allclose(image.mean((0, 1)), expected, atol=0.02)
    grey = everything(load(f"images:{tmp_path}", Wanted("image", (8, 10, 1))).train)
    np.testing.assert_allclose(grey["inputs"][grey["labels"] == 1], 0.299, atol=0.01)
    check(load(f"images:{tmp_path}", Wanted("sequence", (4, 3))).train, Wanted("sequence", (4, 3)))


@pytest.mark.parametrize("held", ["val", "validation", "valid", "test"])
def test_images_with_parts(tmp_path, held):
    for part, count in (("train", 3), (held, 2)):
        for name in ("a", "b"):
            for index in range(count):
                write_picture(tmp_path / part / name / f"{index}.png", 128, mode="L")
    split = load(f"images:{tmp_path}", IMAGE)
    assert (len(split.train), len(split.validation)) == (6, 4)
    assert split.validation.class_names == ("a", "b")
    np.testing.assert_allclose(everything(split.validation)["inputs"], 128 / 255, atol=1e-6)


def test_images_with_train_alone_are_split(tmp_path):
    for name in ("a", "b"):
        for index in range(4):
            write_picture(tmp_path / "train" / name / f"{index}.png", 1, mode="L")
    split = load(f"images:{tmp_path}", IMAGE, validation=0.5)
    assert (len(split.train), len(split.validation)) == (4, 4)


def test_train_may_be_a_class(tmp_path):
    for name in ("train", "plane"):
        for index in range(2):
            write_picture(tmp_path / name / f"{index}.png", 1, mode="L")
    assert load(f"images:{tmp_path}", IMAGE).train.class_names == ("plane", "train")


def test_images_of_unusual_modes(tmp_path):
    deep = np.full((5, 5), 0x8000, np.uint16)
    (tmp_path / "a").mkdir()
    Image.fromarray(deep).save(tmp_path / "a" / "0-deep.png")
    palette = Image.new("P", (5, 5), 0)
    palette.putpalette([128, 128, 128])
    palette.save(tmp_path / "a" / "1-palette.png", transparency=b"\x80")
    write_picture(tmp_path / "a" / "2-alpha.png", (128, 128, 128, 255), mode="RGBA")
    write_picture(tmp_path / "a" / "3-cmyk.jpg", (0, 0, 0, 127), mode="CMYK")
    split = load(f"images:{tmp_path}", Wanted("image", (4, 4, 3)), validation=0.25)
    for dataset in (split.train, split.validation):
        np.testing.assert_allclose(everything(dataset)["inputs"], 128 / 255, atol=0.02)


def test_images_are_turned_upright(tmp_path):
    for index in range(2):
        picture = Image.new("L", (4, 2), 0)
        picture.paste(255, (0, 0, 2, 2))  # white on the left
        exif = Image.Exif()
        exif[0x0112] = 6  # shown turned by 90 degrees clockwise: white on top
        (tmp_path / "a").mkdir(exist_ok=True)
        picture.save(tmp_path / "a" / f"{index}.png", exif=exif)
    image = load(f"images:{tmp_path}", Wanted("image", (4, 2, 1))).train.take(np.asarray([0]))["inputs"][0]
    assert image[:2].min() == 1
    assert image[2:].max() == 0


def test_reads_from_threads(tmp_path):
    for index in range(20):
        write_picture(tmp_path / "a" / f"{index}.png", index, mode="L")
    train = load(f"images:{tmp_path}", IMAGE).train
    expected = everything(train)["inputs"]
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: everything(train)["inputs"], range(8)):
            assert np.array_equal(found, expected)


# NumPy archives


@pytest.mark.parametrize("names", [("x", "y"), ("inputs", "labels"), ("x_train", "y_train")])
def test_npz_is_split(tmp_path, names):
    values = np.random.default_rng(0).integers(256, size=(20, 8, 8)).astype(np.uint8)
    path = tmp_path / "data.npz"
    np.savez_compressed(path, **{names[0]: values, names[1]: (np.arange(20) % 4).astype(np.int32)[:, None]})
    split = load(f"npz:{path}", IMAGE)
    check(split.train, IMAGE)
    assert split.train.classes == 4
    batch = everything(split.validation)
    for image, label in zip(batch["inputs"], batch["labels"], strict=True):
        (row,) = np.flatnonzero(np.all(np.isclose(values / 255, image[..., 0], atol=1e-6), axis=(1, 2)))
        assert row % 4 == label


def test_npz_with_a_test_part(tmp_path):
    path = tmp_path / "data.npz"
    random = np.random.default_rng(0)
    arrays = {"x_train": random.normal(size=(9, 5, 3)), "x_test": random.normal(size=(4, 5, 3))}
    np.savez(path, **arrays, y_train=np.zeros(9, np.uint8), y_test=np.full(4, 6))
    split = load(f"npz:{path}", Wanted("sequence", (5, 3)))
    np.testing.assert_allclose(everything(split.train)["inputs"], arrays["x_train"], rtol=1e-6)
    np.testing.assert_allclose(everything(split.validation)["inputs"], arrays["x_test"], rtol=1e-6)
    assert split.train.classes == split.validation.classes == 7


def test_npz_without_labels(tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, x=np.ones((10, 8, 8, 3), np.float16))
    train = load(f"npz:{path}", IMAGE).train
    assert train.labels is None
    assert train.classes is None
    assert list(train.take(np.asarray([0]))) == ["inputs"]


@pytest.mark.parametrize(("worth_s", "threads"), [(60.0, False), (0.0, True)])
def test_files_that_take_long_are_read_on_threads(monkeypatch, worth_s, threads):
    """A small file takes less time than a thread that waits for the interpreter."""
    monkeypatch.setattr("hal.data.folder.os.cpu_count", lambda: 2)
    monkeypatch.setattr("hal.data.folder._WORTH_A_THREAD_S", worth_s)
    used = set()

    def look(path):
        used.add(threading.get_ident())
        return path.name

    paths = [Path(str(number)) for number in range(20)]
    assert list(each_file(look, paths)) == [path.name for path in paths]
    assert (len(used) > 1) == threads
    assert list(each_file(look, [])) == []


def test_inputs_without_names_are_numbered_as_numpy_does_or_have_those_of_the_arguments():
    first, second = np.ones((2, 4)), np.zeros((2, 3))

    def read(names, *arrays, **named):
        content = io.BytesIO()
        np.savez(content, *arrays, **named)
        found = read_inputs("x.npz", content, dict(zip(("0", "1"), names, strict=True)))
        return [found[name].shape for name in ("0", "1")]

    assert read(("0", "1"), first, second) == [(2, 4), (2, 3)]
    assert read(("left", "right"), first, second) == [(2, 4), (2, 3)]
    assert read(("left", "right"), right=second, left=first) == [(2, 4), (2, 3)]
    with pytest.raises(DataError, match="does not contain arr_0, arr_1; it contains left") as told:
        read(("0", "1"), left=first)
    assert told.value.fix == "write it with numpy.savez(FILE, ..., ...)"
    asked = r"does not contain left \(or arr_0\), right \(or arr_1\); it contains x"
    with pytest.raises(DataError, match=asked) as told:
        read(("left", "right"), x=first)
    assert told.value.fix == "write it with numpy.savez(FILE, left=..., right=...)"
