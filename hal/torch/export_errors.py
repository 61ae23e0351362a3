"""What torch.export raises, as one sentence with the user's own file and line."""

from __future__ import annotations

import re

from hal.torch.node import Place
from hal.torch.places import layer_line, own_frames, own_line
from hal.torch.refusals import Refusal

__all__ = ["explained"]

_TAKEN = "item(), int(), float() and tolist() take values out of the graph; keep them as tensors"

# What the user's line has or the error says, what to call it, and the sentence; the first that fits.
_KINDS: tuple[tuple[str, str, str], ...] = (
    (
        r"pack_padded_sequence|PackedSequence|_pack_padded",
        "a packed sequence",
        "its shape depends on values; give the recurrent layer the padded sequence",
    ),
    (
        r"numpy\(\)|\.numpy is not supported|to NumPy|__array__|\bnp\.|numpy",
        "NumPy inside forward",
        "what NumPy computes is not part of the graph and has no gradient; write it with PyTorch's ops",
    ),
    (r"\.item\(|\.tolist\(|\b(int|float|bool)\(|_local_scalar_dense", "a tensor's value as a Python number", _TAKEN),
    (
        r"GuardOnDataDependentSymNode|DataDependentOutput|DynamicOutputShape|data-dependent|boolean value of Tensor",
        "data-dependent control flow",
        "a decision or a shape depends on values, which a graph cannot follow; use torch.where, or decide by shapes or "
        "by an argument of the module",
    ),
    (
        r"[Uu]ninitialized parameter|UninitializedParameter|Lazy",
        "a lazy module",
        "its parameters have no shapes yet; call the module once on example inputs before it is given to hal",
    ),
    (
        r"Constraints violated|specialized|ConstraintViolation",
        "a batch size that the module fixes",
        "the module computes with the size of the batch as a constant; use x.shape[0] where a number stands",
    ),
)


def explained(error: BaseException) -> Refusal:
    """What an error of the capture means.

    Args:
        error: raised by torch.export for a module that runs.
    """
    frames = own_frames(error)
    of_user = [frame for frame in frames if "site-packages" not in frame.filename] or frames
    source = of_user[-1].line or "" if of_user else ""
    text = f"{source}\n{type(error).__name__}: {error}"
    place = Place(line=own_line(frames) or _named_line(text) or layer_line(error))
    for pattern, what, why in _KINDS:
        if re.search(pattern, text):
            return Refusal(what, why, place)
    first = str(error).strip().partition("\n")[0]
    return Refusal("what torch.export cannot capture", f"{type(error).__name__}: {first}", place)


def _named_line(text: str) -> str:
    """The file and line that a message names: ``(net.py:12 in forward)``."""
    found = re.search(r"([\w./-]+\.py):(\d+) in forward", text)
    return f"{found[1].rpartition('/')[2]}:{found[2]}" if found else ""
