"""A machine whose time is a script: nothing here reads a real clock."""

from collections import Counter

import numpy as np

from hal.measure import measure


class Machine:
    """A device that runs asynchronously: steps queue work, synchronising spends the time, the clock shows it."""

    def __init__(self):
        self.now = 100.0
        self.queued = 0.0
        self.steps = Counter()
        self.order = []

    def clock(self):
        return self.now

    def synchronize(self):
        self.now += self.queued
        self.queued = 0.0

    def step(self, durations, name="step"):
        """A step function that takes the seconds that an iterator says."""
        script = iter(durations)

        def run():
            self.queued += next(script)
            self.steps[name] += 1
            if not self.order or self.order[-1] != name:
                self.order.append(name)

        return run

    def measure(self, durations, **options):
        options.setdefault("samples_per_step", 32)
        return measure(self.step(durations), self.synchronize, clock=self.clock, **options)


def noisy(step_s, spread, seed=0):
    rng = np.random.default_rng(seed)
    while True:
        yield step_s * float(np.exp(spread * rng.normal()))
