"""Data sets of the package ``datasets``, which a stand-in gives here: classes by name, and what is not used."""

import sys
import types

import numpy as np
import pytest
from PIL import Image

from hal.data import Bytes, Wanted, load
from hal.errors import ConfigError, DataError

TEXTS = Wanted("document", (8,), tokenizer=Bytes())
IMAGES = Wanted("image", (4, 4, 1))
VECTORS = Wanted("vector", (0,))


class Part:
    """A part of a data set, as far as hal reads it."""

    def __init__(self, names=(), **columns):
        self._columns = columns
        self.column_names = list(columns)
        self.features = {name: types.SimpleNamespace(names=None) for name in columns}
        self.features["label"] = types.SimpleNamespace(names=list(names) or None)

    def __getitem__(self, name):
        return self._columns[name]

    def __len__(self):
        return len(self._columns["label"])


@pytest.fixture
def hub(monkeypatch):
    """Sets what the package gives."""

    def give(**parts):
        monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=lambda name: parts))

    return give


def texts(labels, names=()):
    return Part(names, text=[f"text {at}" for at in range(len(labels))], label=labels)


def pictures(labels, names=()):
    return Part(names, image=[Image.new("L", (4, 4)) for _ in labels], label=labels)


def held_labels(split):
    return split.validation.take(np.arange(len(split.validation)))["labels"].tolist()


@pytest.mark.parametrize(("make", "wanted"), [(texts, TEXTS), (pictures, IMAGES)], ids=["texts", "images"])
class TestClasses:
    def test_held_out_labels_are_numbered_as_those_to_train_on(self, hub, make, wanted):
        hub(train=make(["a", "b", "c", "a"]), test=make(["c", "b"]))
        split = load("hf:x", wanted)
        assert (split.train.class_names, held_labels(split)) == (("a", "b", "c"), [2, 1])

    def test_names_in_another_order(self, hub, make, wanted):
        hub(train=make([0, 1], ["no", "yes"]), validation=make([0, 1], ["yes", "no"]))
        assert held_labels(load("hf:x", wanted)) == [1, 0]

    @pytest.mark.parametrize(("train", "held"), [(["a", "b"], ["d"]), ([0, 1], [3]), ([0, 1], [-1])], ids=str)
    def test_unknown_ones(self, hub, make, wanted, train, held):
        hub(train=make(train), test=make(held))
        with pytest.raises(DataError, match=f"has the label {held[0]} in its held-out part"):
            load("hf:x", wanted)

    @pytest.mark.parametrize("key", ["features", "task", "skip_bad"])
    def test_keys_of_tables_are_refused(self, hub, make, wanted, key):
        hub(train=make([0, 1]))
        value = {"features": "a", "task": "regress", "skip_bad": 1}[key]
        with pytest.raises(ConfigError, match="is for columns of numbers, but the model"):
            load("hf:x", wanted, options={key: value})


@pytest.mark.parametrize("wanted", [IMAGES, VECTORS], ids=["images", "vectors"])
def test_the_key_of_texts_is_refused(hub, wanted):
    hub(train=texts([0, 1]))
    with pytest.raises(ConfigError, match="is for models that read texts"):
        load("hf:x", wanted, options={"text": "text"})


def test_a_part_that_is_not_used_is_told(hub):
    part = Part(a=[1.0, 2.0, 3.0, 4.0], label=["x", "y", "x", "y"])
    hub(train=part, test=part)
    assert any("the part test is not used" in note for note in load("hf:x", VECTORS).notes)
    hub(train=part)
    assert not any("is not used" in note for note in load("hf:x", VECTORS).notes)
