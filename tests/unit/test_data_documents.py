"""Texts with a class each: folders, tables, documentation; what is left out, and what is wrong with them."""

import os

import numpy as np
import pytest
from data_helpers import DOCUMENT, check, everything, fails

from hal.data import Bytes, DataFacts, Wanted, load, summary
from hal.data.convert import as_inputs
from hal.errors import ConfigError, DataError, InputError, NotFoundError


def read(dataset):
    """The texts of a data set of bytes, with the names of their classes."""
    batch = everything(dataset)
    texts = [bytes(row[row > 0].astype(np.uint8) - 1).decode(errors="replace") for row in batch["inputs"]]
    return sorted(zip(texts, (dataset.class_names[label] for label in batch["labels"]), strict=True))


def write(path, text="some words"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())


def folders(root, names=("good", "bad"), each=5):
    for name in names:
        for index in range(each):
            write(root / name / f"{index}.txt", f"{name} {index}")
    return root


# Tokens


def test_bytes():
    ids, longer = Bytes().encode(["aé", "", "abcdef"], 4)
    assert ids.tolist() == [[98, 0xC3 + 1, 0xA9 + 1, 0], [0, 0, 0, 0], [98, 99, 100, 101]]
    assert longer == 1
    assert Bytes().encode(["\udc80"], 4)[0][0].max() < Bytes.size


# Folders


def test_texts_in_class_folders(tmp_path):
    folders(tmp_path)
    write(tmp_path / "good" / "inner" / "long.TXT", "x" * 20)
    write(tmp_path / "good" / "empty.txt", " \n")
    write(tmp_path / "good" / "windows.txt", b"\xef\xbb\xbfone\r\ntwo")
    write(tmp_path / "bad" / "picture.png")
    split = load(f"texts:{tmp_path}", DOCUMENT, validation=0.25)
    for part in (split.train, split.validation):
        check(part, DOCUMENT)
    assert split.train.class_names == ("bad", "good")
    found = read(split.train) + read(split.validation)
    assert ("one\ntwo", "good") in found
    assert ("x" * 16, "good") in found
    assert sum(name == "bad" for _, name in found) == 5
    said = "\n".join(summary(split))
    assert "inputs: texts, the first 16 bytes of each" in said
    assert "left out: 1 file that is not a text in a class folder: 1 .png" in said
    assert f"left out: 1 file without text: {tmp_path / 'good' / 'empty.txt'}" in said
    assert "1 of 12 texts is longer than 16 bytes; the model reads only the beginning" in said
    assert "whose texts count as texts of the class" in said


def test_texts_with_parts(tmp_path):
    folders(tmp_path / "train", each=3)
    folders(tmp_path / "test", each=2)
    split = load(f"texts:{tmp_path}", DOCUMENT)
    assert (len(split.train), len(split.validation)) == (6, 4)
    assert any("4 of 10 texts are copies of another one" in note for note in split.notes)


def test_what_is_wrong_with_texts(tmp_path):
    fails(NotFoundError, "does not exist", source=f"texts:{tmp_path / 'gone'}", wanted=DOCUMENT)
    fails(DataError, "contains no folders", "texts of each class", source=f"texts:{tmp_path}", wanted=DOCUMENT)
    folders(tmp_path)
    write(tmp_path / "bad" / "latin.txt", b"caf\xe9")
    fails(DataError, r"latin\.txt is not text in UTF-8: byte 3 is 0xe9", source=f"texts:{tmp_path}", wanted=DOCUMENT)
    (tmp_path / "bad" / "latin.txt").unlink()
    os.mkfifo(tmp_path / "bad" / "pipe.txt")
    fails(NotFoundError, r"pipe\.txt .*not a regular file", source=f"texts:{tmp_path}", wanted=DOCUMENT)
    (tmp_path / "bad" / "pipe.txt").unlink()
    with (tmp_path / "bad" / "huge.txt").open("wb") as file:
        file.truncate(1 << 40)
    fails(DataError, r"huge\.txt has 1,024 GiB", "split the file", source=f"texts:{tmp_path}", wanted=DOCUMENT)
    (tmp_path / "bad" / "huge.txt").unlink()
    write(tmp_path / "blank" / "0.txt", "\n")
    fails(DataError, "all files of the class blank are empty", source=f"texts:{tmp_path}", wanted=DOCUMENT)


# Tables


def table(path, rows, header="text,label"):
    path.write_text("\n".join([header, *rows]) + "\n")
    return f"csv:{path}"


ROWS = [f'"good, {index}",yes' for index in range(6)] + [f"bad {index},no" for index in range(6)]


