"""A small classifier that loses its card in bf16, and writes down which process computed in which precision: LOSING."""

import os
from typing import ClassVar

import fake_card

from hal import nn
from hal.data import Wanted
from hal.tensor import namespace


class Losing(nn.Classifier):
    """One dense layer on 8x8 images."""

    defaults: ClassVar = nn.Defaults(epochs=1, lr=1e-2, batch=16)

    def __init__(self, config, data):
        super().__init__(config, data)
        self.net = nn.Sequential(nn.Flatten(), nn.Dense(data.classes))

    @classmethod
    def wanted(cls, config):
        return Wanted("image", (8, 8, 1))

    def logits(self, params, state, inputs, *, training=False, key=None):
        low = inputs.dtype != namespace(inputs).float32
        with open(os.environ["LOSING"], "a") as file:
            file.write(f"{os.getpid()} {'low' if low else 'fp32'}\n")
        if low:
            fake_card.lose_context(0)
        return super().logits(params, state, inputs, training=training, key=key)
