"""Which checkpoints a run keeps, when it stops early, and moving averages; all of it survives an interrupt."""

import json
import shutil

import numpy as np
import pytest
from run_helpers import CNN, RNN_CLASSIFY, SignalAt, Watching, assert_same_end, command, flat, last, steps, train

import hal
from hal import ops
from hal.data import Wanted, WeightedData, class_weights
from hal.data import load as load_data
from hal.data.arrays import ArrayDataset
from hal.errors import ConfigError
from hal.job.carry import model_values
from hal.run.checkpoint import best, latest, load
from hal.run.keeping import Kept, Metric
from hal.run.record import Epoch
from hal.run.training_state import averaging_decay

DIGITS = {**CNN, "data": {"name": "digits", "validation": 0.5, "augment": []}, "batch": 64}


def held_back():
    """The validation samples of runs on :data:`DIGITS`."""
    held = load_data("digits", Wanted("image", (20, 20, 1)), validation=0.5, seed=0).validation
    return held.take(np.arange(len(held)))


def epochs_of(*values, name="accuracy"):
    return [
        Epoch(
            epoch=at + 1,
            phase="train",
            step=4 * (at + 1),
            train={},
            validation={} if value is None else {name: value},
            seconds=1.0,
            samples_per_s=1.0,
        )
        for at, value in enumerate(values)
    ]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"name": "step", "least": 0.5}, r"schedule.least= is for schedule=cosine, not for schedule=step"),
        ({"name": "onecycle", "warmup": 5}, "is for schedule=constant and cosine and step, not for schedule=onecycle"),
    ],
)
def test_constants_of_another_schedule(keys, said):
    with pytest.raises(ConfigError, match=said):
        hal.train(model="cnn", schedule=keys)


class TestMetric:
    @pytest.mark.parametrize(
        ("better", "values", "epoch", "stale"),
        [
            ("max", (0.1, 0.5, 0.3), 2, 1),
            ("min", (0.1, 0.5, 0.3), 1, 2),
            ("max", (0.5, 0.5, 0.5), 1, 2),
            ("max", (None, 0.2, None), 2, 1),
        ],
    )
    def test_the_first_of_the_best(self, better, values, epoch, stale):
        metric, history = Metric("accuracy", better), epochs_of(*values)
        assert metric.best(history).epoch == epoch
        assert metric.epochs_without_improvement(history) == stale

    def test_never_measured(self):
        metric = Metric("accuracy", "max")
        assert metric.best(epochs_of(None, None)) is None
        assert metric.epochs_without_improvement(epochs_of(None, None)) == 0

    def test_the_best_before_an_epoch_that_is_measured_anew_remains(self):
        kept, history = Kept("best", Metric("accuracy", "max")), epochs_of(0.5, 0.4, 0.9)
        assert kept.steps(history, 2, (4, 8, 12)) == {4, 12}
        assert kept.steps(history, 3, (4, 8, 12)) == {12}
        assert kept.steps(history, 3, (8,)) == {8}, "of those that are there"


@pytest.fixture(scope="module")
def peaked(tmp_path_factory):
    """A run whose learning rate destroys what the first epochs learned."""
    folder = tmp_path_factory.mktemp("peaked") / "run"
    train(folder, base=DIGITS, epochs=4, lr=0.02, schedule="constant")
    return folder, hal.train(resume=str(folder), epochs=8, lr=1.0)


class TestBest:
    def test_it_remains_beside_the_last_two(self, peaked):
        folder, record = peaked
        values = [epoch.validation["accuracy"] for epoch in record.epochs]
        assert values.index(max(values)) < len(values) - 3, "the test should peak early"
        at = record.epochs[values.index(max(values))]
        assert (record.best, record.best_epoch) == (max(values), at.epoch)
        assert best(folder).name == f"step-{at.step:09d}"
        assert str(best(folder)) == record.best_checkpoint
        assert steps(folder / "checkpoints") == sorted(
            f"step-{step:09d}" for step in (at.step, record.epochs[-2].step, record.epochs[-1].step)
        )

    def test_predicting_uses_it(self, peaked):
        folder, record = peaked
        batch = held_back()
        right = hal.predict(folder, batch["inputs"]).argmax(-1) == batch["labels"]
        assert right.mean() == pytest.approx(record.best, abs=1e-6)
        worse = hal.predict(latest(folder), batch["inputs"]).argmax(-1) == batch["labels"]
        assert worse.mean() < right.mean() - 0.1

    def test_going_on_elsewhere_takes_it_along(self, peaked, tmp_path):
        folder, _ = peaked
        hal.train(resume=str(folder), out=str(tmp_path / "on"), epochs=7)
        assert best(tmp_path / "on").name == best(folder).name
        assert flat(load(best(tmp_path / "on")).carry).keys() == flat(load(best(folder)).carry).keys()

    def test_what_says_which_is_best_is_damaged(self, peaked, tmp_path):
        folder = shutil.copytree(peaked[0], tmp_path / "run")
        (latest(folder) / "checkpoint.json").write_text("{")
        assert best(folder) == latest(folder)
        with pytest.raises(hal.errors.CheckpointError, match="is damaged"):
            load(best(folder))


