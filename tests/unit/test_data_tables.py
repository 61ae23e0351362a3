"""Tables of numbers: which columns are used, what the labels are, and what is refused."""

import sys
import types
from collections import UserDict

import numpy as np
import pytest

from hal.data import DataFacts, RememberedData, Wanted, load, summary
from hal.data.convert import as_inputs
from hal.data.csv_rows import read_csv
from hal.data.vectors import vectors_for
from hal.errors import ConfigError, DataError, InputError, NotFoundError, RequestError, UnavailableError

VECTOR = Wanted("vector", (0,))
RNG = np.random.default_rng(0)


def table(tmp_path, columns, name="t.csv"):
    rows = zip(*columns.values(), strict=True)
    text = "\n".join([",".join(columns), *(",".join(map(str, row)) for row in rows)]) + "\n"
    (tmp_path / name).write_text(text)
    return f"csv:{tmp_path / name}"


def columns_of(count=40, **more):
    found = {"a": RNG.normal(5, 2, count).round(3), "b": RNG.normal(-100, 30, count).round(3)}
    return {**found, "label": ["yes", "no"] * (count // 2), **more}


def test_text_labels(tmp_path):
    split = load(table(tmp_path, columns_of()), VECTOR)
    assert (split.train.inputs.shape, split.train.classes, split.train.class_names) == ((2,), 2, ("no", "yes"))
    batch = split.train.take(np.arange(len(split.train)))
    np.testing.assert_allclose(batch["inputs"].mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(batch["inputs"].std(0), 1, atol=1e-4)
    assert batch["labels"].dtype == np.int64
    assert split.train.counts().tolist() == [16, 16]
    assert len(split.validation) == 8


@pytest.mark.parametrize(
    ("values", "task", "expected", "names"),
    [
        ([1, 2, 3, 10] * 10, None, "classify", ("1", "2", "3", "10")),
        ([1.0, 2.0] * 20, None, "classify", ("1.0", "2.0")),
        ([1.5, 2.0] * 20, None, "regress", ("label",)),
        (range(60), None, "regress", ("label",)),
        ([1, 2, 3, 10] * 10, "regress", "regress", ("label",)),
        ([1.5, 2.0] * 20, "classify", "classify", ("1.5", "2.0")),
        ([0, 1] * 20, "tags", "tags", ("label",)),
    ],
)
def test_what_labels_are(tmp_path, values, task, expected, names):
    columns = columns_of(len(values), label=list(values))
    split = load(table(tmp_path, columns), VECTOR, options={} if task is None else {"task": task})
    assert split.train.task == expected
    assert (split.train.class_names or split.train.targets.names) == names


def test_numbers_are_scaled_by_the_training_samples(tmp_path):
    source = table(tmp_path, columns_of(50, label=RNG.normal(1000, 7, 50)))
    split = load(source, VECTOR)
    labels = split.train.take(np.arange(len(split.train)))["labels"]
    assert (labels.shape, labels.dtype) == ((40, 1), np.float32)
    np.testing.assert_allclose([labels.mean(), labels.std()], [0, 1], atol=1e-4)
    assert split.train.targets.means[0] == pytest.approx(1000, abs=5)


def test_tags_and_several_numbers(tmp_path):
    columns = columns_of(40, red=[0, 1] * 20, blue=[1, 1, 0, 0] * 10, x=RNG.normal(size=40), y=RNG.normal(size=40))
    source = table(tmp_path, columns)
    tags = load(source, VECTOR, options={"label": "red, blue", "features": "a,b"}).train
    assert (tags.task, tags.class_names, tags.labels.shape) == ("tags", ("red", "blue"), (2,))
    both = load(source, VECTOR, options={"label": "x,y", "features": "a,b"}).train
    assert (both.task, both.targets.names, both.classes) == ("regress", ("x", "y"), None)


def test_sequences(tmp_path):
    columns = {
        f"s{step}f{feature}": np.arange(20) * 10 + 2 * step + feature for step in (0, 1, 2) for feature in (0, 1)
    }
    source = table(tmp_path, {**columns, "label": [0, 1] * 10})
    split = load(source, Wanted("sequence", (3, 2)))
    plain = load(source, VECTOR)
    assert split.train.inputs.shape == (3, 2)
    rows = np.arange(4)
    assert np.array_equal(split.train.take(rows)["inputs"].reshape(4, 6), plain.train.take(rows)["inputs"])
    with pytest.raises(ConfigError, match="has 6 columns of numbers, but the model takes sequences of 4 steps"):
        load(source, Wanted("sequence", (4, 2)))


def test_gaps_and_texts_are_left_out_and_told(tmp_path):
    columns = columns_of(40, city=["x", "y"] * 20)
    columns["a"] = ["", "NA", *columns["a"][2:]]
    split = load(table(tmp_path, columns), VECTOR)
    assert len(split.train) + len(split.validation) == 38
    assert "left out: the column city, which holds no numbers" in split.notes
    assert "left out: 2 lines without a value in some column" in split.notes
    assert any("columns: a, b (features) and label (label)" in line for line in summary(split))


def test_bad_lines_are_skipped_if_asked(tmp_path):
    columns = columns_of(40)
    columns["a"] = ["oops", *columns["a"][1:]]
    source = table(tmp_path, columns)
    path = tmp_path / "t.csv"
    path.write_text(path.read_text() + "1,2\n")
    split = load(source, VECTOR, options={"skip_bad": 2})
    assert len(split.train) + len(split.validation) == 39
    assert [line.partition("t.csv, ")[2] for line in split.skipped] == [
        "line 42 has 2 columns, but the first line has 3",
        "line 2: the column a holds 'oops', which is not a finite number",
    ]
    with pytest.raises(DataError, match="is damaged: line 42 has 2 columns"):
        load(source, VECTOR)
    with pytest.raises(DataError, match="line 2: the column a holds 'oops'") as caught:
        load(source, VECTOR, options={"skip_bad": 1})
    assert "data.skip_bad=2" in caught.value.fix


@pytest.mark.parametrize(
    ("text", "options", "error", "said"),
    [
        ("", {}, DataError, "is empty"),
        ("a,label\n", {}, DataError, "has no rows below"),
        ("a,label\n1,x\n", {}, DataError, "gives 1 samples for training and 0"),
        ("a,a,label\n1,2,x\n", {}, DataError, "two columns with the name 'a'"),
        ("a,b\n1,2\n3,4\n", {}, ConfigError, "no column that is known to hold the label"),
        ("a,b\n1,2\n3,4\n", {"label": "c"}, ConfigError, "has no column c"),
        ("alpha,b\n1,2\n3,4\n", {"label": "b", "features": "alhpa"}, ConfigError, "did you mean alpha"),
        ("a,b\n1,2\n3,4\n", {"label": "b", "features": "b"}, ConfigError, "both a feature and the label"),
        ("a,label\nx,1\ny,2\nz,1\n", {}, DataError, "has no column of numbers"),
        ("a,c,label\nx,1,1\ny,2,2\n", {"features": "a"}, DataError, "holds no numbers, for example 'x'"),
        ("a,label\n1,x\n2,y\ninf,x\n", {}, DataError, "line 4: the column a holds 'inf'"),
        ("a,label\n1,x\n2,y\nq,x\n", {}, DataError, "line 4: the column a holds 'q'"),
        ("a,label\n1,x\n1e300,y\n2,x\n", {}, DataError, "too large for float32"),
        ("a,label\n,x\n,y\n2,x\n", {}, DataError, "2 of 3 lines"),
        ("a,label\n1,x\n2,y\n", {"task": "regress"}, DataError, "holds no numbers, so it cannot be"),
        ("a,label\n1,2\n2,1\n", {"task": "tags"}, DataError, "has the value 2 as a tag"),
        ("a,x,y\n1,2,3\n2,1,3\n", {"label": "x,y", "task": "classify"}, ConfigError, "learns one column"),
        ("a,label\n1,2\n2,1\n", {"text": "a"}, ConfigError, "is for models that read texts"),
    ],
)
def test_what_is_refused(tmp_path, text, options, error, said):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(error, match=said):
        load(f"csv:{tmp_path / 't.csv'}", VECTOR, options=options)


@pytest.mark.parametrize(
    ("task", "rows", "fix"),
    [
        ("regress", 1, "use more data, with at least two samples"),
        ("tags", 1, "use more data, with at least two samples"),
        ("classify", 2, "use more data, with at least two samples of one class"),
    ],
)
def test_too_few_rows_to_divide(tmp_path, task, rows, fix):
    source = table(tmp_path, {"a": [1.5, 2.5][:rows], "label": [0, 1][:rows]})
    with pytest.raises(DataError) as caught:
        load(source, VECTOR, options={"task": task})
    assert caught.value.fix == fix


def test_labels_that_name_each_line(tmp_path):
    columns = columns_of(40, label=[f"id{at}" for at in range(40)])
    with pytest.raises(DataError, match="40 different values in 40 lines, so it holds no classes"):
        load(table(tmp_path, columns), VECTOR)


class TestAfterTraining:
    """What a trained model is given: rows of a table as they stand there."""

    def test_they_are_scaled_as_in_training(self, tmp_path):
        split = load(table(tmp_path, columns_of()), VECTOR)
        data = RememberedData(DataFacts.model_validate_json(DataFacts.of(split).model_dump_json()))
        assert (data.columns, data.task, data.class_names) == (split.train.columns, "classify", ("no", "yes"))
        raw = np.array([[5.0, -100.0], [6.0, -70.0]])
        expected = (raw - split.train.columns.means) / split.train.columns.scales
        np.testing.assert_allclose(as_inputs(raw, VECTOR.filled((2,)), "", data.columns), expected, rtol=1e-5)
        ints = as_inputs([[5, -100]], VECTOR.filled((2,)), "", data.columns)
        np.testing.assert_allclose(ints, expected[:1], rtol=1e-5)
        with pytest.raises(InputError, match=r"the model takes \(batch, 2\): a, b"):
            as_inputs(np.zeros((1, 3)), VECTOR.filled((2,)), "", data.columns)

    def test_rows_of_a_file_by_the_names_of_their_columns(self, tmp_path):
        split = load(table(tmp_path, columns_of()), VECTOR)
        table(tmp_path, {"b": [1, 2], "c": ["x", "y"], "a": [3, 4]}, "new.csv")
        new = read_csv(tmp_path / "new.csv")
        assert vectors_for(new, split.train.columns).tolist() == [[3, 1], [4, 2]]
        table(tmp_path, {"b": [1, "x"], "a": [3, 4]}, "bad.csv")
        with pytest.raises(DataError, match="line 3: the column b holds 'x'"):
            vectors_for(read_csv(tmp_path / "bad.csv"), split.train.columns)
        table(tmp_path, {"b": [1]}, "short.csv")
        with pytest.raises(DataError, match="has no column a, which the model learned from"):
            vectors_for(read_csv(tmp_path / "short.csv"), split.train.columns)

    def test_other_columns_are_other_data(self, tmp_path):
        columns = columns_of()
        before = DataFacts.of(load(table(tmp_path, columns), VECTOR))
        now = DataFacts.of(load(table(tmp_path, {"c": columns.pop("a"), **columns}), VECTOR))
        assert "the inputs were the columns a, b and are now c, b" in before.differences(now)


class TestParquet:
    def test_the_same_as_csv(self, tmp_path):
        pa = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        columns = columns_of(40)
        held = {**columns, "when": [b"x"] * 40, "n": [None, *range(39)], "flag": [True, False] * 20}
        parquet.write_table(pa.table(held), tmp_path / "t.parquet")
        source = f"parquet:{tmp_path / 't.parquet'}"
        split = load(source, VECTOR, options={"features": "a,b"})
        same = load(table(tmp_path, columns), VECTOR)
        assert np.array_equal(split.train.take(np.arange(32))["inputs"], same.train.take(np.arange(32))["inputs"])
        every = load(source, VECTOR)
        assert every.train.columns.names == ("a", "b", "n", "flag")
        assert len(every.train) + len(every.validation) == 39

    @pytest.mark.parametrize("damage", [b"", b"PAR1 and no more", None])
    def test_damaged(self, tmp_path, damage):
        pytest.importorskip("pyarrow")
        if damage is not None:
            (tmp_path / "t.parquet").write_bytes(damage)
        with pytest.raises(NotFoundError if damage is None else DataError):
            load(f"parquet:{tmp_path / 't.parquet'}", VECTOR)

    def test_not_installed(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        with pytest.raises(UnavailableError, match="needs the package pyarrow") as caught:
            load(f"parquet:{tmp_path / 't.parquet'}", VECTOR)
        assert caught.value.exit_status == 3


class TestFunctions:
    """``data=FILE.py:function``."""

    def written(self, tmp_path, body):
        (tmp_path / "mine.py").write_text(f"import numpy as np\ndef load():\n    {body}\n")
        return f"{tmp_path / 'mine.py'}:load"

    @pytest.mark.parametrize(
        ("body", "sizes", "task"),
        [
            ("return np.zeros((10, 3)), np.arange(10) % 2", (8, 2), None),
            ("return np.zeros((9, 3)), np.arange(9) % 2, np.zeros((4, 3)), np.arange(4) % 2", (9, 4), None),
            ("return {'x': np.zeros((10, 3)), 'y': np.arange(10) % 2, 'class_names': ['p', 'q']}", (8, 2), None),
            ("return np.zeros((10, 3)), np.linspace(0, 1, 10)", (8, 2), "regress"),
            ("return np.zeros((10, 3)), np.eye(10)", (8, 2), "tags"),
        ],
    )
    def test_arrays(self, tmp_path, body, sizes, task):
        split = load(self.written(tmp_path, body), VECTOR, options={} if task is None else {"task": task})
        assert (len(split.train), len(split.validation)) == sizes
        assert split.train.task == (task or "classify")

    @pytest.mark.parametrize(
        ("body", "error", "said"),
        [
            ("return 1 / 0", RequestError, "the function failed: ZeroDivisionError"),
            ("return 'text'", DataError, "returned str, which is no data"),
            ("return np.zeros((10, 3)), np.linspace(0, 1, 10)", DataError, "labels of dtype float64"),
            ("return np.zeros((10, 3, 1)), np.arange(10)", DataError, "has shape"),
            ("return np.zeros((10, 3)), np.arange(9)", DataError, "9 labels for 10 inputs"),
        ],
    )
    def test_what_is_refused(self, tmp_path, body, error, said):
        with pytest.raises(error, match=said):
            load(self.written(tmp_path, body), VECTOR)

    def test_names(self, tmp_path):
        source = self.written(tmp_path, "return 1")
        with pytest.raises(ConfigError, match="defines no function laod; did you mean load"):
            load(source.replace(":load", ":laod"), VECTOR)
        with pytest.raises(NotFoundError, match="there is no file"):
            load(f"{tmp_path / 'none.py'}:load", VECTOR)
        with pytest.raises(NotFoundError, match="no Python package"):
            load("no.such_package:load", VECTOR)
        with pytest.raises(ConfigError, match="does not apply"):
            load(source, VECTOR, options={"skip_bad": 1})


class _Part(UserDict):
    """Stands for a part of a data set of the package ``datasets``."""

    def __init__(self, columns, classes=None):
        super().__init__(columns)
        self.column_names = list(columns)
        kinds = {name: types.SimpleNamespace() for name in columns}
        if classes:
            kinds["label"] = types.SimpleNamespace(names=classes)
        self.features = kinds

    def __len__(self):
        return len(next(iter(self.values())))


class TestHub:
    """Against a stand-in for the package ``datasets``, with the few things that hal asks of it."""

    def installed(self, monkeypatch, found):
        def load_dataset(name):
            if name != "known":
                raise FileNotFoundError("offline\nmore")
            return found

        module = types.SimpleNamespace(load_dataset=load_dataset, load_from_disk=lambda path: found)
        monkeypatch.setitem(sys.modules, "datasets", module)

    def test_images(self, monkeypatch):
        from PIL import Image

        def part(count):
            images = [Image.fromarray(np.full((6, 5, 3), at, np.uint8)) for at in range(count)]
            return _Part({"image": images, "label": [0, 1] * (count // 2)}, ["cat", "dog"])

        self.installed(monkeypatch, {"train": part(8), "test": part(4)})
        split = load("hf:known", Wanted("image", (4, 4, 1)))
        assert (len(split.train), len(split.validation), split.train.class_names) == (8, 4, ("cat", "dog"))
        assert split.train.take(np.array([7]))["inputs"].max() == pytest.approx(7 / 255, abs=1e-6)

    def test_numbers_and_texts(self, monkeypatch, tmp_path):
        from hal.data import Bytes

        columns = {
            "a": [float(at) for at in range(10)],
            "label": [0, 1] * 5,
            "text": [f"text {at}" for at in range(10)],
        }
        self.installed(monkeypatch, _Part(columns, ["n", "y"]))
        split = load(f"hf:{tmp_path}", VECTOR)
        assert (split.train.columns.names, split.train.class_names) == (("a",), ("n", "y"))
        texts = load("hf:known", Wanted("document", (8,), Bytes()))
        assert (len(texts.train), texts.train.class_names) == (8, ("n", "y"))

    def test_what_is_refused(self, monkeypatch):
        self.installed(monkeypatch, {"test": _Part({"a": [1]})})
        with pytest.raises(NotFoundError, match="is not on this machine, or cannot be read: offline"):
            load("hf:unknown", VECTOR)
        with pytest.raises(DataError, match="has no part train"):
            load("hf:known", VECTOR)
        monkeypatch.setitem(sys.modules, "datasets", None)
        with pytest.raises(UnavailableError, match="needs the package datasets"):
            load("hf:known", VECTOR)
