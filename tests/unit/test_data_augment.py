"""Augmentation in neutral ops, on NumPy and on PyTorch, against what it says it does."""

import array_api_compat.numpy
import array_api_compat.torch
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hal.data import AUGMENTATIONS, augment, check_augmentations
from hal.data.augment import _mapped
from hal.errors import ConfigError, ShapeError
from hal.tensor import Key, Ops, dispatch


class PlainOps(Ops):
    """The neutral API with nothing of a vendor's own."""

    def _stop_gradient(self, x):
        return x

    def _placed(self, like):
        return {"device": like.device}


@pytest.fixture(params=["numpy", "torch"])
def xp(request, monkeypatch):
    standard, kind = {
        "numpy": (array_api_compat.numpy, np.ndarray),
        "torch": (array_api_compat.torch, torch.Tensor),
    }[request.param]
    ops = PlainOps(standard)
    monkeypatch.setitem(dispatch._OPS, kind, ops)
    return ops


@pytest.fixture
def torch_ops(monkeypatch):
    monkeypatch.setitem(dispatch._OPS, torch.Tensor, PlainOps(array_api_compat.torch))


def pictures(count, height=12, width=9, channels=3):
    return np.random.default_rng(0).random((count, height, width, channels), dtype=np.float32) * 0.8 + 0.1


def shifted(image, down, right):
    """The image moved by whole pixels, zeros where nothing was."""
    result = np.zeros_like(image)
    height, width = image.shape[:2]
    result[max(0, -down) : height - max(0, down), max(0, -right) : width - max(0, right)] = image[
        max(0, down) : height + min(0, down), max(0, right) : width + min(0, right)
    ]
    return result


@pytest.mark.parametrize("kinds", [[], *([kind] for kind in AUGMENTATIONS), ["crop", "flip", "brightness"]])
def test_shape_and_dtype_stay_and_keys_decide(xp, kinds):
    images = xp.asarray(pictures(16))
    one, again = augment(images, Key(1), kinds), augment(images, Key(1), kinds)
    assert tuple(one.shape) == (16, 12, 9, 3)
    assert one.dtype == images.dtype
    assert np.array_equal(np.asarray(one), np.asarray(again))
    assert np.asarray(one).min() >= 0
    assert np.asarray(one).max() <= 1
    if kinds:
        assert not np.array_equal(np.asarray(one), np.asarray(augment(images, Key(2), kinds)))
    else:
        assert np.array_equal(np.asarray(one), np.asarray(images))


def test_flip_mirrors_about_half_of_the_images(xp):
    images = pictures(400)
    found = np.asarray(augment(xp.asarray(images), Key(0), ["flip"]))
    kept = np.all(found == images, axis=(1, 2, 3))
    mirrored = np.all(found == images[:, :, ::-1], axis=(1, 2, 3))
    assert np.all(kept ^ mirrored)
    assert 150 < mirrored.sum() < 250


def test_crop_moves_each_image_by_whole_pixels(xp):
    images = pictures(300, height=30, width=9)
    found = np.asarray(augment(xp.asarray(images), Key(0), ["crop"]))
    moves = set()
    for before, after in zip(images, found, strict=True):
        (move,) = [
            (down, right)
            for down in range(-4, 5)
            for right in range(-4, 5)
            if np.array_equal(shifted(before, down, right), after)
        ]
        moves.add(move)
    # A tenth of 30 is 3; a tenth of 9 is below 2.
    assert {down for down, _ in moves} == set(range(-3, 4))
    assert {right for _, right in moves} == set(range(-2, 3))
    assert len(moves) > 25


def test_brightness_scales_each_image_by_one_factor(xp):
    images = pictures(200)
    found = np.asarray(augment(xp.asarray(images), Key(0), ["brightness"]))
    factors = (found / images)[np.arange(200), 0, 0, 0]
    dark = images < 0.8
    np.testing.assert_allclose(found[dark], (images * factors[:, None, None, None])[dark], rtol=1e-5)
    assert factors.min() >= 0.799
    assert factors.max() <= 1.201
    assert factors.min() < 0.82
    assert factors.max() > 1.18


def test_the_same_kind_twice_draws_twice(xp):
    images = xp.asarray(pictures(64))
    twice = np.asarray(augment(images, Key(0), ["flip", "flip"]))
    assert not np.array_equal(twice, np.asarray(images))


