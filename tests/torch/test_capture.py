"""Captured modules: names, outputs, buffers, random numbers, precisions, and where each op comes from."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import hal
from hal import registry
from hal.errors import ConfigError, ShapeError
from hal.parity.watch import watched
from hal.torch.capture import capture
from hal.torch.comparison import compare


@pytest.fixture(scope="module", autouse=True)
def _host():
    hal.device("cpu").xp.zeros(1)


def values(module):
    return {n: p.detach() for n, p in module.named_parameters()}, {n: b.clone() for n, b in module.named_buffers()}


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(7, 4)
        self.norm = nn.BatchNorm1d(4)
        self.unused = nn.Linear(4, 4)
        self.head = nn.Linear(4, 7, bias=False)
        self.head.weight = self.embedding.weight
        self.register_buffer("scale", torch.tensor([2.0]), persistent=False)
        self.register_buffer("never", torch.zeros(3))

    def forward(self, ids, *, shift=None, options=()):
        x = self.norm(self.embedding(ids).mean(1)) * self.scale + torch.tensor([1.0, 2.0, 3.0, 4.0])
        x = x if shift is None else x + shift
        return {"logits": self.head(x), "rest": [x.sum(), (None, x.argmax(-1))], "n": len(options)}


class Wrapped(nn.Module):
    """As the adapter wraps a module."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, *args, **kwargs):
        return self.net(*args, **kwargs)


IDS = torch.randint(0, 7, (5, 6))


@pytest.fixture(scope="module")
def graph():
    return capture(Wrapped(Tied()), (IDS,), {"shift": torch.ones(5, 4)}, training=True, prefix="net.")


class TestGraph:
    def test_names(self, graph):
        assert graph.parameters == (
            "embedding.weight", "norm.weight", "norm.bias", "unused.weight", "unused.bias",
        )  # fmt: skip
        assert set(graph.buffers) == {"scale", "norm.running_mean", "norm.running_var", "norm.num_batches_tracked"}
        assert set(graph.mutated) == {"norm.running_mean", "norm.running_var", "norm.num_batches_tracked"}
        assert [list(value) for value in graph.constants.values()] == [[1.0, 2.0, 3.0, 4.0]]

    def test_outputs_and_buffers(self, graph):
        module = Tied().train()
        params, buffers = values(module)
        found, changed = graph(params, buffers, [IDS, torch.ones(5, 4)])
        wanted = module(IDS, shift=torch.ones(5, 4))
        assert list(found) == ["logits", "rest", "n"]
        assert isinstance(found["rest"], list)
        assert found["rest"][1][0] is None
        assert found["n"] == 0
        torch.testing.assert_close(found["logits"], wanted["logits"])
        assert torch.equal(found["rest"][1][1], wanted["rest"][1][1])
        assert set(changed) == set(buffers)
        torch.testing.assert_close(changed["norm.running_var"], module.norm.running_var)
        assert int(changed["norm.num_batches_tracked"]) == 1
        assert float(buffers["norm.running_mean"].abs().sum()) == 0

    def test_the_module_stays_as_it_was(self):
        module = Tied()
        module.norm.eval()
        before = values(module)
        capture(module, (IDS,), {}, training=True)
        assert not module.norm.training
        assert module.head.training
        assert all(torch.equal(a, b) for old, new in zip(before, values(module), strict=True)
                   for a, b in zip(old.values(), new.values(), strict=True))  # fmt: skip

    def test_another_count_of_inputs(self, graph):
        with pytest.raises(ShapeError, match="captured with 2 tensors as inputs, but 1 were given"):
            graph(*values(Tied()), [IDS])

    def test_on_another_backend(self, graph):
        backend = registry.backend("jax")
        device = backend.devices()[0]
        module = Tied().train()
        params, buffers = (
            {n: backend.from_host(v.numpy(), device) for n, v in each.items()} for each in values(module)
        )
        inputs = [backend.from_host(v.numpy(), device) for v in (IDS, torch.ones(5, 4))]
        found, changed = graph(params, buffers, inputs)
        wanted = module(IDS, shift=torch.ones(5, 4))
        np.testing.assert_allclose(backend.to_host(found["logits"]), wanted["logits"].detach(), atol=1e-5)
        np.testing.assert_allclose(backend.to_host(changed["norm.running_var"]), module.norm.running_var, atol=1e-6)


def test_any_batch():
    module = Tied()
    graph = capture(module, (IDS,), {}, training=True, dynamic=True)
    for batch in (5, 3):
        compare(module, graph, (IDS[:batch],), {}, training=True)


