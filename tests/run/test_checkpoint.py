"""Checkpoints: what was saved is loaded; damage is noticed and named."""

import json
import re

import numpy as np
import pytest
from run_helpers import CNN, command, content, flat, last, made, steps, train

from hal.errors import CheckpointError, NotFoundError
from hal.run.checkpoint import SCHEMA, Checkpoint, latest, load, save

# Round trips


def test_what_was_saved_is_loaded(tmp_path):
    path = save(tmp_path, made())
    found = load(path)
    assert path.name == "step-000000003"
    assert (found.step, found.path) == (3, path)
    assert found.meta["config"] == {"model": {"name": "cnn"}}
    assert found.meta["position"] == {"sums": {"loss": 0.1}}
    wanted, arrays = flat(made().carry), flat(found.carry)
    assert arrays.keys() == wanted.keys()
    for name, array in arrays.items():
        assert array.dtype == np.asarray(wanted[name]).dtype
        assert array.shape == np.shape(wanted[name])
        assert np.array_equal(array, wanted[name])


def test_arrays_that_lie_in_another_order_keep_their_logical_one(tmp_path):
    kernel = np.arange(24, dtype=np.float32).reshape(2, 3, 4).transpose(2, 0, 1)
    found = load(save(tmp_path, Checkpoint(1, {"params": {"kernel": kernel}}, {})))
    assert np.array_equal(found.carry["params"]["kernel"], kernel)


def test_a_checkpoint_is_safetensors_and_json(tmp_path):
    path = save(tmp_path, made())
    assert steps(path) == ["arrays.safetensors", "checkpoint.json"]
    assert json.loads((path / "checkpoint.json").read_text())["schema_version"] == SCHEMA


def test_the_last_two_are_kept(tmp_path):
    for step in (1, 2, 5, 9):
        save(tmp_path, made(step))
    assert steps(tmp_path) == ["step-000000005", "step-000000009"]


def test_saving_a_step_again_replaces_it(tmp_path):
    save(tmp_path, made(1))
    save(tmp_path, made(2))
    save(tmp_path, made(2, note="second"))
    assert steps(tmp_path) == ["step-000000001", "step-000000002"]
    assert load(tmp_path / "step-000000002").meta["note"] == "second"


def test_going_on_from_an_earlier_one_removes_the_later(tmp_path):
    for step in (8, 9):
        save(tmp_path, made(step))
    save(tmp_path, made(3))
    assert steps(tmp_path) == ["step-000000003"]


def test_the_latest(tmp_path):
    for step in (9, 10):
        save(tmp_path / "checkpoints", made(step))
    assert latest(tmp_path).name == "step-000000010"
    assert latest(tmp_path / "checkpoints" / "step-000000009").name == "step-000000009"


def test_one_that_was_not_kept(tmp_path):
    save(tmp_path / "checkpoints", made(9))
    with pytest.raises(NotFoundError, match="kept step-000000009") as caught:
        latest(tmp_path / "checkpoints" / "step-000000003")
    assert "keep=all" in caught.value.fix


@pytest.mark.parametrize("folder", ["", "checkpoints", "nowhere"])
def test_there_is_none(tmp_path, folder):
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(NotFoundError, match="there is no checkpoint in") as caught:
        latest(tmp_path / folder)
    assert "resume=" in caught.value.fix


# Damage


def _truncated(path):
    path.write_bytes(path.read_bytes()[:-7])


def _emptied(path):
    path.write_bytes(b"")


def _flipped(path):
    content = bytearray(path.read_bytes())
    content[len(content) * 2 // 3] ^= 0x10
    path.write_bytes(bytes(content))


def _removed(path):
    path.unlink()


@pytest.mark.parametrize("damage", [_truncated, _emptied, _flipped, _removed])
@pytest.mark.parametrize("name", ["arrays.safetensors", "checkpoint.json"])
def test_damage_is_noticed(tmp_path, name, damage):
    path = save(tmp_path, made())
    damage(path / name)
    with pytest.raises(CheckpointError, match=re.escape(f"the checkpoint {path} is damaged: ")) as caught:
        load(path)
    assert caught.value.fix == "start a new run without resume=, because no earlier checkpoint is intact either"
    assert caught.value.exit_status == 1


def test_every_byte_of_the_arrays_counts(tmp_path):
    path = save(tmp_path, made())
    whole = (path / "arrays.safetensors").read_bytes()
    for at in range(0, len(whole), 13):
        (path / "arrays.safetensors").write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(CheckpointError, match="is damaged"):
            load(path)


@pytest.mark.parametrize(
    ("before", "after"), [('"loss": 0.1', '"loss": 0.2'), ('"cnn"', '"rnn"'), ('"step": 3', '"step": 4')]
)
def test_a_changed_value_in_the_json_is_noticed(tmp_path, before, after):
    path = save(tmp_path, made()) / "checkpoint.json"
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))
    with pytest.raises(CheckpointError, match=r"arrays\.safetensors or checkpoint\.json is truncated or was changed"):
        load(path.parent)


