"""Reads tensors by name from files that torch or safetensors wrote; no code in a file is run."""

from __future__ import annotations

import errno
import os
import pickle
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from hal.errors import DataError, NotFoundError, UnavailableError
from hal.util.messages import first_line
from hal.util.reading import available_bytes, open_regular
from hal.util.sizes import bytes_text

__all__ = ["SUFFIXES", "StoredTensor", "read_tensors"]

SUFFIXES = (".safetensors", ".pth", ".pt")
_SAVE_WEIGHTS = "save the weights alone: torch.save(model.state_dict(), path)"
_AGAIN = "fetch or save it again"

# The file is in memory once as it is and, for each tensor that is used, once more in fp32.
_MEMORY_FACTOR = 2

# Under which keys training scripts store a state dict beside other things, and what wrappers put before each name.
_STATE_DICTS = ("state_dict", "model_state_dict", "model")
_PREFIXES = ("module.", "_orig_mod.")


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file.

    Attributes:
        shape: as it was stored.
        dtype: what the file calls it.
        read: gives its values as fp32; None: these are not numbers of 16, 32 or 64 bits with a fraction.
    """

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], np.ndarray] | None


def read_tensors(path: Path) -> dict[str, StoredTensor]:
    """All tensors of a file by name.

    A state dict may lie under the key ``state_dict``, ``model_state_dict`` or ``model``, and its names may begin with
    the ``module.`` of a data-parallel model or the ``_orig_mod.`` of a compiled one.

    Args:
        path: a file with one of :data:`SUFFIXES`.

    Raises:
        NotFoundError: there is no such file, it is no regular file, or it may not be read.
        DataError: it is damaged, too large for the memory of this machine, or holds something else than tensors by
            name.
        UnavailableError: it needs torch, which is not installed.
    """
    with _opened(path) as file:
        size, room = os.fstat(file.fileno()).st_size, available_bytes()
        _check_size(path, size, room)
        if path.suffix == ".safetensors":
            return _without_prefix(_read_safetensors(path, file, size))
        return _without_prefix(_read_torch(path, file, room))


def _opened(path: Path) -> BinaryIO:
    try:
        return open_regular(path)
    except (OSError, ValueError) as error:
        refused = isinstance(error, OSError) and error.errno not in (errno.ENOENT, errno.EISDIR, errno.ENOTDIR)
        why = f"cannot be read: {error.strerror}" if isinstance(error, OSError) and refused else "is not a file"
        raise NotFoundError(
            f"model.weights={path} {why}", fix="give the path of a file with weights, or model.weights=random"
        ) from error


def _check_size(path: Path, size: int, room: int) -> None:
    if size * _MEMORY_FACTOR > room:
        raise DataError(
            f"{path} has {bytes_text(size)}, and reading it takes {_MEMORY_FACTOR} times as much memory, but only "
            f"{bytes_text(room)} are free",
            fix="save the weights of the backbone alone, or use a machine with more memory",
        )


def _read_safetensors(path: Path, file: BinaryIO, size: int) -> dict[str, StoredTensor]:
    from safetensors import SafetensorError, deserialize

    content = file.read(size)
    try:
        found: list[tuple[str, dict[str, Any]]] = deserialize(content)  # type: ignore[no-untyped-call]
        return {name: _of_safetensors(tensor) for name, tensor in found}
    except (SafetensorError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{path} is not a safetensors file, or is damaged: {first_line(error)}", fix=_AGAIN) from error


def _of_safetensors(tensor: Mapping[str, Any]) -> StoredTensor:
    shape, dtype, data = tuple(tensor["shape"]), tensor["dtype"], tensor["data"]
    stored = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}.get(dtype)
    if stored is None:
        return StoredTensor(shape, dtype, None)

    def read() -> np.ndarray:
        values = np.frombuffer(data, stored).reshape(shape)
        if dtype == "BF16":  # NumPy has no such type: it is the upper half of fp32
            return (values.astype(np.uint32) << 16).view(np.float32)
        return _to_fp32(values)

    return StoredTensor(shape, dtype, read)


def _read_torch(path: Path, file: BinaryIO, room: int) -> dict[str, StoredTensor]:
    try:
        import torch
    except ImportError as error:
        raise UnavailableError(
            f"{path} was saved by torch, which is not installed", fix="pip install torch, or use a .safetensors file"
        ) from error
    try:
        _check_archive(path, file, room)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Tensors alone: a pickle may carry code, and this refuses to run any.
            held = torch.load(file, map_location="cpu", weights_only=True)
        named = _state_dict(held)
        tensors = {name: x for name, x in named.items() if isinstance(name, str) and isinstance(x, torch.Tensor)}
        found = {name: _of_torch(tensor) for name, tensor in tensors.items()}
    except DataError:
        raise
    except pickle.UnpicklingError as error:
        raise DataError(
            f"{path} is damaged, or holds Python objects besides tensors, which hal does not load", fix=_SAVE_WEIGHTS
        ) from error
    except Exception as error:  # damaged bytes make the reader fail in any way there is
        raise DataError(f"{path} is not a torch file, or is damaged: {first_line(error)}", fix=_AGAIN) from error
    if not isinstance(held, Mapping):
        raise DataError(f"{path} holds a {type(held).__name__}, not tensors by name", fix=_SAVE_WEIGHTS)
    return found


def _check_archive(path: Path, file: BinaryIO, room: int) -> None:
    """Refuse an archive that would unpack to more than there is room for, and one that is a program."""
    if zipfile.is_zipfile(file):
        file.seek(0)
        entries = zipfile.ZipFile(file).infolist()
        _check_size(path, sum(each.file_size for each in entries), room)
        if any(each.filename.endswith("/constants.pkl") for each in entries):
            raise DataError(f"{path} holds a TorchScript program, which hal does not run", fix=_SAVE_WEIGHTS)
    file.seek(0)


def _of_torch(tensor: Any) -> StoredTensor:
    import torch

    shape, dtype = tuple(tensor.shape), str(tensor.dtype).removeprefix("torch.")
    if tensor.is_meta or tensor.layout != torch.strided:
        return StoredTensor(shape, "no values" if tensor.is_meta else f"sparse {dtype}", None)
    if tensor.dtype not in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        return StoredTensor(shape, dtype, None)

    def read() -> np.ndarray:
        plain = tensor.detach()
        return _to_fp32((plain.float() if plain.dtype == torch.bfloat16 else plain).numpy())

    return StoredTensor(shape, dtype, read)


def _state_dict(held: Any) -> Mapping[Any, Any]:
    """The mapping that has the tensors, of what a training script saved."""
    if not isinstance(held, Mapping):
        return {}
    inner = next((held[key] for key in _STATE_DICTS if isinstance(held.get(key), Mapping)), None)
    return held if inner is None else _state_dict(inner)


def _without_prefix(tensors: dict[str, StoredTensor]) -> dict[str, StoredTensor]:
    """Names as the model itself has them; only what a wrapper counts by itself has no prefix, and no dot."""
    for prefix in _PREFIXES:
        dotted = [name for name in tensors if "." in name]
        if dotted and all(name.startswith(prefix) for name in dotted):
            return _without_prefix({name.removeprefix(prefix): tensor for name, tensor in tensors.items()})
    return tensors


def _to_fp32(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # what does not fit becomes infinite, and that is looked for
        return values.astype(np.float32, copy=False)
