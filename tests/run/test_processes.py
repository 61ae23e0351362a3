"""Runs on several processes, each with its rows of every batch, end as the run of one process does."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest
from run_helpers import CNN, RNN_CLASSIFY, pairs, train

import hal
from hal.backends._host.memory import resident_memory
from hal.errors import ConfigError, OutOfMemoryError, PlanError, RunError, ShapeError, UnavailableError
from hal.processes import workers as workers_module

# Batch statistics, dropout, parameters that take no part, and an evaluation batch of 3, which two do not divide.
NORMALISED = {
    "model": {"name": f"{Path(__file__).with_name('normalised.py')}:Spare"},
    "backend": "cpu",
    "data": {"name": "synthetic:95"},
    "batch": 16,
    "threads": 1,
    "schedule": "constant",
}
GAN = {
    "model": {"name": "gan", "size": 20, "width": 8, "noise": 10},
    "backend": "cpu",
    "data": {"name": "synthetic:90"},
    "batch": 16,
    "threads": 1,
    "epochs": 1,
}


def numbers(record):
    return [{**epoch.train, **epoch.validation} for epoch in record.epochs]


def assert_equal(mine, wanted, rel=1e-5):
    assert len(mine) == len(wanted) > 0
    for epoch, other in zip(mine, wanted, strict=True):
        assert epoch == pytest.approx(other, rel=rel)


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    return numbers(train(tmp_path_factory.mktemp("single") / "run", base=NORMALISED, epochs=2))


def test_two_processes_and_then_one(single, tmp_path):
    spread = train(tmp_path / "run", base=NORMALISED, epochs=1, parallel="dp=2")
    assert spread.plan.parallel == "dp=2"
    assert spread.peak_memory_bytes > resident_memory().peak_bytes, "of this process and the other"
    assert_equal(numbers(spread), single[:1])
    alone = hal.train(resume=str(tmp_path / "run"), parallel="none", epochs=2)
    assert_equal(numbers(alone), single)
    assert workers() == []


@pytest.mark.parametrize(
    ("base", "keys", "rel"),
    [
        (CNN, {"parallel": "dp=2", "accumulate": 2, "clip": 0.5, "epochs": 1}, 1e-5),
        # Gradients in fp16 are rounded after they are summed over other rows.
        (NORMALISED, {"parallel": "fsdp=2", "precision": "fp16", "clip": 1.0, "epochs": 1}, 3e-3),
        (GAN, {"parallel": "dp=2"}, 1e-4),
        (GAN, {"parallel": "fsdp=2"}, 1e-4),
        (RNN_CLASSIFY, {"parallel": "fsdp=2", "accumulate": 2, "epochs": 1, "optimizer": {"name": "rmsprop"}}, 1e-5),
    ],
    ids=["cnn-dp", "fp16-fsdp", "gan-dp", "gan-fsdp", "rnn-fsdp"],
)
def test_models(base, keys, rel, tmp_path):
    wanted = train(tmp_path / "single", base=base, **{**keys, "parallel": "none"})
    found = train(tmp_path / "spread", base=base, **keys)
    assert_equal(numbers(found), numbers(wanted), rel)
    names = [{path.name for path in (tmp_path / each).iterdir()} for each in ("single", "spread")]
    assert names[0] == names[1]


def test_statistics_of_a_row_in_each_process(tmp_path):
    """Two processes with one row each have two values for each channel; parts of one row have one."""
    keys = {
        **NORMALISED,
        "model": {"name": f"{Path(__file__).with_name('normalised.py')}:Flat"},
        "batch": 2,
        "steps": 3,
    }
    train(tmp_path / "run", base=keys, parallel="dp=2")
    with pytest.raises(ShapeError, match="1 value for each channel"):
        train(tmp_path / "parts", base=keys, accumulate=2)
    with pytest.raises(ShapeError, match="1 value for each channel"):
        train(tmp_path / "single", base={**keys, "batch": 1})


def test_sharded_checkpoint_is_whole_and_goes_on_sharded(single, tmp_path):
    train(tmp_path / "run", base=NORMALISED, epochs=1)
    spread = hal.train(resume=str(tmp_path / "run"), parallel="fsdp=2", epochs=2)
    assert_equal(numbers(spread), single)
    outputs = hal.predict(tmp_path / "run", hal.device("cpu").xp.zeros((2, 12, 12, 1)).numpy())
    assert outputs.shape == (2, 10)


def test_torchrun_on_two_nodes(single, tmp_path):
    words = pairs({**NORMALISED, "epochs": 2, "parallel": "dp=2", "out": str(tmp_path / "run")})
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free_port = probe.getsockname()[1]
    where = f"--nnodes 2 --nproc-per-node 1 --master-addr 127.0.0.1 --master-port {free_port}"
    launch = [sys.executable, "-m", "torch.distributed.run", *where.split()]
    both = [
        subprocess.Popen(
            [*launch, "--node-rank", str(node), "-m", "hal", "run", *words, "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for node in (0, 1)
    ]
    done = [each.communicate(timeout=300) for each in both]
    assert [each.returncode for each in both] == [0, 0], done
    assert done[1][0] == "", "one speaks"
    epochs = json.loads(done[0][0])["epochs"]
    assert_equal([{**epoch["train"], **epoch["validation"]} for epoch in epochs], single)


# Ends


def started(folder, parallel="dp=2"):
    """A run of two processes that has written a checkpoint, and its worker."""
    words = pairs({**NORMALISED, "epochs": 100000, "parallel": parallel, "out": str(folder)})
    leader = subprocess.Popen(
        [sys.executable, "-m", "hal", "run", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "200", "TMPDIR": str(folder.parent)},
    )
    wait_for(lambda: list((folder / "checkpoints").glob("step-*")) or leader.poll() is not None)
    (worker,) = psutil.Process(leader.pid).children()
    return leader, worker


def workers():
    """Those of this process; other tests may have other children."""
    return [child for child in psutil.Process().children() if "hal.processes.worker" in child.cmdline()]


def wait_for(condition, seconds=300):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.01)


def left_over(folder):
    """Folders in which the processes of a run met."""
    return list(folder.glob("hal-rendezvous-*"))


@pytest.mark.parametrize("parallel", ["dp=2", "fsdp=2"])
def test_nobody_else_can_take_part(tmp_path, parallel):
    leader, worker = started(tmp_path / "run", parallel)
    try:
        (meeting,) = left_over(tmp_path)
        assert meeting.stat().st_mode & 0o777 == 0o700, "of this user alone"
        assert "MASTER_PORT" not in worker.environ()
        connections = [each for p in (psutil.Process(leader.pid), worker) for each in p.net_connections("inet")]
    finally:
        leader.send_signal(signal.SIGINT)
        leader.communicate(timeout=300)
    assert connections, "gloo connects the two"
    addresses = {end.ip for each in connections for end in (each.laddr, each.raddr) if end}
    assert addresses <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    assert left_over(tmp_path) == []


@pytest.mark.parametrize("failing", ["Popen", "pipe", "Thread"])
def test_workers_that_cannot_be_started(tmp_path, monkeypatch, failing):
    def refuse(*args, **kwargs):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    def refuse_thread(*args, **kwargs):
        raise RuntimeError("can't start new thread")

    if failing == "Popen":
        monkeypatch.setattr(workers_module.subprocess, "Popen", refuse)
    elif failing == "pipe":
        monkeypatch.setattr(workers_module.os, "pipe", refuse)
    else:
        monkeypatch.setattr(workers_module.threading, "Thread", refuse_thread)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = psutil.Process().num_fds()
    said = "cannot be watched" if failing == "Thread" else "only 1 of the 2 processes of this run could be started"
    with pytest.raises(RunError, match=said) as caught:
        train(tmp_path / "run", base=NORMALISED, epochs=1, parallel="dp=2")
    assert "parallel=none" in caught.value.fix
    assert workers() == []
    assert left_over(tmp_path) == []
    assert not (tmp_path / "run").exists()
    if failing != "Thread":
        assert psutil.Process().num_fds() <= before


def test_a_killed_rank_is_named(tmp_path):
    leader, worker = started(tmp_path / "run")
    worker.kill()
    _, err = leader.communicate(timeout=300)
    assert leader.returncode == 4, "taken for the kernel's doing"
    assert "rank 1 was killed by another process" in err
    assert "Traceback" not in err
    assert left_over(tmp_path) == []
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    assert record["status"] == "failed"
    assert "rank 1" in record["error"]


ENDS = """
import os, signal
import torch.distributed as dist
from normalised import Normalised

