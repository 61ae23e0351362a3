"""Which of several processes this one is, and where they meet, from environment variables.

Processes that a launcher started meet at an address and a port, as the variables of torchrun say. Processes that hal
starts meet in a folder of this machine that only this user can open, so that no port is opened to anyone else.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hal.errors import ConfigError

__all__ = ["Rendezvous", "exported", "from_environment", "leads"]

_FOLDER = "HAL_RENDEZVOUS"


@dataclass(frozen=True)
class Rendezvous:
    """Where this process stands among those of a run, and where they meet.

    Attributes:
        rank: number of this process.
        size: how many processes there are.
        local_rank: number of this process on its machine.
        local_size: how many processes are on its machine.
        address: host on which the process of rank 0 listens.
        port: port on which it listens.
        folder: where the processes meet instead, if hal started them: a folder that only this user can open.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int
    address: str = ""
    port: int = 0
    folder: str = ""

    def variables(self) -> dict[str, str]:
        """The environment variables that describe it, as torchrun sets them; ``HAL_RENDEZVOUS`` names the folder."""
        meeting = (
            {_FOLDER: self.folder} if self.folder else {"MASTER_ADDR": self.address, "MASTER_PORT": str(self.port)}
        )
        return {
            "RANK": str(self.rank),
            "WORLD_SIZE": str(self.size),
            "LOCAL_RANK": str(self.local_rank),
            "LOCAL_WORLD_SIZE": str(self.local_size),
            **meeting,
        }


def from_environment(environ: Mapping[str, str] | None = None) -> Rendezvous | None:
    """Read the environment variables; None: no launcher started this process, or it started only this one.

    Raises:
        ConfigError: variables are missing or are not numbers.
    """
    env = os.environ if environ is None else environ
    if env.get("WORLD_SIZE", "1") == "1":
        return None
    try:
        size, folder = int(env["WORLD_SIZE"]), env.get(_FOLDER, "")
        return Rendezvous(
            rank=int(env["RANK"]),
            size=size,
            local_rank=int(env.get("LOCAL_RANK", "0")),
            local_size=int(env.get("LOCAL_WORLD_SIZE", "1")),
            address="" if folder else env["MASTER_ADDR"],
            port=0 if folder else int(env["MASTER_PORT"]),
            folder=folder,
        )
    except (KeyError, ValueError) as error:
        raise ConfigError(
            f"WORLD_SIZE={env['WORLD_SIZE']} asks for several processes, but {error} is missing or not a number",
            fix="start the processes with torchrun, or set RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT",
        ) from error


def leads() -> bool:
    """Whether this process has rank 0; that one alone writes files and prints."""
    place = from_environment()
    return place is None or place.rank == 0


@contextlib.contextmanager
def exported(world: Rendezvous) -> Iterator[None]:
    """Set the environment variables of a rendezvous for the time of a block."""
    variables = world.variables()
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
