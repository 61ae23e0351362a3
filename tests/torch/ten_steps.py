"""Ten training steps of each architecture: the module on cpu, its translation on JAX, and perturbed starts on cpu.

python tests/torch/ten_steps.py          the table of docs/torch-modules.md
python tests/torch/ten_steps.py LSTM     the row of one architecture
"""

import itertools
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import optree
import torch
from zoo import ZOO

from hal.config import JobConfig, build
from hal.job.placing import put_batch
from hal.job.prepare import prepare
from hal.job.steps import TrainingSteps, host_batches

STEPS = 10
BATCH = 8
STARTS = 8
ROUNDING = 1e-7  # by how much the parameters of perturbed starts are moved, relative: about a rounding of fp32
FACTOR = 16  # times the largest difference among the perturbed trainings is allowed
LEAST = 1e-5  # of the loss is allowed in any case

# Without dropout: two runtimes draw other random numbers.
FILE = """
import sys
sys.path.insert(0, {folder!r})
from zoo import ZOO, without_dropout

def Net():
    return without_dropout(ZOO[{name!r}][0]())

def example_inputs(batch):
    found = ZOO[{name!r}][1](batch)
    return found[""] if "" in found else found
"""

# The losses of both parts; the noise comes with the data, for the same reason.
DCGAN = """
import sys
sys.path.insert(0, {folder!r})
import torch
from torch import nn
from zoo import Discriminator, Generator

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.generator, self.discriminator = Generator(), Discriminator()

    def forward(self, images):
        return self.discriminator(images)

def example_inputs(batch):
    return torch.rand(batch, 1, 16, 16), torch.randn(batch, 8, 1, 1)

def judged(net, images, real):
    logits = net.discriminator(images)
    return nn.functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, real))

losses = {{
    "discriminator": lambda net, batch: judged(net, batch[0], 1.0)
    + judged(net, net.generator(batch[1]).detach(), 0.0),
    "generator": lambda net, batch: judged(net, net.generator(batch[1]), 1.0),
}}
"""

PAIR = "DCGAN pair"
NAMES = [*(name for name in ZOO if not name.startswith("DCGAN")), PAIR]


class Found(NamedTuple):
    """The first and the last loss of the module itself, and differences as shares of the largest loss.

    Attributes:
        first: loss; of a pair the sum of both.
        last: loss.
        translated: the largest difference of the translation's losses.
        perturbed: the largest difference of the losses after a perturbed start.
    """

    first: float
    last: float
    translated: float
    perturbed: float

    @property
    def allowed(self):
        return max(LEAST, FACTOR * self.perturbed)


def ten_steps(name):
    """Train one architecture on both sides, and from perturbed starts."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "member.py")
        text = DCGAN if name == PAIR else FILE
        path.write_text(text.format(name=name, folder=str(Path(__file__).parent)))
        own, *perturbed = _losses(path, "cpu:0", STARTS)
        (translated,) = _losses(path, "jax:cpu:0", 0)
    scale = np.abs(own).max(axis=0)

    def apart(other):
        return float((np.abs(other - own) / scale).max())

    return Found(float(own[0].sum()), float(own[-1].sum()), apart(translated), max(map(apart, perturbed)))


def _losses(path, device, starts):
    """Losses (steps, objectives) of a training, and of others from perturbed starts."""
    keys = {"model": f"{path}:Net", "device": device, "batch": BATCH, "data": "synthetic"}
    job = prepare(build(JobConfig, keys), "train")
    found = []
    with job.backend.settings(job.plan, job.device):
        training = TrainingSteps(job, 0)
        for start in range(starts + 1):
            training.restart()
            if start:
                signs = torch.Generator().manual_seed(start)
                params = optree.tree_map(lambda x, signs=signs: _moved(x, signs), training.carry["params"])
                training.carry = {**training.carry, "params": params}
            steps = (training(put_batch(job, batch)) for batch in itertools.islice(host_batches(job, 0), STEPS))
            found.append(np.array([[float(x) for name, x in step.items() if name.endswith("loss")] for step in steps]))
    return found


def _moved(x, generator):
    signs = torch.randint(0, 2, x.shape, generator=generator) * 2 - 1
    return x * (1 + ROUNDING * signs.to(x.dtype))


def main():
    heads = ("architecture", "first loss", "tenth loss", "translated", "perturbed", "allowed")
    _row(heads)
    _row(["---"] * len(heads))
    for name in sys.argv[1:] or NAMES:
        found = ten_steps(name)
        losses = [f"{found.first:.3f}", f"{found.last:.3f}"]
        allowed = f"{found.allowed:.1e}" + ("" if found.translated <= found.allowed else ", EXCEEDED")
        _row([name, *losses, f"{found.translated:.1e}", f"{found.perturbed:.1e}", allowed])


def _row(cells):
    sys.stdout.write(f"| {' | '.join(cells)} |\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
