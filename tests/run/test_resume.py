"""A run that stopped and went on ends as one that never stopped, bit for bit."""

import re
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from run_helpers import CNN, RNN_CLASSIFY, SignalAt, Watching, assert_same_end, command, flat, last, train

import hal
from hal.data import batches
from hal.errors import CheckpointError, ConfigError, NotFoundError
from hal.run import resumed
from hal.run.checkpoint import latest, load

TEXT = "the quick brown fox jumps over the lazy dog and then it sleeps. " * 40

RNN = {
    "model": {"name": "rnn", "units": 8, "embedding": 4, "length": 8, "dropout": 0.3, "sample": 5},
    "backend": "cpu",
    "data": {"name": "text:book.txt"},
    "batch": 32,
    "threads": 1,
}
GAN = {
    "model": {"name": "gan", "size": 20, "noise": 4, "width": 4, "grid": 2},
    "backend": "cpu",
    "data": {"name": "synthetic:40"},
    "batch": 8,
    "threads": 1,
}
TRANSFORMER = {"name": "transformer", "layers": 1, "width": 8, "heads": 2, "length": 8, "dropout": 0.3, "sample": 5}
TRANSFER = {
    "model": {"name": "transfer", "weights": "random", "blocks": 2, "size": 32, "unfreeze": 1, "fine_tune_epochs": 2},
    "backend": "cpu",
    "data": {"name": "synthetic:80"},
    "batch": 16,
    "threads": 1,
}
"""Four steps an epoch: one epoch of the head on features that are computed once, then two of a block as well."""

RUNS = {
    "cnn": {**CNN, "epochs": 3},
    "cnn-fp16": {**CNN, "epochs": 2, "precision": "fp16"},
    "cnn-bf16": {**CNN, "epochs": 2, "precision": "bf16", "layout": "nchw", "optimizer": {"name": "sgd"}},
    "cnn-clip-accumulate": {**CNN, "epochs": 2, "clip": 0.1, "accumulate": 2, "optimizer": {"name": "rmsprop"}},
    "cnn-augmented": {**CNN, "data": {"name": "synthetic:80", "augment": ["crop", "flip", "brightness"]}, "epochs": 2},
    "rnn-text": {**RNN, "epochs": 2},
    "rnn-fp16-accumulate": {**RNN_CLASSIFY, "epochs": 2, "precision": "fp16", "accumulate": 2},
    "transformer-text": {**RNN, "model": TRANSFORMER, "epochs": 2},
    "gan": {**GAN, "epochs": 2},
    "gan-bf16-accumulate": {**GAN, "epochs": 2, "precision": "bf16", "accumulate": 2},
    "transfer": {**TRANSFER, "epochs": 1},
    "transfer-augmented": {**TRANSFER, "data": {"name": "synthetic:80", "augment": ["flip"]}, "epochs": 1},
}
INSIDE = {
    **dict.fromkeys(RUNS, 2),
    **dict.fromkeys(("cnn", "cnn-fp16", "transfer"), 6),
    **dict.fromkeys(("rnn-text", "transformer-text"), 8),
    "cnn-clip-accumulate": 3,
    "gan": 5,
}
"""A step within an epoch that is not the last."""


@pytest.fixture(scope="module", autouse=True)
def book(tmp_path_factory):
    folder = tmp_path_factory.mktemp("book")
    (folder / "book.txt").write_text(TEXT)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory, book):
    """Runs that nothing stopped; each is made once."""
    made = {}

    def get(name):
        if name not in made:
            made[name] = tmp_path_factory.mktemp("whole") / name
            assert train(made[name], base=RUNS[name]).status == "done"
        return made[name]

    return get


def go_on(folder, observer=None, **keys):
    return hal.train(observer, resume=str(folder), **keys)


# Exactness


@pytest.mark.parametrize("name", RUNS)
def test_interrupted_within_an_epoch_and_again(whole, tmp_path, name):
    stopped = train(tmp_path / "run", SignalAt(INSIDE[name]), base=RUNS[name])
    at = last(tmp_path / "run")
    assert stopped.status == "interrupted"
    assert at.step == INSIDE[name]
    assert at.meta["position"]["step_in_epoch"] > 0, "the test should stop within an epoch"
    assert go_on(tmp_path / "run", SignalAt(1)).status == "interrupted"
    assert last(tmp_path / "run").step == INSIDE[name] + 1
    assert go_on(tmp_path / "run").status == "done"
    assert_same_end(whole(name), tmp_path / "run")


