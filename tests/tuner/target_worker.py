"""A worker for hardware that does not exist: the jax backend is told of it, and the compiler is made up.

A GiB of memory on each of four devices, a MiB a sample. Environment: TARGET_FAULTS, JSON of a batch to what
its build does.
"""

import json
import os
import signal
import sys
import time

from hal import registry
from hal.contract.device import Capabilities, Device, Precision
from hal.contract.program import DoesNotFitError, Program, ProgramCost, ProgramMemory, Target
from hal.errors import RunError, UnavailableError, UnsupportedError
from hal.tuner.worker import main

GIB, MIB = 1 << 30, 1 << 20
FAULTS = json.loads(os.environ.get("TARGET_FAULTS", "{}"))
FIXED_S, SAMPLE_S = 1e-4, {"fp32": 2e-6, "bf16": 1e-6}


class Made(Program):
    usable_bytes = GIB

    def __init__(self, plan, seconds, lowered, timed):
        self.seconds, self._plan, self._timed = seconds, plan, timed
        each = plan.batch // plan.spread().get("dp", 1)
        self.memory = None if lowered else ProgramMemory(each * MIB, 0, 0, MIB, 0, 0)
        self._each = each

    @property
    def cost(self):
        step_s = FIXED_S + self._each * SAMPLE_S[self._plan.precision]
        return ProgramCost(2e9, 1e9, step_s if self._timed else None, "roofline of a test", "a test")

    def artifacts(self):
        return {}


def device(name):
    precisions = {"fp32": Precision(True, True), "bf16": Precision(True, True)}
    can = Capabilities(precisions, compile=("default", "eager"), parallel=("dp",))
    return Device(
        backend="jax",
        kind=name,
        index=0,
        vendor="Acme",
        name="Model T",
        arch="t",
        memory_bytes=GIB,
        compute_units=None,
        capabilities=can,
    )


def build(fn, arguments, target, plan, *, donate=()):
    if target.kind == "missing":
        raise UnavailableError("the compiler is not installed", fix="pip install it")
    asked = len(arguments) > 1  # the first build is a trifle, to see whether the compiler is there
    fault = FAULTS.get(str(plan.batch)) if asked else None
    if fault == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif fault == "hang":
        time.sleep(3600)
    elif fault == "refuse":
        raise RunError("the compiler says: internal error")
    elif fault == "cannot":
        raise UnsupportedError("the compiler says: no such op")
    made = Made(plan, 0.1, target.kind == "lowered", fault != "untimed")
    if asked and made.memory is not None and made.memory.total > GIB:
        raise DoesNotFitError(f"batch {plan.batch} is too large", made.memory.total, GIB)
    return made


if __name__ == "__main__":
    backend = registry.backend("jax")
    names = ("t1000", "lowered", "missing")
    type(backend).target = lambda self, name: Target(device(name), 4) if name in names else None
    type(backend).targets = lambda self: names
    type(backend).build = lambda self, *args, **keys: build(*args, **keys)
    sys.exit(main(sys.argv[1:]))
