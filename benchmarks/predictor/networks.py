"""Public networks as lists of ops, written from their papers and torchvision's definitions, with shapes alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

Op = tuple[str, float, float, float]
"""Kind, operations, numbers that are read and written, numbers of weights among them; of one forward pass."""


@dataclass
class Net:
    """Counts ops as a network is written down; images are square."""

    batch: int
    size: int
    channels: int = 3
    ops: list[Op] = field(default_factory=list)

    def conv(
        self,
        out: int,
        k: int,
        stride: int = 1,
        groups: int = 1,
        *,
        pad: int | None = None,
        norm: bool = True,
        act: bool = True,
    ) -> Net:
        """A convolution, then batch normalization and an activation, each an op of its own."""
        pad = k // 2 if pad is None else pad
        after = (self.size + 2 * pad - k) // stride + 1
        weights = k * k * self.channels // groups * out
        kind = "grouped convolution" if groups > 1 else "convolution"
        read = self.batch * self.size**2 * self.channels
        self.size, inside, self.channels = after, self.channels, out
        wrote = self.batch * after**2 * out
        flops = 2.0 * self.batch * after**2 * out * k * k * inside / groups
        self.ops.append((kind, flops, read + wrote + weights, weights))
        for _ in range(norm + act):
            self.pointwise(2)
        return self

    def pointwise(self, streams: int) -> Net:
        """An op on each number by itself."""
        count = self.batch * self.size**2 * self.channels
        self.ops.append(("elementwise", count, streams * count, 0))
        return self

    def pool(self, k: int, stride: int, pad: int = 0) -> Net:
        """A pooling."""
        before = self.batch * self.size**2 * self.channels
        self.size = (self.size + 2 * pad - k) // stride + 1
        after = self.batch * self.size**2 * self.channels
        self.ops.append(("elementwise", after * k * k, before + after, 0))
        return self

    def linear(self, out: int) -> Net:
        """A dense layer on what the images have become."""
        inside = self.channels * self.size**2
        self.size, self.channels = 1, out
        weights = inside * out
        flops = 2.0 * self.batch * weights
        self.ops.append(("product", flops, self.batch * (inside + out) + weights, weights))
        return self

    def average(self) -> Net:
        """The mean over each image."""
        self.pointwise(1)
        self.size = 1
        return self


def _resnet(block: str, layers: tuple[int, ...], groups: int = 1, width: int = 64) -> Callable[[Net], None]:
    def build(net: Net) -> None:
        net.conv(64, 7, 2).pool(3, 2, 1)
        for stage, count in enumerate(layers):
            planes = 64 * 2**stage
            for index in range(count):
                stride = 2 if stage and not index else 1
                size, channels = net.size, net.channels
                if block == "basic":
                    net.conv(planes, 3, stride).conv(planes, 3, act=False)
                else:
                    inner = planes * width // 64 * groups
                    net.conv(inner, 1).conv(inner, 3, stride, groups).conv(4 * planes, 1, act=False)
                if not index and (stride > 1 or channels != net.channels):
                    out, after = net.channels, net.size
                    net.size, net.channels = size, channels
                    net.conv(out, 1, stride, act=False)
                    assert net.size == after
                net.pointwise(3).pointwise(2)
        net.average().linear(1000)

    return build


def _vgg(layers: str, norm: bool) -> Callable[[Net], None]:
    def build(net: Net) -> None:
        for word in layers.split():
            if word == "M":
                net.pool(2, 2)
            else:
                net.conv(int(word), 3, norm=norm)
        net.linear(4096).pointwise(2).linear(4096).pointwise(2).linear(1000)

    return build


_VGG = {
    "11": "64 M 128 M 256 256 M 512 512 M 512 512 M",
    "13": "64 64 M 128 128 M 256 256 M 512 512 M 512 512 M",
    "16": "64 64 M 128 128 M 256 256 256 M 512 512 512 M 512 512 512 M",
    "19": "64 64 M 128 128 M 256 256 256 256 M 512 512 512 512 M 512 512 512 512 M",
}


def _densenet(layers: tuple[int, ...], growth: int, first: int) -> Callable[[Net], None]:
    def build(net: Net) -> None:
        net.conv(first, 7, 2).pool(3, 2, 1)
        for stage, count in enumerate(layers):
            for _ in range(count):
                channels = net.channels
                net.pointwise(2).pointwise(2).pointwise(2)  # the copies of what is put together
                net.conv(4 * growth, 1).conv(growth, 3, norm=False, act=False)
                net.channels = channels + growth
            if stage < len(layers) - 1:
                net.pointwise(2).pointwise(2).conv(net.channels // 2, 1, norm=False, act=False).pool(2, 2)
        net.pointwise(2).average().linear(1000)

    return build


def _squeezenet(version: str) -> Callable[[Net], None]:
    def build(net: Net) -> None:
        def fire(squeeze: int, expand: int) -> None:
            net.conv(squeeze, 1, norm=False)
            size = net.size
            net.conv(expand, 1, norm=False)
            net.channels, net.size = squeeze, size
            net.conv(expand, 3, norm=False)
            net.channels = 2 * expand
            net.pointwise(2)

        if version == "1_0":
            net.conv(96, 7, 2, pad=0, norm=False).pool(3, 2)
            pools = {3, 7}
        else:
            net.conv(64, 3, 2, pad=0, norm=False).pool(3, 2)
            pools = {2, 4}
        for index, (s, e) in enumerate(
            ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))
        ):
            if index in pools:
                net.pool(3, 2)
            fire(s, e)
        net.conv(1000, 1, norm=False).average()

    return build


def _inverted(net: Net, out: int, expand: float, k: int, stride: int) -> None:
    channels = net.channels
    hidden = int(channels * expand)
    if expand != 1:
        net.conv(hidden, 1)
    net.conv(hidden, k, stride, groups=hidden).conv(out, 1, act=False)
    if stride == 1 and channels == out:
        net.pointwise(3)


def _mobilenet_v2(net: Net) -> None:
    net.conv(32, 3, 2)
    for t, c, n, s in (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ):
        for index in range(n):
            _inverted(net, c, t, 3, s if not index else 1)
    net.conv(1280, 1).average().linear(1000)


def _mnasnet(alpha: float) -> Callable[[Net], None]:
    def width(channels: int) -> int:
        scaled = channels * alpha
        rounded = max(8, int(scaled + 4) // 8 * 8)
        return rounded if rounded >= 0.9 * scaled else rounded + 8

    def build(net: Net) -> None:
        net.conv(width(32), 3, 2)
        net.conv(net.channels, 3, 1, groups=net.channels).conv(width(16), 1, act=False)
        for c, k, s, t, n in (
            (24, 3, 2, 3, 3),
            (40, 5, 2, 3, 3),
            (80, 5, 2, 6, 3),
            (96, 3, 1, 6, 2),
            (192, 5, 2, 6, 4),
            (320, 3, 1, 6, 1),
        ):
            for index in range(n):
                _inverted(net, width(c), t, k, s if not index else 1)
        net.conv(1280, 1).average().linear(1000)

    return build


def _shufflenet(widths: tuple[int, ...]) -> Callable[[Net], None]:
    def build(net: Net) -> None:
        net.conv(24, 3, 2).pool(3, 2, 1)
        for out, count in zip(widths[:3], (4, 8, 4), strict=True):
            for index in range(count):
                half = out // 2
                if not index:
                    size, channels = net.size, net.channels
                    net.conv(channels, 3, 2, groups=channels, act=False).conv(half, 1)
                    net.size, net.channels = size, channels
                    net.conv(half, 1).conv(half, 3, 2, groups=half, act=False).conv(half, 1)
                else:
                    net.channels = half
                    net.conv(half, 1).conv(half, 3, 1, groups=half, act=False).conv(half, 1)
                net.channels = out
                net.pointwise(2).pointwise(2)
        net.conv(widths[3], 1).average().linear(1000)

    return build


IMAGES: dict[str, Callable[[Net], None]] = {
    "resnet18": _resnet("basic", (2, 2, 2, 2)),
    "resnet34": _resnet("basic", (3, 4, 6, 3)),
    "resnet50": _resnet("bottleneck", (3, 4, 6, 3)),
    "resnet101": _resnet("bottleneck", (3, 4, 23, 3)),
    "resnet152": _resnet("bottleneck", (3, 8, 36, 3)),
    "resnext50_32x4d": _resnet("bottleneck", (3, 4, 6, 3), 32, 4),
    "resnext101_32x8d": _resnet("bottleneck", (3, 4, 23, 3), 32, 8),
    "resnext101_64x4d": _resnet("bottleneck", (3, 4, 23, 3), 64, 4),
    "wide_resnet50_2": _resnet("bottleneck", (3, 4, 6, 3), 1, 128),
    "wide_resnet101_2": _resnet("bottleneck", (3, 4, 23, 3), 1, 128),
    **{f"vgg{n}": _vgg(layers, norm=False) for n, layers in _VGG.items()},
    **{f"vgg{n}_bn": _vgg(layers, norm=True) for n, layers in _VGG.items()},
    "densenet121": _densenet((6, 12, 24, 16), 32, 64),
    "densenet161": _densenet((6, 12, 36, 24), 48, 96),
    "densenet169": _densenet((6, 12, 32, 32), 32, 64),
    "densenet201": _densenet((6, 12, 48, 32), 32, 64),
    "squeezenet1_0": _squeezenet("1_0"),
    "squeezenet1_1": _squeezenet("1_1"),
    "mobilenet_v2": _mobilenet_v2,
    "mnasnet0_5": _mnasnet(0.5),
    "mnasnet0_75": _mnasnet(0.75),
    "mnasnet1_0": _mnasnet(1.0),
    "mnasnet1_3": _mnasnet(1.3),
    "shufflenet_v2_x0_5": _shufflenet((48, 96, 192, 1024)),
    "shufflenet_v2_x1_0": _shufflenet((116, 232, 464, 1024)),
    "shufflenet_v2_x1_5": _shufflenet((176, 352, 704, 1024)),
    "shufflenet_v2_x2_0": _shufflenet((244, 488, 976, 2048)),
}

TRANSFORMERS: dict[str, tuple[int, int, int, int]] = {
    "bert_large": (24, 1024, 16, 30522),
    "gpt2_large": (36, 1280, 20, 50257),
    "opt_13": (24, 2048, 32, 50272),
    "gpt3_xl": (24, 2048, 24, 50257),
    "gpt3_27": (32, 2560, 32, 50257),
}
"""Layers, width, heads and vocabulary."""

VITS: dict[str, tuple[int, int, int]] = {
    "vit_tiny_patch16_224": (12, 192, 3),
    "vit_small_patch16_224": (12, 384, 6),
    "vit_base_patch16_224": (12, 768, 12),
    "vit_large_patch16_224": (24, 1024, 16),
    "vit_small_patch32_224": (12, 384, 6),
    "vit_base_patch32_224": (12, 768, 12),
    "deit_tiny_patch16_224": (12, 192, 3),
    "deit_small_patch16_224": (12, 384, 6),
    "deit_base_patch16_224": (12, 768, 12),
}
"""Layers, width and heads."""


def _blocks(batch: int, tokens: int, layers: int, width: int, heads: int, fused: bool) -> list[Op]:
    rows = batch * tokens
    ops: list[Op] = []

    def linear(a: int, b: int) -> None:
        ops.append(("product", 2.0 * rows * a * b, rows * (a + b) + a * b, a * b))

    def pointwise(count: float, streams: int) -> None:
        ops.append(("elementwise", count, streams * count, 0))

    for _ in range(layers):
        pointwise(rows * width, 2)
        linear(width, 3 * width)
        scores = float(batch * heads * tokens * tokens)
        flops = 2.0 * batch * tokens * tokens * width
        if fused:  # the scores stay on the chip
            ops.append(("product", 2 * flops, 4 * rows * width, 0))
        else:
            ops.append(("product", flops, 2 * rows * width + scores, 0))
            for _ in range(3):  # scale, mask, softmax
                pointwise(scores, 2)
            ops.append(("product", flops, 2 * rows * width + scores, 0))
        linear(width, width)
        pointwise(rows * width, 3)
        pointwise(rows * width, 2)
        linear(width, 4 * width)
        pointwise(4 * rows * width, 2)
        linear(4 * width, width)
        pointwise(rows * width, 3)
    return ops


def forward(model: str, batch: int, size: int, *, fused: bool) -> list[Op] | None:
    """The ops of one forward pass of a batch; None for a network that is not written down here."""
    if model in IMAGES:
        net = Net(batch, size)
        IMAGES[model](net)
        return net.ops
    if model in TRANSFORMERS:
        layers, width, heads, vocabulary = TRANSFORMERS[model]
        rows = batch * size
        head = (
            "product",
            2.0 * rows * width * vocabulary,
            rows * (width + vocabulary) + width * vocabulary,
            width * vocabulary,
        )
        return [*_blocks(batch, size, layers, width, heads, fused), head]
    if model in VITS:
        layers, width, heads = VITS[model]
        patch = 32 if "patch32" in model else 16
        net = Net(batch, size)
        net.conv(width, patch, patch, pad=0, norm=False, act=False)
        return [*net.ops, *_blocks(batch, (size // patch) ** 2 + 1, layers, width, heads, fused)]
    return None


def step(
    model: str, batch: int, size: int, mode: str, number_bytes: int, *, fused: bool
) -> list[tuple[str, float, float]] | None:
    """The ops of one step as hal counts them: kind, FLOPs and bytes.

    With ``fused``, attention is one op, as PyTorch computes it in timm's vision transformers since 2.0. Training
    differentiates each op with respect to its inputs and its weights, and updates the weights.
    """
    ops = forward(model, batch, size, fused=fused)
    if ops is None:
        return None
    found = [(kind, flops, number_bytes * moved) for kind, flops, moved, _ in ops]
    if mode == "train":
        for kind, flops, moved, weights in ops:
            found.append((kind, flops, number_bytes * moved))
            if weights:
                found.append((kind, flops, number_bytes * moved))
                found.append(("elementwise", weights, 12.0 * weights))
    return found