when, how = os.environ["ENDS"].split()

def end(*args, **keys):
    os._exit(3) if how == "exit" else os.kill(os.getpid(), signal.Signals[how])

def then(function, calls=1):
    left = [calls]
    def called(*args, **keys):
        left[0] -= 1
        done = function(*args, **keys)
        return end() if left[0] == 0 else done
    return called

class Ends(Normalised):
    pass

if os.environ.get("RANK") == "1":
    if when == "loading":
        end()
    elif when == "ready":
        dist.init_process_group = end
    elif when == "joined":
        dist.init_process_group = then(dist.init_process_group)
    else:
        dist.all_reduce = then(dist.all_reduce, 5)
"""
HOW = {"exit": "ended with status 3", "SIGKILL": "was killed by another process", "SIGSEGV": "was ended by SIGSEGV"}
HOW["SIGSTOP"] = "was stopped, as SIGSTOP does, and nothing continued it"


@pytest.fixture
def ending(tmp_path, monkeypatch):
    """Keys of a run whose worker of rank 1 ends at some moment in some way."""
    (tmp_path / "ends.py").write_text(ENDS)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def keys(when, how):
        monkeypatch.setenv("ENDS", f"{when} {how}")
        return {**NORMALISED, "model": {"name": f"{tmp_path}/ends.py:Ends"}, "epochs": 1}

    return keys


@pytest.mark.parametrize(
    ("when", "how"),
    [
        *[("loading", how) for how in ("SIGKILL", "SIGSTOP")],
        *[("ready", how) for how in ("SIGKILL", "SIGSTOP", "exit")],
        *[("joined", how) for how in ("SIGKILL", "SIGSTOP")],
        *[("computing", how) for how in ("SIGSEGV", "SIGSTOP", "exit")],
    ],
)
def test_a_worker_that_ends_at_any_moment_is_named(tmp_path, monkeypatch, ending, when, how):
    monkeypatch.setattr(workers_module, "_MOST_STOPPED", 3)
    with pytest.raises((RunError, OutOfMemoryError), match=f"rank 1 {HOW[how]}"):
        train(tmp_path / "run", base=ending(when, how), parallel="dp=2")
    assert workers() == []
    assert left_over(tmp_path) == []
    record = tmp_path / "run" / "record.json"
    assert not record.exists() or "rank 1" in json.loads(record.read_text())["error"]
    if (when, how) == ("ready", "exit"):  # in the same process: its thread that waits for the worker is still there
        assert train(tmp_path / "next", base=NORMALISED, epochs=1, parallel="dp=2").status == "done"


def test_a_command_whose_worker_never_joins_ends(tmp_path, ending):
    """Although its own thread that joins goes on waiting."""
    keys = pairs({**ending("ready", "exit"), "parallel": "dp=2", "out": str(tmp_path / "run")})
    with tempfile.TemporaryFile("w+") as said:  # no pipe, which an orphan would hold open
        leader = subprocess.Popen([sys.executable, "-m", "hal", "run", *keys], stdout=said, stderr=said)
        assert leader.wait(timeout=300) == 1
        said.seek(0)
        assert "rank 1 ended with status 3" in " ".join(said.read().split())
    assert left_over(tmp_path) == []


def test_ctrl_c_saves_and_a_kill_leaves_no_orphan(tmp_path):
    leader, worker = started(tmp_path / "run")
    leader.send_signal(signal.SIGINT)
    out, err = leader.communicate(timeout=300)
    assert leader.returncode == 130, err
    assert "Stopped and saved" in out
    assert not worker.is_running()
    assert left_over(tmp_path) == []
    leader, worker = started(tmp_path / "other")
    leader.kill()
    leader.communicate(timeout=300)
    wait_for(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)


def test_an_error_of_a_rank_is_told_once(tmp_path, monkeypatch):
    model = tmp_path / "broken.py"
    model.write_text(
        "import os\nfrom normalised import Normalised\n"
        "class Broken(Normalised):\n"
        "    def __init__(self, config, data):\n"
        "        super().__init__(config, data)\n"
        "        if os.environ.get('RANK') == '1':\n"
        "            raise OSError('no luck on this one')\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
    keys = {**NORMALISED, "model": {"name": f"{model}:Broken"}}
    with pytest.raises(hal.errors.RunError, match=r"rank 1 failed: OSError: no luck on this one"):
        train(tmp_path / "run", base=keys, epochs=1, parallel="dp=2")
    assert not (tmp_path / "run").exists()
    assert workers() == []


# What is refused before anything starts


def test_refused(tmp_path, monkeypatch):
    with pytest.raises(PlanError, match="batch=16 cannot be divided evenly"):
        train(tmp_path / "run", base=NORMALISED, parallel="dp=3")
    with pytest.raises(UnavailableError, match="parallel=dp=1024 needs one core per process"):
        train(
            tmp_path / "run", base={**NORMALISED, "data": {"name": "synthetic:2000"}, "batch": 1024}, parallel="dp=1024"
        )
    with pytest.raises(PlanError, match="combines two kinds"):
        train(tmp_path / "run", base=NORMALISED, parallel="dp=2,fsdp=2")
    with pytest.raises(PlanError, match="2 and 4 processes cannot be measured in turn"):
        hal.bench(**{**NORMALISED_BENCH, "parallel": "dp=2", "versus": {"parallel": "dp=4"}})
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="MASTER_ADDR"):
        train(tmp_path / "run", base=NORMALISED, parallel="dp=2")
    for name, value in (("RANK", "0"), ("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", "1")):
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="WORLD_SIZE is 2, but parallel=none uses one process"):
        train(tmp_path / "run", base=NORMALISED)
    with pytest.raises(PlanError, match="WORLD_SIZE is 2, but parallel=dp=4 uses 4 processes"):
        train(tmp_path / "run", base=NORMALISED, parallel="dp=4")
    assert not (tmp_path / "run").exists()


NORMALISED_BENCH = {key: value for key, value in NORMALISED.items() if key != "schedule"}


@pytest.mark.parametrize(("mode", "plan", "versus"), [("train", "fsdp=2", "none"), ("infer", "none", "dp=2")])
def test_bench_in_turn_with_one_process(mode, plan, versus):
    found = hal.bench(**NORMALISED_BENCH, mode=mode, parallel=plan, versus={"parallel": versus}, seconds=0.5)
    assert found.plan.parallel == plan
    assert found.versus.parallel == versus
    assert found.comparison.measurements["plan"].throughput.median > 0
    assert workers() == []