@pytest.mark.parametrize("number", [4, 5, 8])
def test_interrupted_at_the_edges_of_an_epoch(whole, tmp_path, number):
    train(tmp_path / "run", SignalAt(number), base=RUNS["cnn"])
    assert last(tmp_path / "run").step == number
    go_on(tmp_path / "run")
    assert_same_end(whole("cnn"), tmp_path / "run")


def test_interrupted_again_and_again(whole, tmp_path):
    train(tmp_path / "run", SignalAt(1), base=RUNS["cnn"])
    statuses = [go_on(tmp_path / "run", SignalAt(2, number=signal.SIGTERM)).status for _ in range(5)]
    assert statuses == ["interrupted"] * 5
    assert go_on(tmp_path / "run").status == "done"
    assert_same_end(whole("cnn"), tmp_path / "run")


def test_interrupted_while_the_judge_trains(whole, tmp_path):
    class Early(Watching):
        def note(self, text):
            super().note(text)
            if "training the auxiliary model judge" in text:
                signal.raise_signal(signal.SIGINT)

    early = Early()
    stopped = train(tmp_path / "run", early, base=RUNS["gan"])
    assert stopped.status == "interrupted"
    assert early.notes[1].startswith("stopping after this step")
    assert last(tmp_path / "run" / "auxiliary-judge").step == 1
    go_on(tmp_path / "run")
    assert_same_end(whole("gan"), tmp_path / "run")
    assert_same_end(whole("gan") / "auxiliary-judge", tmp_path / "run" / "auxiliary-judge")


def test_the_judge_is_trained_once(whole, tmp_path):
    shutil.copytree(whole("gan"), tmp_path / "run")
    before = last(tmp_path / "run" / "auxiliary-judge")
    watching = Watching()
    record = go_on(tmp_path / "run", watching, epochs=3)
    assert watching.notes == []
    assert "frechet_distance" in record.results
    after = last(tmp_path / "run" / "auxiliary-judge")
    assert after.step == before.step
    assert [Path(path).name for path in record.files] == [f"samples-000{epoch}.png" for epoch in (1, 2, 3)]


def test_from_a_checkpoint_within_an_epoch(whole, tmp_path):
    base = {**RUNS["cnn"], "checkpoint": 3}
    train(tmp_path / "run", base=base, steps=7, schedule="constant")
    train(tmp_path / "whole", base=base, schedule="constant")
    at = tmp_path / "run" / "checkpoints" / "step-000000006"
    assert load(at).meta["position"]["step_in_epoch"] == 2
    hal.train(resume=str(at), steps=12)
    assert_same_end(tmp_path / "whole", tmp_path / "run")


@pytest.mark.parametrize("steps", [6, 8, 9])
def test_a_run_that_steps_ended_goes_on_where_it_ended(tmp_path, steps):
    base = {**CNN, "schedule": "constant"}
    train(tmp_path / "whole", base=base, steps=11)
    first = train(tmp_path / "run", base=base, steps=steps)
    assert first.epochs[-1].step == steps
    second = go_on(tmp_path / "run", steps=11)
    assert [epoch.step for epoch in second.epochs] == [4, 8, 11]
    assert_same_end(tmp_path / "whole", tmp_path / "run")


def test_checkpoints_on_the_way_change_nothing(whole, tmp_path):
    train(tmp_path / "run", base={**RUNS["cnn"], "checkpoint": 1})
    assert_same_end(whole("cnn"), tmp_path / "run")


def test_equal_runs_are_equal_and_seeds_differ(whole, tmp_path):
    train(tmp_path / "again", base=RUNS["cnn"])
    assert_same_end(whole("cnn"), tmp_path / "again")
    train(tmp_path / "other", base=RUNS["cnn"], seed=1)
    with pytest.raises(AssertionError, match="differs"):
        assert_same_end(whole("cnn"), tmp_path / "other")


def test_each_epoch_is_in_an_order_of_its_own(tmp_path, monkeypatch):
    asked = []

    def spied(*args, shuffle=True, **keys):
        if shuffle:
            asked.append((keys["seed"], keys["epoch"], keys["start"]))
        return batches(*args, shuffle=shuffle, **keys)

    monkeypatch.setattr("hal.run.trainer.batches", spied)
    train(tmp_path / "run", SignalAt(6), seed=3, epochs=3)
    go_on(tmp_path / "run")
    assert asked == [(3, 0, 0), (3, 1, 0), (3, 1, 2), (3, 2, 0)]


