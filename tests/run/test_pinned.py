"""What a run learned from is pinned: a resumed run goes on with exactly that, or says what differs."""

import json
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from run_helpers import CNN, SignalAt, assert_same_end, command, last, train

import hal
from hal.contract.plan import Plan
from hal.errors import CheckpointError, ConfigError, DataError, InputError, InUseError, ShapeError
from hal.run import RunObserver, checkpoint
from hal.run.config import RunConfig
from hal.run.interrupt import Interrupt
from hal.util import code
from hal.util.lock import locked

KEYS = {key: value for key, value in CNN.items() if key != "data"}


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("HAL_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("HAL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def pets(tmp_path):
    random = np.random.default_rng(0)
    for name in ("bat", "cat"):
        folder = tmp_path / "pets" / name
        folder.mkdir(parents=True)
        for index in range(20):
            Image.fromarray(random.integers(0, 255, (9, 9), np.uint8)).save(folder / f"{index}.png")
    return tmp_path / "pets"


def pet_run(pets, out, **keys):
    return hal.train(**KEYS, data={"name": f"images:{pets}"}, out=str(out), **keys)


def bytes_of(folder):
    return {path: path.read_bytes() for path in sorted(Path(folder).rglob("*")) if path.is_file()}


class TestData:
    def refused(self, run, said, **keys):
        before = bytes_of(run)
        with pytest.raises(CheckpointError, match=said) as caught:
            hal.train(resume=str(run), epochs=2, **keys)
        assert "accept=data" in caught.value.fix
        assert bytes_of(run) == before, "nothing of the run is overwritten"

    def test_a_class_with_another_name(self, pets, tmp_path):
        pet_run(pets, tmp_path / "run", epochs=1)
        (pets / "bat").rename(pets / "zebra")
        self.refused(tmp_path / "run", "bat are missing, and zebra are new")

    @pytest.mark.parametrize("keys", [{"seed": 1}, {"data": {"validation": 0.4}}])
    def test_another_split(self, pets, tmp_path, keys):
        pet_run(pets, tmp_path / "run", epochs=1)
        self.refused(tmp_path / "run", "training samples", **keys)

    def test_a_picture_more(self, pets, tmp_path):
        pet_run(pets, tmp_path / "run", epochs=1)
        Image.new("L", (9, 9)).save(pets / "bat" / "new.png")
        self.refused(tmp_path / "run", "training samples")

    def test_a_class_more(self, pets, tmp_path):
        pet_run(pets, tmp_path / "run", epochs=1)
        shutil.copytree(pets / "bat", pets / "eel")
        with pytest.raises(CheckpointError, match="its model does not fit them: the classes eel are new"):
            hal.train(resume=str(tmp_path / "run"), epochs=2, accept="data")

    def test_other_pixels_in_files_of_the_same_size(self, pets, tmp_path):
        for path in pets.rglob("*.png"):
            Image.open(path).save(path.with_suffix(".bmp"))
            path.unlink()
        pet_run(pets, tmp_path / "run", epochs=1)
        for path in (pets / "bat").iterdir():
            other = pets / "cat" / path.name
            first, second = path.read_bytes(), other.read_bytes()
            path.write_bytes(second)
            other.write_bytes(first)
        self.refused(tmp_path / "run", "the 32 training samples are different ones")

    def test_arrays_in_another_order_are_the_same(self, tmp_path):
        arrays = {"x": np.random.default_rng(0).random((40, 20, 20, 1), np.float32), "y": np.arange(40) % 2}
        np.savez(tmp_path / "a.npz", **arrays)
        hal.train(**KEYS, data={"name": f"npz:{tmp_path}/a.npz"}, out=str(tmp_path / "run"), epochs=1)
        np.savez_compressed(tmp_path / "a.npz", **dict(reversed(arrays.items())))
        hal.train(resume=str(tmp_path / "run"), epochs=2)
        np.savez(tmp_path / "a.npz", x=arrays["x"], y=1 - arrays["y"])
        self.refused(tmp_path / "run", "samples are different ones")

    def test_another_vocabulary(self, tmp_path):
        (tmp_path / "book.txt").write_text("abcdefgh" * 100)
        keys = {
            "model": {"name": "rnn", "units": 4, "length": 8, "sample": 0},
            "backend": "cpu",
            "batch": 8,
            "threads": 1,
        }
        hal.train(**keys, data={"name": f"text:{tmp_path}/book.txt"}, out=str(tmp_path / "run"), steps=1)
        (tmp_path / "book.txt").write_text("abcdefgx" * 100)
        with pytest.raises(CheckpointError, match="the text consists of other characters"):
            hal.train(resume=str(tmp_path / "run"), steps=2)

    def test_accepted(self, pets, tmp_path):
        pet_run(pets, tmp_path / "run", epochs=1)
        Image.new("L", (9, 9)).save(pets / "bat" / "new.png")
        record = hal.train(resume=str(tmp_path / "run"), epochs=2, accept="data")
        assert len(record.epochs) == 2

    def test_moved_data_are_the_same(self, pets, tmp_path):
        pet_run(pets, tmp_path / "run", epochs=1)
        shutil.move(pets, tmp_path / "elsewhere")
        hal.train(resume=str(tmp_path / "run"), epochs=2, data={"name": f"images:{tmp_path / 'elsewhere'}"})


class TestPlan:
    def test_tuned_again_in_between(self, tmp_path, monkeypatch):
        """The plan of the run counts, whatever is remembered meanwhile."""
        plans = iter([Plan(batch=16, threads=1), Plan(batch=8, threads=1)])

        def stored(fingerprint, device):
            return next(plans), "found by a tuning"

        monkeypatch.setattr("hal.job.prepare._tuned", stored)
        base = {key: value for key, value in CNN.items() if key not in ("batch", "threads")}
        hal.train(**base, plan="tuned", epochs=2, out=str(tmp_path / "whole"))
        monkeypatch.setattr("hal.job.prepare._tuned", lambda *_: (Plan(batch=16, threads=1), ""))
        stopped = hal.train(SignalAt(3), **base, plan="tuned", epochs=2, out=str(tmp_path / "run"))
        assert stopped.status == "interrupted"
        monkeypatch.setattr("hal.job.prepare._tuned", stored)
        record = hal.train(resume=str(tmp_path / "run"))
        assert record.plan.batch == 16
        assert_same_end(tmp_path / "whole", tmp_path / "run")

    def test_what_is_asked_for_wins(self, tmp_path):
        train(tmp_path / "run", epochs=1)
        assert hal.train(resume=str(tmp_path / "run"), epochs=2, batch=8).plan.batch == 8


class TestPredict:
    def test_the_folder_alone(self, pets, tmp_path):
        pet_run(pets, tmp_path / "run", epochs=1)
        shutil.rmtree(pets)
        inputs = np.zeros((3, 20, 20, 1), np.uint8)
        assert hal.predict(tmp_path / "run", inputs).shape == (3, 2)

    def test_a_tuned_plan_is_not_needed(self, tmp_path, monkeypatch):
        monkeypatch.setattr("hal.job.prepare._tuned", lambda *_: (Plan(batch=16, threads=1), ""))
        base = {key: value for key, value in CNN.items() if key not in ("batch", "threads")}
        hal.train(**base, plan="tuned", epochs=1, out=str(tmp_path / "run"))
        monkeypatch.undo()
        assert hal.predict(tmp_path / "run", np.zeros((2, 20, 20, 1), np.float32)).shape == (2, 10)

    def test_pixels_are_pixels_in_every_type(self, tmp_path):
        train(tmp_path / "run", epochs=1)
        pixels = np.random.default_rng(0).integers(0, 256, (4, 20, 20, 1), np.uint8)
        expected = hal.predict(tmp_path / "run", pixels / 255)
        for dtype in (np.uint8, np.int16, np.uint64):
            np.testing.assert_allclose(hal.predict(tmp_path / "run", pixels.astype(dtype)), expected, atol=1e-6)

    @pytest.mark.parametrize("wrong", [200.0, np.nan, -3])
    def test_what_contradicts_the_training(self, tmp_path, wrong):
        train(tmp_path / "run", steps=1)
        with pytest.raises(InputError):
            hal.predict(tmp_path / "run", np.full((1, 20, 20, 1), wrong))

    def test_keys_that_are_none(self, tmp_path):
        train(tmp_path / "run", steps=1)
        with pytest.raises(ConfigError, match="the key epochs cannot be used with a trained model"):
            hal.predict(tmp_path / "run", np.zeros((1, 20, 20, 1)), epochs=3)


MINE = """
from hal import nn
from hal.data import Wanted
from pathlib import Path

Path({mark!r}).write_text("ran")

class Mine(nn.Classifier):
    defaults = nn.Defaults(epochs=2, lr=1e-3, batch=64)

    def __init__(self, config, data):
        super().__init__(config, data)
        self.net = nn.Sequential(nn.Flatten(), nn.Dense(data.classes))

    @classmethod
    def wanted(cls, config):
        return Wanted("image", (8, 8, 1))
"""


class TestCode:
    """The file of a model is run because the command line names it, or because this user wrote the folder here."""

    @pytest.fixture
    def run(self, tmp_path):
        (tmp_path / "mine.py").write_text(MINE.format(mark=str(tmp_path / "mark")))
        name = f"{tmp_path / 'mine.py'}:Mine"
        hal.train(model=name, backend="cpu", threads=1, steps=2, out=str(tmp_path / "run"))
        (tmp_path / "mark").unlink()
        code.file_module.cache_clear()
        for each in [each for each in sys.modules if each.startswith("hal_user_mine")]:
            del sys.modules[each]
        return tmp_path / "run", name

    def test_own_runs_go_on(self, run, tmp_path):
        hal.train(resume=str(run[0]), steps=3)
        assert (tmp_path / "mark").exists()

    @pytest.mark.parametrize(
        "how",
        [
            lambda folder: hal.train(resume=str(folder), steps=3),
            lambda folder: hal.predict(folder, np.zeros((1, 8, 8, 1))),
        ],
        ids=["resume", "predict"],
    )
    def test_those_of_others_do_not(self, run, tmp_path, monkeypatch, how):
        monkeypatch.setenv("HAL_STATE", str(tmp_path / "another user"))
        with pytest.raises(CheckpointError, match="it was not written by you on this machine") as caught:
            how(run[0])
        assert f"model={run[1]}" in caught.value.fix
        assert not (tmp_path / "mark").exists(), "nothing was executed"

    def test_those_of_others_do_where_named(self, run, tmp_path, monkeypatch):
        monkeypatch.setenv("HAL_STATE", str(tmp_path / "another user"))
        hal.train(resume=str(run[0]), steps=3, model=run[1])
        assert (tmp_path / "mark").exists()


class TestFolder:
    def test_a_folder_with_other_files(self, pets, tmp_path):
        before = bytes_of(pets)
        with pytest.raises(ConfigError, match="already contains other files"):
            pet_run(pets, pets, steps=1)
        assert bytes_of(pets) == before

    def test_an_empty_folder(self, tmp_path):
        (tmp_path / "run").mkdir()
        train(tmp_path / "run", steps=1)

    def test_two_runs_in_one(self, tmp_path):
        train(tmp_path / "run", steps=1)
        with locked(tmp_path / "run", ""), pytest.raises(InUseError, match="is in use by process"):
            hal.train(resume=str(tmp_path / "run"), steps=2)
        hal.train(resume=str(tmp_path / "run"), steps=2)

    def test_nothing_is_left_of_a_request_that_was_wrong(self, tmp_path):
        train(tmp_path / "run", steps=1)
        with pytest.raises(CheckpointError):
            hal.train(resume=str(tmp_path / "run"), steps=2, out=str(tmp_path / "other"), model={"dense": 9})
        assert not (tmp_path / "other").exists()


class TestBeforeTheFirstStep:
    def test_one_class(self, pets, tmp_path):
        shutil.move(pets, tmp_path / "data" / "inner")
        with pytest.raises(DataError, match="of only one class, inner") as caught:
            pet_run(tmp_path / "data", tmp_path / "run", steps=1)
        assert f"data=images:{tmp_path / 'data' / 'inner'}" in caught.value.fix
        assert not (tmp_path / "run").exists()

    def test_a_damaged_held_out_picture(self, pets, tmp_path):
        for path in (pets / "bat").iterdir():
            path.write_bytes(path.read_bytes()[:60])
        with pytest.raises(DataError, match="is not an image that can be decoded"):
            pet_run(pets, tmp_path / "run", epochs=1)
        assert not (tmp_path / "run").exists()

    @pytest.mark.parametrize("keys", [{"batch": 1}, {"batch": 4, "accumulate": 4}])
    def test_batch_statistics_of_one_sample(self, tmp_path, keys):
        (tmp_path / "mine.py").write_text(
            MINE.format(mark=str(tmp_path / "mark")).replace("Flatten(), ", "Flatten(), nn.BatchNorm(), ")
        )
        with pytest.raises(ShapeError, match="batch_norm was given x of shape"):
            hal.train(model=f"{tmp_path}/mine.py:Mine", backend="cpu", steps=1, out=str(tmp_path / "run"), **keys)
        assert not (tmp_path / "run").exists()

    def test_a_damaged_picture_to_train_on(self, pets, tmp_path):
        for path in sorted((pets / "bat").iterdir())[1:]:
            path.write_bytes(path.read_bytes()[:-30])
        with pytest.raises(DataError, match="is not an image that can be decoded"):
            pet_run(pets, tmp_path / "run", epochs=1)
        assert not (tmp_path / "run").exists()

    def test_the_first_lines_say_what_is_learned_from(self, pets, tmp_path):
        (pets / "bat" / "notes.txt").write_text("x")
        found = command(
            "run", "model=cnn", "model.filters=[4,4,4]", "model.dense=8", "model.size=20", "backend=cpu", "threads=1",
            f"data=images:{pets}", "steps=1", "batch=16", f"out={tmp_path / 'run'}",
        )  # fmt: skip
        assert "inputs: 20×20×1, float32" in found.stdout
        assert "2 classes (training + validation samples): bat 16+4, cat 16+4" in found.stdout
        assert "1 .txt" in found.stdout


class TestSavedFirst:
    def test_an_epoch_is_saved_before_it_is_measured(self, tmp_path, monkeypatch):
        def fails(*_, **__):
            raise DataError("a held-out sample is damaged")

        monkeypatch.setattr("hal.run.trainer.evaluate_samples", fails)
        with pytest.raises(DataError):
            train(tmp_path / "run", epochs=2)
        monkeypatch.undo()
        assert last(tmp_path / "run").meta["position"]["step_in_epoch"] == 4
        hal.train(resume=str(tmp_path / "run"))
        train(tmp_path / "whole", epochs=2)
        assert_same_end(tmp_path / "whole", tmp_path / "run")


def test_every_signal_that_ends_a_process_saves():
    before = signal.getsignal(signal.SIGHUP)
    with Interrupt() as interrupt:
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGHUP)
        assert interrupt.asked
    assert signal.getsignal(signal.SIGHUP) == before


def test_a_second_ctrl_c_is_an_interruption(tmp_path):
    class Twice(RunObserver):
        def step(self, *_):
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", Twice(), epochs=2)
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    assert record["status"] == "interrupted"
    assert "without saving" in record["error"]


def test_the_checkpoint_says_what_it_needs(tmp_path):
    train(tmp_path / "run", steps=1)
    meta = json.loads((checkpoint.latest(tmp_path / "run") / "checkpoint.json").read_text())
    assert meta["setup"]["data"]["source"] == "synthetic:80"
    assert Plan.model_validate(meta["setup"]["plan"]).batch == 16
    RunConfig.model_validate(meta["config"])
