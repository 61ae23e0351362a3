"""Where in a user's own files something happened, and how their errors are shown."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch.fx import traceback as fx_traceback

from hal.errors import RequestError

__all__ = ["layer_line", "note_lines_of", "own_error", "own_frames", "own_line"]

_TORCH = str(Path(torch.__file__).parent)
_HAL = str(Path(__file__).parents[1])
_SHOWN = 4  # frames of a user's traceback


def own_frames(error: BaseException) -> list[traceback.FrameSummary]:
    """The frames of a traceback that are neither PyTorch's nor hal's: the user's, and those of libraries they use."""
    return [frame for frame in traceback.extract_tb(error.__traceback__) if _own(frame.filename)]


def _own(filename: str) -> bool:
    here = (_TORCH, _HAL, str(Path(_HAL).resolve()), "<")
    return not filename.startswith(here)


def own_line(stack: str | Iterable[traceback.FrameSummary]) -> str:
    """The user's own file and line, ``net.py:12``, of a stack: the innermost frame outside of installed packages.

    Where all frames are of installed packages, it is the innermost outside of PyTorch; empty where there is none.

    Args:
        stack: as PyTorch notes it for each op, or the frames of a traceback; the innermost last.
    """
    if isinstance(stack, str):
        found = [(file, int(line)) for file, line in re.findall(r'File "([^"]+)", line (\d+)', stack) if _own(file)]
    else:
        found = [(frame.filename, frame.lineno or 0) for frame in stack if _own(frame.filename)]
    of_user = [(file, line) for file, line in found if "site-packages" not in file]
    for file, line in reversed(of_user or found):
        return f"{Path(file).name}:{line}"
    return ""


def note_lines_of(functions: Iterable[Callable[..., Any]]) -> None:
    """Have torch.export note the lines of functions that are called outside of a module's ``forward``, such as a loss.

    Versions of PyTorch that cannot do that name no line in them.
    """
    annotate: Any = getattr(fx_traceback, "annotate_fn", None)
    if annotate is None:
        return
    for function in functions:
        annotate({})(function)  # it remembers the function; what it returns would mark the ops too


def layer_line(error: BaseException) -> str:
    """File and line of the innermost layer of PyTorch in a traceback, where no frame is the user's own."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/nn/modules/" in frame.filename]
    of_layers = [frame for frame in frames if Path(frame.filename).name != "module.py"]
    return f"torch/nn/modules/{Path(of_layers[-1].filename).name}:{of_layers[-1].lineno}" if of_layers else ""


def own_error(error: BaseException, what: str) -> RequestError:
    """What a user's code raised, with their own short traceback and nothing of hal's.

    Args:
        error: what was raised.
        what: what hal was doing, as the beginning of a sentence: "calling the module".

    Returns:
        An error to raise ``from`` the original.
    """
    frames = own_frames(error)
    lines = [f"{what} raised {type(error).__name__}: {error}"]
    lines += ["".join(traceback.format_list(frames[-_SHOWN:])).rstrip()] if frames else []
    return RequestError("\n".join(lines))
