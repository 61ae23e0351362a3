"""What the tests of data share."""

import re

import numpy as np
import pytest

from hal.data import Bytes, Wanted, load
from hal.errors import HalError

IMAGE = Wanted("image", (8, 8, 1))
SEQUENCE = Wanted("sequence", (8, 8))
TEXT = Wanted("text", (16,))
DOCUMENT = Wanted("document", (16,), Bytes())


def everything(dataset):
    return dataset.take(np.arange(len(dataset)))


def check(dataset, wanted):
    """What every data set promises."""
    batch = dataset.take(np.asarray([0, len(dataset) - 1, 0]))
    assert batch["inputs"].shape == (3, *wanted.shape)
    assert dataset.inputs.shape == wanted.shape
    numbers = wanted.kind in ("image", "sequence")
    assert batch["inputs"].dtype == dataset.inputs.dtype == (np.float32 if numbers else np.int64)
    assert batch["inputs"].flags.c_contiguous
    assert batch["inputs"].flags.writeable
    assert batch["labels"].dtype == np.int64
    assert batch["labels"].shape == (3, *dataset.labels.shape)
    assert batch["labels"].min() >= 0
    assert batch["labels"].max() < dataset.classes
    assert np.array_equal(batch["inputs"][0], batch["inputs"][2])
    assert batch["inputs"].min() >= 0
    if numbers:
        assert batch["inputs"].max() <= 1
    empty = dataset.take(np.asarray([], np.int64))
    assert empty["inputs"].shape == (0, *wanted.shape)
    if dataset.class_names:
        assert len(dataset.class_names) == dataset.classes
    assert bool(dataset.vocabulary) == (wanted.kind == "text")
    assert bool(dataset.tokens) == (wanted.kind == "document")


def fails(kind, *parts, source, wanted=IMAGE, **options):
    with pytest.raises(kind) as caught:
        load(source, wanted, **options)
    says(caught.value, *parts)


def says(error, *parts):
    assert isinstance(error, HalError)
    assert error.fix, "an error says what to do next"
    for part in parts:
        assert re.search(part, str(error)), f"{part!r} is not in {error}"