class NoGradients(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        with torch.no_grad():
            y = self.layer(x)
        return y + self.layer(x) * self.layer(x).detach()


def test_regions_without_gradients():
    x = torch.randn(3, 4)
    compare(NoGradients(), capture(NoGradients(), (x,), {}, training=True), (x,), {}, training=True)
    module = NoGradients()
    graph = capture(module, (x,), {}, training=True)
    compare(module, graph, (x,), {}, training=True)


class Random(nn.Module):
    def forward(self, x):
        return {
            "dropout": F.dropout(x, 0.25),
            "again": F.dropout(x, 0.25),
            "channels": F.dropout2d(x[None, :, :, None], 0.5)[0, :, :, 0],
            "uniform": torch.rand_like(x),
            "between": torch.empty_like(x).uniform_(2, 4),
            "normal": torch.randn(x.shape),
            "shifted": torch.empty_like(x).normal_(3.0, 0.1),
            "exponential": torch.empty_like(x).exponential_(2.0),
            "bernoulli": torch.bernoulli(torch.full_like(x, 0.2)),
            "integers": torch.randint(2, 5, x.shape),
            "order": torch.randperm(50),
        }


@pytest.fixture(scope="module")
def drawn():
    backend = registry.backend("cpu")
    graph = capture(Random(), (torch.ones(60, 50),), {}, training=True)
    keys = [backend.rng(seed, backend.devices()[0]) for seed in (0, 0, 1)]
    return [graph({}, {}, [torch.ones(60, 50)], key)[0] for key in keys]


class TestRandomNumbers:
    """Each op has its own numbers, and the key alone decides on them."""

    def test_the_key_decides(self, drawn):
        first, same, other = drawn
        for name, value in first.items():
            assert torch.equal(value, same[name])
            assert not torch.equal(value, other[name])

    def test_distributions(self, drawn):
        found = drawn[0]
        assert not torch.equal(found["dropout"], found["again"])
        assert found["dropout"].unique().tolist() == [0.0, pytest.approx(4 / 3)]
        assert float((found["dropout"] == 0).float().mean()) == pytest.approx(0.25, abs=0.04)
        assert {len(set(row)) for row in found["channels"].tolist()} == {1}
        moments = {
            "uniform": (0.5, 12**-0.5), "between": (3, 2 * 12**-0.5), "normal": (0, 1), "shifted": (3, 0.1),
            "exponential": (0.5, 0.5), "bernoulli": (0.2, 0.4), "integers": (3, (2 / 3) ** 0.5),
        }  # fmt: skip
        for name, (mean, deviation) in moments.items():
            assert float(found[name].double().mean()) == pytest.approx(mean, abs=0.06), name
            assert float(found[name].double().std()) == pytest.approx(deviation, abs=0.06), name
        assert found["integers"].unique().tolist() == [2, 3, 4]
        assert sorted(found["order"].tolist()) == list(range(50))

    def test_no_key(self):
        graph = capture(nn.Dropout(0.5), (torch.ones(2, 3),), {}, training=True)
        with pytest.raises(ConfigError, match="draws random numbers"):
            graph({}, {}, [torch.ones(2, 3)])


class Precise(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm, self.second = nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 4)

    def forward(self, x):
        x = self.norm(torch.relu(self.first(x)))
        with torch.autocast("cpu", enabled=False):
            exact = self.second(x.float())
        return self.second(x).softmax(-1) + exact


@pytest.mark.parametrize(("precision", "narrow"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_precisions(precision, narrow):
    """As torch.autocast: products are narrow, what needs it is fp32, and the module may switch it off."""
    x = torch.randn(3, 4)
    graph = capture(Precise(), (x,), {}, training=True)
    found = []

    def observer(node, compute):
        value = compute()
        found.append(
            (node.op.removesuffix(".default").removeprefix("aten::"), value.dtype if value is not None else None)
        )
        return value

    graph(*values(Precise()), [x], precision=precision, observer=observer)
    wide = torch.float32
    expected = [("linear", narrow), ("relu", narrow), ("layer_norm", wide), ("linear", wide), ("linear", narrow),
                ("softmax.int", wide), ("add.Tensor", wide)]  # fmt: skip
    assert [each for each in found if not each[0].startswith(("_assert", "_to_copy", "to."))] == expected


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        return torch.tanh(self.layer(x))


def test_ops_are_watched_with_their_layers_and_lines():
    """``hal verify`` names where in the module and in the user's file an op stands."""
    x = torch.randn(3, 4)
    module = nn.Sequential(Block(), Block())
    graph = capture(Wrapped(module), (x,), {}, training=False, prefix="net.")
    backend = registry.backend("cpu")
    params, buffers = values(module)
    found = []

    def watch(call):
        found.append((call.op, call.layer))
        return call.run()

    with watched(backend, backend.devices()[0], params, watch):
        graph(params, buffers, [x])
    layers = [layer for op, layer in found if op in ("linear", "tanh")]
    line = Block.forward.__code__.co_firstlineno + 1
    where = f"(test_capture.py:{line})"
    assert layers == [f"0.layer {where}", f"0 {where}", f"1.layer {where}", f"1 {where}"]
