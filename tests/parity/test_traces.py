"""Traces that are damaged, incomplete or name code: refused before anything is compared."""

import json
import os
import shutil

import numpy as np
import pytest
from parity_helpers import CNN
from safetensors.numpy import load_file, save_file

import hal
from hal.errors import ConfigError, NotFoundError, RunError
from hal.parity import store


def write_meta(trace, change):
    """Change what a trace means; its checksum is right, since whoever changed it knew how."""
    path = trace / "trace.json"
    meta = json.loads(path.read_text())
    change(meta)
    meta["crc32"] = store._checksum((trace / "trace.safetensors").read_bytes(), meta)
    path.write_text(json.dumps(meta))


def write_arrays(trace, change):
    path = trace / "trace.safetensors"
    arrays = load_file(path)
    change(arrays)
    save_file(arrays, path)
    write_meta(trace, lambda meta: None)


def test_a_model_that_calls_other_ops(trace):
    write_meta(trace, lambda meta: meta["ops"][4].update(op="avg_pool2d"))
    with pytest.raises(RunError, match="calls max_pool2d in body/maxpool2d_1 where the reference has avg_pool2d"):
        hal.verify(against=str(trace), backend="cpu")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda meta: meta.update(losses=[]), "has the losses of 0 steps, but 3 were taken"),
        (lambda meta: meta["subject"].update(steps=2), "has 3 batches for 2 steps"),
        (lambda meta: meta["losses"].__setitem__(1, {}), "losses of step 2: none instead of loss"),
        (lambda meta: meta.update(loss_after={}), "losses after training of objectives none instead of classify"),
        (lambda meta: meta.update(amplified={}), "the losses of step 1: loss instead of none"),
        (lambda meta: meta.update(amplified={}, losses=[{}, {}, {}]), "it has no losses"),
        (lambda meta: meta["amplified"].update(loss="Infinity"), "how far a rounding moves loss is inf"),
        (lambda meta: meta["amplified"].update(loss=-1), "how far a rounding moves loss is -1"),
    ],
)
def test_what_is_said_to_be_compared_is_there(trace, change, said):
    write_meta(trace, change)
    with pytest.raises(NotFoundError, match=said) as caught:
        hal.verify(against=str(trace), backend="cpu")
    assert "record a new trace" in caught.value.fix


def _fewer_ops(meta):
    meta["ops"] = meta["ops"][:-1]


def _without(prefix):
    def change(arrays):
        for name in [name for name in arrays if name.startswith(prefix)]:
            del arrays[name]

    return change


def _filled(name, value):
    return lambda arrays: arrays.update({name: np.full_like(arrays[name], value)})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_without("gradients/classify/head/bias"), "the gradients of classify: head/bias is missing in the trace"),
        (_without("updates/classify/body"), "the updates of classify: body/conv2d/bias is missing in the trace"),
        (_without("updates/"), "does not hold what trace.json lists"),
        (_without("trained/params/head/bias"), "the trained parameters: head/bias is missing"),
        (_without("ops/00003"), "does not hold what trace.json lists"),
        (lambda arrays: arrays.update({"ops/00099/outputs/0": np.zeros(3)}), "does not hold what trace.json lists"),
        (lambda arrays: arrays.update({"given": np.zeros(3)}), "does not hold what trace.json lists"),
        (_filled("given/params/head/bias", np.nan), "head/bias has values that are not finite"),
        (_filled("gradients/classify/head/bias", np.nan), "gradients of classify: head/bias has values that are not"),
        (_filled("given/batches/00001/labels", 12), "batch 1: there are labels outside 0 to 9"),
        (_filled("given/batches/00001/inputs", np.inf), "batch 1: inputs has values that are not finite"),
        (
            lambda arrays: arrays.update({"given/batches/00000/inputs": np.zeros((16, 3), np.float32)}),
            r"batch 0: inputs has shape \(16, 3\)",
        ),
    ],
)
def test_arrays_that_are_compared_are_there(trace, change, said):
    write_arrays(trace, change)
    with pytest.raises(NotFoundError, match=said):
        hal.verify(against=str(trace), backend="cpu")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_fewer_ops, "does not hold what"),
        (lambda meta: meta["ops"][1].update(gradients=["y"]), "has the gradients x where the reference has y"),
        (lambda meta: [each.update(z=each.pop("loss")) for each in (*meta["losses"], meta["amplified"])], "losses"),
    ],
)
def test_what_is_compared_has_the_right_names(trace, change, said):
    write_meta(trace, change)
    with pytest.raises((NotFoundError, RunError), match=said):
        hal.verify(against=str(trace), backend="cpu")


def test_a_trace_of_fewer_ops(trace):
    write_arrays(trace, _without("ops/00013"))
    write_meta(trace, _fewer_ops)
    with pytest.raises(RunError, match="the model calls mean in classify where the reference has no op"):
        hal.verify(against=str(trace), backend="cpu")


def test_a_trace_of_more_ops(trace):
    def more(arrays):
        arrays["ops/00014/outputs/0"] = np.zeros(3, np.float32)

    write_arrays(trace, more)
    op = {"part": "classify", "layer": "", "op": "relu", "dtypes": ["float32"], "gradients": []}
    op |= {"output_scales": [], "gradient_scales": []}
    write_meta(trace, lambda meta: meta["ops"].append(op))
    with pytest.raises(RunError, match="calls no more ops where the reference has relu in classify"):
        hal.verify(against=str(trace), backend="cpu")


