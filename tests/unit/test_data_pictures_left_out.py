"""Damaged pictures that may be left out, and color that a model drops."""

import numpy as np
import pytest
from PIL import Image

from hal.data import Wanted, load, summary
from hal.errors import DataError

GRAY, COLOR = Wanted("image", (8, 8, 1)), Wanted("image", (8, 8, 3))
NOTE = "color pictures become gray: model.channels=3 keeps the color"


@pytest.fixture
def folder(tmp_path):
    """Two classes of ten color pictures, three of which are damaged."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for at in range(10):
            pixels = np.random.default_rng(at).integers(0, 256, (9, 9, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{at}.png")
    for name in ("a/0.png", "a/1.png", "b/9.png"):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
    return tmp_path


def test_they_are_left_out_and_listed(folder):
    split = load(f"images:{folder}", GRAY, options={"skip_bad": 3})
    assert len(split.train) + len(split.validation) == 17
    assert [line.split(" is not an image")[0] for line in split.skipped] == [
        str(folder / name) for name in ("a/0.png", "a/1.png", "b/9.png")
    ]
    split.train.check(whole=True)
    split.validation.check(whole=True)
    assert any(line.startswith("skipped: 3 samples are damaged; the first: ") for line in summary(split))


def test_more_than_may_be_left_out(folder):
    with pytest.raises(DataError, match=r"has 3 damaged images, but data.skip_bad=2 leaves out at most 2") as caught:
        load(f"images:{folder}", GRAY, options={"skip_bad": 2})
    assert "data.skip_bad=3" in caught.value.fix
    for path in (folder / "b").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match="all images of the class b are damaged"):
        load(f"images:{folder}", GRAY, options={"skip_bad": 99})


def test_color_that_is_dropped_is_told(folder, tmp_path_factory):
    options = {"skip_bad": 3}
    assert NOTE in load(f"images:{folder}", GRAY, options=options).notes
    assert NOTE not in load(f"images:{folder}", COLOR, options=options).notes
    path = tmp_path_factory.mktemp("npz") / "x.npz"
    np.savez(path, x=np.zeros((10, 8, 8, 3), np.uint8), y=np.arange(10) % 2)
    assert NOTE in load(f"npz:{path}", GRAY).notes
    assert NOTE not in load(f"npz:{path}", COLOR).notes
