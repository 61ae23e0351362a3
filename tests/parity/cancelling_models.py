"""Models in which gradients are zero in theory, so that what a device gives for them is rounding alone."""

from typing import Any, ClassVar

import numpy as np

from hal import nn, ops
from hal.data import Wanted

SIZE = 12


def _dense(fan_in: int, fan_out: int) -> dict[str, nn.Param]:
    return {"kernel": nn.Param((fan_in, fan_out), "glorot_uniform", axes="IO"), "bias": nn.Param((fan_out,), "zeros")}


def _norm(width: int) -> dict[str, nn.Param]:
    return {"scale": nn.Param((width,), "ones", cast=False), "offset": nn.Param((width,), "zeros", cast=False)}


class _Images(nn.Classifier):
    defaults: ClassVar[nn.Defaults] = nn.Defaults(epochs=1, lr=3e-3, batch=16)

    @classmethod
    def wanted(cls, config):
        return Wanted("image", (SIZE, SIZE, 1))

    def state(self):
        return {}


class ResNet(_Images):
    """Each convolution has a bias, which the batch normalization after it takes out again."""

    def __init__(self, config, data):
        super().__init__(config, data)

        def block(strides: int = 1) -> list[nn.Layer]:
            return [nn.Conv2d(6, strides=strides), nn.BatchNorm()]

        inner = nn.Sequential(*block(), nn.Activation("relu"), *block())
        self.net = nn.Sequential(
            *block(),
            nn.Activation("relu"),
            nn.MaxPool2d(),
            nn.Residual(inner, activation="relu"),
            *block(2),
            nn.Activation("relu"),
            nn.GlobalAvgPool(),
            nn.Dense(10),
        )

    def state(self):
        return nn.Classifier.state(self)


class Encoder(_Images):
    """The rows of an image attend to each other; the bias of the keys shifts all scores of a query alike."""

    width, heads = 8, 2

    def params(self):
        wide = {name: _dense(self.width, self.width) for name in ("query", "key", "value", "out")}
        norms = {name: _norm(self.width) for name in ("first", "second")}
        mlp = {"in": _dense(self.width, 16), "to": _dense(16, self.width)}
        return {"embed": _dense(SIZE, self.width), **wide, **norms, **mlp, "head": _dense(self.width, 10)}

    def logits(self, params, state, inputs, *, training=False, key=None):
        def dense(name: str, x: Any) -> Any:
            return ops.linear(x, params[name]["kernel"], params[name]["bias"])

        def norm(name: str, x: Any) -> Any:
            return ops.layer_norm(x, params[name]["scale"], params[name]["offset"])

        def split(x: Any) -> Any:
            shape = (x.shape[0], SIZE, self.heads, self.width // self.heads)
            return ops.permute_dims(ops.reshape(x, shape), (0, 2, 1, 3))

        x = dense("embed", ops.reshape(inputs, (inputs.shape[0], SIZE, SIZE)))
        y = norm("first", x)
        seen = ops.attention(*(split(dense(name, y)) for name in ("query", "key", "value")))
        x = x + dense("out", ops.reshape(ops.permute_dims(seen, (0, 2, 1, 3)), x.shape))
        x = x + dense("to", ops.gelu(dense("in", norm("second", x))))
        return dense("head", ops.mean(x, axis=1)), state


class Invariances(_Images):
    """Parameters that change nothing, or nothing but a direction."""

    def params(self):
        return {
            "factor": nn.Param((6,), "ones"),  # before a normalization, where only its sign counts
            "hidden": _dense(SIZE * SIZE, 6),
            "norm": _norm(6),
            "rows": nn.Param((SIZE,), "ones"),  # added to all that is normalized together
            "along": _norm(SIZE),
            "dead": _dense(SIZE * SIZE, 4),
            "head": _dense(6 + SIZE + 4, 10),
            "shift": nn.Param((1,), "zeros"),  # added to all logits of a sample
        }

    def initial(self, seed):
        params, state = super().initial(seed)
        params["dead"]["bias"] -= np.float32(100)
        return params, state

    def logits(self, params, state, inputs, *, training=False, key=None):
        flat = ops.reshape(inputs, (inputs.shape[0], SIZE * SIZE))
        hidden = ops.linear(flat, params["hidden"]["kernel"], params["hidden"]["bias"]) * params["factor"]
        zeros = ops.zeros_like(params["norm"]["scale"])
        scaled, _, _ = ops.batch_norm(
            hidden, params["norm"]["scale"], params["norm"]["offset"], zeros, zeros + 1, training=True
        )
        rows = ops.permute_dims(ops.reshape(inputs, (inputs.shape[0], SIZE, SIZE)) + params["rows"], (0, 2, 1))
        along = ops.mean(ops.layer_norm(rows, params["along"]["scale"], params["along"]["offset"]) ** 2, axis=2)
        dead = ops.relu(ops.linear(flat, params["dead"]["kernel"], params["dead"]["bias"]))
        joined = ops.concat([ops.tanh(scaled), ops.cast(along, scaled.dtype), dead], axis=-1)
        return ops.linear(joined, params["head"]["kernel"], params["head"]["bias"]) + params["shift"], state
