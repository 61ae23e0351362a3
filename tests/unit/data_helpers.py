"""What the tests of data share."""

import numpy as np

from hal.data import Wanted

IMAGE = Wanted("image", (8, 8, 1))


def everything(dataset):
    return dataset.take(np.arange(len(dataset)))


def check(dataset, wanted):
    """What every data set promises."""
    batch = dataset.take(np.asarray([0, len(dataset) - 1, 0]))
    assert batch["inputs"].shape == (3, *wanted.shape)
    assert dataset.inputs.shape == wanted.shape
    assert batch["inputs"].dtype == dataset.inputs.dtype == (np.int64 if wanted.kind == "text" else np.float32)
    assert batch["inputs"].flags.c_contiguous
    assert batch["inputs"].flags.writeable
    assert batch["labels"].dtype == np.int64
    assert batch["labels"].shape == (3, *dataset.labels.shape)
    assert batch["labels"].min() >= 0
    assert batch["labels"].max() < dataset.classes
    assert np.array_equal(batch["inputs"][0], batch["inputs"][2])
    if wanted.kind != "text":
        assert batch["inputs"].min() >= 0
        assert batch["inputs"].max() <= 1
    empty = dataset.take(np.asarray([], np.int64))
    assert empty["inputs"].shape == (0, *wanted.shape)
    if dataset.class_names:
        assert len(dataset.class_names) == dataset.classes
    assert bool(dataset.vocabulary) == (wanted.kind == "text")
