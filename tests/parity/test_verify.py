"""The command: side by side, to a trace and against one; what is refused, what is shown, with which status."""

import json
import os
import shutil

import numpy as np
import pytest
from parity_helpers import CNN, GAN, Defaults, OnePercent, OtherCpu, with_ops
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

import hal
from hal.cli.app import app
from hal.errors import ConfigError, NotFoundError, RunError, UnavailableError, UnsupportedError
from hal.parity import Verification, store

WORDS = (
    "model=cnn",
    "model.filters=[4,6,4]",
    "model.dense=8",
    "model.size=20",
    "data=synthetic:80",
    "steps=3",
)


def command(*words, columns=80):
    return CliRunner().invoke(app, ["verify", *map(str, words)], env={"COLUMNS": str(columns)})


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("traces") / "cnn"
    found = hal.verify(**CNN, backend="cpu", record=str(folder))
    assert (found.agrees, found.comparisons, found.recorded) == (True, (), str(folder))
    return folder


@pytest.fixture
def trace(recorded, tmp_path):
    """A trace to spoil."""
    return shutil.copytree(recorded, tmp_path / "trace")


# Agreement and disagreement


def test_a_port_that_is_right(other):
    other(Defaults)
    done = command(*WORDS, "backends=cpu,other")
    assert done.exit_code == 0, done.output
    assert "other:0 agrees with cpu:0: 14 ops forward and backward, 10 gradients" in " ".join(done.stdout.split())
    assert "✗" not in done.stdout
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
    def full(path, content):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(store, "write_whole", full)
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
    assert "model=path/to/file.py:ClassName" in caught.value.fix
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
            "has schema version 1, but this version of hal reads only 2",
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
