"""Writes docs/translated-ops.md, the list of PyTorch's ops that hal translates, from the table in hal/torch/table.

Run ``python docs/generate_translated_ops.py`` after changing the table; a test fails until it is done.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from types import ModuleType

from hal.torch.table import FAMILIES, TABLE

PAGE = Path(__file__).with_name("translated-ops.md")

HEAD = """# The ops of PyTorch that hal translates

`docs/generate_translated_ops.py` writes this page from the table in `hal/torch/table/`.

On the backends `cpu`, `cuda`, `rocm`, `mps` and `xpu` a `torch.nn.Module` runs itself, so that all of PyTorch is
available there. On every other backend hal captures the module with `torch.export` and computes each of the ops below
with its neutral ops. An op of ATen that is not in this list is replaced by PyTorch's own decomposition into others,
where there is one. What is left over is refused before anything runs, with the layer and with the file and line that
call it.

An op of your own, or one that is missing here, is added in one line, in the file of your model:

```python
from hal import ops
from hal.torch import translate

translate("mylib::twice", lambda x: ops.add(x, x))
```

The function gets the op's arguments with arrays of the backend in place of tensors, and is written with `hal.ops`. Its
derivative is that of these ops. `"mylib::twice.overload"` is one overload of an op.

Not translated at all: what gives a shape that depends on values (boolean masks as indices, `nonzero`, `unique`), values
that are taken out of the graph (`item()`, NumPy), decisions that depend on values, complex numbers, sparse or quantized
tensors, and in training a `torch.autograd.Function`, whose own backward the capture loses.
"""


def page() -> str:
    """The text of docs/translated-ops.md."""
    names = [name for name in TABLE if name.startswith("aten::")]
    packets = {name.partition(".")[0] for name in names}
    parts = [HEAD, f"The table has {len(packets)} ops of ATen, with {len(names)} overloads.\n"]
    parts += [_section(family, names) for family in FAMILIES]
    return "\n".join(part for part in parts if part)


def _section(family: ModuleType, names: list[str]) -> str:
    found: dict[str, list[str]] = {}
    for name in names:
        if TABLE[name].__module__ == family.__name__:
            op, _, overload = name.removeprefix("aten::").partition(".")
            found.setdefault(op, []).append(overload)
    summary = (inspect.getdoc(family) or "").partition("\n\n")[0].replace("\n", " ")
    rows = [f"| `{op}` | {', '.join(f'`{each}`' for each in found[op])} |" for op in sorted(found)]
    title = family.__name__.rpartition(".")[2].capitalize()
    return "\n".join([f"## {title}\n\n{summary}\n", "| op | overloads |", "| --- | --- |", *rows, ""])


if __name__ == "__main__":
    PAGE.write_text(page())
