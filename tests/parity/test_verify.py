"""The command: side by side, to a trace and against one; what is refused, what is shown, with which status."""

import json
import os

import numpy as np
import pytest
from parity_helpers import CNN, GAN, WORDS, Defaults, OnePercent, OtherCpu, with_ops
from typer.testing import CliRunner

import hal
from hal.cli.app import app
from hal.errors import ConfigError, RunError, UnavailableError, UnsupportedError
from hal.parity import Verification, store


def command(*words, columns=80):
    return CliRunner().invoke(app, ["verify", *map(str, words)], env={"COLUMNS": str(columns)})


# Agreement and disagreement


def test_a_port_that_is_right(other):
    other(Defaults)
    done = command(*WORDS, "backends=cpu,other")
    assert done.exit_code == 0, done.output
    assert "other:0 agrees with cpu:0: 14 ops forward and backward, 10 gradients" in " ".join(done.stdout.split())
    assert "✗" not in done.stdout
    said = " ".join(done.stdout.split())
    assert "of 14 ops, " in said
    assert "10 optimizer updates, 4 losses over 3 steps" in said
    assert "choices among equal values (2): in the gradients of max, min and max_pool2d, only the sum over" in said
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "cpu:0: running each op forward and backward" in done.stderr


def test_a_port_that_is_wrong(other):
    other(with_ops(OnePercent))
    done = command(*WORDS, "backends=cpu,other")
    assert done.exit_code == 1
    said = " ".join(done.stdout.split())
    assert "→ 9 body/dense linear 16×8 ✗ 1e-02" in said
    assert "does not agree with cpu:0, first at op 9, body/dense linear: its result is off by up to 1.0e-02" in said
    assert "1 more op differs too" in said
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_json_has_everything(other):
    other(with_ops(OnePercent))
    done = command(*WORDS, "backends=cpu,other", "--json")
    assert done.exit_code == 1
    found = Verification.model_validate(json.loads(done.stdout, parse_constant=pytest.fail))
    assert len(found.comparisons[0].ops) == 14
    amount = found.comparisons[0].compared
    assert (amount.ops, amount.gradients, amount.updates, amount.losses, amount.steps) == (14, 10, 10, 4, 3)
    assert amount.values > 16 * 18 * 18 * 4
    assert amount.op_gradient_values > amount.gradient_values > 0
    assert all(each.count > 0 and each.why for each in amount.skipped)
    assert found.comparisons[0].first.where == "body/dense linear"
    assert "does not agree" in done.stderr


def test_long_models_are_shown_in_part(other):
    other(with_ops(OnePercent))
    words = ("model=gan", "model.size=20", "model.width=8", "model.noise=8", "data=synthetic:40", "batch=4", "steps=1")
    done = command(*words, "backends=cpu,other")
    said = " ".join(done.stdout.split())
    assert "generator/dense linear" in said
    assert "of 60 ops are shown: the first that exceed the tolerance and those that deviate most" in said
    assert len(done.stdout.splitlines()) < 45


def test_several_devices_and_a_file(other, tmp_path):
    other(OtherCpu)
    out = tmp_path / "new" / "found.json"
    found = hal.verify(**CNN, backends=["cpu", "other"], out=str(out))
    assert Verification.model_validate_json(out.read_text()) == found
    with pytest.raises(ConfigError, match="already exists and is not overwritten"):
        hal.verify(**CNN, backends=["cpu", "other"], out=str(out))


# Traces


def test_against_a_trace(recorded, other):
    other(Defaults)
    done = command(f"against={recorded}", "backend=other", "--json")
    assert done.exit_code == 0, done.output
    found = Verification.model_validate(json.loads(done.stdout))
    assert (str(found.reference), str(found.comparisons[0].side)) == ("cpu:0", "other:0")
    assert found.subject.workload.keys["filters"] == [4, 6, 4]
    assert len(found.comparisons[0].losses) == 3


def test_a_fault_against_a_trace(recorded, other):
    other(with_ops(OnePercent))
    assert command(f"against={recorded}", "backend=other").exit_code == 1


def test_the_same_machine_later(recorded):
    found = hal.verify(against=str(recorded), backend="cpu", layout="nchw")
    assert found.agrees
    done = command(f"against={recorded}", "backend=cpu")
    assert "cpu:0 agrees with the trace" in done.stdout


def test_a_trace_holds_what_was_traced(tmp_path):
    folder = tmp_path / "gan"
    hal.verify(**GAN, backend="cpu", record=str(folder))
    trace = store.load(folder)
    assert {op.part for op in trace.ops} == {"discriminator", "generator"}
    store.save(trace, tmp_path / "copy")
    for name in ("trace.json", "trace.safetensors"):
        assert (tmp_path / "copy" / name).read_bytes() == (folder / name).read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "gan"]


