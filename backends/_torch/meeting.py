"""How the processes of a run meet, and what their libraries read from the environment.

Neither PyTorch's store nor its sockets know who connects. Processes that hal started on one machine therefore meet in
a file that only this user can open, and their sockets are those of the loopback interface.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import FileStore, TCPStore  # type: ignore[attr-defined]

from hal.backends._torch.heartbeat import Heartbeat
from hal.errors import RunError
from hal.util.messages import first_line

__all__ = ["leave", "meet", "settle"]

_TIMEOUT = timedelta(minutes=15)
"""How long a process waits for the others, while they are built or rank 0 works alone."""

_FAREWELL_S = 30.0
"""How long a process may take to say that it lost another one and to write its record."""

_VARIABLES = {"TORCH_NCCL_ASYNC_ERROR_HANDLING": "2"}
"""What NCCL and RCCL read. After an error or a timeout they end the exchanges, which then raise; by default they end
the process, before it can say why and write its record."""

_FOLDER = "HAL_RENDEZVOUS"
"""The environment variable that names the folder in which processes that hal started meet."""

_settings = contextlib.ExitStack()
"""What holds in this process for as long as it is in a group."""
_settled = threading.Event()
"""Whether it does."""


def meet(device: torch.device) -> None:
    """Meet the other processes in the folder that hal made, or where the launcher's variables say; once.

    This may wait for ever, so it may run in a thread that nobody waits for any more. It leaves nothing changed but the
    group.

    Args:
        device: what this process computes on.

    Raises:
        RunError: they cannot be reached.
    """
    if dist.is_initialized():
        return
    accelerated, folder = device.type != "cpu", os.environ.get(_FOLDER)
    address = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
    # gloo carries what is said between hosts also where tensors travel by the vendor's library.
    libraries = f"cpu:gloo,{device.type}:{dist.get_default_backend_for_device(device)}" if accelerated else "gloo"
    # With its device, a process connects to the others now, and says here what is wrong.
    own = device if accelerated else None
    # Names that the processes call their group by count up in each process, also where it met nobody before.
    dist.distributed_c10d._world.group_count = 0
    try:
        with contextlib.ExitStack() as settings:
            if accelerated:
                settings.enter_context(torch.accelerator.device_index(device.index))
                settings.enter_context(_environment(_VARIABLES))
            if folder:
                settings.enter_context(_on_loopback())
                rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
                store = FileStore(os.path.join(folder, "store"), size)
                dist.init_process_group(
                    libraries, timeout=_TIMEOUT, store=store, rank=rank, world_size=size, device_id=own
                )
            else:
                dist.init_process_group(libraries, timeout=_TIMEOUT, device_id=own)
    except (RuntimeError, ValueError) as error:
        where = f"in {folder}" if folder else f"at {address}"
        raise RunError(f"the processes of this run cannot meet {where}: {first_line(error)}") from error


def settle(device: torch.device) -> None:
    """Once the processes have met: what holds in this process and thread until :func:`leave`.

    A second plan of the same processes finds it done.

    Args:
        device: what this process computes on.
    """
    if _settled.is_set():
        return
    _settled.set()
    _settings.callback(_settled.clear)
    if device.type != "cpu":
        _settings.enter_context(torch.accelerator.device_index(device.index))
        _settings.enter_context(_environment(_VARIABLES))
    if os.environ.get(_FOLDER):
        _settings.enter_context(_on_loopback())  # NCCL reads it with its first exchange
    elif int(os.environ.get("LOCAL_WORLD_SIZE", "0")) < dist.get_world_size():
        _settings.callback(_watch_hosts(device.type != "cpu").stop)


def _watch_hosts(accelerated: bool) -> Heartbeat:
    """Watch processes on other hosts, and end this one where one of them is gone.

    On accelerators the exchanges are ended first, which lets a run say what happened. gloo, which is used on
    processors and for what is said between hosts, lets nothing end an exchange that has begun.
    """

    def lost(what: str) -> None:
        sys.stderr.write(f"{what}, so this process ends; continue from the last checkpoint with resume=\n")
        sys.stderr.flush()
        if accelerated:
            threading.Thread(target=dist.distributed_c10d._abort_process_group, daemon=True).start()
            if heartbeat.wait_stopped(_FAREWELL_S):
                return
        os._exit(1)

    heartbeat = Heartbeat(_second_connection, dist.get_rank(), dist.get_world_size(), lost)
    return heartbeat


def _second_connection() -> Any:
    where, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    return TCPStore(where, port, is_master=False, wait_for_workers=False, timeout=_TIMEOUT)


def leave() -> None:
    """Put back what :func:`settle` changed."""
    _settings.close()


@contextlib.contextmanager
def _on_loopback() -> Iterator[None]:
    """Let gloo and NCCL use the loopback interface for the time of a block, unless the user has named one."""
    loopback = next((name for _, name in socket.if_nameindex() if name in ("lo", "lo0")), None)
    names = () if loopback is None else ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")
    with _environment(dict.fromkeys(names, loopback or "")):
        yield


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for the time of a block, but for those that the user has set."""
    unset = {name: value for name, value in variables.items() if name not in os.environ}
    os.environ.update(unset)
    try:
        yield
    finally:
        for name in unset:
            os.environ.pop(name, None)
