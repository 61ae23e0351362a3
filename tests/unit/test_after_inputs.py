"""Which files a trained model takes, by what it learned from."""

import io
import types

import numpy as np
import pytest

from hal.after.inputs import files_of
from hal.after.parts import ArrayPart
from hal.data import Bytes, Wanted, load
from hal.data.npz import read_inputs
from hal.data.spec import Columns
from hal.errors import ConfigError, DataError, NotFoundError

TWO = Columns(("a", "b"), (0.0, 0.0), (1.0, 1.0))


def trained(kind="vector", columns=None, shape=(2,)):
    """What the readers of inputs need to know of a model."""
    data = types.SimpleNamespace(columns=columns, value_range=(0.0, 1.0), input_parts={})
    workload = types.SimpleNamespace(model="mlp")
    setup = types.SimpleNamespace(data=data, workload=workload)
    return types.SimpleNamespace(kind=kind, setup=setup, input_shape=shape)


@pytest.mark.parametrize(
    ("kind", "columns"), [("vector", None), ("vector", TWO), ("sequence", TWO), ("text", None)], ids=str
)
@pytest.mark.parametrize("word", ["x.png", "x.txt", "-"])
def test_numbers_are_not_read_from_pictures_and_texts(tmp_path, monkeypatch, kind, columns, word):
    (tmp_path / word).write_bytes(b"neither")
    monkeypatch.setattr("sys.stdin", types.SimpleNamespace(buffer=io.BytesIO(b"neither")))
    with pytest.raises(ConfigError, match="cannot be read for model=mlp: it takes") as caught:
        files_of([word if word == "-" else str(tmp_path / word)], trained(kind, columns))
    assert "give arrays of shape (samples, 2)" in caught.value.fix
    assert ("with the columns a, b" in caught.value.fix) == (columns is not None)


@pytest.mark.parametrize("kind", ["vector", "sequence"])
def test_tables_are_for_models_with_columns(tmp_path, kind):
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    assert isinstance(files_of([str(tmp_path)], trained(kind, TWO)).parts[0], ArrayPart)
    with pytest.raises(NotFoundError, match="has no file that this model takes"):
        files_of([str(tmp_path)], trained(kind))
    np.save(tmp_path / "x.npy", np.zeros((1, 2)))
    assert len(files_of([str(tmp_path)], trained(kind)).parts) == 1
    if kind == "vector":
        with pytest.raises(ConfigError, match="it takes vectors of numbers"):
            files_of([str(tmp_path / "x.csv")], trained(kind))


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        ("image", "x.csv", "is a table, but model=mlp takes images"),
        ("image", "x.parquet", "is a table, but model=mlp takes images"),
        ("sequence", "x.tsv", "is a table, but model=mlp takes sequences"),
        ("document", "x.png", "is a picture, but model=mlp takes texts"),
        ("document", "x.pq", "is a table, but model=mlp takes texts"),
    ],
)
def test_a_file_of_another_kind_is_named_and_the_others_go_on(tmp_path, kind, name, said):
    (tmp_path / name).write_bytes(b"any")
    np.save(tmp_path / "x.npy", np.zeros((1, 2)))
    model = trained(kind)
    failed, other = files_of([str(tmp_path / name), str(tmp_path / "x.npy")], model).parts
    (batch,) = failed.batches(model, 8)
    assert said in batch.errors[0][1].message
    assert isinstance(other, ArrayPart)


def test_a_column_of_texts_is_named_by_its_key(tmp_path):
    (tmp_path / "x.csv").write_text("text,label\nhello,a\n")
    with pytest.raises(ConfigError, match="has no column txet; did you mean text") as caught:
        files_of([str(tmp_path / "x.csv")], trained("document"), "txet")
    assert "write column=COLUMN" in caught.value.fix
    with pytest.raises(ConfigError) as caught:
        load(f"csv:{tmp_path / 'x.csv'}", Wanted("document", (8,), tokenizer=Bytes()), options={"text": "txet"})
    assert "write data.text=COLUMN" in caught.value.fix


@pytest.mark.parametrize(
    ("names", "taken"),
    [
        (["mine"], "mine"),
        (["mine", "features"], "features"),
        (["y", "data"], "data"),
        (["train_images", "test_images"], "test_images"),
        (["x_train", "mine"], "x_train"),
    ],
)
def test_which_array_of_an_archive_is_taken(names, taken):
    file = io.BytesIO()
    np.savez(file, **{name: np.full(2, at) for at, name in enumerate(names)})
    found = read_inputs("a.npz", file)
    assert list(found) == [""]
    assert found[""].tolist() == [names.index(taken)] * 2


def test_an_archive_of_several_unknown_arrays_is_refused():
    file = io.BytesIO()
    np.savez(file, one=np.zeros(1), two=np.zeros(1))
    with pytest.raises(DataError, match="does not contain x or inputs; it contains one, two"):
        read_inputs("a.npz", file)
