"""A model that puts inputs into classes."""

import numpy as np
import optree
from nn_helpers import host, normal, put, values

from hal import nn


class TestClassifier:
    """Loss, metrics and parameters are given; a subclass has a net, or its own logits."""

    @staticmethod
    def classifier(net, shape):
        class Own(nn.Classifier):
            @classmethod
            def wanted(cls, config):
                raise NotImplementedError

            def __init__(self):
                self.input_shape = shape
                self.net = net

        return Own()

    def test_loss_and_accuracy(self):
        model = self.classifier(nn.Sequential(nn.Dense(3)), (4,))
        drawn, state = model.initial(0)
        params, x, labels = optree.tree_map(put, drawn), normal(6, 4), np.arange(6) % 3
        assert list(params) == ["net"]
        assert state == {}
        batch = {"inputs": put(x), "labels": put(labels)}
        logits = np.asarray(x) @ drawn["net"]["dense"]["kernel"]
        expected = np.log(np.exp(logits).sum(1)) - logits[np.arange(6), labels]
        found = model.evaluate(params, {}, batch)
        np.testing.assert_allclose(host(found["loss"]), expected, rtol=1e-4)
        assert (host(found["accuracy"]) == (logits.argmax(1) == labels)).all()
        loss, output = model.loss(params, {}, batch, None)
        np.testing.assert_allclose(host(loss), expected.mean(), rtol=1e-4)
        assert output == nn.LossOutput({}, {})

    def test_a_label_at_each_step(self):
        model = self.classifier(nn.Dense(3), (5, 4))
        batch = {"inputs": put(normal(2, 5, 4)), "labels": put(np.zeros((2, 5), np.int64))}
        found = model.evaluate(values(model.params()), {}, batch)
        assert {name: tuple(value.shape) for name, value in found.items()} == {"loss": (2,), "accuracy": (2,)}

    def test_statistics_are_kept(self):
        model = self.classifier(nn.Sequential(nn.Dense(3), nn.BatchNorm()), (4,))
        batch = {"inputs": put(normal(4, 4)), "labels": put(np.zeros(4, np.int64))}
        _, output = model.loss(values(model.params()), values(model.state()), batch, None)
        assert (host(output.state["net"]["batchnorm"]["mean"]) != 0).all()