@pytest.mark.parametrize(
    ("header", "options"),
    [
        ("text,label", {}),
        ("Review,Sentiment", {}),
        (" message , what ", {}),
        ("what,class", {}),
        ("a,b", {"text": "a", "label": "b"}),
        ("label,text", {"text": "label", "label": "text"}),
        ("a,b", {"label": "b", "text": "a"}),
        ("x,b", {"label": "b"}),
    ],
)
def test_columns(tmp_path, header, options):
    split = load(table(tmp_path / "a.csv", ROWS, header), DOCUMENT, options=options)
    check(split.train, DOCUMENT)
    assert split.train.class_names == ("no", "yes")
    found = read(split.train) + read(split.validation)
    assert {(text.startswith("good, "), name) for text, name in found} == {(True, "yes"), (False, "no")}
    assert len(found) == 12


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_other_separators_and_lines_within_a_text(tmp_path, delimiter):
    rows = [f'"first{delimiter}\nsecond ""{index}"""{delimiter}{index % 2}' for index in range(8)]
    split = load(table(tmp_path / "a.csv", ["", *rows], f"text{delimiter}label"), DOCUMENT)
    assert split.train.class_names == ("0", "1")
    assert read(split.train)[0][0].startswith(f'first{delimiter}\nsecond "')


def test_lines_without_a_text_or_a_label_are_told(tmp_path):
    split = load(table(tmp_path / "a.csv", [*ROWS, ",yes", "words,"]), DOCUMENT)
    assert len(split.train) + len(split.validation) == 12
    assert "columns: text (text) and label (label) of text, label" in split.notes
    assert "left out: 2 lines without a text or without a label" in split.notes


@pytest.mark.parametrize(
    ("rows", "header", "options", "kind", "said"),
    [
        (ROWS, "a,b", {}, ConfigError, r"no column that is known to hold the text\nwrite data\.text=COLUMN .*: a, b"),
        (ROWS, "text,b,c", {}, ConfigError, r"known to hold the label\nwrite data\.label=COLUMN .*: text, b, c"),
        (ROWS, "text,kind", {"label": "kin"}, ConfigError, r"no column kin; did you mean kind\?\n.*: text, kind"),
        (ROWS, "text,label", {"label": "text"}, ConfigError, "cannot be both the text and the label"),
        (ROWS, "text", {}, DataError, "has one column"),
        ([*ROWS, "a,b,c"], "text,label", {}, DataError, "line 14 has 3 columns, but the first line has 2"),
        ([*ROWS, '"never ends,yes'], "text,label", {}, DataError, "is damaged: line 14: unexpected end of data"),
        ([*ROWS, '"a"b,yes'], "text,label", {}, DataError, "is damaged: line 14:"),
        ([*ROWS, f"{'x' * 200_000},yes"], "text,label", {}, DataError, "is damaged: line 14: field larger than"),
        ([], "text,label", {}, DataError, "has no line with both a text and a label"),
        ([f"a {i},{i}" for i in range(30)], "text,label", {}, DataError, "30 different values in 30 lines"),
    ],
)
def test_what_is_wrong_with_a_table(tmp_path, rows, header, options, kind, said):
    fails(kind, said, source=table(tmp_path / "a.csv", rows, header), wanted=DOCUMENT, options=options)


def test_files_that_are_no_tables(tmp_path):
    fails(NotFoundError, "does not exist", source=f"csv:{tmp_path / 'gone.csv'}", wanted=DOCUMENT)
    for content, said in ((b"", "has no columns"), (b"text,label\ncaf\xe9,1", "not text in UTF-8: byte 14")):
        (tmp_path / "a.csv").write_bytes(content)
        fails(DataError, said, source=f"csv:{tmp_path / 'a.csv'}", wanted=DOCUMENT)
    os.mkfifo(tmp_path / "pipe.csv")
    fails(NotFoundError, "not a regular file", source=f"csv:{tmp_path / 'pipe.csv'}", wanted=DOCUMENT)


def test_columns_belong_to_tables_alone():
    fails(ConfigError, r"data\.text= does not apply to data=digits", "csv:FILE", source="digits", options={"text": "a"})


# Documentation


def test_docstrings():
    split = load("docstrings", Wanted("document", (40,), Bytes()))
    counts = split.train.counts() + split.validation.counts()
    assert split.train.classes == 15
    assert counts.min() >= 30
    assert counts.sum() > 1000
    assert not any("copies" in note for note in split.notes)


# What checkpoints keep, and what predictions are made from


def test_facts_hold_the_tokens(tmp_path):
    facts = DataFacts.of(load(f"texts:{folders(tmp_path)}", DOCUMENT))
    assert facts.tokens == "bytes"
    other = facts.model_copy(update={"tokens": "WordPiece tokens"})
    assert facts.differences(other) == ["the texts consisted of bytes and now of WordPiece tokens"]


@pytest.mark.parametrize("values", [["ab", "c"], ("ab", "c"), np.array(["ab", "c"]), np.array(["ab", "c"], object)])
def test_texts_as_inputs(values):
    found = as_inputs(values, Wanted("document", (3,), Bytes()))
    assert found.dtype == np.int64
    assert found.tolist() == [[98, 99, 0], [100, 0, 0]]
    assert as_inputs(found, Wanted("document", (3,), Bytes())).tolist() == found.tolist()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ("one text", "single text"),
        (["a", 3], "input 1 is of type int"),
        ([[1, 2]], r"shape \(1, 2\), but the model takes \(batch, 3\)"),
        ([[1, 2, 257]], "ids of tokens range from 1 to 257"),
        ([[0.5, 1, 2]], "must be integers"),
    ],
)
def test_inputs_that_are_no_texts(values, said):
    with pytest.raises(InputError, match=said):
        as_inputs(values, Wanted("document", (3,), Bytes()))