@pytest.mark.parametrize(("keep", "count"), [("last", 2), ("all", 4), (1, 1), (3, 3)])
def test_how_many_remain(tmp_path, keep, count):
    record = train(tmp_path / "run", keep=keep, epochs=4)
    last_ones = {f"step-{epoch.step:09d}" for epoch in record.epochs[4 - count :]}
    at = f"step-{record.epochs[record.best_epoch - 1].step:09d}"
    assert set(steps(tmp_path / "run" / "checkpoints")) == last_ones | (set() if keep == "last" else {at})
    assert best(tmp_path / "run") == (latest(tmp_path / "run") if keep == "last" else best(tmp_path / "run"))


STALE = {"lr": 1e-12, "epochs": 9, "patience": 2}
"""Nothing changes, so nothing improves."""


class TestPatience:
    def test_the_run_stops(self, tmp_path):
        watching = Watching()
        record = train(tmp_path / "run", watching, **STALE)
        assert (record.status, record.stopped_early, len(record.epochs), record.best_epoch) == ("done", True, 3, 1)
        assert [note for note in watching.notes if note.startswith("stopped after epoch 3 of 9")]
        again = hal.train(resume=str(tmp_path / "run"))
        assert (len(again.epochs), again.status) == (3, "done")
        more = hal.train(resume=str(tmp_path / "run"), patience=4)
        assert len(more.epochs) == 5

    def test_as_if_never_interrupted(self, tmp_path):
        train(tmp_path / "whole", **STALE)
        assert train(tmp_path / "run", SignalAt(10), **STALE).status == "interrupted"
        hal.train(resume=str(tmp_path / "run"))
        assert_same_end(tmp_path / "whole", tmp_path / "run")
        assert last(tmp_path / "run").step == 12


class TestAverages:
    def test_they_follow_the_parameters(self, tmp_path):
        """Against the formula, from the checkpoints of every epoch of one step."""
        base = {**CNN, "batch": 64}
        train(tmp_path / "run", base=base, epochs=4, ema=0.9, keep="all", schedule="constant")
        train(tmp_path / "none", base=base, epochs=4, schedule="constant", keep="all")
        expected = None
        for step, name in enumerate(steps(tmp_path / "run" / "checkpoints")):
            carry = load(tmp_path / "run" / "checkpoints" / name).carry
            plain = load(tmp_path / "none" / "checkpoints" / name).carry
            values, averages = flat(carry["params"]), flat(carry["averages"]["params"])
            assert all(np.array_equal(values[key], x) for key, x in flat(plain["params"]).items())
            decay = min(0.9, (1 + step) / (10 + step))
            if expected is not None:
                expected = {k: x * decay + values[k] * (1 - decay) for k, x in expected.items()}
                for key, x in expected.items():
                    np.testing.assert_allclose(averages[key], x, rtol=1e-5, atol=1e-7)
            expected = averages

    @pytest.mark.parametrize("base", [CNN, {**RNN_CLASSIFY, "precision": "fp16"}], ids=["cnn", "rnn-fp16"])
    def test_as_if_never_interrupted(self, tmp_path, base):
        keys = {"ema": 0.95, "epochs": 2}
        train(tmp_path / "whole", base=base, **keys)
        assert train(tmp_path / "run", SignalAt(3, 6), base=base, **keys).status == "interrupted"
        hal.train(resume=str(tmp_path / "run"))
        assert_same_end(tmp_path / "whole", tmp_path / "run")
        assert "averages" in last(tmp_path / "run").carry

    def test_predicting_and_evaluating_use_them(self, tmp_path):
        record = train(tmp_path / "run", base=DIGITS, epochs=1, ema=0.99)
        batch = held_back()
        right = hal.predict(tmp_path / "run", batch["inputs"]).argmax(-1) == batch["labels"]
        assert right.mean() == pytest.approx(record.results["accuracy"], abs=1e-6)

    def test_begun_and_dropped_on_the_way(self, tmp_path):
        train(tmp_path / "run", epochs=1)
        watching = Watching()
        hal.train(watching, resume=str(tmp_path / "run"), ema=0.9, epochs=2)
        assert "averages" in last(tmp_path / "run").carry
        hal.train(watching, resume=str(tmp_path / "run"), ema=None, epochs=3)
        assert "averages" not in last(tmp_path / "run").carry
        assert any("averages of the parameters are dropped" in note for note in watching.notes)

    def test_counts_have_no_average(self):
        carry = {
            "params": {"a": np.ones(2, np.float32)},
            "state": {"n": np.int64(3), "norm": {"mean": np.ones(1, np.float32), "seen": np.int64(1)}},
        }
        started = hal.job.carry.start_averages(carry)
        assert started["averages"]["state"] == {"norm": {"mean": np.ones(1)}}
        started["averages"]["state"]["norm"]["mean"] = np.zeros(1)
        params, state = model_values(started)
        assert params["a"] is not carry["params"]["a"]
        assert state == {"n": 3, "norm": {"mean": 0, "seen": 1}}

    def test_the_decay_grows(self):
        assert [averaging_decay(0.5, step) for step in (0, 4, 100)] == [0.1, 5 / 14, 0.5]
        assert averaging_decay(None, 3) == 0