@settings(max_examples=30, deadline=None)
@given(height=st.integers(1, 7), width=st.integers(1, 7), channels=st.integers(1, 4), seed=st.integers(0, 2**64 - 1))
def test_any_size(height, width, channels, seed):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(dispatch._OPS, np.ndarray, PlainOps(array_api_compat.numpy))
        images = pictures(3, height, width, channels)
        found = augment(images, Key(seed), ["crop"])
    for before, after in zip(images, found, strict=True):
        moves = [(d, r) for d in range(-2, 3) for r in range(-2, 3) if abs(d) < height and abs(r) < width]
        possible = [np.zeros_like(before), *(shifted(before, *move) for move in moves)]
        assert any(np.array_equal(after, expected) for expected in possible)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.usefixtures("torch_ops")
def test_crop_is_exact_in_every_dtype(dtype):
    images = torch.asarray(pictures(8, height=300, width=4)).to(dtype)
    found = augment(images, Key(0), ["crop"])
    assert found.dtype == dtype
    for before, after in zip(images.double().numpy(), found.double().numpy(), strict=True):
        assert any(np.array_equal(shifted(before, d, r), after) for d in range(-30, 31) for r in range(-2, 3))


@pytest.mark.usefixtures("torch_ops")
def test_gradients_go_where_the_pixels_went():
    images = torch.asarray(pictures(6)).requires_grad_()
    found = augment(images, Key(4), ["crop", "flip"])
    found.sum().backward()
    # Each pixel that is still there counts once, each that was moved out not at all.
    assert set(images.grad.unique().tolist()) == {0.0, 1.0}
    assert images.grad.sum() == (found != 0).sum()
    torch.testing.assert_close((images.grad * images).sum(), found.sum())


@pytest.mark.usefixtures("torch_ops")
def test_nothing_waits_for_the_device():
    # Tensors of PyTorch's meta device have no values, so that anything that needs one raises.
    images = torch.empty((4, 12, 12, 3), device="meta")
    found = augment(images, Key(0), list(AUGMENTATIONS))
    assert found.device.type == "meta"
    assert found.shape == images.shape


def test_unknown_kinds_and_shapes(xp):
    images = xp.asarray(pictures(2))
    with pytest.raises(ConfigError, match=r"augment=filp is not known; did you mean flip\?") as caught:
        augment(images, Key(0), ["crop", "filp"])
    assert caught.value.fix == "use one of: brightness, color, crop, flip, rotate, scale"
    with pytest.raises(ConfigError, match="augment=mixup is not known"):
        check_augmentations(["mixup"])
    check_augmentations(list(AUGMENTATIONS))
    with pytest.raises(ShapeError, match="height, width, channels"):
        augment(images[0], Key(0), ["flip"])


@pytest.mark.parametrize("size", [8, 9])
def test_pixels_come_from_where_a_rotation_takes_them(xp, size):
    """A quarter turn and no turn are exact; half a pixel is the mean of two."""
    images = pictures(2, size, size)

    def mapped(along, across):
        fill = [xp.asarray(np.full((2, 1, 1), value, np.float32)) for value in (along, across)]
        return np.asarray(_mapped(xp.asarray(images), *fill))

    np.testing.assert_allclose(mapped(1.0, 0.0), images, atol=1e-6)
    np.testing.assert_allclose(mapped(0.0, 1.0), np.rot90(images, 1, axes=(1, 2)), atol=1e-5)
    np.testing.assert_allclose(mapped(-1.0, 0.0), images[:, ::-1, ::-1], atol=1e-5)
    assert np.all(mapped(1e6, 0.0)[:, 0] == 0), "what comes from outside is zero"


@pytest.mark.parametrize("kind", ["rotate", "scale"])
def test_turns_and_scales_stay_in_bounds(xp, kind):
    """The middle of an image of one color stays; different images change differently."""
    images = xp.asarray(np.ones((16, 21, 21, 1), np.float32))
    found = np.asarray(augment(images, Key(0), [kind]))
    np.testing.assert_allclose(found[:, 6:15, 6:15], 1, atol=1e-5)
    assert found.min() >= -1e-6
    assert found.max() <= 1 + 1e-5
    other = np.asarray(augment(xp.asarray(pictures(1)[[0] * 8]), Key(0), [kind]))
    assert len({image.tobytes() for image in other}) == 8


def test_colors(xp):
    gray = pictures(8, channels=1)
    found = np.asarray(augment(xp.asarray(gray), Key(0), ["color"]))
    assert found.min() >= 0
    assert found.max() <= 1
    order = np.argsort(gray.reshape(8, -1), axis=1)
    ranked = np.take_along_axis(found.reshape(8, -1), order, axis=1)
    assert np.all(np.diff(ranked, axis=1) >= -1e-6), "brighter pixels stay brighter"
