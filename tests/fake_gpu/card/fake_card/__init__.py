"""GPUs made of the processor, as NVIDIA or AMD, for a PyTorch without CUDA: :func:`plug_in` before torch is imported.

``torch.device("cuda", 0)`` then holds real tensors, in the processor's memory. What it refuses is in device.h.
"""

import atexit
import ctypes
import importlib.util
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Card", "Wanted", "configure", "counters", "lose_context", "native", "plug_in", "wanted"]

CARDS = Path(__file__).parents[3] / "golden" / "cards"


@dataclass(frozen=True)
class Wanted:
    """What the environment asks for.

    Attributes:
        extension: the path of the compiled kernels.cpp.
        card: a recorded description in tests/golden/cards.
        count: how many of them.
        memory_bytes: of each.
        report: folder in which each process writes its counters when it ends; empty: none.
    """

    extension: str
    card: str
    count: int = 1
    memory_bytes: int = 1 << 30
    report: str = ""

    def environment(self) -> dict[str, str]:
        """The variables that make a Python process, and those that it starts, have the cards."""
        return {
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]),
            "FAKE_CARD": json.dumps(vars(self)),
        }


def wanted() -> Wanted | None:
    """What the environment asks for; None: nothing."""
    found = os.environ.get("FAKE_CARD")
    return Wanted(**json.loads(found)) if found else None


class Card:
    """A recorded description: ``properties`` as PyTorch names them, and the ``build`` of PyTorch that drives it."""

    def __init__(self, name: str) -> None:
        found = json.loads((CARDS / f"{name}.json").read_text())
        self.properties: dict[str, Any] = found["properties"]
        self.build: dict[str, Any] = json.loads((CARDS / "builds.json").read_text())[found["build"]]


native: Any = None
"""The loaded extension; None before :func:`plug_in`."""


def plug_in(asked: Wanted) -> None:
    """Give this process the cards."""
    global native  # noqa: PLW0603 - an extension is loaded once in a process
    spec = importlib.util.find_spec("torch")
    assert spec is not None
    assert spec.origin is not None
    for name in ("libc10.so", "libtorch_cpu.so"):
        ctypes.CDLL(str(Path(spec.origin).parent / "lib" / name), mode=ctypes.RTLD_GLOBAL)
    native = ctypes.CDLL(asked.extension)
    for function in (native.fake_allocations, native.fake_launches, native.fake_freed_in_use):
        function.restype = ctypes.c_int64
    configure(asked.count, asked.memory_bytes)
    from fake_card import collectives, compiling, faults, graphs, runtime

    runtime.install(Card(asked.card), asked)
    collectives.install()
    compiling.install()
    graphs.install()
    faults.install()
    if asked.report:
        atexit.register(_report, asked)


def configure(count: int, memory_bytes: int) -> None:
    """Have so many cards, of so many bytes each; those that were lost work again."""
    native.fake_configure(count, ctypes.c_int64(memory_bytes))


def lose_context(card: int = 0) -> None:
    """Let a card be lost for this process, as after an illegal memory access."""
    native.fake_lose_context(card)


def counters(count: int) -> dict[str, Any]:
    """What this process did: allocations and kernels on each card, and how often memory was freed while in use."""
    return {
        "allocations": [native.fake_allocations(card) for card in range(count)],
        "launches": [native.fake_launches(card) for card in range(count)],
        "freed_in_use": native.fake_freed_in_use(),
    }


def _report(asked: Wanted) -> None:
    (Path(asked.report) / f"{os.getpid()}.json").write_text(json.dumps(counters(asked.count)))
