"""A small classifier that misbehaves where the test says so, in real workers: FAULTY, JSON of dtypes to faults."""

import json
import os
import signal
import time
from typing import ClassVar

from hal import nn, ops
from hal.data import Wanted
from hal.errors import HalError
from hal.tensor import namespace

FAULTS = json.loads(os.environ.get("FAULTY", "{}"))


class Faulty(nn.Model):
    """One dense layer on 8x8 images."""

    defaults: ClassVar = nn.Defaults(epochs=1, lr=1e-2, batch=16)
    metric: ClassVar = ("accuracy", "max")

    def __init__(self, config, data):
        super().__init__(config, data)
        self.layers = nn.Sequential(nn.Flatten(), nn.Dense(10))

    @classmethod
    def wanted(cls, config):
        return Wanted("image", (8, 8, 1))

    def params(self):
        return self.layers.params(self.input_shape)

    def objectives(self):
        return (nn.Objective("classify", self._loss),)

    def _loss(self, params, state, batch, key):
        return ops.mean(
            ops.cross_entropy(self.predict(params, state, batch["inputs"]), batch["labels"])
        ), nn.LossOutput(state, {})

    def predict(self, params, state, inputs):
        logits = self.layers.apply(params, {}, inputs)[0]
        if inputs.dtype == namespace(inputs).float32:
            time.sleep(0.005)  # fp32 is slow here, so that a wrong plan is the fastest
        return misbehave(FAULTS.get(str(inputs.dtype)), inputs, logits)


def misbehave(fault, inputs, logits):
    if fault == "segv":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif fault == "137":
        os._exit(137)
    elif fault == "hang":
        while True:
            pass
    elif fault == "memory":
        namespace(inputs).zeros((1 << 40,))
    elif fault == "python memory":
        bytearray(1 << 44)
    elif fault == "nan":
        return logits * float("nan")
    elif fault == "diverges":
        return -1.5 * logits
    elif fault == "prints":
        for fd in (1, 2):
            os.write(fd, b"rubbish\x00\n")
    elif fault == "raises":
        raise HalError("no luck")
    elif fault == "large":
        namespace(inputs).zeros((1 << 30,)) + 1
    return logits
