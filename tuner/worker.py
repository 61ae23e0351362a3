"""The process that trials run in: ``python -m hal.tuner.worker READ_FD WRITE_FD``.

It serves the requests that come over its pipes, one after the other, and ends when the pipes close or its parent ends.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from hal.tuner.protocol import Channel, ClosedError, ProtocolError
from hal.util.parent import die_with_parent
from hal.util.systems import on_macos

if TYPE_CHECKING:
    from hal.contract.device import Device

__all__ = ["limit_memory", "main"]


def main(arguments: list[str]) -> int:
    """Serve requests until the pipes close.

    Args:
        arguments: the descriptors to read from and to write to, and a limit of the address space in bytes or 0.
    """
    read_fd, write_fd, memory_limit = map(int, arguments)
    die_with_parent()
    # Children of this process (compilers) must not keep the tuner's pipes open.
    os.set_inheritable(read_fd, False)
    os.set_inheritable(write_fd, False)
    channel = Channel(read_fd, write_fd)
    server = _Server(channel, memory_limit)
    while True:
        try:
            request = channel.receive()
            server.answer(request)
        except ClosedError:
            return 0
        except ProtocolError as error:
            sys.stderr.write(f"{error}\n")
            return 2


def limit_memory(memory_limit: int, device: Device) -> None:
    """Limit the address space of this process.

    Args:
        memory_limit: in bytes.
        device: what the process computes on.

    Raises:
        ConfigError: the device's runtime reserves more addresses than any sensible limit.
    """
    from hal.errors import ConfigError

    if device.capabilities.reserves_addresses:
        raise ConfigError(
            f"memory_limit={memory_limit} limits the address space of a process, of which the runtime of {device} "
            "reserves far more than it uses",
            fix="leave memory_limit= out; a plan that needs more memory than the device has is skipped anyway",
        )
    if on_macos():
        raise ConfigError(
            f"memory_limit={memory_limit} was given, but macOS does not limit the address space of a process",
            fix="leave memory_limit= out",
        )
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (memory_limit, memory_limit))


class _Server:
    def __init__(self, channel: Channel, memory_limit: int) -> None:
        self._channel, self._memory_limit = channel, memory_limit
        self._runner: Any = None
        self._id = 0

    def answer(self, request: dict[str, Any]) -> None:
        """Serve one request and send the result or the error."""
        self._id = request["id"]
        try:
            result = self._do(request)
        except Exception as error:  # noqa: BLE001 - the tuner is told, whatever it was
            from hal.errors import HalError
            from hal.tuner.outcomes import outcome_of

            outcome, message = outcome_of(error)
            about: dict[str, Any] = {"outcome": outcome, "message": message}
            if isinstance(error, HalError):
                about |= {"type": type(error).__name__, "said": error.message, "fix": error.fix}
            self._channel.send({"id": self._id, "error": about})
            return
        self._channel.send({"id": self._id, "result": result})

    def _do(self, request: dict[str, Any]) -> Any:
        do = request.get("do")
        if do == "open":
            return self._open(request)
        if do == "trial":
            from hal.tuner.messages import Order

            return self._runner.run(Order.model_validate(request["order"])).model_dump(mode="json")
        if do == "hold":
            from hal.tuner.messages import Order

            return self._runner.hold(Order.model_validate(request["order"]))
        if do == "block":
            return self._runner.block(int(request["steps"]))
        if do == "native_code":
            return self._runner.native_code(request["plan"])
        raise ValueError(f"unknown request {do!r}")

    def _open(self, request: dict[str, Any]) -> dict[str, Any]:
        from hal.config import JobConfig, build
        from hal.targets.config import CompileConfig
        from hal.tuner.estimator import Estimator
        from hal.tuner.trial import TrialRunner

        self._phase("load")
        keys, mode = request["config"], request["mode"]
        if "target" in keys:
            self._runner = Estimator(build(CompileConfig, {**keys, "mode": mode}), self._phase)
        else:
            self._runner = TrialRunner(build(JobConfig, keys), mode, self._phase)
        description = self._runner.describe()
        if self._memory_limit:
            limit_memory(self._memory_limit, description.device)
        described: dict[str, Any] = description.model_dump(mode="json")
        return described

    def _phase(self, name: str) -> None:
        self._channel.send({"id": self._id, "phase": name})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
