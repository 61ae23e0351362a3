"""Trains a module of 20 million parameters in a process that may use 16 bytes for each beyond what it holds now."""

import resource
import sys
from pathlib import Path

import torch
import torch.distributed.fsdp  # noqa: F401

import hal

FILE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(64, 1024)
        self.blocks = nn.ModuleList(nn.Linear(1024, 1024) for _ in range(18))
        self.head = nn.Linear(1024, 10)

    def forward(self, x):
        x = self.first(x.flatten(1))
        for block in self.blocks:
            x = torch.tanh(block(x))
        return self.head(x)

def example_inputs(batch):
    return torch.rand(batch, 1, 8, 8)
"""

if __name__ == "__main__":
    parallel, folder = sys.argv[1], Path(sys.argv[2])
    (folder / "net.py").write_text(FILE)
    status = Path("/proc/self/status").read_text()
    held = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmData"))
    limit = held + (45 << 20) + 16 * 20_000_000
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    hal.train(
        model=f"{folder / 'net.py'}:Net", backend="cpu", data="digits", batch=16, steps=2, threads=1,
        parallel=parallel, out=str(folder / "run"),
    )  # fmt: skip