@pytest.mark.parametrize("text", ["[1, 2]", "3", "null", '"step"', "{}"])
def test_json_of_another_form(tmp_path, text):
    path = save(tmp_path, made())
    (path / "checkpoint.json").write_text(text)
    with pytest.raises(CheckpointError, match="has no schema version"):
        load(path)


@pytest.mark.parametrize("version", [0, 2, None, "1"])
def test_another_schema_version(tmp_path, version):
    path = save(tmp_path, made())
    meta = json.loads((path / "checkpoint.json").read_text())
    (path / "checkpoint.json").write_text(json.dumps({**meta, "schema_version": version}))
    with pytest.raises(
        CheckpointError, match=f"has schema version {version}, but this version of hal reads only {SCHEMA}"
    ) as caught:
        load(path)
    assert caught.value.fix == "resume it with the version of hal that wrote it"


def test_damage_points_to_the_one_before(tmp_path):
    earlier, later = save(tmp_path, made(1)), save(tmp_path, made(2))
    _truncated(later / "arrays.safetensors")
    with pytest.raises(CheckpointError) as caught:
        load(later)
    assert caught.value.fix == f"resume from an earlier checkpoint that is intact: resume={earlier}"


# Through a run


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished") / "run"
    train(folder, steps=6)
    return folder


@pytest.fixture
def run(finished, tmp_path):
    import shutil

    return shutil.copytree(finished, tmp_path / "run")


def test_a_run_keeps_two_checkpoints(finished):
    assert steps(finished / "checkpoints") == ["step-000000004", "step-000000006"]


def test_a_truncated_checkpoint_stops_a_run_before_it_begins(run):
    _truncated(run / "checkpoints" / "step-000000006" / "arrays.safetensors")
    before = content(run)
    result = command("run", f"resume={run}", "steps=8")
    assert result.exit_code == 1
    assert "is damaged" in result.stderr
    assert f"resume={run}/checkpoints/step-000000004" in result.stderr
    assert content(run) == before


def test_going_on_from_the_one_before_supersedes_the_damaged_one(run):
    _truncated(run / "checkpoints" / "step-000000006" / "arrays.safetensors")
    train(base={"resume": str(run / "checkpoints" / "step-000000004")}, steps=5)
    assert steps(run / "checkpoints") == ["step-000000004", "step-000000005"]
    assert last(run).step == 5


@pytest.mark.parametrize(
    ("words", "said", "fix"),
    [
        (["model=rnn"], "is of model=cnn, but model=rnn was asked for", "leave model= out"),
        (
            ["model.dense=9"],
            r"body/dense/bias has shape \(8,\) in the checkpoint and \(9,\) in cnn",
            "started with",
        ),
        (
            ["model.filters=[4,4]"],
            r"body/conv2d_2/bias has shape \(4,\) in the checkpoint and is missing in cnn",
            "started with",
        ),
        (
            ["model.channels=3"],
            r"body/conv2d/kernel has shape \(3, 3, 1, 4\) in the checkpoint",
            "started with",
        ),
    ],
)
def test_a_checkpoint_of_another_model(run, words, said, fix):
    before = content(run)
    result = command("run", f"resume={run}", "steps=8", *words)
    assert result.exit_code == 1
    text = " ".join(result.stderr.split())
    assert re.search(said, text), text
    assert fix in text
    assert content(run) == before


def test_a_model_of_the_same_name_is_no_other(run):
    assert command("run", f"resume={run}", "steps=7", "model=cnn").exit_code == 0
    assert last(run).step == 7
    record = train(base={"resume": str(run), "model": "cnn"}, steps=8)
    assert record.config["model"] == CNN["model"]


def test_damaged_checkpoints_do_not_point_at_each_other(tmp_path):
    train(tmp_path / "a", steps=2, checkpoint=1)
    first, second = sorted((tmp_path / "a" / "checkpoints").glob("step-*"))
    for path in (first, second):
        (path / "arrays.safetensors").write_bytes(b"")
    for path in (first, second):
        with pytest.raises(CheckpointError) as caught:
            load(path)
        assert caught.value.fix == "start a new run without resume=, because no earlier checkpoint is intact either"
