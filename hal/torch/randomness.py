"""Random numbers of a user's code: seeded for a block, and everything as it was afterwards."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from hal.tensor import Key

__all__ = ["drawing", "seed_of"]

_GENERATORS = threading.RLock()
"""PyTorch's default generators are those of the process: a thread that loads samples would change what a step draws."""

_PRIME = 0x9E3779B97F4A7C15


@contextlib.contextmanager
def drawing(seed: int, devices: Sequence[torch.device] = (), *, libraries: bool = True) -> Iterator[None]:
    """Within the block, whatever draws from the default generators draws the same for the same seed.

    Args:
        seed: of the generators, any integer of 64 bits.
        devices: accelerators on which is drawn too.
        libraries: also the generators of Python and of NumPy.
    """
    with _GENERATORS, contextlib.ExitStack() as restored:
        # torch.manual_seed takes a traceback for each kind of accelerator that is not initialized, and keeps it.
        restored.callback(torch.default_generator.set_state, torch.default_generator.get_state())
        torch.default_generator.manual_seed(seed)
        for device in devices:
            kind = torch.get_device_module(device)
            restored.callback(kind.set_rng_state, kind.get_rng_state(device), device)
            # Not every kind has a list of its default generators.
            kind.set_rng_state(torch.Generator(device).manual_seed(seed).get_state(), device)
        if libraries:
            restored.callback(random.setstate, random.getstate())
            restored.callback(np.random.set_state, np.random.get_state())
            random.seed(seed)
            np.random.seed(seed % 2**32)
        yield


def seed_of(key: Key) -> int | None:
    """The seed of a key; each process of several has its own. None: the generators are seeded already."""
    if key.seed is None:
        return None
    rank = 0 if key.share is None else key.share.rank
    return (key.seed ^ (rank * _PRIME)) % 2**63
