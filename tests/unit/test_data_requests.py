"""Each wrong request for data gets its own error, which says what was asked and what to do."""

import numpy as np
import pytest
from data_helpers import IMAGE, TEXT, fails, says

from hal.data import Wanted, batches, bigram_entropy, load
from hal.data.arrays import shuffled_split
from hal.errors import ConfigError, DataError


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("digit", ["data=digit", r"did you mean digits\?", "sources: digits, images:DIR"]),
        ("mnits:/x", [r"did you mean mnist\?"]),
        ("", ["sources"]),
        ("digits:5", ["takes nothing after a colon", "data=digits"]),
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
    [("image", (8, 8)), ("sequence", (8,)), ("text", ()), ("text", (3, 3)), ("image", (8, 0, 1)), ("sound", (3,))],
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