class TestTargets:
    """Class weights and label smoothing."""

    def test_smoothing(self):
        xp = hal.device("cpu").xp
        logits = xp.asarray(np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32))
        labels = xp.asarray(np.array([0, 1, 2, 1, 0]))
        task = hal.nn.tasks.Classes(3)
        target = np.full((5, 3), 0.1 / 3) + 0.9 * np.eye(3)[np.asarray(labels)]
        expected = -(target * np.asarray(ops.log_softmax(logits))).sum(-1)
        np.testing.assert_allclose(np.asarray(task.losses(logits, labels, 0.1)), expected, rtol=1e-5)

    def test_balanced(self):
        labels = np.array([0, 0, 0, 1])
        data = ArrayDataset("x", np.zeros((4, 2, 2), np.float32), labels, Wanted("sequence", (2, 2)), classes=2)
        weights = class_weights(data, "balanced")
        np.testing.assert_allclose(weights, [2 / 3, 2])
        np.testing.assert_allclose(class_weights(data, (1.0, 5.0)), [0.5, 2.5])
        assert WeightedData(data, weights).take(np.array([3, 0]))["weights"].tolist() == [2, np.float32(2 / 3)]
        with pytest.raises(ConfigError, match="has 3 numbers, but data=x has 2 classes"):
            class_weights(data, (1, 2, 3))

    def test_they_change_the_training_and_resume(self, tmp_path):
        keys = {"class_weights": "balanced", "label_smoothing": 0.1, "epochs": 2, "accumulate": 2}
        train(tmp_path / "whole", **keys)
        train(tmp_path / "run", SignalAt(3), **keys)
        hal.train(resume=str(tmp_path / "run"))
        assert_same_end(tmp_path / "whole", tmp_path / "run")
        train(tmp_path / "plain", epochs=2, accumulate=2)
        loss = [load(latest(tmp_path / name)).meta["epochs"][0]["train"]["loss"] for name in ("whole", "plain")]
        assert loss[0] != loss[1]

    def test_features_that_are_computed_once_have_weights_too(self, tmp_path):
        model = {"name": "transfer", "weights": "random", "blocks": 2, "size": 32, "unfreeze": 0}
        record = train(tmp_path / "run", base={**CNN, "model": model}, class_weights="balanced", epochs=1)
        assert record.status == "done"

    @pytest.mark.parametrize("key", ["label_smoothing=0.1", "class_weights=balanced"])
    def test_a_loss_of_its_own(self, key):
        done = command("run", "model=gan", "backend=cpu", "data=synthetic:40", "batch=8", "model.size=20", key)
        assert (done.exit_code, "own loss" in done.stderr) == (2, True)


def test_the_record_says_the_learning_rate(tmp_path):
    record = train(tmp_path / "run", epochs=2, lr=0.1)
    rates = [epoch.lr for epoch in record.epochs]
    assert rates == pytest.approx([0.1 * 0.5 * (1 + np.cos(np.pi * at / 8)) for at in (3, 7)])
    assert json.loads((tmp_path / "run" / "record.json").read_text())["epochs"][0]["lr"] == rates[0]
