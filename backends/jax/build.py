"""Compiling for hardware that is not present: XLA's compilers for TPU and NVIDIA run on any machine.

A TPU's compiler refuses a program that does not fit; the one for GPUs does not, so hal compares. One process can
compile for any number of targets, one after the other.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding

from hal.backends.jax.program import Built
from hal.backends.jax.targets import TargetSpec
from hal.contract.plan import Plan
from hal.contract.program import ArrayShape, DoesNotFitError, ProgramMemory
from hal.errors import HalError, RunError, UnavailableError, UnsupportedError
from hal.util.messages import first_line

__all__ = ["build", "build_for", "data_parallel", "topology"]

_LOCK = threading.RLock()
_MODULES = {"tpu": "libtpu", "cuda": "jax_plugins.xla_cuda12"}
_GIB = 2**30


def topology(target: TargetSpec) -> Sequence[Any]:
    """The devices of a target, to shard over and compile for; nothing can be put on them.

    Raises:
        UnavailableError: the platform's compiler is not installed.
        UnsupportedError: there is none for this platform, or the one installed does not know the hardware.
    """
    if not target.compiles:
        raise UnsupportedError(
            f"target={target.name}: XLA has no compiler for {target.product} that runs without the hardware",
            fix="use a target that has one; for this target, programs are only lowered to StableHLO",
        )
    if not _installed(_MODULES[target.platform]):
        version = f"=={jax.__version__}"
        plugin = f"pip install 'jax[cuda12-local]{version}' nvidia-cuda-nvcc-cu12"
        step = "pip install libtpu" if target.platform == "tpu" else plugin
        raise UnavailableError(
            f"target={target.name} needs the compiler for {target.product}, which is not installed", fix=step
        )
    return _devices(target)


def data_parallel(target: TargetSpec) -> tuple[NamedSharding, NamedSharding]:
    """Shardings over all devices of a target: one for what every device holds whole, one for what is split by batch."""
    mesh = Mesh(np.array(topology(target)), ("dp",), axis_types=(AxisType.Auto,))
    whole, split = PartitionSpec(), PartitionSpec("dp")  # type: ignore[no-untyped-call]
    return NamedSharding(mesh, whole), NamedSharding(mesh, split)


def build(
    function: Callable[..., Any],
    arguments: Sequence[Any],
    *,
    target: TargetSpec,
    precision: str,
    in_shardings: Any = None,
    out_shardings: Any = None,
    donate: tuple[int, ...] = (),
) -> Built:
    """Compile a function for hardware that is not present.

    Args:
        function: a pure function of trees of arrays.
        arguments: shapes and dtypes: trees of ``jax.ShapeDtypeStruct``.
        target: what for. Where no compiler runs without the hardware, the program is lowered and nothing more.
        precision: what it mostly computes in, for the peak of the roofline.
        in_shardings: as in ``jax.jit``, over devices of :func:`topology`; None: all on the first device.
        out_shardings: as in ``jax.jit``; None: where the compiler likes.
        donate: positions of arguments whose memory the result may take over.

    Raises:
        DoesNotFitError: it needs more memory than a device has.
        UnavailableError: see :func:`topology`.
        UnsupportedError: the platform cannot do what the function asks.
        RunError: the compiler failed.
    """
    began = time.monotonic()
    keywords: dict[str, Any] = {"donate_argnums": donate}
    if target.compiles:
        keywords["in_shardings"] = SingleDeviceSharding(topology(target)[0]) if in_shardings is None else in_shardings
        if out_shardings is not None:
            keywords["out_shardings"] = out_shardings
    compiled = None
    with _quiet(target):
        try:
            traced = jax.jit(function, **keywords).trace(*arguments)
            lowered = traced.lower() if target.compiles else traced.lower(lowering_platforms=(target.platform,))
            compiled = lowered.compile() if target.compiles else None
        except (jax.errors.JaxRuntimeError, NotImplementedError) as error:
            raise _translated(error, target) from error
    memory = None if compiled is None else _memory(compiled.memory_analysis())
    wide = bool(jax.config.jax_enable_x64)  # type: ignore[attr-defined]

    def unoptimized() -> Any:
        with _quiet(target), jax.enable_x64(wide):
            return jax.jit(function).trace(*arguments).lower(lowering_platforms=(target.platform,))

    built = Built(target, precision, memory, time.monotonic() - began, traced, unoptimized, lowered, compiled)
    if memory is not None and target.platform != "tpu" and built.fits is False:
        raise DoesNotFitError(
            f"the program needs {memory.total / _GIB:.2f} GiB on each device; {target.name} has "
            f"{(target.memory_bytes or 0) / _GIB:.2f} GiB, of which JAX uses {(target.usable_bytes or 0) / _GIB:.2f}",
            memory.total,
            target.usable_bytes,
            built,
        )
    return built


def build_for(
    function: Callable[..., Any], arguments: Sequence[Any], target: TargetSpec, plan: Plan, *, donate: tuple[int, ...]
) -> Built:
    """Compile a function of hal's own description of arrays; see :meth:`hal.contract.BuildsTargets.build`."""
    spread = plan.spread().get("dp", 1) > 1 and target.compiles
    whole, split = data_parallel(target) if spread else (None, None)

    struct: Any = jax.ShapeDtypeStruct

    def shaped(leaf: Any) -> Any:
        if isinstance(leaf, ArrayShape):
            return struct(leaf.shape, np.dtype(leaf.dtype))
        return struct(leaf.shape, leaf.dtype) if isinstance(leaf, jax.Array) else leaf

    def placed(leaf: Any) -> Any:
        return split if isinstance(leaf, ArrayShape) and leaf.split else whole

    return build(
        function,
        [jax.tree.map(shaped, argument) for argument in arguments],
        target=target,
        precision=plan.precision,
        in_shardings=tuple(jax.tree.map(placed, argument) for argument in arguments) if spread else None,
        donate=donate,
    )


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


