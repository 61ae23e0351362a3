"""Models with batch statistics and dropout."""

from hal import nn, ops
from hal.data import Wanted


class Normalised(nn.Model):
    defaults = nn.Defaults(epochs=1, lr=1e-2)
    metric = ("accuracy", "max")

    def __init__(self, config, data):
        super().__init__(config, data)
        # Without a bias: the normalisation takes it out, and its gradient would be rounding alone, which Adam blows up.
        self.body = nn.Sequential(
            nn.Conv2d(4, strides=2, bias=False),
            nn.BatchNorm(),
            nn.Activation("relu"),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Dense(10),
        )

    @classmethod
    def wanted(cls, config):
        return Wanted("image", (12, 12, 1))

    def params(self):
        return self.body.params(self.input_shape)

    def state(self):
        return self.body.state(self.input_shape)

    def objectives(self):
        return (nn.Objective("classify", self._loss),)

    def _loss(self, params, state, batch, key):
        logits, state = self.body.apply(params, state, batch["inputs"], training=True, key=key)
        return ops.mean(ops.cross_entropy(logits, batch["labels"])), nn.LossOutput(state, {})

    def predict(self, params, state, inputs):
        return self.body.apply(params, state, inputs)[0]

    def evaluate(self, params, state, batch):
        logits = self.predict(params, state, batch["inputs"])
        hit = ops.equal(ops.argmax(logits, axis=-1), batch["labels"])
        return {"loss": ops.cross_entropy(logits, batch["labels"]), "accuracy": hit}


class Spare(Normalised):
    """With parameters that take no part."""

    def params(self):
        return {**super().params(), "spare": nn.Param((3,), "ones"), "one": nn.Param((), "ones")}


class Flat(Normalised):
    """With batch statistics of features that have no height and width: one value for each sample."""

    def __init__(self, config, data):
        super().__init__(config, data)
        self.body = nn.Sequential(nn.Flatten(), nn.Dense(6, bias=False), nn.BatchNorm(), nn.Dense(10))
