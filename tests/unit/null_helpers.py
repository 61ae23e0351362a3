"""What the tests of the null backend share: its arrays, the oracle for shapes, and their comparison."""

import numpy as np
from hypothesis import settings

import hal.ops
from hal.backends import null
from hal.tensor import Ops

BACKEND = null.NullBackend()
DEVICE = BACKEND.devices()[0]
XP = BACKEND.ops(DEVICE)

# Times say nothing on a shared machine.
few, some, many = (settings(deadline=None, max_examples=n) for n in (15, 60, 300))


class NumpyOps(Ops):
    """The defaults of the neutral API on NumPy: the oracle for shapes."""

    def __init__(self):
        super().__init__(np)

    def _stop_gradient(self, x):
        return x


NUMPY = NumpyOps()


def put(x):
    """The null form of a tree of NumPy arrays."""
    if isinstance(x, list | tuple):
        return type(x)(put(e) for e in x)
    return BACKEND.from_host(x, DEVICE) if isinstance(x, np.ndarray) else x


def f32(*shape):
    return np.ones(shape, np.float32)


def i64(*shape):
    return np.zeros(shape, np.int64)


def form(x):
    """Shapes and type names of a tree of arrays."""
    if isinstance(x, list | tuple):
        return [form(e) for e in x]
    return tuple(x.shape), str(x.dtype)


def agree(name, *args, types=True, **kwargs):
    """Check one function of the API against NumPy's form, through hal.ops."""
    wanted = form(getattr(NUMPY, name)(*args, **kwargs))
    # A new dict, for arrays may be passed by name.
    got = form(getattr(hal.ops, name)(*put(args), **{k: put(v) for k, v in kwargs.items()}))
    assert got == wanted or (not types and shape_of(got) == shape_of(wanted))


def shape_of(x):
    return [shape_of(e) for e in x] if isinstance(x, list) else x[0]
