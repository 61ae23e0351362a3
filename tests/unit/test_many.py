"""What is done to many arrays at once is what is done to each."""

import numpy as np
import pytest
import torch

import hal
from hal.backends._torch import many
from hal.tensor import Ops
from hal.tensor.many import cast_each, clip_norm

SHAPES = [(3, 4), (), (2, 1, 5)]


@pytest.fixture(autouse=True)
def ops():
    """``hal.ops`` serves tensors."""
    return hal.device("cpu").xp


def tensors():
    drawn = torch.Generator().manual_seed(0)
    found = [torch.randn(shape, generator=drawn) for shape in SHAPES]
    return [*found, found[0].t()]


@pytest.mark.parametrize("cast", [many.cast_each, lambda given, dtype: cast_each(given, str(dtype).split(".")[1])])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_casts_and_their_gradients(cast, dtype):
    given = [each.clone().requires_grad_() for each in tensors()]
    unused = torch.ones(2, requires_grad=True)
    found = cast([*given, unused], dtype)[:-1]
    for mine, each in zip(found, given, strict=True):
        assert torch.equal(mine, each.detach().to(dtype))
        assert mine.stride() == each.stride()
    loss = sum(each.float().square().sum() for each in found)
    grads = torch.autograd.grad(loss, [*given, unused], allow_unused=True)
    assert grads[-1] is None
    for grad, each in zip(grads, given, strict=False):
        assert grad.dtype == torch.float32
        assert torch.equal(grad, (2 * each.detach().to(dtype).float()).to(dtype).float())


@pytest.mark.parametrize("largest", [0.5, 100.0])
def test_clipping(ops, largest):
    given = tensors()
    host = [each.numpy().astype(np.float64) for each in given]
    norm = np.sqrt(sum((each**2).sum() for each in host))
    for found in (clip_norm(given, largest), Ops._clip_norm(ops, given, largest)):
        for mine, each in zip(found, host, strict=True):
            np.testing.assert_allclose(mine.numpy(), each * min(largest / norm, 1.0), rtol=1e-6)


def test_no_arrays():
    assert cast_each([], "bfloat16") == []
    assert clip_norm([], 1.0) == []
