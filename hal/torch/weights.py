"""A module's values by the names of its ``state_dict()``, from files and for them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hal.errors import DataError, NotFoundError, UnsupportedError

__all__ = ["load_into", "tied_names"]


def load_into(net: nn.Module, path: Path, name: str) -> None:
    """Load a file into a module, all of whose names must be there.

    Args:
        net: gets the values.
        path: of a .safetensors file, or of one that ``torch.save`` wrote of a state_dict.
        name: of the model, for errors.

    Raises:
        NotFoundError: there is no such file.
        UnsupportedError: a file of another kind.
        DataError: it is damaged, or its names or shapes are not those of the module.
    """
    if not path.is_file():
        raise NotFoundError(f"weights={path}: there is no such file")
    if path.suffix not in (".safetensors", ".pth", ".pt", ".bin"):
        raise UnsupportedError(
            f"weights={path} is not a file of a known type", fix="use .safetensors, or .pth with a state_dict"
        )
    values = _read(path)
    wanted = net.state_dict()
    names = tied_names(net)
    missing = [key for key in wanted if key not in values and not _has_twin(key, values, names)]
    unknown = [key for key in values if key not in wanted]
    if missing or unknown:
        raise DataError(
            f"weights={path} is of another model: "
            + "; ".join(
                [*([f"{name} has {_some(missing)}, which the file lacks"] if missing else []),
                 *([f"the file has {_some(unknown)}, which {name} lacks"] if unknown else [])]
            ),
            fix="use the weights of this module, as its state_dict() names them",
        )  # fmt: skip
    for key, value in values.items():
        if tuple(value.shape) != tuple(wanted[key].shape):
            raise DataError(
                f"weights={path}: {key} has shape {tuple(value.shape)}, but {tuple(wanted[key].shape)} in {name}",
                fix="give the module the arguments with which the weights were trained",
            )
    net.load_state_dict(values, strict=False)


def _read(path: Path) -> Mapping[str, torch.Tensor]:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise DataError(
            f"weights={path} cannot be read: {type(error).__name__}: {str(error).splitlines()[0]}"
        ) from error
    found = found.get("state_dict", found) if isinstance(found, Mapping) else found
    if not isinstance(found, Mapping) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise DataError(
            f"weights={path} does not hold a state_dict", fix="write it with torch.save(net.state_dict(), ...)"
        )
    return found


def tied_names(net: nn.Module) -> dict[str, str]:
    """For each name of a parameter or buffer the first name of the same tensor."""
    first: dict[int, str] = {}
    names: dict[str, str] = {}
    for each in (net.named_parameters, net.named_buffers):
        for name, tensor in each(remove_duplicate=False):
            names[name] = first.setdefault(id(tensor), name)
    return names


def _has_twin(key: str, values: Mapping[str, Any], names: Mapping[str, str]) -> bool:
    """Whether a tied tensor is there under another of its names."""
    return any(names.get(other) == names.get(key) for other in values if other in names)


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