# Code that a trace names


MODEL = """
import pathlib
pathlib.Path(__file__).with_name("ran").touch()
from hal.models.cnn import CNN
class M(CNN):
    pass
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A trace of a model in a file, whose file says when it is run."""
    monkeypatch.setenv("HAL_STATE", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(MODEL)
    keys = {**CNN, "steps": 1, "model": {**CNN["model"], "name": "net.py:M"}}
    hal.verify(**keys, backend="cpu", record="trace")
    (tmp_path / "ran").unlink()
    return tmp_path


def test_a_model_of_this_user_is_run_again(own):
    assert hal.verify(against="trace", backend="cpu").agrees


@pytest.mark.parametrize("how", ["another user", "another folder", "another name", "in the keys", "no seal"])
def test_a_file_that_only_the_trace_names_is_not_run(own, monkeypatch, how):
    (own / "evil.py").write_text(MODEL)
    if how == "another user":
        monkeypatch.setenv("HAL_STATE", str(own / "other"))
    elif how == "another folder":
        (own / "inner").mkdir()
        for name in ("trace", "net.py"):
            shutil.move(own / name, own / "inner" / name)
        monkeypatch.chdir(own / "inner")
    elif how == "another name":
        write_meta(own / "trace", lambda meta: meta["subject"]["workload"].update(model="evil.py:M"))
    elif how == "in the keys":
        keys = {"name": "evil.py:M", **CNN["model"]}
        write_meta(
            own / "trace",
            lambda meta: meta["subject"].update(workload={"model": "cnn", "keys": keys, "data": "synthetic:80"}),
        )
        assert hal.verify(against="trace", backend="cpu").subject.workload.model == "cnn"
        assert not list(own.rglob("ran"))
        return
    else:
        write_meta(own / "trace", lambda meta: meta.update(seal=""))
    with pytest.raises(ConfigError, match="hal runs no file because a trace names it") as caught:
        hal.verify(against="trace", backend="cpu")
    assert "model=path/to/file.py:Name" in caught.value.fix
    assert not list(own.rglob("ran"))


def test_a_file_that_the_command_names_is_run(own, monkeypatch):
    monkeypatch.setenv("HAL_STATE", str(own / "other"))
    (own / "mine").mkdir()
    (own / "net.py").rename(own / "mine" / "net.py")
    assert hal.verify(against="trace", backend="cpu", model="mine/net.py:M").agrees
    assert (own / "mine" / "ran").exists()
    with pytest.raises(ConfigError, match=r"recorded with model=net.py:M, but model=mine/net.py:N was asked for"):
        hal.verify(against="trace", backend="cpu", model="mine/net.py:N")
    with pytest.raises(ConfigError, match=r"recorded with model=net.py:M, but model=cnn was asked for"):
        hal.verify(against="trace", backend="cpu", model="cnn")


def _cut(trace):
    path = trace / "trace.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def _flip(trace):
    path = trace / "trace.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def _meta(change):
    def spoil(trace):
        path = trace / "trace.json"
        meta = json.loads(path.read_text())
        change(meta)
        path.write_text(json.dumps(meta))

    return spoil


def _sealed(change):
    return lambda trace: write_meta(trace, change)


def _pipe(name):
    def spoil(trace):
        (trace / name).unlink()
        os.mkfifo(trace / name)

    return spoil


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_cut, "trace.safetensors or trace.json is truncated or was changed"),
        (_flip, "trace.safetensors or trace.json is truncated or was changed"),
        (_meta(lambda meta: meta.update(losses=[])), "trace.safetensors or trace.json is truncated or was changed"),
        (_meta(lambda meta: meta.pop("subject")), "trace.safetensors or trace.json is truncated or was changed"),
        (_pipe("trace.safetensors"), "it is not a regular file"),
        (_pipe("trace.json"), "there is no trace in"),
        (lambda trace: (trace / "trace.safetensors").unlink(), "No such file"),
        (lambda trace: (trace / "trace.json").unlink(), "there is no trace in"),
        (lambda trace: (trace / "trace.json").write_text('{"schema'), "trace.json does not hold a trace as JSON"),
        (lambda trace: (trace / "trace.json").write_text("[1]"), "trace.json does not hold a trace as JSON"),
        (
            _meta(lambda meta: meta.update(schema_version=1)),
            "has schema version 1, but this version of hal reads only 3",
        ),
        (_sealed(lambda meta: meta.pop("subject")), "trace.json does not hold a trace as JSON"),
        (_sealed(lambda meta: meta["ops"].append(meta["ops"][0])), "does not hold what trace.json lists"),
        (_sealed(lambda meta: meta.update(batches=99)), "does not hold what trace.json lists"),
    ],
)
def test_damaged_traces(trace, spoil, said):
    spoil(trace)
    with pytest.raises(NotFoundError) as caught:
        hal.verify(against=str(trace), backend="cpu")
    assert said in str(caught.value)
    assert caught.value.fix
