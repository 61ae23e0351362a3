"""What a trained model may be given: every real dtype by one rule, everything else one typed error."""

import ml_dtypes
import numpy as np
import pytest
import torch

from hal.data import Wanted
from hal.data.convert import as_inputs
from hal.errors import InputError

IMAGE = Wanted("image", (4, 3, 1))
SEQUENCE = Wanted("sequence", (4, 3))
TEXT = Wanted("text", (5,))
INTEGERS = [np.dtype(f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64)]
FLOATS = [np.dtype(kind) for kind in ("float16", "float32", "float64", ml_dtypes.bfloat16)]


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
@pytest.mark.parametrize("wanted", [IMAGE, SEQUENCE], ids=lambda wanted: wanted.kind)
def test_integers_are_pixels(dtype, wanted):
    found = as_inputs(np.full((2, *wanted.shape), 51, dtype), wanted)
    assert found.dtype == np.float32
    assert found == pytest.approx(0.2)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_floats_stay(dtype):
    found = as_inputs(np.full((2, *IMAGE.shape), 0.25, dtype), IMAGE)
    assert found.dtype == np.float32
    assert np.all(found == 0.25)


def test_other_forms():
    values = np.full((2, 4, 3), 0.5, np.float32)
    for form in (values, values[..., None], values.tolist(), torch.from_numpy(values), values > 0):
        assert as_inputs(form, IMAGE).shape == (2, 4, 3, 1)
    assert np.all(as_inputs(values > 0, IMAGE) == 1)
    assert as_inputs(np.zeros((0, 4, 3, 1)), IMAGE).shape == (0, 4, 3, 1)


def test_sequences_have_no_range():
    assert np.all(as_inputs(np.full((2, 4, 3), -7.5), SEQUENCE) == -7.5)


def test_ids():
    found = as_inputs(np.zeros((2, 5), np.uint16), TEXT, "abc")
    assert found.dtype == np.int64


@pytest.mark.parametrize(
    ("values", "wanted", "said"),
    [
        (np.full((2, 4, 3, 1), 200.0), IMAGE, "from 200 to 200, but the model was trained on images in"),
        (np.full((2, 4, 3, 1), -0.5), IMAGE, "from -0.5"),
        (np.full((2, 4, 3, 1), 256), IMAGE, "from 256 to 256"),
        (np.full((2, 4, 3, 1), -1), IMAGE, "from -1"),
        (np.full((2, 4, 3, 1), np.nan), IMAGE, "not finite"),
        (np.full((2, 4, 3), np.inf), SEQUENCE, "not finite"),
        (np.zeros((4, 3, 1)), IMAGE, r"shape \(4, 3, 1\)"),
        (np.zeros((2, 4, 3, 2)), IMAGE, r"images of 2 channels, but the model takes \(batch, 4, 3, 1\)"),
        (np.eye(4, dtype=np.int64)[None, :, :3], IMAGE, "int64 and all of them 0 or 1"),
        (np.float32(1), IMAGE, "shape"),
        (None, IMAGE, "shape"),
        ("picture.png", IMAGE, "shape"),
        ([[1, 2], [3]], IMAGE, "cannot be converted to an array"),
        (np.full((2, 4, 3, 1), 1j), IMAGE, "complex128"),
        (np.full((2, 4, 3, 1), "a"), IMAGE, "<U1"),
        (np.full((2, 4, 3, 1), None), IMAGE, "object"),
        (np.zeros((2, 5)), TEXT, "float64"),
        (np.full((2, 5), 3), TEXT, "from 3 to 3, but the ids of this model range from 0 to 2"),
        (np.full((2, 5), -1), TEXT, "from -1"),
    ],
)
def test_everything_else_is_one_error(values, wanted, said):
    with pytest.raises(InputError, match=said) as caught:
        as_inputs(values, wanted, "abc")
    assert caught.value.fix
