"""Small modules made of random layers, for which translation is either right or refused."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

__all__ = ["random_module"]

ACTIVATIONS = (
    nn.ReLU, nn.GELU, nn.SiLU, nn.ELU, nn.LeakyReLU, nn.Tanh, nn.Sigmoid, nn.Softplus, nn.Hardswish, nn.Mish, nn.SELU,
    nn.ReLU6, nn.PReLU, nn.Softsign, nn.LogSigmoid, nn.Tanhshrink, nn.CELU, nn.Hardsigmoid,
)  # fmt: skip


class Residual(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return x + self.inner(x)


class Beside(nn.Module):
    """Two branches, joined along the channels."""

    def __init__(self, first, second, axis):
        super().__init__()
        self.first, self.second, self.axis = first, second, axis

    def forward(self, x):
        return torch.cat([self.first(x), self.second(x)], self.axis)


class Function(nn.Module):
    def __init__(self, name, function):
        super().__init__()
        self.name, self.function = name, function

    def forward(self, x):
        return self.function(x)

    def extra_repr(self):
        return self.name


class First(nn.Module):
    """The first of the results of a layer that has several."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x)[0]


class SelfAttention(nn.Module):
    def __init__(self, width, heads, causal):
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, dropout=0.1, batch_first=True)
        self.causal = causal

    def forward(self, x):
        mask = torch.triu(torch.ones(x.shape[1], x.shape[1], dtype=torch.bool), 1) if self.causal else None
        return self.attention(x, x, x, attn_mask=mask, need_weights=False)[0]


IMAGE_FUNCTIONS = {
    "flip": lambda x: x.flip(-1),
    "roll": lambda x: torch.roll(x, (1, -1), (2, 3)),
    "scale": lambda x: x * x.std((2, 3), keepdim=True) + x.amax((2, 3), keepdim=True),
    "normalize": lambda x: F.normalize(x, dim=1),
    "gate": lambda x: x * torch.sigmoid(x.mean((2, 3), keepdim=True)),
    "shuffle": lambda x: x.unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2),
    "clamp": lambda x: x.clamp(-0.9, 0.8),
    "mask": lambda x: torch.where(x > 0.1, x, x.abs() * 0.3),
    "softmax": lambda x: x.flatten(2).softmax(-1).view_as(x),
    "assign": lambda x: torch.stack([x[:, 0], *x.unbind(1)[1:]], 1).index_fill(1, torch.tensor([1]), 0.5),
    "pad": lambda x: F.pad(x, (1, 0, 0, 1), mode="replicate")[:, :, :-1, 1:],
    "variance": lambda x: x / (x.var(1, keepdim=True) + 0.1).sqrt(),
}
TIME_FUNCTIONS = {
    "cumsum": lambda x: x.cumsum(1) / x.shape[1],
    "shift": lambda x: F.pad(x, (0, 0, 1, 0))[:, :-1],
    "sort": lambda x: x.sort(1)[0],
    "product": lambda x: x * x.roll(1, 1),
    "mix": lambda x: torch.einsum("btf,bsf->bts", x, x).softmax(-1) @ x / 2,
    "outer": lambda x: x + x.mean(1, keepdim=True) * x.std(-1, keepdim=True),
    "gather": lambda x: x.gather(1, x.argsort(1)),
    "topk": lambda x: x.topk(x.shape[1], 1).values,
    "masked": lambda x: x.masked_fill(torch.arange(x.shape[1])[None, :, None] > 2, 0.25),
    "logsumexp": lambda x: x - x.logsumexp(-1, keepdim=True),
    "where": lambda x: torch.where(x > x.mean(), x, x.exp().clamp(max=2)),
    "chunk": lambda x: torch.cat(x.chunk(2, -1)[::-1], -1),
    "cdist": lambda x: x * torch.cdist(x, x).mean(-1, keepdim=True),
}


def random_module(seed):
    """A module, its positional arguments, and whether it is to be trained."""
    random = np.random.default_rng(seed)
    torch.manual_seed(seed)
    make = images if random.random() < 0.5 else sequences
    module, args = make(random)
    return module, args, bool(random.random() < 0.6)


def pick(random, values):
    return values[int(random.integers(len(values)))]


def images(random):
    channels, size = pick(random, (2, 4)), pick(random, (7, 8))
    x = torch.randn(3, channels, size, size)
    layers, y = [], x
    for _ in range(int(random.integers(3, 7))):
        layer = image_layer(random, y)
        layers.append(layer)
        with torch.no_grad():
            y = layer(y)
    layers += [nn.Flatten(), nn.Linear(y[0].numel(), 3)]
    return nn.Sequential(*layers), (x,)


