"""What a backend must fulfil: :class:`Backend`, and the abstract part of :class:`hal.tensor.Ops`."""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from hal.contract.group import Group
from hal.contract.states import Available, MemoryUse, Telemetry, Unavailable
from hal.errors import HalError, UnsupportedError
from hal.tensor import Key, Ops
from hal.tensor.optimizers import Optimizer, neutral_optimizer
from hal.types import Array, Tree
from hal.util.readahead import read_ahead

if TYPE_CHECKING:
    import numpy as np

    from hal.contract.device import Device
    from hal.contract.plan import Plan
    from hal.contract.program import Program, Target

__all__ = ["Backend"]


class Backend(abc.ABC):
    """One vendor's way to run tensors.

    Laws:
        Validation. It happens once, above: a backend gets only plans that :meth:`Plan.resolve` passed and shapes that
        ``hal.ops`` checked. It raises only what its caller could not foresee.

        Threading. A backend object is shared by all threads of a process; its methods may be called from any of
        them. Arrays may be handed between threads; one array is not written by two.

        Ownership. Arrays belong to whoever holds them. Two calls consume what they are given: ``Optimizer.update``
        (parameters and state) and a function compiled with ``donate`` (the donated arguments). A caller uses the
        results from then on. ``from_host`` may alias the NumPy array it is given; the caller does not write to it
        afterwards.

        Asynchrony. Every call may return before the device has finished. Only :meth:`synchronize` and
        :meth:`to_host` wait. Time nothing without the former.

        Settings. A framework's global settings are changed in :meth:`settings` alone, which restores them, also when
        its body raises.

        Precision. Ops compute in the dtype of their arrays; they never widen or narrow what they return, but for the
        losses, which return fp32.

        Errors. What the framework raises passes through; :meth:`classify` names it. Nothing falls back in silence.
    """

    name: ClassVar[str]
    """The name it is registered under, and the value of the key ``backend``."""

    priority: ClassVar[int] = 0
    """``backend=auto`` takes the available backend with the highest; a negative one is taken only by name."""

    @abc.abstractmethod
    def probe(self) -> Available | Unavailable:
        """Whether this backend can run here. Never raises."""

    @abc.abstractmethod
    def devices(self) -> list[Device]:
        """The devices of this backend, with their capabilities; empty unless :meth:`probe` says Available."""

    def prepare_devices(self, devices: int) -> None:  # noqa: B027 - most runtimes find what is there
        """Told before devices are first asked for how many a plan wants: a runtime may make some of the processor."""

    @abc.abstractmethod
    def ops(self, device: Device) -> Ops:
        """The neutral tensor API bound to a device. Equal devices give the same object."""

    @abc.abstractmethod
    def from_host(self, array: np.ndarray, device: Device, *, axes: str = "", layout: str = "nhwc") -> Array:
        """Copy (or alias, see Ownership) a NumPy array to the device.

        Args:
            array: any dtype of the Array API standard.
            device: where to.
            axes: what the axes mean, so that the backend may store them in the order that its kernels want:
                ``NHWC`` images, ``HWIO`` convolution kernels, ``IO`` matrices; empty: as they stand. The logical
                shape never changes.
            layout: the plan's physical layout of images, ``nhwc`` or ``nchw``.
        """

    def processes(self, plan: Plan) -> int:
        """How many processes must take part in a plan; a runtime that drives many devices from one wants one."""
        return 1

    def local_device(self, device: Device, plan: Plan, local_rank: int) -> Device:
        """The device that a process on this machine drives, of those that the plan spreads over.

        Args:
            device: the first of them.
            plan: what spreads.
            local_rank: number of the process on this machine.

        Raises:
            UnavailableError: there are not so many.
        """
        return device

    def group(self, device: Device, plan: Plan) -> Group:
        """The devices that a plan spreads over, ``device`` among them.

        Where :meth:`processes` is above one this joins the others, as the environment variables RANK, WORLD_SIZE,
        MASTER_ADDR and MASTER_PORT say, and waits for them.

        Raises:
            UnavailableError: there are not so many devices.
            RunError: the other processes cannot be reached.
        """
        return Group(self, device)

    @abc.abstractmethod
    def to_host(self, array: Array) -> np.ndarray:
        """Wait for an array and copy it to NumPy, C-contiguous in its logical shape. bfloat16 becomes float32."""

    @abc.abstractmethod
    def value_and_grad(
        self, fn: Callable[..., tuple[Array, Tree]], plan: Plan | None = None
    ) -> Callable[..., tuple[tuple[Array, Tree], Tree]]:
        """Differentiate a function with respect to its first argument.

        Args:
            fn: ``fn(params, *args) -> (loss, aux)``; loss is a scalar array, params a tree of floating arrays.
            plan: how to compile; a runtime that compiles around differentiation does so here.

        Returns:
            ``g(params, *args) -> ((loss, aux), gradients)``, gradients a tree like params; loss and aux are detached.
        """

    @abc.abstractmethod
    def classify(self, error: BaseException) -> HalError | None:
        """The hal error that an exception of the framework stands for, from types and codes; None: not known."""

    def compile(
        self, fn: Callable[..., Any], plan: Plan, *, donate: tuple[int, ...] = (), differentiates: bool = False
    ) -> Callable[..., Any]:
        """Compile a pure function of trees of arrays as the plan says.

        Args:
            fn: the function.
            plan: its ``compile`` says how much.
            donate: positions of arguments whose memory the result may take over.
            differentiates: fn calls what :meth:`value_and_grad` returned. A runtime that compiles there returns fn.

        Raises:
            UnsupportedError: this backend does not compile and the plan does not say ``eager``.
        """
        if plan.compile != "eager":
            raise UnsupportedError(f"backend {self.name} does not compile", fix="use compile=eager")
        return fn

    def targets(self) -> tuple[str, ...]:
        """Names of hardware that this backend can build for without having it; loads no framework."""
        return ()

    def target(self, name: str) -> Target | None:
        """Hardware that is not here; None: the name is none of this backend's.

        Raises:
            ConfigError: it is one of this backend's, but malformed.
        """
        return None

    def build(
        self,
        fn: Callable[..., Any],
        arguments: Sequence[Any],
        target: Device,
        plan: Plan,
        *,
        donate: tuple[int, ...] = (),
    ) -> Program:
        """Compile a pure function for hardware that is not here, over as many devices as the plan spreads over.

        Args:
            fn: as of :meth:`compile`.
            arguments: trees whose leaves are :class:`hal.contract.program.ArrayShape`,
                or values of which the type alone counts.
            target: the device of what :meth:`target` gave.
            plan: how.
            donate: positions of arguments whose memory the result may take over.

        Raises:
            DoesNotFitError: it needs more memory than a device has.
            UnavailableError: the target's compiler is not installed; says how to install it.
            UnsupportedError: the target cannot do what the function asks, with the compiler's words.
            RunError: the compiler failed, with its words.
        """
        raise UnsupportedError(f"backend {self.name} builds for no hardware but what is here")

    def optimizer(self, name: str, hyper: Mapping[str, float]) -> Optimizer:
        """An optimizer by name with its constants; the default is written in neutral ops.

        Raises:
            UnsupportedError: no optimizer of that name.
        """
        return neutral_optimizer(name, hyper)

    def rng(self, seed: int, device: Device) -> Any:
        """A random key for a device. Equal seeds give equal streams on equal devices and versions."""
        return Key(seed)

    def prefetch(
        self,
        batches: Iterable[Mapping[str, np.ndarray]],
        put: Callable[[Mapping[str, np.ndarray]], Tree],
        device: Device,
        *,
        waits: bool = True,
    ) -> Generator[Tree, None, None]:
        """Iterate over host batches as device trees; a vendor with asynchronous copies overlaps them with compute.

        Whoever iterates closes the generator; that ends whatever reads ahead. The default reads ahead in a thread
        where the batches wait for a disk.

        Args:
            batches: host batches.
            put: takes one to the device.
            device: where to.
            waits: whether the batches wait for a disk; if not, reading ahead in a thread hides nothing but copies.
        """
        if not waits:
            yield from map(put, batches)
            return
        with contextlib.closing(read_ahead(batches, put)) as ready:
            yield from ready

    def from_dlpack(self, array: Any, device: Device) -> Array:
        """Take over an array of another framework on the same device without a copy, by the DLPack protocol."""
        return self.ops(device).from_dlpack(array)

    @contextlib.contextmanager
    def settings(self, plan: Plan, device: Device) -> Iterator[None]:
        """Set the framework's global settings that the plan asks for, and restore them."""
        yield

    def synchronize(self, device: Device) -> None:  # noqa: B027 - a synchronous runtime has nothing to wait for
        """Wait until the device has finished all that was given to it."""

    def clear_caches(self, device: Device) -> None:  # noqa: B027 - a runtime that keeps nothing has nothing to forget
        """Give back what earlier programs left in this process: compiled code and memory kept for later.

        Called between programs that shall not influence one another's speed or memory.
        """

    def native_code(self, plan: Plan, device: Device) -> str:
        """Lines of the vendor's own framework that apply a plan outside hal; empty where there are none to give."""
        return ""

    def memory(self, device: Device) -> MemoryUse:
        """Memory that the framework holds on the device, and the peak since :meth:`reset_peak_memory`."""
        return MemoryUse()

    def reset_peak_memory(self, device: Device) -> None:  # noqa: B027 - a runtime that counts nothing resets nothing
        """Start a new peak for :meth:`memory`."""

    def telemetry(self, device: Device) -> Telemetry:
        """The hardware's counters now; what cannot be read is None."""
        return Telemetry()

    def versions(self) -> dict[str, str]:
        """Names and versions of what this backend runs on, for records and fingerprints."""
        return {}
