"""What a backend must fulfil: :class:`Backend`, and the abstract part of :class:`hal.tensor.Ops`.

What only some runtimes can do is defined in further classes that a backend may derive from:
:class:`~hal.contract.group.SpreadsOver` (several devices or processes), :class:`~hal.contract.target.BuildsTargets`
(hardware that is not present), :class:`~hal.contract.costs.CountsCosts` (what a computation costs) and
:class:`~hal.contract.measuring.MeasuresDevices` (what ``hal card`` wants beside the neutral API). Callers ask with
``isinstance``. ``docs/contract.md`` is the table of all methods; ``docs/generate.py`` writes it from these docstrings.
"""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from hal.contract.availability import Available, Unavailable
from hal.contract.counters import MemoryUse, Telemetry
from hal.errors import HalError, UnsupportedError
from hal.tensor import Key, Ops
from hal.tensor.gradients import neutral_unscale
from hal.tensor.optimizers import Optimizer, neutral_optimizer
from hal.types import Array, Tree
from hal.util.readahead import read_ahead

if TYPE_CHECKING:
    import numpy as np

    from hal.contract.device import Device
    from hal.contract.plan import Plan

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
        results from then on. ``from_host`` may alias its NumPy array, which the caller does not write to afterwards.

        Asynchrony. Every call may return before the device has finished. Only :meth:`synchronize` and
        :meth:`to_host` wait. Time nothing without the former.

        Settings. A framework's global settings are changed in :meth:`settings` alone; it restores them always.

        Precision. Ops compute in the dtype of their arrays and return it, but for the losses, which return fp32.

        Errors. What the framework raises passes through; :meth:`classify` names it. Nothing falls back in silence.
    """

    name: ClassVar[str]
    """The name under which the backend is registered, and the value of the key ``backend``."""

    priority: ClassVar[int] = 0
    """``backend=auto`` uses the available backend of the highest priority. A negative one is used only by name."""

    aliases: ClassVar[tuple[str, ...]] = ()
    """Other words for this backend, such as its vendor's name. They are not accepted; the error names the backend."""

    framework: ClassVar[str] = ""
    """The package whose arrays and modules this backend runs: ``torch``, ``jax``, ...; empty: no other's."""

    compiles_gradients: ClassVar[bool] = False
    """Where this runtime compiles a training step. False: :meth:`compile` takes the whole step, differentiation
    included. True: :meth:`value_and_grad` compiles the function and its gradient, and the step around it is not passed
    to :meth:`compile`."""

    copies_ahead: ClassVar[bool] = False
    """Whether :meth:`prefetch` overlaps copies to the device with compute. If not, batches that are in memory already
    are not read ahead, because a thread would save no time."""

    # What must be implemented

    @abc.abstractmethod
    def probe(self) -> Available | Unavailable:
        """Whether this backend can run here. Never raises.

        Called by ``hal devices`` and whenever a device of this backend is asked for.

        Example:
            >>> from hal import registry
            >>> registry.backend("null").probe()
            Available(detail='computes only shapes and costs, no values')
        """

    @abc.abstractmethod
    def devices(self) -> list[Device]:
        """The devices of this backend, with their capabilities; empty unless :meth:`probe` says Available.

        Called by ``hal devices`` and whenever a device of this backend is asked for.
        """

    @abc.abstractmethod
    def ops(self, device: Device) -> Ops:
        """The neutral tensor API bound to a device. Equal devices give the same object.

        From then on ``hal.ops`` handles the arrays of this backend: the module of the ops registers each of its array
        types with :func:`hal.tensor.register`.

        Called by the registry for each device that it gives out, before anything is computed there.
        """

    @abc.abstractmethod
    def from_host(self, array: np.ndarray, device: Device, *, axes: str = "", layout: str = "nhwc") -> Array:
        """Copy (or alias, see Ownership) a NumPy array to the device.

        Called for each parameter and each batch, by :meth:`hal.contract.Group.put`.

        Args:
            array: any dtype of the Array API standard.
            device: the device to copy to.
            axes: what the axes mean, so that the backend may store them in the order that its kernels want:
                ``NHWC`` or ``NCHW`` images, ``HWIO`` or ``OIHW`` convolution kernels, ``HWIO_transpose`` kernels of
                transposed convolutions, ``IO`` matrices; empty: as they stand. The logical shape never changes.
            layout: the plan's physical layout of images, ``nhwc`` or ``nchw``.

        Example:
            >>> import hal, numpy as np
            >>> from hal import registry
            >>> cpu, device = registry.backend("cpu"), hal.device("cpu")
            >>> images = np.zeros((8, 28, 28, 3), np.float32)
            >>> stored = cpu.from_host(images, device, axes="NHWC", layout="nchw")
            >>> tuple(stored.shape), stored.stride()[1:]  # the channels lie furthest apart
            ((8, 28, 28, 3), (28, 1, 784))
        """

    @abc.abstractmethod
    def to_host(self, array: Array) -> np.ndarray:
        """Wait for an array and copy it to NumPy, C-contiguous in its logical shape. bfloat16 becomes float32.

        Called for losses and metrics, for checkpoints, and for what ``hal.predict`` returns.
        """

    @abc.abstractmethod
    def classify(self, error: BaseException) -> HalError | None:
        """The hal error for an exception of the framework, judged by its type and code; None if there is none.

        Called with each exception that is not hal's own and ends a run, a benchmark or a trial.

        Example:
            >>> from hal import registry
            >>> registry.backend("cpu").classify(MemoryError("2 GiB"))
            OutOfMemoryError('cpu ran out of memory: 2 GiB')
            >>> registry.backend("cpu").classify(KeyError("a bug in a model")) is None
            True
        """

    # What runs use

    def value_and_grad(
        self, fn: Callable[..., tuple[Array, Tree]], plan: Plan | None = None
    ) -> Callable[..., tuple[tuple[Array, Tree], Tree]]:
        """Differentiate a function with respect to its first argument.

        A backend that only runs inference does not implement it and sets ``trains=False`` in the capabilities of its
        devices, so that a request to train is refused before anything runs.

        Called once for each objective of a model, when a training step is built.

        By default this raises UnsupportedError; a backend that trains must implement it.

        Args:
            fn: ``fn(params, *args) -> (loss, aux)``; loss is a scalar array, params a tree of floating arrays.
            plan: how to compile; a runtime with :attr:`compiles_gradients` does so here.

        Returns:
            ``g(params, *args) -> ((loss, aux), gradients)``, gradients a tree like params, zeros for parameters that
            the loss does not depend on; loss and aux are detached.

        Raises:
            UnsupportedError: this backend only runs inference.

        Example:
            >>> import hal
            >>> from hal import ops, registry
            >>> x = hal.device("cpu").xp.asarray([1.0, 2.0])
            >>> def loss(params, x):
            ...     y = params["w"] * x
            ...     return ops.sum(y), {"y": y}
            >>> differentiate = registry.backend("cpu").value_and_grad(loss)
            >>> (value, aux), gradients = differentiate({"w": x, "unused": x}, x)
            >>> value.item(), aux["y"].tolist()
            (5.0, [1.0, 4.0])
            >>> gradients["w"].tolist(), gradients["unused"].tolist()
            ([1.0, 2.0], [0.0, 0.0])
        """
        raise UnsupportedError(
            f"backend {self.name} cannot compute gradients, so it can run trained models but not train them",
            fix="train on another backend; see: hal devices",
        )

    def compile(self, fn: Callable[..., Any], plan: Plan, *, donate: tuple[int, ...] = ()) -> Callable[..., Any]:
        """Compile a pure function of trees of arrays as the plan says.

        Called for inference and evaluation, and for the whole training step unless :attr:`compiles_gradients`.

        By default this returns the function for ``compile=eager`` and raises UnsupportedError for other modes.

        Args:
            fn: the function.
            plan: its ``compile`` says how much.
            donate: positions of arguments whose memory the result may take over.

        Raises:
            UnsupportedError: this backend does not compile and the plan does not say ``eager``.

        Example:
            >>> import hal
            >>> from hal import ops, registry
            >>> device = hal.device("cpu")
            >>> plan = hal.Plan(compile="eager").resolve(device)
            >>> double = registry.backend("cpu").compile(lambda tree: {"y": 2 * tree["x"]}, plan)
            >>> double({"x": device.xp.ones(2)})["y"].tolist()
            [2.0, 2.0]
        """
        if plan.compile != "eager":
            raise UnsupportedError(f"backend {self.name} cannot compile", fix="use compile=eager")
        return fn

    def replay(
        self, fn: Callable[..., Any], plan: Plan, *, donate: tuple[int, ...] = (), hold: tuple[int, ...] = ()
    ) -> Callable[..., Any]:
        """Launch all kernels of a function together where the plan says ``launch=graph``.

        Called for inference and evaluation, and for the whole training step if :attr:`compiles_gradients`.

        By default this returns the function. ``hold``: positions of arguments that mostly stay the same arrays.
        """
        return fn

    def optimizer(self, name: str, hyper: Mapping[str, float]) -> Optimizer:
        """An optimizer by name with its constants.

        Called once for each objective of a model, before its training begins.

        By default the optimizer is written in neutral ops.

        Raises:
            UnsupportedError: no optimizer of that name.
        """
        return neutral_optimizer(name, hyper)

    def unscale(self, grads: Tree, factor: Array) -> tuple[Tree, Array]:
        """Divide gradients by the loss scale, and find out whether all of them are finite.

        Called once for each objective in each training step in fp16.

        By default this is written in neutral ops, with several kernels for each array.

        Args:
            grads: floating arrays; they are not changed.
            factor: scalar array.

        Returns:
            The quotients, and a boolean scalar array.
        """
        return neutral_unscale(grads, factor)

    def rng(self, seed: int, device: Device) -> Any:
        """A random key for a device. Equal seeds give equal streams on equal devices and versions.

        Called once for each run or benchmark; its steps derive their own keys with ``ops.fold_in`` and
        ``ops.split_key``.

        By default this is a :class:`hal.tensor.Key`, a 64-bit number from which hosts' generators are seeded.
        """
        return Key(seed)

    def prefetch(
        self,
        batches: Iterable[Mapping[str, np.ndarray]],
        put: Callable[[Mapping[str, np.ndarray]], Tree],
        device: Device,
    ) -> Generator[Tree, None, None]:
        """Iterate over host batches as device trees, read ahead of their use.

        Whoever iterates closes the generator; that ends whatever reads ahead.

        Called for each epoch whose batches are read from a disk, and for every epoch if :attr:`copies_ahead`.

        By default a thread reads the next batches and puts them on the device.

        Args:
            batches: host batches.
            put: takes one to the device.
            device: the device to copy to.
        """
        with contextlib.closing(read_ahead(batches, put)) as ready:
            yield from ready

    def from_dlpack(self, array: Any, device: Device) -> Array:
        """Take over an array of another framework on the same device without a copy, by the DLPack protocol.

        Called by users who mix hal with their own framework's code.

        By default this asks the ops' namespace of the Array API standard.
        """
        return self.ops(device).from_dlpack(array)

    @contextlib.contextmanager
    def settings(self, plan: Plan, device: Device) -> Iterator[None]:
        """Set the framework's global settings that the plan asks for, and restore them.

        Called around everything that runs under a plan; settings of one plan may be nested in those of another.

        By default this changes nothing.

        Example:
            >>> import hal, torch
            >>> from hal import registry
            >>> device = hal.device("cpu")
            >>> before = torch.get_num_threads()
            >>> with registry.backend("cpu").settings(hal.Plan(threads=1).resolve(device), device):
            ...     torch.get_num_threads()
            1
            >>> torch.get_num_threads() == before
            True
        """
        yield

    def synchronize(self, device: Device) -> None:  # noqa: B027 - a synchronous runtime has nothing to wait for
        """Wait until the device has finished all its work.

        Called at the end of every region that is timed.

        By default this returns at once, which is right for a synchronous runtime.
        """

    def clear_caches(self, device: Device) -> None:  # noqa: B027 - a runtime that keeps nothing has nothing to forget
        """Release what earlier programs left in this process: compiled code and cached memory.

        Called between programs that must not influence each other's speed or memory, such as two trials of the tuner.

        By default this does nothing.
        """

    # What is reported

    def versions(self) -> dict[str, str]:
        """Names and versions of what this backend runs on.

        Called for records, and for the fingerprints that decide whether a tuned plan is still valid.

        By default this is empty.
        """
        return {}

    def memory(self, device: Device) -> MemoryUse:
        """Memory that the framework holds on the device, and the peak since :meth:`reset_peak_memory`.

        Called at the end of a run, a benchmark or a trial, by :meth:`hal.contract.Group.peak_memory`.

        By default all values are unknown.
        """
        return MemoryUse()

    def reset_peak_memory(self, device: Device) -> None:  # noqa: B027 - a runtime that counts nothing resets nothing
        """Start a new peak for :meth:`memory`.

        Called before a region whose peak is reported.

        By default this does nothing.
        """

    def telemetry(self, device: Device) -> Telemetry:
        """The current values of the hardware's counters; None for those that cannot be read.

        Called from a thread of its own several times a second while something is measured.

        By default all values are unknown.
        """
        return Telemetry()

    def native_code(self, plan: Plan, device: Device, mode: str = "train", inputs: Sequence[str] = ()) -> str:
        """Lines of the vendor's own framework that apply a plan outside hal.

        They run as they are where the names that a program of the framework has are defined. ``mode`` is ``train``, or
        ``infer``. ``inputs`` names the model's inputs where it takes several: numbers for those by position.

        Called for the report of a tuning, with the best plan.

        By default this is empty, and the report shows no code.

        Example:
            >>> import hal
            >>> from hal import registry
            >>> device = hal.device("cpu")
            >>> plan = hal.Plan(threads=2, compile="eager").resolve(device)
            >>> "torch.set_num_threads(2)" in registry.backend("cpu").native_code(plan, device)
            True
        """
        return ""