@functools.cache
def _devices(target: TargetSpec) -> tuple[Any, ...]:
    # The same name twice gives devices that are not equal, so they are kept.
    with _quiet(target, loads=True):
        try:
            found = topologies.get_topology_desc(target.topology, platform=target.platform, **target.options)
        except jax.errors.JaxRuntimeError as error:
            raise UnsupportedError(
                f"target={target.name}: the installed compiler does not support it: {first_line(error)}"
            ) from error
    return tuple(found.devices)


@contextlib.contextmanager
def _quiet(target: TargetSpec, *, loads: bool = False) -> Iterator[None]:
    """Set what the platform's compiler reads from the environment, and restore it.

    libtpu asks a metadata server for what it does not find, and complains of the answer; it writes logs to /tmp; and it
    lets only one process of a machine load it, which has a meaning only for chips that are here. The plugin for CUDA
    looks for a driver when it is loaded and logs that there is none before it can be told not to: then alone standard
    error is held back, for the whole process, and shown only if loading fails.
    """
    wanted = {
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
        "TPU_LOG_DIR": "disabled",
        "TPU_SKIP_MDS_QUERY": "1",
        "TPU_ACCELERATOR_TYPE": "v5litepod-1",
        "TPU_WORKER_HOSTNAMES": "localhost",
        "JAX_SKIP_CUDA_CONSTRAINTS_CHECK": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        **target.environment,
    }
    with _LOCK, contextlib.ExitStack() as stack:
        before = {name: os.environ.get(name) for name in wanted}
        stack.callback(_restore, before)
        os.environ.update(wanted)
        if loads and target.platform == "cuda":
            stack.enter_context(_held_back())
        yield


def _restore(before: dict[str, str | None]) -> None:
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@contextlib.contextmanager
def _held_back() -> Iterator[None]:
    with tempfile.TemporaryFile() as held:
        kept = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(kept, held.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _memory(stats: Any) -> ProgramMemory:
    return ProgramMemory(
        arguments=stats.argument_size_in_bytes,
        outputs=stats.output_size_in_bytes,
        aliased=stats.alias_size_in_bytes,
        temporaries=stats.temp_size_in_bytes,
        code=stats.generated_code_size_in_bytes,
        peak=stats.peak_memory_in_bytes,
    )


def _translated(error: Exception, target: TargetSpec) -> HalError:
    """A compiler's error by its status code, which is the first word of its text: its type is always the same."""
    line = first_line(error)
    code, _, rest = line.partition(": ")
    said = f"target={target.name}: the compiler says: {rest or line}"
    memory = re.search(r"required.*?\(([\d.]+)([KMGT]?)\) exceeds available HBM \(([\d.]+)([KMGT]?)\)", line)
    if memory:
        return DoesNotFitError(said, _bytes(memory[1], memory[2]), _bytes(memory[3], memory[4]), None)
    if "ptxas" in line:
        # NVIDIA's assembler for every GPU that hal has a row for is the one of CUDA 12; that of CUDA 13 begins at 7.5.
        return UnavailableError(said, fix="pip install nvidia-cuda-nvcc-cu12")
    if code == "RESOURCE_EXHAUSTED" and "HBM" in line:
        return DoesNotFitError(said, None, target.usable_bytes, None)
    if isinstance(error, NotImplementedError) or code in ("UNIMPLEMENTED", "INVALID_ARGUMENT"):
        return UnsupportedError(said)
    return RunError(said)


def _bytes(number: str, unit: str) -> int:
    return int(float(number) * 1024 ** " KMGT".index(unit or " "))