def image_layer(random, x):
    channels, size = x.shape[1], min(x.shape[2:])
    kind = pick(random, "conv conv norm norm pool act act function function up deep drop".split())
    if kind == "conv":
        groups = pick(random, [g for g in (1, 2, channels) if channels % g == 0])
        kernel = pick(random, (1, 2, 3)) if size > 4 else 1
        mode = pick(random, ("zeros", "zeros", "reflect", "circular", "replicate"))
        options = {"dilation": pick(random, (1, 1, 2)), "bias": bool(random.integers(2)), "groups": groups}
        full = (kernel - 1) * options["dilation"]
        padding = pick(random, ("same", full)) if kernel % 2 else full
        stride = 1 if padding == "same" or size < 4 else pick(random, (1, 2))
        return nn.Conv2d(channels, 2 * channels if channels < 8 else channels, kernel, stride, padding,
                         padding_mode=mode if kernel > 1 else "zeros", **options)  # fmt: skip
    if kind == "norm":
        norms = (
            nn.BatchNorm2d(channels),
            nn.BatchNorm2d(channels, affine=False),
            nn.BatchNorm2d(channels, track_running_stats=False),
            nn.GroupNorm(2, channels),
            nn.InstanceNorm2d(channels, affine=True),
            nn.LayerNorm(x.shape[1:]),
            nn.LocalResponseNorm(2),
        )
        return pick(random, norms)
    if kind == "pool" and size > 3:
        pools = (
            nn.MaxPool2d(2),
            nn.MaxPool2d(3, 2, 1, ceil_mode=True),
            nn.AvgPool2d(3, 1, 1),
            nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False),
            nn.AdaptiveAvgPool2d((3, 2)),
            nn.AdaptiveMaxPool2d(3),
            nn.LPPool2d(2, 2),
        )
        return pick(random, pools)
    if kind == "up" and size < 9:
        ups = (
            nn.Upsample(scale_factor=2),
            nn.Upsample(scale_factor=1.5, mode="bilinear"),
            nn.Upsample(9, mode="bicubic"),
            nn.ConvTranspose2d(channels, channels, 3, 2, 1, 1),
            nn.ConvTranspose2d(channels, 2, 2, bias=False),
            nn.ZeroPad2d((1, 0, 2, 1)),
            nn.ReflectionPad2d(1) if size > 1 else nn.Identity(),
        )
        return pick(random, ups)
    if kind == "deep":
        inner = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), pick(random, ACTIVATIONS)())
        return Residual(inner) if random.integers(2) else Beside(inner, nn.Identity(), 1)
    if kind == "drop":
        return pick(random, (nn.Dropout(0.3), nn.Dropout2d(0.2), nn.AlphaDropout(0.2)))
    if kind == "function":
        name = pick(random, sorted(IMAGE_FUNCTIONS))
        return Function(name, IMAGE_FUNCTIONS[name])
    return pick(random, ACTIVATIONS)()


def sequences(random):
    width, steps = pick(random, (4, 6)), pick(random, (5, 6))
    ids = torch.randint(0, 11, (3, steps))
    layers = [nn.Embedding(11, width, padding_idx=pick(random, (None, 0)))]
    y = layers[0](ids)
    for _ in range(int(random.integers(2, 6))):
        layer = time_layer(random, y.shape[-1], y.shape[1])
        layers.append(layer)
        with torch.no_grad():
            y = layer(y)
    last = pick(random, (("last", lambda x: x[:, -1]), ("mean", lambda x: x.mean(1)), ("max", lambda x: x.max(1)[0])))
    return nn.Sequential(*layers, Function(*last), nn.Linear(y.shape[-1], 3)), (ids,)


def time_layer(random, width, steps):
    kind = pick(random, ("rnn", "rnn", "attention", "encoder", "norm", "linear", "act", "function", "function", "conv"))
    if kind == "rnn":
        cell = pick(random, (nn.LSTM, nn.GRU, nn.RNN))
        both, layers = bool(random.integers(2)), int(random.integers(1, 3))
        options = {"bidirectional": both, "num_layers": layers, "dropout": 0.2 if layers > 1 else 0.0}
        return First(cell(width, 4, batch_first=True, bias=bool(random.integers(2)), **options))
    if kind == "attention":
        return SelfAttention(width, 2, bool(random.integers(2)))
    if kind == "encoder":
        activation, first = pick(random, ("relu", "gelu")), bool(random.integers(2))
        return nn.TransformerEncoderLayer(width, 2, 8, activation=activation, norm_first=first, batch_first=True)
    if kind == "norm":
        return pick(random, (nn.LayerNorm(width), nn.RMSNorm(width), nn.BatchNorm1d(steps), nn.Dropout(0.2)))
    if kind == "linear":
        return nn.Sequential(
            nn.Linear(width, 8, bias=bool(random.integers(2))), pick(random, (nn.GLU(), nn.Identity()))
        )
    if kind == "conv":
        return Residual(
            nn.Sequential(nn.Conv1d(steps, steps, 3, padding=1, padding_mode=pick(random, ("zeros", "circular"))))
        )
    if kind == "function":
        name = pick(random, sorted(TIME_FUNCTIONS))
        return Function(name, TIME_FUNCTIONS[name])
    return pick(random, ACTIVATIONS)()
