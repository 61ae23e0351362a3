"""Each thing that can go wrong gets one message, the right status, and leaves on disk what was there."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from run_helpers import CNN, RNN_CLASSIFY, command, content, flat, last, pairs, train

from hal import registry
from hal.contract import Unavailable
from hal.errors import ConfigError, NumericsError, OutOfMemoryError, UnsupportedError
from hal.util.files import write_whole

WORDS = [*pairs(CNN), "steps=2"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Each test in an empty folder, which a request that is wrong leaves empty."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def fails(*words, status, said, fix="", verb="run"):
    result = command(verb, *words)
    text = " ".join(result.stderr.split())
    assert result.exit_code == status, result.output
    assert text.startswith("error: ")
    assert text.count("error: ") == 1
    assert "Traceback" not in text
    assert result.stdout == "" or status in (1, 4), "a request that is wrong says nothing on stdout"
    assert re.search(said, text), text
    assert re.search(fix, text), text
    return text


# Requests that are wrong

REQUESTS = [
    ([], "no model was given", "model=cnn"),
    (["model.size=20"], "model is missing", ""),
    (["modle=cnn"], r"unknown key modle; did you mean model\?", ""),
    (["model=cnn", "model.fitlers=3"], r"unknown key model\.fitlers; did you mean model\.filters\?", ""),
    (["model=cnn", "data.augmnt=flip"], r"unknown key data\.augmnt; did you mean data\.augment\?", ""),
    (["model=cnn", "optimizer.betaa1=0"], r"did you mean optimizer\.beta1\?", ""),
    (["model=cnn", "batch=0"], "batch=0: input should be greater than or equal to 1", ""),
    (["model=cnn", "batch=many"], "batch=many: input should be a valid integer", ""),
    (["cnn"], "'cnn' is not of the form key=value", "model=cnn"),
    (["model=cn"], r"model=cn is not known; did you mean cnn\?", "path/to/file.py:Name"),
    (["model=cnn", "backend=cpuu"], r"backend=cpuu is not known; did you mean cpu\?", "use one of: .*cpu"),
    (["model=cnn", "backend=cpu", "precision=tf32"], "precision=tf32 is not supported on cpu:0", "use one of: fp32"),
    (["model=cnn", "backend=cpu", "parallel=tp=64"], "parallel=tp=64 is not supported on cpu:0", "none, dp=N, fsdp=N"),
    (["model=cnn", "parallel=two"], "parallel=two: write none", ""),
    (["model=cnn", "batch=16", "accumulate=3"], "batch=16 cannot be split into accumulate=3", "multiple of 3"),
    (["model=cnn", "data=synthetic:40", "batch=33"], "batch=33 is larger than the training set of 32", "batch=32"),
    (["model=cnn", "data=digitz"], r"data=digitz is not a known source; did you mean digits\?", "use one of: "),
    (["model=cnn", "data=topics"], "gives text data, but the model takes image data", "digits"),
    (["model=rnn", "data=digits"], "takes text data", "topics"),
    (["model=transformer", "data=docstrings"], "takes text data", "; or add model.task=classify$"),
    (["model=transformer", "data=digits"], "takes text data", "; or add model.task=classify model.inputs=features$"),
    (["model=transfer", "data=docstrings"], "takes image data", "; or add model.backbone=minilm$"),
    (["model=transformer", "model.width=30"], "model.width=30 cannot be divided among model.heads=4", "multiple of 4"),
    (["model=transformer", "data.label=a"], r"data\.label= does not apply to data=topics", "csv:FILE"),
    (["model=cnn", "data=images:/nowhere/at/all"], "/nowhere/at/all", "path"),
    (["model=rnn", "data=text:/nowhere.txt"], r"/nowhere\.txt", "path"),
    (["model=cnn", "plan=/nowhere.yaml"], r"cannot read /nowhere\.yaml: No such file", "check the path"),
    (["resume=/nowhere"], "there is no checkpoint in /nowhere", "resume="),
    (["model=cnn", "model.size=10"], r"layer conv2d_2 does not fit an input of \(1, 1, 64\)", ""),
    (["model=gan", "model.size=30"], r"model\.size=30: should be a multiple of 4", ""),
    (["model=cnn", "device=cuda:0", "backend=cpu"], "device=cuda:0|cuda", ""),
    (["model=cnn", "optimizer=sgd", "optimizer.beta1=0.5"], "optimizer sgd has no beta1", "use only: momentum"),
]


@pytest.mark.parametrize(("words", "said", "fix"), REQUESTS, ids=[" ".join(row[0]) or "nothing" for row in REQUESTS])
def test_requests_that_are_wrong(words, said, fix, here):
    status = 3 if any(word.startswith("device=cuda") for word in words) and not _has("cuda") else 2
    fails(*words, status=status, said=said, fix=fix)
    assert list(here.rglob("record.json")) == [], "nothing was run"


def test_a_judge_that_does_not_fit(here):
    result = command("run", "model=gan", "model.size=16", "data=synthetic:40", "batch=8")
    assert result.exit_code == 2
    assert list(here.iterdir()) == []


def test_a_layer_without_filters(here):
    result = command("run", "model=cnn", "model.filters=[8,0]", "data=synthetic:40", "batch=8")
    assert result.exit_code == 2
    assert "model.filters.1=0" in result.stderr
    assert list(here.iterdir()) == []


def test_a_disk_that_is_full(here, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device", "runs/a/checkpoints")

    monkeypatch.setattr("hal.run.checkpoint.save", full)
    fails(*pairs(CNN), "out=full", status=1, said="No space left on device", fix="disk")


def test_augmentation_of_what_is_no_image():
    fails(*pairs(RNN_CLASSIFY), "data.augment=flip", status=2, said="data.augment changes images", fix="leave")


def test_bench_of_more_than_there_is():
    words = [*pairs(CNN), "batch=65", "seconds=0.1"]
    fails(*words, verb="bench", status=2, said="batch=65 is larger than the training set of 64", fix="more data")
    words = [*words, "mode=infer"]
    fails(*words, verb="bench", status=2, said="batch=65 is larger than the 64 samples", fix="synthetic:130")


def _has(name):
    return not isinstance(registry.backend(name).probe(), Unavailable)


@pytest.mark.parametrize("name", [name for name in registry.names() if not _has(name)])
def test_a_backend_that_is_not_here(name, here):
    state = registry.backend(name).probe()
    text = fails("model=cnn", f"backend={name}", status=3, said=f"backend={name} is not available")
    assert state.reason in text, "what is installed and what is missing"
    assert state.fix in text
    assert list(here.iterdir()) == []


def test_a_device_that_is_not_there():
    fails("model=cnn", "backend=cpu", "device=7", status=3, said="device cpu:7 does not exist", fix="cpu:0")


def test_plans_are_not_tuned_yet():
    fails("model=cnn", "plan=tuned", status=3, said="no tuned plan is stored", fix="plan=default")


# Models of one's own

FILES = [
    ("def broken(:\n", "failed while it was imported: SyntaxError"),
    ("import nothing_of_this_name\n", "ModuleNotFoundError"),
    ("x = 3\n", "defines no Mine"),
    ("class Mine:\n    pass\n", "neither a torch.nn.Module nor a hal.nn.Model"),
]


@pytest.mark.parametrize(("text", "said"), FILES)
def test_files_that_hold_no_model(text, said, here):
    (here / "mine.py").write_text(text)
    fails("model=mine.py:Mine", status=2, said=said)


def test_a_file_that_is_not_there():
    fails("model=mine.py:Mine", status=2, said=r"there is no file .*mine\.py", fix="path of a Python file")


# Data


def pictures(folder, count=24):
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            pixels = rng.integers(0, 256, (20, 20), np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{index}.png")
    return folder


def test_a_folder_of_pictures(here):
    words = [*WORDS, f"data=images:{pictures(here / 'pictures')}", "out=run"]
    assert command("run", *words).exit_code == 0


def test_a_corrupt_picture_ends_the_run(here):
    folder = pictures(here / "pictures")
    for path in (folder / "cat").iterdir():
        path.write_bytes(path.read_bytes()[:40])
    fails(
        *WORDS,
        f"data=images:{folder}",
        "out=run",
        status=1,
        said=r"pictures/cat/\d+\.png is not an image that can be decoded",
        fix="replace or remove the file",
    )
    assert not Path("run").exists(), "it was found before the run began"


def test_a_text_that_is_too_short(here):
    (here / "short.txt").write_text("too short")
    fails("model=rnn", "data=text:short.txt", status=1, said="short.txt is too short", fix="longer text")


# What is on disk


def test_a_folder_that_holds_a_run_stays_as_it_is(here):
    train(here / "run", steps=2)
    before = content(here)
    fails(*WORDS, "out=run", status=2, said="out=run already holds a run, which is not overwritten", fix="resume=run")
    assert content(here) == before


def test_a_folder_that_cannot_be_made(here):
    (here / "file").write_text("mine")
    fails(*WORDS, "out=file/run", status=2, said="cannot create the folder file/run: Not a directory", fix="out=")
    assert content(here) == {"file": b"mine"}


def test_files_are_written_whole(here, monkeypatch):
    target = here / "target.json"
    write_whole(target, b"old")

    def full(handle):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space"):
            write_whole(target, b"new")
    assert content(here) == {"target.json": b"old"}, "neither a part nor a temporary file is left"
    write_whole(target, b"new")
    assert content(here) == {"target.json": b"new"}


# Runs that fail


def failed(folder="run"):
    record = json.loads(Path(folder, "record.json").read_text())
    assert record["status"] == "failed"
    assert record["ended"]
    return record


def test_a_loss_that_is_not_finite(here):
    text = fails(*WORDS, "lr=1e9", "steps=8", "out=run", status=1, said="is (nan|inf) by step 4", fix="lower lr=")
    assert "clip=1" in text
    record = failed()
    assert "by step 4" in record["error"]
    assert record["checkpoint"] is None
    assert not Path("run/checkpoints").exists()


def test_a_loss_that_is_not_finite_leaves_the_checkpoint_before(here):
    train(here / "run", steps=6)
    before = content(here / "run" / "checkpoints")
    result = command("run", "resume=run", "lr=1e9", "steps=40")
    assert result.exit_code == 1
    assert "the last checkpoint was not overwritten" in result.stderr
    record = failed()
    assert record["checkpoint"] == "run/checkpoints/step-000000006"
    assert content(here / "run" / "checkpoints") == before
    assert command("run", "resume=run", "steps=7").exit_code == 0, "and can be gone on from"
    assert last("run").step == 7


def test_a_validation_that_is_not_finite_saves_nothing(here):
    # The loss of the one step is finite; what it made of the parameters is not.
    with pytest.raises(NumericsError, match=r"validation loss is (nan|inf) by step 1"):
        train(here / "run", steps=1, lr=1e36, optimizer={"name": "sgd"})
    assert not (here / "run" / "checkpoints").exists()


MINE = """
from typing import ClassVar
from hal import nn, ops
from hal.models.cnn import CNN

