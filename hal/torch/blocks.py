"""The blocks of a module: parts that are computed one after the other, so that one at a time needs its parameters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import get_close_matches

from torch import nn

from hal.errors import ConfigError

__all__ = ["blocks_of"]

_LISTS = (nn.ModuleList, nn.ModuleDict, nn.Sequential)


def blocks_of(net: nn.Module, named: Sequence[str] | None, model: str = "") -> dict[str, nn.Module]:
    """The blocks of a module by their names, none inside another.

    Without names from the user, these are the members of a list (``ModuleList``, ``ModuleDict``, ``Sequential``) that
    share their class with another member. Where such members differ in the shapes of their parameters and contain
    blocks themselves, as the stages of a vision model do, their blocks are taken instead. A part that shares a
    parameter with the rest of the module is no block.

    Args:
        net: the module.
        named: names of submodules that the user gave; of a list, its members are the blocks. None: they are found.
        model: as the user wrote it, for errors.

    Raises:
        ConfigError: a name is not one of a submodule, or a block lies within another.
    """
    found = dict(_found(net, "") if named is None else _named(net, named, model))
    uses = Counter(id(x) for part in net.modules() for x in part.parameters(recurse=False))
    return {
        name: part
        for name, part in found.items()
        if any(True for _ in part.parameters()) and all(uses[key] == count for key, count in _uses(part).items())
    }


def _uses(part: nn.Module) -> Counter[int]:
    return Counter(id(x) for inner in part.modules() for x in inner.parameters(recurse=False))


def _found(part: nn.Module, path: str) -> Iterator[tuple[str, nn.Module]]:
    children = dict(part.named_children())
    classes = Counter(type(child) for child in children.values())
    for name, child in children.items():
        inner = list(_found(child, f"{path}{name}."))
        repeated = isinstance(part, _LISTS) and not isinstance(child, _LISTS) and classes[type(child)] > 1
        alike = [
            other for other in children.values() if type(other) is type(child) and _shapes(other) == _shapes(child)
        ]
        if repeated and (len(alike) > 1 or not inner):
            yield f"{path}{name}", child
        else:
            yield from inner


def _shapes(part: nn.Module) -> list[tuple[int, ...]]:
    return [tuple(x.shape) for x in part.parameters()]


def _named(net: nn.Module, named: Sequence[str], model: str) -> Iterator[tuple[str, nn.Module]]:
    parts = dict(net.named_modules())
    found: dict[str, nn.Module] = {}
    for name in named:
        part = parts.get(name) if name else None
        if part is None:
            near = get_close_matches(name, [each for each in parts if each], 1)
            raise ConfigError(
                f"blocks of model={model} has {name!r}, but the module has no submodule of that name",
                fix=f"did you mean {near[0]}?" if near else "use names of named_modules()",
            )
        inner = part.named_children() if isinstance(part, _LISTS) else [("", part)]
        found.update({f"{name}.{child}".rstrip("."): each for child, each in inner})
    for name in found:
        outer = next((other for other in found if name.startswith(f"{other}.")), None)
        if outer is not None:
            raise ConfigError(
                f"blocks of model={model} has {name!r} within {outer!r}",
                fix="name only one of them: a block is gathered whole",
            )
    yield from found.items()
