"""What models learn besides classes: numbers and tags, from the data to the metrics, resumed and used."""

import json
import shutil

import numpy as np
import pytest
from run_helpers import SignalAt, assert_same_end, command, last, train
from sklearn.metrics import f1_score, mean_absolute_error, mean_squared_error, r2_score

import hal
from hal.after.held_out import look_at_held_out
from hal.after.run_report import report_of_run
from hal.after.samples import RunSamples
from hal.data import Wanted, load
from hal.util.code import file_module

VECTOR = Wanted("vector", (0,))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A table whose columns are linear in its features, with noise."""
    root = tmp_path_factory.mktemp("tables")
    rng = np.random.default_rng(0)
    x = rng.normal(50, 10, (160, 4))
    y = x @ rng.normal(size=(4, 2)) * 100 + 7000 + rng.normal(size=(160, 2))
    tags = ((x - 50) @ rng.normal(size=(4, 3)) > 0).astype(int)
    header = "a,b,c,d,price,size,red,green,blue"
    rows = [",".join([*map("{:.4f}".format, [*x[at], *y[at]]), *map(str, tags[at])]) for at in range(160)]
    (root / "t.csv").write_text("\n".join([header, *rows]))
    return root


def keys(folder, label):
    return {
        "model": {"name": "mlp", "hidden": [16]},
        "backend": "cpu",
        "threads": 1,
        "batch": 16,
        "data": {"name": f"csv:{folder / 't.csv'}", "features": "a,b,c,d", "label": label},
    }


def held_back(folder, label):
    """The validation samples, unscaled, and their labels as the file has them."""
    split = load(f"csv:{folder / 't.csv'}", VECTOR, options={"features": "a,b,c,d", "label": label})
    data = split.validation
    batch = data.take(np.arange(len(data)))
    raw = batch["inputs"] * np.asarray(data.columns.scales) + np.asarray(data.columns.means)
    if data.targets is None:
        return raw, batch["labels"]
    return raw, batch["labels"] * np.asarray(data.targets.scales) + np.asarray(data.targets.means)


@pytest.mark.parametrize("label", ["price", "price,size"])
def test_numbers(folder, tmp_path, label):
    record = train(tmp_path / "run", base=keys(folder, label), epochs=30, lr=0.01)
    raw, wanted = held_back(folder, label)
    found = hal.predict(tmp_path / "run", raw)
    assert found.shape == wanted.shape
    best = record.epochs[record.best_epoch - 1].validation
    assert best["mse"] == pytest.approx(mean_squared_error(wanted, found), rel=1e-2)
    assert best["mae"] == pytest.approx(mean_absolute_error(wanted, found), rel=1e-2)
    if "," not in label:
        assert best["r2"] == pytest.approx(r2_score(wanted, found), abs=1e-3)
    assert (record.metric, record.better) == ("r2", "max")
    assert record.best > 0.95
    assert "R2" in report_of_run(tmp_path / "run").read_text()


def test_predicted_numbers_have_the_names_of_their_columns(folder, tmp_path):
    train(tmp_path / "run", base=keys(folder, "price,size"), steps=1)
    (tmp_path / "one.csv").write_text("a,b,c,d\n50,50,50,50\n")
    (found,) = hal.load(tmp_path / "run").predict(tmp_path / "one.csv")
    assert found.names == ("price", "size")
    lines = {
        form: command("predict", tmp_path / "run", tmp_path / "one.csv", f"format={form}").stdout
        for form in ("csv", "jsonl", "table")
    }
    assert lines["csv"].startswith("input,price,size")
    assert json.loads(lines["jsonl"])["values"] == dict(zip(found.names, found.values, strict=True))
    assert lines["table"].split()[1::2] == ["price", "size"]


def test_the_tags_that_are_present_are_told(folder, tmp_path):
    train(tmp_path / "run", base=keys(folder, "red,green,blue"), epochs=8, lr=0.01)
    raw, _ = held_back(folder, "red,green,blue")
    trained = hal.load(tmp_path / "run")
    wanted = [
        [name for name, value in zip(trained.class_names, row, strict=True) if value >= 0] for row in trained(raw)
    ]
    assert len({len(tags) for tags in wanted}) > 2, "some have several tags, and some have none or one"
    np.save(tmp_path / "x.npy", raw)

    def told(form):
        return command("predict", tmp_path / "run", tmp_path / "x.npy", f"format={form}", "top=1").stdout.splitlines()

    lines = list(map(json.loads, told("jsonl")))
    assert [line["tags"] for line in lines] == wanted
    assert all("label" not in line and len(line["top"]) == 1 for line in lines)
    head, *rows = told("csv")
    assert head == "input,tags,label,probability"
    assert [row.split(",")[1] for row in rows] == [";".join(tags) for tags in wanted]
    assert [line.split("  ")[1] for line in told("table")] == [", ".join(tags) or "no tags" for tags in wanted]


def test_tags(folder, tmp_path):
    record = train(tmp_path / "run", base=keys(folder, "red,green,blue"), epochs=20, lr=0.01)
    raw, wanted = held_back(folder, "red,green,blue")
    found = hal.predict(tmp_path / "run", raw) > 0
    best = record.epochs[record.best_epoch - 1].validation
    assert best["f1"] == pytest.approx(f1_score(wanted, found, average="samples", zero_division=1), abs=1e-5)
    assert best["accuracy"] == pytest.approx((found == wanted).mean(), abs=1e-5)
    assert best["exact"] == pytest.approx((found == wanted).all(1).mean(), abs=1e-5)
    assert record.best > 0.8
    look = look_at_held_out(tmp_path / "run")
    assert look.counts[:, 0].tolist() == (found & (wanted == 1)).sum(0).tolist()
    assert "Each tag" in report_of_run(tmp_path / "run").read_text()


@pytest.mark.parametrize("label", ["price", "red,green,blue"])
def test_as_if_never_interrupted(folder, tmp_path, label):
    base = keys(folder, label)
    train(tmp_path / "whole", base=base, epochs=2)
    train(tmp_path / "run", SignalAt(5), base=base, epochs=2)
    hal.train(resume=str(tmp_path / "run"))
    assert_same_end(tmp_path / "whole", tmp_path / "run")


@pytest.mark.parametrize(
    "model",
    [
        {"name": "cnn", "filters": [4], "dense": 8, "size": 10},
        {"name": "rnn", "task": "classify", "units": 8, "steps": 10, "features": 10},
        {"name": "transformer", "task": "classify", "inputs": "features", "width": 8, "heads": 2, "layers": 1}
        | {"steps": 10, "features": 10},
    ],
    ids=lambda model: model["name"],
)
def test_other_models_learn_numbers(tmp_path, model):
    rng = np.random.default_rng(0)
    shape = (60, 10, 10, 1) if model["name"] == "cnn" else (60, 10, 10)
    x = rng.random(shape, np.float32)
    np.savez(tmp_path / "x.npz", x=x, y=x.reshape(60, -1).mean(1))
    base = {"model": model, "backend": "cpu", "batch": 16, "threads": 1}
    data = {"name": f"npz:{tmp_path / 'x.npz'}", "task": "regress"}
    record = train(tmp_path / "run", base=base, data=data, epochs=1)
    assert set(record.results) == {"loss", "mse", "mae", "r2"}
    assert hal.predict(tmp_path / "run", x[:3]).shape == (3, 1)


def test_an_input_can_be_normalized(tmp_path):
    model = {"name": "cnn", "filters": [4], "dense": 8, "size": 10, "normalize": True}
    base = {"model": model, "backend": "cpu", "batch": 16, "threads": 1, "data": {"name": "synthetic:40"}}
    train(tmp_path / "run", base=base, epochs=1)
    images = np.random.default_rng(0).random((4, 10, 10, 1), np.float32) * 0.5
    darker = hal.predict(tmp_path / "run", images * 0.5)
    np.testing.assert_allclose(
        hal.predict(tmp_path / "run", images + 0.2), hal.predict(tmp_path / "run", images), atol=1e-3
    )
    np.testing.assert_allclose(darker, hal.predict(tmp_path / "run", images), atol=1e-3)


@pytest.mark.parametrize("label", ["price,size", "red,green,blue"])
def test_int8_says_what_of_the_metric_is_lost(folder, tmp_path, label):
    record = train(tmp_path / "run", base=keys(folder, label), epochs=8, lr=0.01, keep="last")
    result = command("export", tmp_path / "run", "--to", "onnx", "precision=int8", "--json")
    proof = json.loads(result.stdout)["proof"]
    assert proof["metric"].lower() == record.metric
    assert proof["metric_before"] == pytest.approx(record.results[record.metric], abs=1e-4)
    assert label != "price,size" or proof["metric_after"] != proof["metric_before"]
    card = (tmp_path / "run" / "exports" / "onnx-int8" / "README.md").read_text()
    assert (
        f"{proof['metric']}: {proof['metric_after']:.4f}; of the model in fp32: {proof['metric_before']:.4f}." in card
    )


@pytest.mark.parametrize("to", ["torch", "safetensors"])
def test_an_export_says_what_its_numbers_are(folder, tmp_path, to):
    train(tmp_path / "run", base=keys(folder, "price,size"), epochs=1)
    assert hal.export(tmp_path / "run", to).proof.same_top is None
    said = json.loads((tmp_path / "run" / "exports" / to / "export.json").read_text())
    facts = last(tmp_path / "run").meta["setup"]["data"]
    inputs, outputs = said["inputs"], said["outputs"]
    assert (inputs["columns"], inputs["axes"]) == (list("abcd"), "NC")
    assert [inputs["means"], inputs["scales"]] == [facts["columns"]["means"], facts["columns"]["scales"]]
    assert outputs["columns"] == ["price", "size"]
    if to == "torch":
        assert outputs["scaling"] == "none: as the data have them"
    else:
        assert [outputs["means"], outputs["scales"]] == [facts["targets"]["means"], facts["targets"]["scales"]]
    assert "Numbers: price, size" in (tmp_path / "run" / "exports" / to / "README.md").read_text()


def test_an_export_of_tags_chooses_none_of_them(folder, tmp_path):
    train(tmp_path / "run", base=keys(folder, "red,green,blue"), epochs=1)
    proof = hal.export(tmp_path / "run", "safetensors").proof
    assert (proof.same_top, proof.accuracy) == (None, None)
    said = json.loads((tmp_path / "run" / "exports" / "safetensors" / "export.json").read_text())
    assert (said["outputs"]["kind"], said["class_names"]) == ("logits of the tags", ["red", "green", "blue"])
    assert "softmax" not in said["outputs"]


def test_data_that_have_changed_are_not_those_of_the_run(folder, tmp_path):
    base = keys(folder, "price")
    lines = (folder / "t.csv").read_text().splitlines()
    table = tmp_path / "t.csv"
    base["data"] = {"name": f"csv:{table}", "label": "price"}
    table.write_text("\n".join(lines))
    train(tmp_path / "run", base=base, epochs=1)
    trained = hal.load(tmp_path / "run")
    assert RunSamples.of(trained, None).own
    last_cell = lines[-1].replace(",0", ",1") if ",0" in lines[-1] else lines[-1].replace(",1", ",0")
    table.write_text("\n".join([*lines[:-1], last_cell]))
    changed = RunSamples.of(trained, None)
    assert (changed.own, changed.source.endswith("which have changed since the run")) == (False, True)
    table.write_text("\n".join(line.rpartition(",")[0] for line in lines))
    other = RunSamples.of(trained, None)
    assert other.source.startswith("random inputs, since the data have changed since the run: the inputs had the shape")
    assert next(other.held_out(4, 4, padded=True)).inputs.shape == (4, 8)


class TestFunctionsAsData:
    """A folder may name a function as its data; only who wrote it here, or names it again, has it run."""

    @pytest.fixture
    def run(self, tmp_path):
        code = tmp_path / "mine.py"
        code.write_text("import numpy as np\ndef load():\n    return np.zeros((40, 3)), np.arange(40) % 2\n")
        base = {"model": {"name": "mlp"}, "backend": "cpu", "batch": 8, "threads": 1}
        train(tmp_path / "run", base=base, data=f"{code}:load", epochs=1)
        return tmp_path / "run"

    def test_ones_own_goes_on(self, run):
        assert len(hal.train(resume=str(run), epochs=2).epochs) == 2

    def test_from_elsewhere(self, run, tmp_path, monkeypatch):
        monkeypatch.setenv("HAL_STATE", str(tmp_path / "other"))
        done = command("run", f"resume={run}", "epochs=2")
        assert (done.exit_code, "names its data as" in done.stderr) == (1, True)
        assert command("run", f"resume={run}", "epochs=2", f"data={tmp_path / 'mine.py'}:load").exit_code == 0

    def test_from_elsewhere_it_is_neither_exported_with_nor_reported_on(self, run, tmp_path, monkeypatch):
        monkeypatch.setenv("HAL_STATE", str(tmp_path / "other"))
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        file_module.cache_clear()  # as in a new process
        marker = tmp_path / "ran"
        (tmp_path / "mine.py").write_text(f"open({str(marker)!r}, 'w')\n")
        proof = hal.export(run, "safetensors").proof
        assert proof.samples_of.startswith("random inputs, since the data of the run cannot be read")
        assert "it was not written by you on this machine" in proof.samples_of
        report_of_run(run)
        assert "it was not written by you on this machine" in (run / "report.html").read_text()
        assert not marker.exists()


def test_what_was_skipped_is_listed_in_the_folder(folder, tmp_path):
    text = (folder / "t.csv").read_text().splitlines()
    (tmp_path / "t.csv").write_text("\n".join([*text[:3], "1,2", *text[3:]]))
    base = keys(folder, "price")
    base["data"] = {**base["data"], "name": f"csv:{tmp_path / 't.csv'}", "skip_bad": 1}
    train(tmp_path / "run", base=base, epochs=1)
    assert (tmp_path / "run" / "skipped.txt").read_text().endswith("line 4 has 2 columns, but the first line has 9\n")


def test_a_checkpoint_knows_the_columns(folder, tmp_path):
    train(tmp_path / "run", base=keys(folder, "price"), epochs=1)
    data = last(tmp_path / "run").meta["setup"]["data"]
    assert (data["task"], data["columns"]["names"], data["targets"]["names"]) == ("regress", list("abcd"), ["price"])
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    assert json.loads((tmp_path / "copy" / "record.json").read_text())["results"]["r2"] is not None
