"""Compiled steps: what Dynamo makes of each model, and that nothing uses results which CUDA graphs would overwrite."""

import math

import pytest
import torch
from graph_rules import GraphRules

import hal
from hal.backends._torch import compiling
from hal.errors import NumericsError

pytestmark = pytest.mark.filterwarnings(
    # torch.compile imports parts of PyTorch that warn about themselves.
    "ignore:`torch.jit.script_method` is deprecated:DeprecationWarning",
    # Dynamo looks at each tensor's gradient, and hides this warning by a way that an error does not go.
    "ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning",
)

DIGITS = {"data": {"name": "synthetic:64"}}
MODELS = {
    "cnn": {"model": {"name": "cnn", "filters": [4, 4], "dense": 8, "size": 20}, **DIGITS},
    "rnn-classify": {"model": {"name": "rnn", "task": "classify", "units": 8}, **DIGITS},
    "rnn-text": {"model": {"name": "rnn", "units": 8, "embedding": 4, "length": 16, "sample": 4}},
    "transformer": {
        "model": {"name": "transformer", "task": "classify", "layers": 1, "width": 8, "heads": 2, "length": 8},
        **DIGITS,
    },
    "gan": {"model": {"name": "gan", "size": 20, "width": 4, "noise": 4, "grid": 2}, **DIGITS},
    "transfer": {
        "model": {"name": "transfer", "weights": "random", "size": 32, "blocks": 3, "unfreeze": 1},
        **DIGITS,
    },
}


@pytest.fixture
def rules(monkeypatch):
    """TorchInductor's place taken by the rules; what other tests compiled is forgotten, and what this one does."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    stand_in = GraphRules()
    monkeypatch.setattr(torch, "compile", stand_in.compile)
    yield stand_in
    torch._dynamo.reset()


def trained(name, folder, **keys):
    common = {"backend": "cpu", "threads": 1, "batch": 16, "steps": 3}
    return hal.train(**{**common, **MODELS[name], **keys}, out=str(folder))


def numbers(record):
    epoch = record.epochs[-1]
    return {**epoch.train, **{f"validation {name}": value for name, value in epoch.validation.items()}}


def test_the_rules_break_what_is_kept_over_a_call(rules):
    twice = torch.compile(lambda x: 2 * x, mode="max-autotune", dynamic=False)
    first = twice(torch.ones(2))
    assert first.tolist() == [2, 2]
    assert twice(torch.ones(2)).tolist() == [2, 2]
    assert all(map(math.isnan, first.tolist()))
    assert rules.overwritten == 1


@pytest.mark.parametrize(
    ("name", "most"), {"cnn": 3, "gan": 4, "transfer": 3, "transformer": 3, "rnn-classify": 16, "rnn-text": 16}.items()
)
def test_steps_are_whole_graphs_and_keep_what_they_keep(name, most, rules, tmp_path):
    """Evaluations of several batches, gradients of several parts, batch statistics, augmentation.

    There is a graph for a step of each objective, and for the evaluation of a whole and of a last batch. Dynamo breaks
    them at the library's recurrent kernels alone, which are left as they are; see TorchOps.
    """
    found = numbers(trained(name, tmp_path / "max", compile="max", accumulate=2))
    assert found
    assert all(map(math.isfinite, found.values()))
    breaks = torch._dynamo.utils.counters["graph_break"]
    assert [words for words in breaks if "TorchOps._lstm" not in words] == []
    assert bool(breaks) == name.startswith("rnn")
    assert 0 < rules.graphs <= most


def test_replayed_graphs_would_not_keep_it(rules, tmp_path, monkeypatch):
    monkeypatch.setitem(compiling.MODES, "max", "max-autotune")
    with pytest.raises(NumericsError, match="is nan"):
        trained("cnn", tmp_path / "max", compile="max", accumulate=2)


@pytest.mark.parametrize("mode", compiling.MODES.values())
def test_no_mode_replays_graphs(mode):
    assert not torch._inductor.list_mode_options(mode).get("triton.cudagraphs", False)