def test_a_trace_is_not_written_over_anything(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="already exists and is not overwritten"):
        hal.verify(**CNN, backend="cpu", record=str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_trace_may_be_written_to_an_empty_folder(tmp_path):
    hal.verify(**{**CNN, "steps": 1}, backend="cpu", record=str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["trace.json", "trace.safetensors"]


def test_a_trace_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match="No space left"):
        hal.verify(**{**CNN, "steps": 1}, backend="cpu", record=str(tmp_path / "trace"))
    assert list(tmp_path.iterdir()) == []


# Refused


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["model=cnn"], 2, "there is nothing to compare with"),
        (["model=cnn", "backends=cpu"], 2, "names one device, but a comparison needs two"),
        (["model=cnn", "backends=cpu,cpu:0"], 2, "names cpu:0 twice"),
        (["model=cnn", "backends=cpu,cqu"], 2, "backend=cqu is not known"),
        (["model=cnn", "backends=cpu,null"], 2, "computes only shapes and costs"),
        (["backends=cpu,null"], 2, "no model was given"),
        (["model=cnn", "backends=cpu,null", "backend=cpu"], 2, "backend= or device= was given too"),
        (["model=cnn", "backends=cpu,null", "record=x"], 2, "backends= and record= were given together"),
        (["model=cnn", "record=x", "compile=max"], 2, "needs compile=eager"),
        (["model=cnn", "record=x", "parallel=dp=2"], 2, "a single device on each side"),
        (["model=cnn", "record=x", "steps=0"], 2, "steps=0"),
        (["model=cnn", "record=x", "data.augment=flip"], 2, "devices cannot be compared"),
        (["model=cnn", "record=x", "backend=cpu", "precision=tf32"], 2, "precision=tf32 is not supported"),
        (["model=cnn", "recrod=x"], 2, "did you mean record?"),
        (["against=nowhere"], 2, "there is no trace in nowhere"),
    ],
)
def test_wrong_requests(words, status, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = command(*words, columns=200)
    assert done.exit_code == status, done.output
    assert said in done.stderr
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_a_backend_that_is_not_here(other):
    class Absent(OtherCpu):
        def probe(self):
            return hal.contract.Unavailable("no such card", "buy one")

    other(Absent)
    with pytest.raises(UnavailableError, match="no such card"):
        hal.verify(**CNN, backends=["cpu", "other"])
    assert command(*WORDS, "backends=cpu,other").exit_code == 3


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"model": "rnn"}, "was recorded with model=cnn, but model=rnn was asked for"),
        ({"model": {"name": "cnn", "dense": 9}}, "was recorded with model.dense=8, but model.dense=9 was asked for"),
        ({"precision": "bf16"}, "was recorded with precision=fp32, but precision=bf16 was asked for"),
        ({"batch": 8}, "was recorded with batch=16, but batch=8 was asked for"),
        ({"seed": 1}, "was recorded with seed=0, but seed=1 was asked for"),
        ({"steps": 4}, "was recorded with steps=3, but steps=4 was asked for"),
        ({"data": "digits", "model": {"name": "cnn"}}, None),
    ],
)
def test_a_trace_of_something_else(recorded, keys, said):
    if said is None:  # the batches come from the trace: the data says how many classes there are, and no more
        assert hal.verify(against=str(recorded), backend="cpu", **keys).agrees
        return
    with pytest.raises(ConfigError, match=said):
        hal.verify(against=str(recorded), backend="cpu", **keys)


def test_data_of_another_kind(recorded, tmp_path):
    images, labels = np.zeros((40, 20, 20, 1), np.float32), np.arange(40) % 3
    np.savez(tmp_path / "three.npz", x_train=images, y_train=labels)
    with pytest.raises(ConfigError, match="another version of model=cnn or with other data: head/bias has"):
        hal.verify(against=str(recorded), backend="cpu", data=f"npz:{tmp_path / 'three.npz'}")


def test_unsupported_on_the_second_device_is_found_before_anything_runs(other):
    class OnlyFp32(OtherCpu):
        def devices(self):
            from dataclasses import replace

            from hal.contract.device import Precision

            found = super().devices()
            none = {**found[0].capabilities.precisions, "bf16": Precision(supported=False)}
            return [replace(d, capabilities=replace(d.capabilities, precisions=none)) for d in found]

    other(OnlyFp32)
    with pytest.raises(UnsupportedError, match="precision=bf16 is not supported on other:0"):
        hal.verify(**CNN, backends=["cpu", "other"], precision="bf16")