def test_numbers_without_axes_stay_so(whole):
    arrays = flat(last(whole("cnn-fp16")).carry)
    assert arrays["scale/factor"].shape == arrays["scale/good_steps"].shape == ()
    assert arrays["optimizers/classify/step"].shape == ()
    assert arrays["scale/good_steps"] == 8


def test_the_gan_saves_both_optimizers_and_the_statistics(whole):
    arrays = flat(last(whole("gan")).carry)
    assert arrays["optimizers/discriminator/step"] == arrays["optimizers/generator/step"] == 8
    assert not any(name.startswith("optimizers/generator/mean/discriminator") for name in arrays)
    assert np.any(arrays["state/generator/batchnorm/mean"] != 0)


# Other keys


@pytest.fixture
def run(whole, tmp_path):
    return Path(shutil.copytree(whole("cnn"), tmp_path / "run"))


def test_more_epochs(run):
    record = go_on(run, epochs=5)
    assert [epoch.epoch for epoch in record.epochs] == [1, 2, 3, 4, 5]
    assert last(run).step == 20
    assert record.config["epochs"] == 5


def test_nothing_left_to_do(run):
    before = last(run)
    watching = Watching()
    record = go_on(run, watching)
    assert watching.steps == 0
    assert (record.status, len(record.epochs), record.results != {}) == ("done", 3, True)
    assert record.checkpoint == str(before.path)
    assert last(run).step == before.step


@pytest.mark.parametrize(
    "keys",
    [
        {"precision": "bf16"},
        {"precision": "fp16"},
        {"layout": "nhwc"},
        {"accumulate": 2},
        {"batch": 8},
        {"threads": 2},
        {"data": {"augment": "none"}},
        {"lr": 1e-4, "schedule": "constant", "clip": 1.0},
    ],
    ids=str,
)
def test_another_plan(run, keys):
    record = go_on(run, epochs=4, **keys)
    assert record.status == "done"
    assert len(record.epochs) == 4
    assert np.isfinite(record.epochs[-1].train["loss"])
    assert bool(last(run).carry.get("scale")) == (keys.get("precision") == "fp16")


def test_from_fp16_to_fp32_and_back(whole, tmp_path):
    folder = Path(shutil.copytree(whole("cnn-fp16"), tmp_path / "run"))
    go_on(folder, epochs=3, precision="fp32")
    assert "scale" not in last(folder).carry
    go_on(folder, epochs=4, precision="fp16")
    assert last(folder).carry["scale"]["good_steps"] == 4


def test_another_layout_goes_on_from_the_same_numbers(run, tmp_path):
    other = Path(shutil.copytree(run, tmp_path / "other"))
    epochs = [go_on(folder, epochs=4, layout=layout).epochs[-1] for folder, layout in ((run, "nchw"), (other, "nhwc"))]
    assert epochs[0].train["loss"] == pytest.approx(epochs[1].train["loss"], rel=1e-4)


