"""What the built-in sources and texts give, and how batches walk through it."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from data_helpers import DOCUMENT, IMAGE, check, everything
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import hal.data
from hal.data import SOURCES, Dataset, Field, Wanted, batches, bigram_entropy, count_batches, digits, load
from hal.data.arrays import ArrayDataset, shuffled_split
from hal.data.images import fit, resize
from hal.data.text import TextDataset, encode


class Numbers(Dataset):
    """Sample i is the number i."""

    def __init__(self, count):
        self.name, self.classes, self.class_names, self.vocabulary = "numbers", None, (), ""
        self.inputs, self.labels = Field((), np.dtype(np.int64)), None
        self.count = count

    def __len__(self):
        return self.count

    def take(self, indices):
        return {"inputs": np.arange(self.count)[indices]}


def test_public_names():
    assert sorted(hal.data.__all__) == sorted(set(hal.data.__all__))
    for name in hal.data.__all__:
        assert hasattr(hal.data, name)


def test_import_loads_no_framework():
    code = (
        "import sys, hal.data; found = {'torch', 'jax', 'sklearn', 'scipy', 'PIL'} & set(sys.modules); "
        "assert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(hal.data.__file__).parents[2])


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("digits", IMAGE),
        ("digits", Wanted("image", (13, 5, 3))),
        ("digits", Wanted("sequence", (8, 8))),
        ("digits", Wanted("sequence", (28, 14))),
        ("topics", Wanted("text", (32,))),
        ("synthetic", Wanted("image", (9, 7, 2))),
        ("synthetic:50", Wanted("sequence", (4, 3))),
        ("synthetic:50", Wanted("text", (11,))),
        ("docstrings", DOCUMENT),
        ("synthetic:50", DOCUMENT),
    ],
)
def test_built_in_sources(source, wanted):
    split = load(source, wanted, seed=3)
    check(split.train, wanted)
    check(split.validation, wanted)
    assert split.train.name == source
    again = load(source, wanted, seed=3)
    for one, other in ((split.train, again.train), (split.validation, again.validation)):
        assert len(one) == len(other)
        rows = np.arange(min(len(one), 40))
        for name, array in one.take(rows).items():
            assert np.array_equal(array, other.take(rows)[name])


def test_sources_that_need_no_path_are_all_tested_above():
    assert {name for name, source in SOURCES.items() if ":" not in source.usage or "[" in source.usage} == {
        "digits",
        "topics",
        "docstrings",
        "synthetic",
    }


def test_the_digits_of_the_file_are_those_of_scikit_learn(monkeypatch):
    from_file = digits._table()
    monkeypatch.setattr(digits, "_FILE", "somewhere/else.csv.gz")
    assert np.array_equal(from_file, digits._table())


def test_digits_are_split_by_class_and_seed():
    split = load("digits", IMAGE, validation=0.25, seed=1)
    train, held = everything(split.train), everything(split.validation)
    assert len(train["labels"]) + len(held["labels"]) == 1797
    counts = np.bincount(train["labels"], minlength=10) + np.bincount(held["labels"], minlength=10)
    assert np.array_equal(np.bincount(held["labels"], minlength=10), np.round(counts / 4))
    assert split.train.class_names == tuple("0123456789")
    other = everything(load("digits", IMAGE, validation=0.25, seed=2).validation)
    assert not np.array_equal(held["inputs"], other["inputs"])
    assert np.std(held["labels"][:40]) > 1  # shuffled, not sorted by class


def test_digits_as_sequences_are_rows_of_the_images():
    images = load("digits", IMAGE).train.take(np.arange(5))["inputs"]
    rows = load("digits", Wanted("sequence", (8, 8))).train.take(np.arange(5))["inputs"]
    assert np.array_equal(images[..., 0], rows)


def test_digits_repeat_channels():
    grey = load("digits", Wanted("image", (12, 12, 1))).train.take(np.arange(5))["inputs"]
    color = load("digits", Wanted("image", (12, 12, 3))).train.take(np.arange(5))["inputs"]
    assert np.array_equal(np.repeat(grey, 3, axis=3), color)


@given(
    labels=st.lists(st.integers(0, 4), min_size=2, max_size=60),
    share=st.floats(0.05, 0.95),
    seed=st.integers(0, 2**40),
)
def test_split_holds_each_sample_once(labels, share, seed):
    labels = np.asarray([*labels, 0, 0])
    train, held = shuffled_split("x", labels, len(labels), share, seed)
    assert sorted([*train, *held]) == list(range(len(labels)))
    for label in np.unique(labels):
        count, kept = np.sum(labels == label), np.sum(labels[held] == label)
        if count > 1:
            assert 1 <= kept < count
            assert abs(kept - share * count) <= 1


@pytest.mark.parametrize("size", [(8, 8), (16, 16), (5, 11), (3, 3), (20, 4), (1, 1)])
def test_resize_is_pillows_bilinear(size):
    image = np.random.default_rng(0).random((8, 10), dtype=np.float32)
    expected = np.asarray(Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(resize(image[None, ..., None], *size)[0, ..., 0], expected, atol=2e-6)


@given(height=st.integers(1, 20), width=st.integers(1, 20), value=st.floats(0, 1, width=32))
def test_resize_keeps_a_constant(height, width, value):
    images = np.full((2, 7, 5, 3), value, np.float32)
    np.testing.assert_allclose(fit(images, (height, width, 3)), value, atol=1e-6)


def test_fit_turns_color_to_grey_by_its_brightness():
    images = np.zeros((1, 4, 4, 3), np.float32)
    images[..., 1] = 1
    np.testing.assert_allclose(fit(images, (4, 4, 1)), 0.587, atol=1e-6)


# Batches


@given(
    samples=st.integers(1, 40),
    batch=st.integers(1, 40),
    seed=st.integers(0, 2**32),
    epoch=st.integers(0, 1000),
    shuffle=st.booleans(),
    drop_last=st.booleans(),
)
def test_batches_visit_each_sample_once(samples, batch, drop_last, **order):
    batch = min(batch, samples)
    options = {"drop_last": drop_last, **order}
    found = [b["inputs"] for b in batches(Numbers(samples), batch, **options)]
    assert len(found) == count_batches(samples, batch, drop_last=drop_last)
    seen = np.concatenate(found)
    assert len(np.unique(seen)) == len(seen) == (samples // batch * batch if drop_last else samples)
    assert all(len(b) == batch for b in found[:-1])
    if not order["shuffle"]:
        assert np.array_equal(seen, np.arange(len(seen)))
    again = [b["inputs"] for b in batches(Numbers(samples), batch, **options)]
    assert np.array_equal(np.concatenate(again), seen)
    for start in range(len(found) + 1):
        rest = [b["inputs"] for b in batches(Numbers(samples), batch, start=start, **options)]
        assert [b.tolist() for b in rest] == [b.tolist() for b in found[start:]]


def test_order_depends_on_seed_and_epoch():
    def order(seed, epoch):
        return next(batches(Numbers(100), 100, seed=seed, epoch=epoch))["inputs"].tolist()

    orders = [order(0, 0), order(0, 1), order(1, 0), order(1, 1)]
    assert len({tuple(found) for found in orders}) == 4


def test_a_batch_larger_than_the_data_is_what_there_is_if_nothing_is_dropped():
    (only,) = batches(Numbers(3), 8, seed=0, epoch=0, drop_last=False)
    assert sorted(only["inputs"]) == [0, 1, 2]


def test_batches_of_text_resume_exactly():
    train = load("topics", Wanted("text", (64,))).train
    whole = list(batches(train, 512, seed=5, epoch=7))
    rest = list(batches(train, 512, seed=5, epoch=7, start=3))
    for one, other in zip(whole[3:], rest, strict=True):
        assert np.array_equal(one["inputs"], other["inputs"])
        assert np.array_equal(one["labels"], other["labels"])


# Text


def test_labels_are_inputs_shifted_by_one():
    split = load("topics", Wanted("text", (50,)))
    batch = split.train.take(np.asarray([0, 1, 2]))
    inputs, labels = batch["inputs"].reshape(-1), batch["labels"].reshape(-1)
    assert np.array_equal(inputs[1:], labels[:-1])
    text = "".join(split.train.vocabulary[i] for i in inputs)
    assert text.isprintable() or "\n" in text


def test_topics_is_split_where_the_text_stands_and_repeats_no_paragraph():
    split = load("topics", Wanted("text", (100,)), validation=0.1)

    def paragraphs(dataset):
        ids = everything(dataset)["inputs"].reshape(-1)
        return {p.strip() for p in "".join(dataset.vocabulary[i] for i in ids).split("\n\n") if len(p) > 40}

    assert 0.08 < len(split.validation) / (len(split.train) + len(split.validation)) < 0.12
    assert not paragraphs(split.train) & paragraphs(split.validation)
    assert split.train.vocabulary == split.validation.vocabulary
    assert split.train.classes == len(split.train.vocabulary) == len(set(split.train.vocabulary))
    assert 80 < split.train.classes < 130


@given(length=st.integers(1, 12), characters=st.integers(2, 80))
def test_rolling_windows_reach_every_character_pair(length, characters):
    ids = np.arange(characters)
    dataset = TextDataset("t", ids, "x" * characters, length, rolling=True)
    if not len(dataset):
        assert characters < 2 * length
        return
    seen = set()
    for epoch in range(length):
        view = dataset.at_epoch(epoch)
        assert len(view) == len(dataset)
        batch = everything(view)
        assert np.array_equal(batch["inputs"] + 1, batch["labels"])
        seen.add(int(batch["inputs"][0, 0]))
    assert seen == set(range(length))
    assert np.array_equal(everything(dataset.at_epoch(0))["inputs"], everything(dataset)["inputs"])


def test_validation_windows_never_move():
    split = load("topics", Wanted("text", (64,)))
    assert split.validation.at_epoch(5) is split.validation
    assert not np.array_equal(
        split.train.at_epoch(1).take(np.arange(2))["inputs"], split.train.take(np.arange(2))["inputs"]
    )


@given(st.text(st.characters(codec="utf-8"), max_size=300))
def test_encode_keeps_common_characters_and_replaces_rare_ones(text):
    ids, vocabulary = encode(text)
    assert len(ids) == len(text)
    expected = "".join(c if text.count(c) >= 5 else "\ufffd" for c in text)
    assert "".join(vocabulary[i] for i in ids) == expected
    assert vocabulary == "".join(sorted(set(expected)))


def test_text_file(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(b"\xef\xbb\xbf" + "grüße\r\nab\rc\n".encode() * 60)
    wanted = Wanted("text", (10,))
    split = load(f"text:{path}", wanted, validation=0.3)
    check(split.train, wanted)
    assert split.train.vocabulary == "\nabcegrßü"
    assert split.train.vocabulary[split.train.take(np.asarray([0]))["inputs"][0, 0]] == "g"


def test_bigram_entropy_of_known_texts():
    cycle = TextDataset("t", np.tile([0, 1, 2], 100), "abc", 7)
    assert bigram_entropy(cycle) == 0
    # After a comes a or b, each half of the time; after b always a.
    ids = np.asarray([0, 0, 1] * 200 + [0])
    assert bigram_entropy(TextDataset("t", ids, "ab", 600)) == pytest.approx(2 / 3 * math.log(2))


@settings(max_examples=25)
@given(st.lists(st.integers(0, 3), min_size=9, max_size=200), st.integers(1, 8), st.integers(0, 2**32))
def test_bigram_entropy_is_a_floor(ids, length, seed):
    dataset = TextDataset("t", np.asarray(ids), "abcd", length)
    batch = everything(dataset)
    pairs = batch["inputs"].reshape(-1), batch["labels"].reshape(-1)
    counts = np.zeros((4, 4))
    np.add.at(counts, pairs, 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        best = -np.log((counts / counts.sum(1, keepdims=True))[pairs]).mean()
    assert bigram_entropy(dataset) == pytest.approx(best, abs=1e-9)
    model = np.random.default_rng(seed).dirichlet(np.ones(4), size=4)
    assert bigram_entropy(dataset) <= -np.log(model[pairs]).mean() + 1e-9


def test_bigram_entropy_does_not_depend_on_how_many_samples_are_read_at_once():
    ids = np.random.default_rng(0).integers(20, size=2**21 + 1)  # more than one read
    whole = bigram_entropy(TextDataset("t", ids, "x" * 20, 2**21))
    assert bigram_entropy(TextDataset("t", ids, "x" * 20, 1 << 10)) == pytest.approx(whole)


# Synthetic


def test_synthetic_counts_and_memory():
    split = load("synthetic", Wanted("image", (224, 224, 3)))
    assert (len(split.train), len(split.validation)) == (3277, 819)
    assert split.train._values.nbytes <= 64 << 20
    split = load("synthetic:10", Wanted("text", (6,)), validation=0.3)
    assert (len(split.train), len(split.validation)) == (7, 3)
    assert len(load("synthetic:2", IMAGE, validation=0.01).validation) == 1


def test_synthetic_parts_and_seeds_differ():
    one, other = load("synthetic:64", IMAGE, seed=0), load("synthetic:64", IMAGE, seed=1)
    first = [d.take(np.arange(3))["inputs"] for d in (one.train, one.validation, other.train)]
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first[0], first[2])
    assert len(np.unique(everything(load("synthetic", IMAGE).train)["labels"])) == 10


def test_taking_does_not_touch_what_is_kept():
    values = np.ones((4, 2, 2, 1), np.float32)
    dataset = ArrayDataset("x", values, None, Wanted("image", (2, 2, 1)), classes=None)
    dataset.take(np.asarray([0, 1]))["inputs"][:] = 7
    assert values.max() == 1
