"""The contract as its author reads it: the table of methods is true, and a backend needs no more than it says."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import hal
from hal import registry
from hal.config import build
from hal.contract import Available, Backend, BuildsTargets, CountsCosts, Group, Plan, SpreadsOver
from hal.contract.group import group_of, process_count
from hal.errors import ConfigError, UnsupportedError
from hal.job.placing import feeding
from hal.job.prepare import prepare
from hal.run.config import RunConfig
from hal.targets.config import CompileConfig
from hal.targets.job import prepare_target

DOCS = Path(__file__).parents[2] / "docs"


def generator():
    spec = importlib.util.spec_from_file_location("hal_docs_generate", DOCS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_is_up_to_date():
    assert (DOCS / "contract.md").read_text() == generator().page(), "run: python docs/generate.py"


def test_the_table_refuses_a_method_that_does_not_say_enough():
    def undescribed(self):
        """Something."""

    with pytest.raises(ValueError, match="no paragraph that begins with 'By default'"):
        generator()._table([("undescribed", undescribed)])


class Least(Backend):
    """What must be written, and nothing else."""

    name = "least"

    def probe(self):
        return Available("here")

    def devices(self):
        return []

    def ops(self, device):
        raise NotImplementedError

    def from_host(self, array, device, *, axes="", layout="nhwc"):
        return array

    def to_host(self, array):
        return array

    def classify(self, error):
        return None


def test_what_must_be_written_is_enough():
    backend, device = Least(), hal.device("cpu")
    assert not isinstance(backend, (SpreadsOver, BuildsTargets, CountsCosts))
    assert process_count(backend, Plan(parallel="dp=2")) == 1
    group = group_of(backend, device, Plan())
    assert (type(group), group.rank, group.size) == (Group, 0, 1)
    with pytest.raises(UnsupportedError, match="backend least cannot compute gradients") as caught:
        backend.value_and_grad(lambda params: (params, ()))
    assert "hal devices" in caught.value.fix


@pytest.mark.parametrize("method", sorted(Backend.__abstractmethods__))
def test_each_of_them_is_needed(method):
    partial = type("Partial", (Least,), {method: vars(Backend)[method]})
    with pytest.raises(TypeError, match=method):
        partial()


def test_who_does_more():
    found = {name: registry.backend(name) for name in registry.names()}
    of = {kind: {name for name in found if isinstance(found[name], kind)} for kind in (SpreadsOver, BuildsTargets)}
    assert of[SpreadsOver] >= {"cpu", "cuda", "rocm", "jax", "tpu"}
    assert of[BuildsTargets] >= {"jax", "opencl", "tpu"}
    assert isinstance(found["null"], CountsCosts)
    assert "null" not in of[SpreadsOver] | of[BuildsTargets]


def test_a_target_that_no_backend_builds_for(monkeypatch):
    cpu = registry.backend("cpu")
    monkeypatch.setattr(registry, "names", lambda: ("cpu",))
    monkeypatch.setattr(registry, "backend", lambda name: cpu)
    with pytest.raises(ConfigError, match="target=tpu-v5e is not known") as caught:
        prepare_target(build(CompileConfig, {"model": "cnn", "target": "tpu-v5e"}))
    assert "none of the installed ones does" in caught.value.fix


@pytest.mark.parametrize("copies_ahead", [False, True])
@pytest.mark.parametrize("reads_files", [False, True])
def test_reading_ahead(monkeypatch, reads_files, copies_ahead):
    """Where batches come from files, or where copies run beside compute."""
    job = prepare(build(RunConfig, {"model": "cnn", "backend": "cpu", "data": "synthetic:80", "batch": 16}))
    used = []

    def prefetch(batches, put, device):
        used.append(device)
        yield from map(put, batches)

    monkeypatch.setattr(job.backend, "prefetch", prefetch)
    monkeypatch.setattr(type(job.split.train), "reads_files", reads_files)
    monkeypatch.setattr(type(job.backend), "copies_ahead", copies_ahead)
    with feeding(job, [{"inputs": np.ones((2, 3), np.float32)}] * 3, job.split.train) as feed:
        assert [tuple(batch["inputs"].shape) for batch in feed] == [(2, 3)] * 3
    assert bool(used) == (reads_files or copies_ahead)
