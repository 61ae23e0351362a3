"""What a checkpoint keeps of its data: it notices every change that matters, and none that does not."""

import shutil

import numpy as np
import pytest
from PIL import Image

from hal.data import DataFacts, RememberedData, Wanted, load

SHAPE = Wanted("image", (4, 4, 1))
TEXT = Wanted("text", (8,))


@pytest.fixture
def pets(tmp_path):
    for name in ("bat", "cat"):
        for index in range(10):
            (tmp_path / "pets" / name).mkdir(parents=True, exist_ok=True)
            Image.new("L", (4, 4), 10 * index).save(tmp_path / "pets" / name / f"{index}.png")
    return tmp_path / "pets"


def facts(source, wanted=SHAPE, **keys):
    return DataFacts.of(load(source, wanted, **keys))


def test_the_same_data_again(pets):
    assert facts(f"images:{pets}").differences(facts(f"images:{pets}")) == []


def test_data_may_move(pets, tmp_path):
    before = facts(f"images:{pets}")
    shutil.move(pets, tmp_path / "elsewhere")
    assert before.differences(facts(f"images:{tmp_path / 'elsewhere'}")) == []


def rename(pets):
    (pets / "bat").rename(pets / "zebra")


def add_class(pets):
    shutil.copytree(pets / "bat", pets / "dog")


def add_picture(pets):
    Image.new("L", (4, 4)).save(pets / "bat" / "new.png")


def swap(pets):
    (pets / "bat" / "0.png").rename(pets / "cat" / "x.png")
    (pets / "cat" / "0.png").rename(pets / "bat" / "0.png")
    (pets / "cat" / "x.png").rename(pets / "cat" / "0.png")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (rename, "the classes bat are missing, and zebra are new"),
        (add_class, "the classes dog are new"),
        (add_picture, "training samples"),
    ],
)
def test_changes_of_a_folder(pets, change, said):
    before = facts(f"images:{pets}")
    change(pets)
    assert any(said in each for each in before.differences(facts(f"images:{pets}")))


@pytest.mark.parametrize("keys", [{"seed": 1}, {"validation": 0.3}])
@pytest.mark.parametrize(
    ("source", "wanted"), [("digits", SHAPE), ("topics", TEXT), ("pets", SHAPE), ("synthetic:64", SHAPE)]
)
def test_another_split_is_noticed(pets, source, wanted, keys):
    source = f"images:{pets}" if source == "pets" else source
    before, now = facts(source, wanted), facts(source, wanted, **keys)
    splits = source != "topics" or "seed" not in keys  # text is split by its length alone
    assert bool(before.differences(now)) == splits


@pytest.mark.parametrize("part", ["x", "y", "x_test"])
def test_changes_of_an_archive(tmp_path, part):
    arrays = {"x": np.arange(320).reshape(20, 4, 4, 1) % 256, "y": np.arange(20) % 3}
    arrays |= {"x_test": arrays["x"][:5], "y_test": arrays["y"][:5]}
    arrays = {name: value.astype(np.uint8) for name, value in arrays.items()}
    np.savez(tmp_path / "a.npz", **arrays)
    arrays[part] = arrays[part].copy()
    arrays[part][(0,) * arrays[part].ndim] = 1 + arrays[part][(0,) * arrays[part].ndim]
    np.savez(tmp_path / "b.npz", **arrays)
    assert facts(f"npz:{tmp_path}/a.npz").differences(facts(f"npz:{tmp_path}/b.npz"))


def test_another_text(tmp_path):
    for name, text in (("a", "abcdefgh" * 50), ("b", "abcdefgh" * 49 + "abcdefhg"), ("c", "abcdefgi" * 50)):
        (tmp_path / name).write_text(text)
    a, b, c = (facts(f"text:{tmp_path / name}", TEXT) for name in "abc")
    assert a.differences(b) == ["the 39 samples that are held back are not the same"] or a.differences(b)
    assert "the text consists of other characters" in a.differences(c)


def test_a_model_needs_no_samples():
    kept = DataFacts.model_validate_json(facts("digits").model_dump_json())
    remembered = RememberedData(kept)
    real = load("digits", SHAPE).train
    for name in ("classes", "class_names", "vocabulary", "inputs", "labels"):
        assert getattr(remembered, name) == getattr(real, name)
