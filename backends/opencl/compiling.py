"""Compilation of functions: traced once for each form of their arguments, then replayed."""

from __future__ import annotations

import functools
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import optree

from hal.backends.opencl import primitives
from hal.backends.opencl.array import OpenclArray
from hal.backends.opencl.codegen.choices import choosing
from hal.backends.opencl.devices import runtime_of
from hal.backends.opencl.execution import Program, realize
from hal.backends.opencl.runtime import Runtime
from hal.backends.opencl.schedule import schedule
from hal.backends.opencl.searching import Search
from hal.backends.opencl.storage import Storage
from hal.backends.opencl.tracing import donated_arrays, is_tracing, trace
from hal.errors import UnsupportedError

__all__ = ["by_operation", "compiled", "forget_programs"]


@dataclass(frozen=True)
class _Traced:
    """A function's program for arguments of one form.

    Attributes:
        program: computes the arrays among the results.
        outputs: arrays that the results are like.
        structure: of the results.
        others: results that are no arrays, by position.
    """

    program: Program | None
    outputs: tuple[OpenclArray, ...]
    positions: tuple[int, ...]
    leaves: tuple[Any, ...]
    structure: Any


@dataclass(eq=False)
class _Programs:
    """The programs of one compiled function, by the form of its arguments. They go when the function goes."""

    found: dict[Any, _Traced] = field(default_factory=dict)
    lock: Any = field(default_factory=threading.RLock)


_PROGRAMS: weakref.WeakSet[_Programs] = weakref.WeakSet()
_PROGRAMS_LOCK = threading.Lock()


def by_operation(fn: Callable[..., Any], keys: Mapping[str, str]) -> Callable[..., Any]:
    """Run a function operation by operation; its results are in memory when it returns.

    Args:
        fn: the function.
        keys: the plan's choices of kernels; see :mod:`hal.backends.opencl.codegen.choices`.
    """

    @functools.wraps(fn)
    def run(*args: Any) -> Any:
        if is_tracing():
            return fn(*args)
        leaves, structure = optree.tree_flatten(cast("Any", args), none_is_leaf=False)
        with choosing(keys):
            realize([leaf for leaf in leaves if isinstance(leaf, OpenclArray)], fuse=False)
            results = fn(*structure.unflatten(_with_scalars(leaves)))
            found = optree.tree_leaves(results)
            realize([leaf for leaf in found if isinstance(leaf, OpenclArray)], fuse=False)
        return results

    return run


def compiled(
    fn: Callable[..., Any], keys: Mapping[str, str], *, donate: Sequence[int] = (), search: bool = False
) -> Callable[..., Any]:
    """Trace a function of trees of arrays as a whole, and replay what it launches.

    Args:
        fn: the function.
        keys: the plan's choices of kernels; see :mod:`hal.backends.opencl.codegen.choices`.
        donate: positions of the arguments whose memory results may take over.
        search: time the kernels that each product may be computed by, and take the fastest.
    """
    programs = _Programs()
    with _PROGRAMS_LOCK:
        _PROGRAMS.add(programs)

    @functools.wraps(fn)
    def run(*args: Any) -> Any:
        if is_tracing():
            return fn(*args)
        leaves, structure = optree.tree_flatten(cast("Any", args))
        leaves = _with_scalars(leaves)
        arrays = [leaf for leaf in leaves if isinstance(leaf, OpenclArray)]
        realize(arrays)
        key = (structure, tuple(_form(leaf) for leaf in leaves))
        with programs.lock:
            traced = programs.found.get(key)
            if traced is None:
                with choosing(keys):
                    donated = donated_arrays(args, leaves, donate)
                    traced = programs.found[key] = _traced(fn, leaves, structure, donated, search=search)
        results = list(traced.leaves)
        if traced.program is not None:
            storages = _run(arrays, traced.program)
            for position, like, storage in zip(traced.positions, traced.outputs, storages, strict=True):
                results[position] = OpenclArray("leaf", (), None, like.shape, like.dtype, like.runtime, storage)
        return traced.structure.unflatten(results)

    return run


def forget_programs() -> None:
    """Drop every program; what is compiled traces again when it is next called."""
    with _PROGRAMS_LOCK:
        living = list(_PROGRAMS)
    for programs in living:
        with programs.lock:
            programs.found.clear()


def _run(arrays: Sequence[OpenclArray], program: Program) -> list[Storage]:
    """Run a program. Donated arrays give their memory up, unless something else may need it: then a copy does."""
    with program.runtime.lock:
        storages = [array.storage for array in arrays if array.storage is not None]
        counts = Counter(map(id, storages))
        given = []
        for position in program.taken:
            array, storage = arrays[position], storages[position]
            if array.read or storage.shared or counts[id(storage)] > 1:
                storages[position] = program.runtime.copied(storage)
            else:
                given.append(array)

        def give_up() -> None:
            for array in given:
                array.give_up()

        return program.run(storages, give_up)


def _with_scalars(leaves: list[Any]) -> list[Any]:
    """Python's floats as arrays, so that a program serves all values of them."""
    runtime = next((leaf.runtime for leaf in leaves if isinstance(leaf, OpenclArray)), None)
    if runtime is None:
        runtime = runtime_of()
    return [
        primitives.from_numpy(runtime, np.asarray(leaf, np.float32)) if isinstance(leaf, float) else leaf
        for leaf in leaves
    ]


def _form(leaf: Any) -> Any:
    if isinstance(leaf, OpenclArray):
        return (leaf.shape, leaf.dtype.name, id(leaf.runtime))
    try:
        hash(leaf)
    except TypeError:
        kind = f"{type(leaf).__module__}.{type(leaf).__name__}"
        raise UnsupportedError(
            f"a compiled function of the opencl backend was given a {kind}; it takes arrays of this backend, numbers "
            "and other constants that can be hashed",
            fix="place a NumPy array on the device first, with backend.from_host(array, device)",
        ) from None
    return (type(leaf).__name__, leaf)


def _traced(
    fn: Callable[..., Any], leaves: list[Any], structure: Any, donated: frozenset[int], *, search: bool
) -> _Traced:
    found = trace(fn, leaves, structure)
    program = None
    if found.outputs:
        runtime = found.outputs[0].runtime
        assert isinstance(runtime, Runtime)
        pick = Search(runtime) if search else None
        planned = schedule(found.outputs, runtime.facts, fuse=True, traced=True, donated=donated, pick=pick)
        program = Program(planned, runtime)
    likes = tuple(OpenclArray("leaf", (), None, o.shape, o.dtype, o.runtime) for o in found.outputs)
    return _Traced(program, likes, found.positions, found.leaves, found.structure)
