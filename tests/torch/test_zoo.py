"""The architectures that people have, each by itself and translated on JAX: values, first gradients, ten steps."""

import os

import numpy as np
import optree
import pytest
import torch
from ten_steps import LEAST, NAMES, PAIR, ten_steps
from zoo import ZOO

from hal import registry
from hal.torch.capture import capture, plain_outputs
from hal.torch.comparison import compare
from hal.torch.table.call import EXPECTED

pytestmark = pytest.mark.filterwarnings("ignore")  # of the packages that the modules come from


@pytest.mark.parametrize("name", ZOO)
def test_a_known_architecture(name):
    make, inputs = ZOO[name]
    if getattr(make, "__qualname__", "").startswith("of_transformers"):
        pytest.importorskip("transformers")
    torch.manual_seed(0)
    module, given = make(), inputs(3)
    args = (given.pop(""),) if "" in given else ()
    graph = capture(module, args, given, training=True)
    compare(module, graph, args, given, training=True)  # on the host: outputs, buffers, first gradients
    module.eval()
    with torch.no_grad():
        wanted = _tensors(plain_outputs(module(*args, **given)))
    outputs, _ = _on_jax(capture(module, args, given, training=False), module, (*args, *given.values()))
    assert len(outputs) == len(wanted) > 0
    for found, expected in zip(outputs, wanted, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-4 * max(1.0, float(expected.abs().max())))


@pytest.mark.parametrize("name", ["small CNN", "LSTM", "nn.TransformerEncoder"])
def test_gradients_on_jax(name):
    """The first step's gradients on JAX are the module's own, within a thousandth of their scale."""
    make, inputs = ZOO[name]
    torch.manual_seed(0)
    module, x = make(), inputs(3)[""]
    for part in module.modules():  # what the translation expects of random numbers is that they change nothing
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
        if isinstance(part, torch.nn.MultiheadAttention):
            part.dropout = 0.0
    graph = capture(module, (x,), {}, training=True)
    module.train()
    module(x).square().sum().backward()
    backend, device = _jax()
    params = {key: backend.from_host(p.detach().numpy(), device) for key, p in module.named_parameters()}
    buffers = {key: backend.from_host(b.numpy(), device) for key, b in module.named_buffers()}
    ops = backend.ops(device)

    def loss(params):
        found, _ = graph(params, buffers, [backend.from_host(x.numpy(), device)], EXPECTED)
        return ops.sum(found * found), ()

    _, gradients = backend.value_and_grad(loss)(params)
    largest = max(float(parameter.grad.abs().max()) for parameter in module.parameters())
    for key, parameter in module.named_parameters():
        scale = float(parameter.grad.abs().max())  # zero in theory for what batch norm takes away again
        np.testing.assert_allclose(
            backend.to_host(gradients[key]), parameter.grad, atol=1e-3 * scale + 1e-6 * largest, err_msg=key
        )


# HAL_ZOO=all trains all of them, which takes ten minutes and more.
@pytest.mark.parametrize("name", NAMES if os.environ.get("HAL_ZOO") == "all" else ["small CNN", PAIR])
def test_ten_steps(name):
    """Losses on JAX are those of the module itself, within what a perturbed start of the module shows."""
    if name in ZOO and getattr(ZOO[name][0], "__qualname__", "").startswith("of_transformers"):
        pytest.importorskip("transformers")
    found = ten_steps(name)
    assert found.translated <= found.allowed
    assert abs(found.last - found.first) > 100 * LEAST, "it was trained"


def _jax():
    backend = registry.backend("jax")
    device = backend.devices()[0]
    backend.ops(device)
    return backend, device


def _on_jax(graph, module, inputs):
    import jax

    backend, device = _jax()
    params = {key: backend.from_host(p.detach().numpy(), device) for key, p in module.named_parameters()}
    buffers = {key: backend.from_host(b.numpy(), device) for key, b in module.named_buffers()}
    arrays = [backend.from_host(x.numpy(), device) for x in inputs]
    found, after = jax.jit(lambda *given: graph(*given, EXPECTED))(params, buffers, arrays)
    return [np.asarray(x) for x in optree.tree_leaves(found)], after


def _tensors(tree):
    return [x for x in optree.tree_leaves(tree) if isinstance(x, torch.Tensor)]
