"""Each entry of the table against PyTorch itself, in float64, with gradients; some of them on another backend."""

import cases_elementwise
import cases_layers
import cases_shapes
import numpy as np
import pytest
import torch
from table_helpers import arguments, by_table, by_torch, leaves, weighted

import hal
from hal.torch.table import TABLE

CASES = [*cases_elementwise.CASES, *cases_shapes.CASES, *cases_layers.CASES]
# What has no values to compare: tests of random numbers and of captured modules use them.
OTHERWISE = {
    f"aten::{name}" if "." in name else f"aten::{name}.default"
    for name in (
        "rand rand_like randn randn_like uniform normal_functional exponential bernoulli bernoulli.p bernoulli.Tensor "
        "randint randint.low randperm multinomial empty.memory_format empty_permuted empty_strided new_empty "
        "new_empty_strided empty_like sym_size.int sym_numel _assert_tensor_metadata _assert_scalar _assert_async "
        "_assert_async.msg sym_constrain_range sym_constrain_range_for_size"
    ).split()
}
ROUNDED = 1e-6  # losses and what is cast to fp32
EXACT = 1e-7  # PyTorch has some constants in fp32 only


@pytest.fixture(scope="module", autouse=True)
def _host():
    hal.device("cpu").xp.zeros(1)


def test_every_entry_has_a_case():
    covered = {of.entry for of in CASES}
    assert {name for name in TABLE if name.startswith("aten::")} == covered | OTHERWISE


def compared(found, wanted, tolerance):
    """Assert that all tensors are equal, with their dtypes; None stands for what the table does not give."""
    found, wanted = leaves(found), leaves(wanted)
    assert len(found) == len(wanted)
    for ours, theirs in zip(found, wanted, strict=True):
        if ours is None:
            continue
        assert ours.dtype == theirs.dtype
        assert tuple(ours.shape) == tuple(theirs.shape)
        if theirs.is_floating_point():
            torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance, equal_nan=True)
        else:
            assert torch.equal(ours, theirs)


@pytest.mark.parametrize("of", CASES, ids=str)
def test_as_in_torch(of):
    args, kwargs = arguments(of)
    wanted = by_torch(of, args, kwargs)
    found = by_table(of, wanted, args, kwargs)
    fp32 = any(isinstance(leaf, torch.Tensor) and leaf.dtype == torch.float32 for leaf in leaves(wanted))
    tolerance = ROUNDED if fp32 else EXACT
    compared(found, wanted, tolerance)
    inputs = [leaf for leaf in leaves((args, kwargs)) if isinstance(leaf, torch.Tensor) and leaf.requires_grad]
    ours, theirs = leaves(found), leaves(wanted)
    right = gradients([None if mine is None else leaf for mine, leaf in zip(ours, theirs, strict=True)], inputs)
    for gradient, reference in zip(gradients(ours, inputs), right, strict=True):
        torch.testing.assert_close(gradient, reference, rtol=tolerance, atol=tolerance, equal_nan=True)


def gradients(outputs, inputs):
    """Of the weighted outputs; zeros where nothing depends on an input."""
    total = weighted(outputs)
    found = [None] * len(inputs)
    if total is not None and inputs:
        found = torch.autograd.grad(total, inputs, allow_unused=True)
    return [torch.zeros_like(x) if gradient is None else gradient for x, gradient in zip(inputs, found, strict=True)]


# Those whose translation depends on the rules of a backend: one case each.
ELSEWHERE = {
    of.op: of
    for of in CASES
    if of.op.partition(".")[0]
    in "index index_put conv1d conv_transpose2d cross_entropy_loss lstm div fmod max unfold where to arange pow".split()
}


@pytest.mark.parametrize("of", ELSEWHERE.values(), ids=str)
def test_elsewhere(of):
    """On a backend whose arrays and rules for dtypes are its own, without 64-bit numbers."""
    backend = hal.registry.backend("jax")
    device = backend.devices()[0]

    def put(tensor):
        tensor = tensor.int() if tensor.dtype == torch.int64 else tensor
        return backend.from_host(tensor.detach().numpy(), device)

    args, kwargs = arguments(of, torch.float32)
    wanted = by_torch(of, args, kwargs)
    found = by_table(of, wanted, args, kwargs, put=put)
    for ours, theirs in zip(leaves(found), leaves(wanted), strict=True):
        if ours is not None:
            np.testing.assert_allclose(backend.to_host(ours), theirs.detach().numpy(), rtol=1e-4, atol=1e-5)
