"""A tuning that is killed goes on; several on one storage share the work."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from tuner_helpers import SMALL, UNHURRIED, description, environment, launched

from hal.config import PlanKeys
from hal.tuner.config import SpaceSection
from hal.tuner.result import Tuning
from hal.tuner.space import Space, key_of
from hal.tuner.study import Study
from hal.tuner.trial_result import Trial

DRIVE = str(Path(__file__).parent / "drive.py")
PLANS = len(Space(description(), PlanKeys(), SpaceSection(**SMALL), ("throughput",)))
KEYS = {"model": {"name": "cnn"}, "backend": "cpu", "space": SMALL, **UNHURRIED}


def started(tmp_path, keys, seconds=0.05):
    env = {**os.environ, **environment(tmp_path / "fake", seconds=seconds), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, DRIVE, json.dumps({**KEYS, **keys})], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def recorded(folder):
    """Trials in trials.jsonl; a torn last line does not count."""
    path = folder / "trials.jsonl"
    if not path.exists():
        return {}
    found = {}
    for line in path.read_bytes().splitlines(keepends=True):
        if line.endswith(b"\n"):
            trial = Trial.model_validate_json(line)
            assert trial.number not in found, "no trial is written twice"
            found[trial.number] = line
    return found


def test_killed_and_resumed(tmp_path):
    kills = 10
    out = tmp_path / "out"
    keys, rng, done = {"out": str(out)}, random.Random(kills), 0
    finished = {}
    while done < kills:
        process = started(tmp_path, keys)
        before = len(launched(tmp_path))
        try:
            after = before + rng.randint(1, max(2, PLANS // kills))
            while process.poll() is None and len(launched(tmp_path)) < after:
                time.sleep(0.01)
            time.sleep(rng.uniform(0, 0.06))  # while the trial runs, or after it
        finally:
            process.send_signal(signal.SIGKILL)
            process.communicate()
        done += 1
        now = recorded(out)
        assert finished.items() <= now.items(), "no finished trial is lost or changed"
        finished = now
        if (out / "config.json").exists():
            keys = {"resume": str(out)}
    process = started(tmp_path, keys)
    _, stderr = process.communicate(timeout=500)
    assert process.returncode == 0, stderr.decode()
    found = Tuning.model_validate_json((out / "tuning.json").read_text())
    assert found.status == "done"
    assert finished.items() <= recorded(out).items()
    assert len(found.trials) == PLANS == len({key_of(t.plan) for t in found.trials})
    # A trial runs again only if a kill cut it off before its result was written.
    assert sum(count - 1 for count in Counter(launched(tmp_path)).values()) <= kills


def test_a_worker_dies_with_the_tuner(tmp_path):
    process = started(tmp_path, {"out": str(tmp_path / "out")}, seconds=60)
    while not launched(tmp_path) and process.poll() is None:
        time.sleep(0.02)
    children = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True, check=True
    ).stdout.split()
    assert children
    process.kill()
    process.communicate()
    end = time.monotonic() + 300
    while any(alive(int(pid)) for pid in children):
        assert time.monotonic() < end
        time.sleep(0.05)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture(params=["journal", "sqlite", "postgresql"])
def storage(request, tmp_path):
    """A storage that several processes can share, and nobody uses yet."""
    if request.param == "postgresql":
        return request.getfixturevalue("postgresql").new_database()
    return {"journal": f"journal:{tmp_path}/shared.log", "sqlite": f"sqlite:///{tmp_path}/shared.db"}[request.param]


def four(tmp_path, storage):
    return [started(tmp_path, {"out": str(tmp_path / f"out{n}"), "storage": storage}) for n in range(4)]


def test_four_processes_finish_one_study(tmp_path, storage):
    processes = four(tmp_path, storage)
    outputs = [process.communicate(timeout=500) for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, outputs
    said = [json.loads(out.splitlines()[-1]) for out, _ in outputs]
    assert {each["trials"] for each in said} == {PLANS}
    assert len({each["winner"] for each in said}) == 1
    begun = launched(tmp_path)
    assert len(begun) == len(set(begun)) == PLANS, "no plan was launched twice"
    found = Tuning.model_validate_json((tmp_path / "out0" / "tuning.json").read_text())
    assert len({t.owner for t in found.trials}) > 1, "the work was shared"


@pytest.mark.parametrize("storage", ["journal", "postgresql"], indirect=True)
def test_one_of_four_is_killed(tmp_path, storage):
    processes = four(tmp_path, storage)
    one, *others = processes
    while len(recorded(tmp_path / "out0")) < 3:
        assert one.poll() is None, one.communicate()
        time.sleep(0.01)
    one.kill()
    one.communicate()
    finished = recorded(tmp_path / "out0")
    outputs = [process.communicate(timeout=500) for process in others]
    assert [process.returncode for process in others] == [0] * 3, outputs
    found = Tuning.model_validate_json((tmp_path / "out1" / "tuning.json").read_text())
    assert len(found.trials) == PLANS == len({key_of(t.plan) for t in found.trials}), "none lost, none twice"
    by_number = {t.number: t for t in found.trials}
    assert all(by_number[number] == Trial.model_validate_json(line) for number, line in finished.items())
    again = sum(count - 1 for count in Counter(launched(tmp_path)).values())
    assert again <= 1, "what the killed one was at, and nothing else, is run again"


class TestClaims:
    """Of two claims to one plan, the first holds."""

    @pytest.fixture
    def space(self):
        return Space(description(), PlanKeys(), SpaceSection(), ("throughput",))

    @pytest.fixture
    def study(self, storage, space):
        opened = []

        def another():
            opened.append(Study(storage, "study", ("throughput",), space.varied))
            return opened[-1]

        yield another
        for each in opened:
            each.close()

    def test_first_come(self, study, space):
        one, two = study(), study()
        plans = list(space.plans.values())
        assert one.claim(plans[0], 60) is not None
        assert two.claim(plans[0], 60) is None
        assert two.claim(plans[1], 60) is not None
        assert one.taken() == {key_of(plans[0]), key_of(plans[1])}

    def test_given_up(self, study, space):
        one, two = study(), study()
        plan = space.default
        one.release(one.claim(plan, 60))
        assert one.taken() == set()
        assert two.claim(plan, 60) is not None

    def test_of_one_that_is_gone(self, study, space):
        one, two = study(), study()
        host, pid, _ = one.owner.split("/")
        one.owner = f"{host}/{pid}/1.00"  # the same number, another process
        assert one.claim(space.default, 60) is not None
        assert two.recover() == 1
        assert two.claim(space.default, 60) is not None

    def test_of_another_host(self, study, space):
        one, two = study(), study()
        one.owner = "elsewhere/1/1.00"
        assert one.claim(space.default, 60) is not None
        assert two.recover() == 0, "it may be alive"
        one.release(two.claim(list(space.plans.values())[1], 60))
        assert one.claim(list(space.plans.values())[1], -1) is not None
        assert two.recover() == 1, "its time is over"

    def test_no_more_than_allowed(self, study, space):
        one = study()
        plans = list(space.plans.values())
        assert one.claim(plans[0], 60, most=1) is not None
        assert one.claim(plans[1], 60, most=1) is None
