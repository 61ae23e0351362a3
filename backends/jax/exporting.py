"""Writes a trained model as StableHLO, with its weights, by jax.export."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from hal.contract import ExportedFunction
from hal.errors import HalError, UnsupportedError
from hal.util.messages import first_line

__all__ = ["exported_files", "loaded_program"]

_MODULE, _PROGRAM = "model.mlirbc", "model.jax_export"
_PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


def exported_files(exported: ExportedFunction) -> dict[str, bytes]:
    """See :meth:`hal.contract.ExportsPrograms.export_program`.

    ``model.mlirbc`` is the StableHLO module as portable bytecode, for IREE and other compilers; ``model.jax_export`` is
    the same with its calling convention, for JAX on any platform. Ids are int32, which needs no 64-bit mode.
    """
    import jax
    from jax import export

    sizes = export.symbolic_shape("batch") if exported.any_batch else None
    specs = {}
    struct: Any = jax.ShapeDtypeStruct
    for name, x in exported.inputs.items():
        dtype = np.int32 if x.dtype.kind in "iu" and x.dtype.itemsize > 4 else x.dtype
        specs[name] = struct((*(sizes or x.shape[:1]), *x.shape[1:]), dtype)

    def run(inputs: Mapping[str, Any]) -> Any:
        given = next(iter(inputs.values())) if exported.single else dict(inputs)
        return exported.function(exported.params, exported.state, given)

    try:
        program = export.export(jax.jit(run), platforms=_PLATFORMS)(specs)
        return {_MODULE: program.mlir_module_serialized, _PROGRAM: bytes(program.serialize())}
    except HalError:
        raise
    except Exception as error:
        fix = "set batch= to a size that you will use" if exported.any_batch else "use --to onnx or --to torch"
        raise UnsupportedError(
            f"jax.export cannot export the model: {type(error).__name__}: {first_line(error)}", fix=fix
        ) from error


def loaded_program(files: Mapping[str, bytes]) -> Callable[[Mapping[str, np.ndarray]], np.ndarray]:
    """A function that runs an exported program."""
    import jax
    from jax import export

    program = export.deserialize(bytearray(files[_PROGRAM]))
    dtypes = jax.tree.unflatten(program.in_tree, [(aval.dtype) for aval in program.in_avals])[0][0]
    call = jax.jit(program.call)

    def run(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        return np.asarray(call({name: x.astype(dtypes[name]) for name, x in inputs.items()}))

    return run