class Mine(CNN):
    steps: ClassVar[list] = []

    def loss(self, params, state, batch, key):
        self.steps.append(1)
        if len(self.steps) == 6:
            {raising}
        return super().loss(params, state, batch, key)
"""


def mine(here, raising):
    path = here / "mine.py"
    path.write_text(MINE.format(raising=raising))
    return [word if not word.startswith("model=") else f"model={path}:Mine" for word in WORDS]


@pytest.mark.parametrize(
    "raising",
    [
        "raise MemoryError",
        "import torch; raise torch.OutOfMemoryError('no more of it')",
        "import torch; torch.empty(1 << 60, dtype=torch.uint8)",
        "import numpy; numpy.empty(1 << 60, numpy.uint8)",
    ],
)
def test_out_of_memory(raising, here):
    words = [*mine(here, raising), "steps=9", "out=run"]
    fails(
        *words,
        status=4,
        said="cpu ran out of memory",
        fix=r"use a smaller batch=, or split the batch with "
        "accumulate=",
    )
    record = failed()
    assert "cpu ran out of memory" in record["error"]
    assert record["checkpoint"] == "run/checkpoints/step-000000004"
    assert len(record["epochs"]) == 1
    assert last("run").step == 4


def test_out_of_memory_names_its_cause(here):
    words = mine(here, "raise MemoryError('of mine')")
    keys = {**CNN, "model": {**CNN["model"], "name": words[0].removeprefix("model=")}}
    with pytest.raises(OutOfMemoryError, match="of mine") as caught:
        train(here / "run", base=keys, steps=9)
    assert isinstance(caught.value.__cause__, MemoryError)


def test_a_mistake_of_the_model_passes_through(here):
    result = command("run", *mine(here, "raise ZeroDivisionError('mine')"), "steps=9", "out=run")
    assert isinstance(result.exception, ZeroDivisionError), "its author wants the traceback"
    assert failed()["error"] == "mine"


def test_settings_are_put_back_after_a_failure(here):
    import torch

    before = torch.get_num_threads()
    other = before + 1
    words = [word for word in mine(here, "raise MemoryError") if not word.startswith("threads=")]
    assert command("run", *words, f"threads={other}", "steps=9", "out=run").exit_code == 4
    assert torch.get_num_threads() == before


def test_a_run_that_was_killed_before_it_saved_says_so(here):
    folder = here / "run"
    folder.mkdir()
    (folder / "record.json").write_text("{}")
    fails("resume=run", status=2, said="there is no checkpoint in run")


def test_errors_of_the_configuration_come_before_the_folder_is_made(here):
    with pytest.raises(ConfigError):
        train(here / "run", steps=1, data={"name": "synthetic:8"}, base={k: v for k, v in CNN.items() if k != "data"})
    assert list(here.iterdir()) == []


def test_carries_hold_numbers_alone(here):
    train(here / "run", steps=1)
    assert all(array.dtype == np.float32 for array in flat(last(here / "run").carry).values())


def test_data_without_labels(here):
    np.savez("plain.npz", x=np.zeros((40, 20, 20, 1), np.float32))
    fails("model=cnn", "model.size=20", "data=npz:plain.npz", status=2, said="no labels", fix="store the labels")
    assert [path.name for path in here.iterdir()] == ["plain.npz"]


def test_a_backend_without_numbers(here):
    fails(*pairs({**CNN, "backend": "null"}), status=2, said="null:0 computes only shapes and costs", fix="hal devices")
    fails(
        *pairs({**CNN, "backend": "null"}),
        verb="bench",
        status=2,
        said="cannot train a model or be measured",
        fix="hal devices",
    )
    assert list(here.iterdir()) == []


def test_inference_has_no_steps_to_split(here):
    words = [*pairs(CNN), "mode=infer", "accumulate=2"]
    fails(*words, verb="bench", status=2, said="accumulate= splits an optimizer step", fix="leave accumulate= out")


def test_a_compiler_that_is_missing():
    class InvalidCxxCompiler(RuntimeError):
        """As TorchInductor's own, which needs no compiler to be raised here."""

    wrapped = RuntimeError("backend failed")
    wrapped.inner_exception = InvalidCxxCompiler("no g++")
    named = registry.backend("cpu").classify(wrapped)
    assert isinstance(named, UnsupportedError)
    assert "C++ compiler" in named.message