@pytest.mark.parametrize("name", ["cnn", "rnn-text"])
def test_there_and_back_on_another_backend(tmp_path, name):
    """Two runtimes take turns at one run, and it ends where one of them alone would have ended it."""
    drawn = {"rnn-text": {"model": {**RNN["model"], "dropout": 0}}, "cnn": {"data": {**CNN["data"], "augment": []}}}
    keys = {**RUNS[name], **drawn[name], "schedule": "constant", "lr": 3e-3}
    train(tmp_path / "alone", base={**keys, "epochs": 3})
    train(tmp_path / "turns", base={**keys, "epochs": 1})
    hal.train(resume=str(tmp_path / "turns"), epochs=2, backend="jax", device="jax:cpu", threads=None)
    hal.train(resume=str(tmp_path / "turns"), epochs=3, backend="cpu", device=None)
    wanted, found = last(tmp_path / "alone"), last(tmp_path / "turns")
    assert found.step == wanted.step
    arrays = flat(found.carry)
    for key, array in flat(wanted.carry).items():
        np.testing.assert_allclose(arrays[key], array, rtol=2e-3, atol=2e-4, err_msg=key)
    losses = [[epoch["train"]["loss"] for epoch in run.meta["epochs"]] for run in (found, wanted)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_another_batch_within_an_epoch(tmp_path):
    train(tmp_path / "run", SignalAt(6), base=RUNS["cnn"])
    with pytest.raises(
        ConfigError, match=r"in the middle of an epoch with batch=16 and cannot be continued with batch=8"
    ) as caught:
        go_on(tmp_path / "run", batch=8)
    assert caught.value.fix == "resume with batch=16"
    assert last(tmp_path / "run").step == 6


def test_another_optimizer_starts_anew_and_says_so(run):
    watching = Watching()
    go_on(run, watching, epochs=4, optimizer="sgd", lr=0.01)
    assert any("the state of optimizer=sgd starts from zero" in note for note in watching.notes)
    assert last(run).carry["optimizers"]["classify"].keys() == {"step", "velocity"}
    assert last(run).carry["optimizers"]["classify"]["step"] == 4


def test_keys_of_the_model_need_no_name(whole, tmp_path):
    folder = Path(shutil.copytree(whole("rnn-text"), tmp_path / "run"))
    record = hal.train(resume=str(folder), epochs=3, model={"dropout": 0.0})
    assert record.workload.keys["dropout"] == 0.0
    assert record.workload.keys["units"] == 8
    result = command("run", f"resume={folder}", "epochs=4", "model.sample=3", "data.validation=0.3")
    assert result.exit_code == 1
    assert "accept=data" in result.stderr
    result = command("run", f"resume={folder}", "epochs=4", "model.sample=3", "data.validation=0.3", "accept=data")
    assert result.exit_code == 0, result.stderr


# Folders


def test_a_run_goes_on_in_its_folder(run):
    watching = Watching()
    go_on(run, watching, epochs=4)
    assert watching.folder == run
    assert watching.resumed == 12


def test_a_checkpoints_own_folder_names_its_run(run):
    watching = Watching()
    hal.train(watching, resume=str(run / "checkpoints" / "step-000000008"))
    assert (watching.folder, watching.resumed) == (run, 8)


def test_a_run_that_was_moved_goes_on_where_it_is(whole, run, monkeypatch, tmp_path):
    before = (whole("cnn") / "record.json").read_bytes()
    moved = run.rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    watching = Watching()
    hal.train(watching, resume="moved", epochs=4)
    assert watching.folder.resolve() == moved
    assert (whole("cnn") / "record.json").read_bytes() == before, "the folder that it was copied from stays as it is"
    assert not run.exists()


def test_another_folder(run, tmp_path):
    before = last(run).step
    go_on(run, epochs=4, out=str(tmp_path / "new"))
    assert last(run).step == before
    assert last(tmp_path / "new").step == 16
    go_on(tmp_path / "new", epochs=5)
    assert last(tmp_path / "new").step == 20


def test_another_folder_that_holds_a_run_stays_as_it_is(run, tmp_path):
    other = Path(shutil.copytree(run, tmp_path / "other"))
    before = (other / "record.json").read_bytes()
    with pytest.raises(ConfigError, match=re.escape(f"out={other} already holds a run")):
        go_on(run, epochs=4, out=str(other))
    assert (other / "record.json").read_bytes() == before
    assert go_on(run, epochs=4, out=str(run)).status == "done", "its own folder is no other"


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_nothing_to_resume(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotFoundError, match="there is no checkpoint in"):
        go_on(tmp_path / name)


def test_a_checkpoint_that_was_moved(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train(tmp_path / "a", steps=2)
    moved = tmp_path / "elsewhere" / "kept"
    moved.parent.mkdir()
    latest(tmp_path / "a").rename(moved)
    hal.train(resume=str(moved), steps=3)
    assert [path.name for path in moved.parent.iterdir()] == ["kept"], "nothing is written beside it"
    assert list((tmp_path / "runs").rglob("record.json"))


def test_another_machine_has_other_devices(tmp_path):
    train(tmp_path / "a", steps=2, device=0)
    assert resumed({"resume": str(tmp_path / "a")}).device == 0
    assert resumed({"resume": str(tmp_path / "a"), "backend": "cpu"}).device is None


def test_a_judge_is_no_run_of_its_own(tmp_path):
    gan = {**CNN, "model": {"name": "gan", "size": 20, "width": 4, "noise": 4}}
    train(tmp_path / "a", base=gan, steps=1)
    with pytest.raises(CheckpointError, match="is the checkpoint of an auxiliary model"):
        resumed({"resume": str(tmp_path / "a" / "auxiliary-judge")})
