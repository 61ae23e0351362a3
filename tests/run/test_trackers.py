"""``log=``: what TensorBoard, Weights & Biases and MLflow are told, and what happens where they fail."""

import sys
import types

import pytest
from run_helpers import CNN, Watching, command, pairs, train

import hal
from hal.errors import RunError
from hal.run.trackers import TRACKERS, WeightsAndBiases

DUMPED = types.SimpleNamespace(model_dump=lambda mode="": {})
JOB = types.SimpleNamespace(workload=DUMPED, plan=DUMPED, device="cpu:0")


def test_tensorboard(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    watching = Watching()
    record = train(tmp_path / "run", watching, epochs=2, log="tensorboard")
    hal.train(resume=str(tmp_path / "run"), epochs=3)
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    assert {"train/loss", "validation/accuracy", "validation/loss", "speed/samples_per_s", "lr"} <= set(
        events.Tags()["tensors"]
    )
    found = [(event.step, event.tensor_proto.float_val[0]) for event in events.Tensors("validation/loss")]
    assert [step for step, _ in found] == [4, 8, 12]
    assert found[0][1] == pytest.approx(record.epochs[0].validation["loss"])
    assert any(note.startswith("to watch the run: tensorboard --logdir") for note in watching.notes)


class Told:
    """Remembers the calls of a stand-in for a package."""

    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        return lambda *args, **kwargs: self.calls.append((name, args, kwargs)) or self


def test_wandb(tmp_path, monkeypatch):
    told = Told()
    told.summary = {}
    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=told.init))
    record = train(tmp_path / "run", epochs=2, log=("wandb",))
    names = [name for name, _, _ in told.calls]
    assert names == ["init", "log", "log", "finish"]
    assert told.calls[0][2]["config"]["model"] == "cnn"
    assert told.calls[2][1][0]["validation/accuracy"] == record.epochs[1].validation["accuracy"]
    assert told.calls[2][2] == {"step": 8}
    assert told.summary == record.results


def test_mlflow(tmp_path, monkeypatch):
    told = Told()
    monkeypatch.setitem(sys.modules, "mlflow", told)
    train(tmp_path / "run", epochs=1, log="mlflow")
    calls = [call for call in told.calls if not call[0].startswith("__")]
    assert [name for name, _, _ in calls] == ["start_run", "log_params", "log_metrics", "end_run"]
    assert calls[1][1][0]["batch"] == 16
    assert calls[3][1] == ("FINISHED",)


class Breaking(Watching):
    """An observer that ends the run with an error after its first epoch."""

    def epoch(self, epoch):
        raise ValueError("no more")


@pytest.mark.parametrize(
    ("name", "said"), [("mlflow", ("end_run", ("FAILED",), {})), ("wandb", ("finish", (), {"exit_code": 1}))]
)
def test_a_run_that_fails_is_ended_as_such(tmp_path, monkeypatch, name, said):
    told = Told()
    told.summary = {}
    monkeypatch.setitem(sys.modules, name, told)
    with pytest.raises(RunError, match="no more"):
        train(tmp_path / "run", Breaking(), epochs=2, log=name)
    assert told.calls[-1] == said


def test_what_tells_of_a_failure_does_not_hide_it(tmp_path):
    class Worse(Breaking):
        def failed(self, record, folder):
            self.record = record
            raise KeyError("this too")

    observer = Worse()
    with pytest.raises(RunError, match="no more"):
        train(tmp_path / "run", observer, epochs=1)
    assert (observer.record.status, "no more" in observer.record.error) == ("failed", True)


def test_runs_of_wandb_are_told_apart_by_their_whole_path(tmp_path, monkeypatch):
    told = Told()
    told.summary = {}
    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=told.init))
    for folder in ("a", "b", "a"):
        WeightsAndBiases(print).begin(JOB, tmp_path / folder / "run", None)
    first, second, again = (about["id"] for _, _, about in told.calls)
    assert first != second
    assert first == again


def test_one_that_fails_ends_no_run(tmp_path, monkeypatch):
    def init(**about):
        raise ConnectionError("no network")

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))
    watching = Watching()
    assert train(tmp_path / "run", watching, epochs=2, log="wandb").status == "done"
    said = "log=wandb stopped, and the run goes on without it: ConnectionError: no network"
    assert watching.notes.count(said) == 1


@pytest.mark.parametrize("name", TRACKERS)
def test_a_package_that_is_missing(tmp_path, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    done = command("run", *pairs(CNN), f"out={tmp_path / 'run'}", f"log={name}")
    assert (done.exit_code, f"log={name} needs the package {name}" in done.stderr) == (3, True)
    assert not (tmp_path / "run").exists()


def test_an_unknown_one(tmp_path):
    done = command("run", *pairs(CNN), f"out={tmp_path / 'run'}", "log=tensorbord")
    assert (done.exit_code, "did you mean tensorboard" in done.stderr) == (2, True)
