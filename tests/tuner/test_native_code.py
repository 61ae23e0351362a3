"""Lines of a native framework for a plan are a program, and run as they are printed."""

import ast
import inspect
import itertools

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from hal import registry
from hal.backends._torch.native_code import native_code
from hal.contract import Available
from hal.contract.plan import Plan

PRECISIONS = ("fp32", "tf32", "bf16", "fp16")


def plans(layouts=("nhwc", "nchw"), parts=(1, 4)):
    """Each precision with each layout and number of parts; the other keys take turns."""
    turns = itertools.cycle(itertools.product(("eager", "default", "max"), (None, 1)))
    for precision, layout, accumulate in itertools.product(PRECISIONS, layouts, parts):
        how, threads = next(turns)
        yield Plan(
            batch=8,
            precision=precision,
            layout=layout,
            compile=how,
            accumulate=accumulate,
            threads=threads,
            conv="patches",
        )


@pytest.mark.parametrize("mode", ["train", "infer"])
@pytest.mark.parametrize("name", ["cpu", "cuda", "rocm", "mps", "xpu", "jax"])
def test_they_are_python(name, mode):
    backend = registry.backend(name)
    devices = backend.devices() if isinstance(backend.probe(), Available) else [None]
    for plan in plans():
        text = backend.native_code(plan, devices[0], mode)
        assert ast.parse(text).body
        assert str(plan.batch // plan.accumulate if mode == "train" else plan.batch) in text
        assert ("compile" in text or "jit" in text) == (plan.compile != "eager")
        assert max(map(len, text.splitlines())) <= 79, "a terminal breaks longer lines"


class Mean(nn.Module):
    """Scores of each sample or step, from whatever comes before."""

    def __init__(self, first, dims=()):
        super().__init__()
        self.first, self.last, self.dims = first, nn.LazyLinear(5), dims

    def forward(self, x):
        x = self.first(x)
        return self.last(x.mean(self.dims) if self.dims else x)


def images():
    return torch.rand(8, 3, 6, 6), torch.arange(8) % 5, Mean(nn.Conv2d(3, 4, 3), (2, 3))


def vectors():
    return torch.rand(8, 7), torch.arange(8) % 5, Mean(nn.Linear(7, 4))


def sequences():
    return torch.rand(8, 9, 2), torch.arange(8) % 5, Mean(nn.Linear(2, 4), (1,))


def ids():
    return torch.arange(72).reshape(8, 9) % 6, torch.arange(72).reshape(8, 9) % 5, Mean(nn.Embedding(6, 4))


@pytest.fixture
def restored(monkeypatch):
    """PyTorch's global settings as they were before; a compiler that only looks at what it is asked for."""
    signature, threads = inspect.signature(torch.compile), torch.get_num_threads()

    def compiler(*args, **keys):
        return signature.bind(*args, **keys).arguments["model"]

    monkeypatch.setattr(torch, "compile", compiler)
    kept = [(torch.backends.cuda.matmul, "fp32_precision"), (torch.backends.cudnn.conv, "fp32_precision")]
    before = [(where, name, getattr(where, name)) for where, name in kept]
    yield
    for where, name, value in before:
        setattr(where, name, value)
    torch.set_num_threads(threads)
    torch.set_grad_enabled(True)


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("mode", ["train", "infer"])
@pytest.mark.parametrize("data", [images, vectors, sequences, ids])
def test_torch_runs_them(data, mode):
    backend = registry.backend("cpu")
    for plan in plans(parts=(1, 4) if mode == "train" else (1,)):
        inputs, labels, model = data()
        model(inputs)  # makes the last layer
        before = [p.detach().clone() for p in model.parameters()]
        names = {
            "model": model,
            "dataset": TensorDataset(inputs, labels) if mode == "train" else TensorDataset(inputs),
            "loss_fn": lambda scores, labels: nn.functional.cross_entropy(scores.flatten(0, -2), labels.flatten()),
            "optimizer": torch.optim.SGD(model.parameters(), 0.1),
        }
        exec(backend.native_code(plan, None, mode), names)
        torch.set_grad_enabled(True)
        if mode == "infer":
            assert names["outputs"].shape[-1] == 5
            assert not names["outputs"].requires_grad
        else:
            assert all(torch.isfinite(p).all() for p in model.parameters())
            assert any(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


class Pair(nn.Module):
    """Takes two inputs, by position or by name."""

    def __init__(self):
        super().__init__()
        self.image, self.words = nn.Conv2d(3, 5, 3), nn.Embedding(6, 5)

    def forward(self, image, words):
        assert image.ndim == 4
        return self.image(image).mean((2, 3)) + self.words(words).mean(1)


class Rows(torch.utils.data.Dataset):
    """Dicts, as data sets of language models give them."""

    def __init__(self, **columns):
        self.columns = columns

    def __len__(self):
        return len(self.columns["image"])

    def __getitem__(self, index):
        return {name: values[index] for name, values in self.columns.items()}


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("mode", ["train", "infer"])
@pytest.mark.parametrize("names", [("0", "1"), ("image", "words")])
def test_torch_runs_them_with_several_inputs(names, mode):
    backend = registry.backend("cpu")
    image, words, labels = torch.rand(8, 3, 6, 6), torch.arange(72).reshape(8, 9) % 6, torch.arange(8) % 5
    for plan in plans(parts=(1, 2) if mode == "train" else (1,)):
        model = Pair()
        before = [p.detach().clone() for p in model.parameters()]
        by_name = names[0] == "image"
        values = {
            "model": model,
            "dataset": Rows(image=image, words=words, labels=labels)
            if by_name
            else TensorDataset(image, words, labels),
            "optimizer": torch.optim.SGD(model.parameters(), 0.1),
            "loss_fn": (lambda scores, batch: nn.functional.cross_entropy(scores, batch["labels"]))
            if by_name
            else nn.functional.cross_entropy,
        }
        exec(backend.native_code(plan, None, mode, names), values)
        torch.set_grad_enabled(True)
        if mode == "infer":
            assert values["outputs"].shape == (8, 5)
            assert not values["outputs"].requires_grad
        else:
            assert any(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize("mode", ["train", "infer"])
@pytest.mark.parametrize("kind", ["floats", "ids"])
def test_jax_runs_them(kind, mode):
    backend = registry.backend("jax")
    if not isinstance(backend.probe(), Available):
        pytest.skip("JAX is not installed")
    import jax
    import jax.numpy as jnp
    import optax

    def apply(params, batch):
        inputs = batch["inputs"] if mode == "train" else batch
        first = inputs @ params["first"] if kind == "floats" else params["first"][inputs]
        return first @ params["last"]

    def loss_fn(params, batch):
        return optax.softmax_cross_entropy_with_integer_labels(apply(params, batch), batch["labels"]).mean()

    def batches(size):
        inputs = np.ones((size, 3), np.float32) if kind == "floats" else np.arange(size) % 3
        batch = {"inputs": jnp.asarray(inputs), "labels": jnp.arange(size) % 5}
        return [batch if mode == "train" else batch["inputs"]] * 4

    before = jax.config.jax_default_matmul_precision
    for plan in plans(layouts=("nhwc",), parts=(4,) if (mode, kind) == ("train", "floats") else (1,)):
        params = {"first": jnp.ones((3, 4)), "last": jnp.ones((4, 5))}
        names = {"params": params, "apply": apply, "loss_fn": loss_fn, "batches": batches, "optimizer": optax.sgd(0.1)}
        exec(backend.native_code(plan, None, mode), names)
        if mode == "infer":
            assert names["outputs"].shape == (8, 5)
        else:
            assert not np.allclose(names["params"]["last"], 1)
    jax.config.update("jax_default_matmul_precision", before)


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("mode", ["train", "infer"])
def test_recorded_models_run(mode, monkeypatch):
    """With a recorder that checks what it is given; the last batch of an inference has another shape."""
    recorded, replayed = [], []

    def record(model, samples):
        recorded.append([tuple(sample.shape) for sample in samples])
        assert not torch.is_autocast_cache_enabled() or not torch.is_autocast_enabled("cpu")

        def replay(x):
            assert x.shape == samples[0].shape
            replayed.append(len(x))
            return model(x)

        return replay

    monkeypatch.setattr(torch.cpu, "make_graphed_callables", record, raising=False)
    for precision, layout in itertools.product(("fp32", "bf16"), ("nhwc", "nchw")):
        inputs, labels, model = images()
        model(inputs)
        inputs, labels = torch.cat([inputs] * 2)[:12], torch.cat([labels] * 2)[:12]
        names = {
            "model": model,
            "dataset": TensorDataset(inputs, labels),
            "loss_fn": nn.functional.cross_entropy,
            "optimizer": torch.optim.SGD(model.parameters(), 0.1),
        }
        plan = Plan(batch=8, precision=precision, layout=layout, compile="eager", launch="graph")
        text = native_code(plan, "cpu", mode)
        assert max(map(len, text.splitlines())) <= 79
        exec(text, names)
        torch.set_grad_enabled(True)
    assert recorded == [[(8, 3, 6, 6)]] * 4
    assert replayed == [8] * 4
    if mode == "infer":
        assert len(names["outputs"]) == 4


@pytest.mark.parametrize("mode", ["train", "infer"])
def test_another_device_has_its_number(mode):
    """The number goes with devices; autocast and the scaler of gradients know types alone."""
    plan = Plan(batch=8, precision="fp16", layout="nchw", compile="eager", launch="graph")
    text = native_code(plan, "cuda", mode, 1)
    assert ast.parse(text).body
    assert 'torch.cuda.set_device("cuda:1")' in text
    assert text.count('.to("cuda:1")') == (4 if mode == "train" else 3)
    assert '"cuda"' in text
    assert '"cuda"' not in "".join(line for line in text.splitlines() if ".to(" in line)


def test_null_has_none():
    backend = registry.backend("null")
    assert backend.native_code(Plan(), backend.devices()[0]) == ""
    backend.clear_caches(backend.devices()[0])
