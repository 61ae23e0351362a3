"""What is done to all parameters or gradients takes as many launches as for one of them."""

import fake_card
import pytest
import torch

from hal.tensor.many import cast_each, clip_norm


def launched(work):
    before = fake_card.counters(1)["launches"][0]
    work()
    return fake_card.counters(1)["launches"][0] - before


@pytest.fixture(autouse=True)
def ops(device):
    """``hal.ops`` serves tensors."""
    return device.xp


def cast(given, grads):
    torch.autograd.grad(cast_each(given, "float16"), given, grads)


def clip(given, grads):
    clip_norm(grads, 1.0)


@pytest.mark.parametrize("work", [cast, clip])
def test_launches(work):
    found = set()
    for count in (2, 40):
        given = [torch.randn(3, 4).to("cuda").requires_grad_() for _ in range(count)]
        grads = [torch.randn(3, 4).to("cuda", torch.float16) for _ in range(count)]
        found.add(launched(lambda given=given, grads=grads: work(given, grads)))
    assert len(found) == 1
    assert found.pop() > 0
