"""A plan as lines of plain PyTorch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hal.contract.plan import Plan

__all__ = ["native_code"]

_DTYPES = {"bf16": "torch.bfloat16", "fp16": "torch.float16"}


def native_code(
    plan: Plan,
    device_type: str,
    mode: str,
    index: int = 0,
    library: str = "cudnn",
    names: Sequence[str] = (),
) -> str:
    """Lines that apply a plan to what a PyTorch program has: ``model`` and ``dataset``, which gives (inputs, ...).

    To train also ``loss_fn``, ``optimizer``, and labels as the last part of each sample. Where the model takes inputs
    by name, the samples are dicts, and ``loss_fn`` gets the whole batch.

    Args:
        plan: resolved for a device.
        device_type: PyTorch's word for the device.
        mode: train, or infer to compute outputs alone.
        index: number of the device among those of its type.
        library: PyTorch's word for the library of convolutions, whose switch allows TF32.
        names: of the model's inputs where it takes several: numbers for those by position.
    """
    device = f"{device_type}:{index}" if index else device_type
    given = "model, dataset, loss_fn, optimizer" if mode == "train" else "model, dataset"
    told = [f"# Before these lines, define: {given}"]
    if names and not names[0].isdigit():
        told.append(
            "# dataset gives dicts" + (", and loss_fn takes the outputs and a batch" if mode == "train" else "")
        )
    batch = _batch(plan, device, mode, names)
    lines = _train(plan, device, batch) if mode == "train" else _infer(plan, device, batch)
    return "\n".join([*told, *_setup(plan, device, library), *lines, ""])


@dataclass(frozen=True)
class _Batch:
    """How a batch of the loader is given to the model.

    Attributes:
        variable: what each batch of the loader is called.
        moved: lines that bring it to the device.
        outputs: the call of the model.
        labels: what the loss is given beside the outputs.
        single: whether the model takes one tensor.
    """

    variable: str
    moved: tuple[str, ...]
    outputs: str = "model(inputs)"
    labels: str = "labels"
    single: bool = False


def _batch(plan: Plan, device: str, mode: str, names: Sequence[str]) -> _Batch:
    train, images = mode == "train", plan.layout == "nhwc"
    if not names:
        moved = [f'    inputs = inputs.to("{device}")']
        if images:
            moved += ["    if inputs.ndim == 4:  # images"]
            moved += ["        inputs = inputs.to(memory_format=torch.channels_last)"]
        moved += [f'    labels = labels.to("{device}")'] if train else []
        return _Batch("(inputs, labels)" if train else "inputs, *_", tuple(moved), single=True)
    in_layout = "x.to(memory_format=torch.channels_last) if x.ndim == 4 else x"
    if names[0].isdigit():
        moved = [f'    batch = [x.to("{device}") for x in batch]']
        moved += ["    batch = [", f"        {in_layout}", "        for x in batch", "    ]"] if images else []
        moved += ["    *inputs, labels = batch" if train else f"    inputs = batch[:{len(names)}]"]
        return _Batch("batch", tuple(moved), "model(*inputs)")
    moved = ["    batch = {", f'        name: x.to("{device}") for name, x in batch.items()', "    }"]
    if images:
        moved += ["    batch = {", f"        name: {in_layout}", "        for name, x in batch.items()", "    }"]
    moved += ["    inputs = {", *(f'        "{name}": batch["{name}"],' for name in names), "    }"]
    return _Batch("batch", tuple(moved), "model(**inputs)", "batch")


def _setup(plan: Plan, device: str, library: str) -> Iterator[str]:
    yield from ("import torch", "from torch.utils.data import DataLoader", "")
    if ":" in device:
        yield f'torch.{_kind(device)}.set_device("{device}")'
    if plan.threads is not None:
        yield f"torch.set_num_threads({plan.threads})"
    if plan.precision == "tf32":
        # These two set PyTorch's newer switches as well; what was compiled asks both.
        yield 'torch.set_float32_matmul_precision("high")'
        yield f"torch.backends.{library}.allow_tf32 = True"
    if plan.conv == "search":
        yield "torch.backends.cudnn.benchmark = True"
    yield f'model = model.to("{device}")'
    if plan.layout == "nhwc":
        yield "model = model.to(memory_format=torch.channels_last)"
    if plan.compile != "eager":
        mode = ', mode="max-autotune-no-cudagraphs"' if plan.compile == "max" else ""
        yield f"model = torch.compile(model, dynamic=False{mode})"


def _autocast(plan: Plan, device: str, line: str) -> Iterator[str]:
    if plan.precision in _DTYPES:
        yield f'    with torch.autocast("{_kind(device)}", {_DTYPES[plan.precision]}):'
        yield f"        {line}"
    else:
        yield f"    {line}"


def _train(plan: Plan, device: str, batch: _Batch) -> Iterator[str]:
    parts, scaled = plan.accumulate, plan.precision == "fp16"
    yield "loader = DataLoader("
    yield f"    dataset, batch_size={plan.batch // parts}, shuffle=True, drop_last=True"
    yield ")"
    yield from _recorded(plan, device, "model", "model", batch)
    if scaled:
        yield f'scaler = torch.amp.GradScaler("{_kind(device)}")'
    yield f"for index, {batch.variable} in enumerate(loader, start=1):"
    yield from batch.moved
    yield from _autocast(plan, device, f"loss = loss_fn({batch.outputs}, {batch.labels})")
    if parts > 1:
        yield f"    loss = loss / {parts}"
    yield "    scaler.scale(loss).backward()" if scaled else "    loss.backward()"
    indent = "    "
    if parts > 1:
        yield f"    if index % {parts} == 0:"
        indent = "        "
    yield from (
        (f"{indent}scaler.step(optimizer)", f"{indent}scaler.update()") if scaled else (f"{indent}optimizer.step()",)
    )
    yield f"{indent}optimizer.zero_grad()"


def _infer(plan: Plan, device: str, batch: _Batch) -> Iterator[str]:
    yield "model.eval()"
    yield "torch.set_grad_enabled(False)"
    yield f"loader = DataLoader(dataset, batch_size={plan.batch})"
    yield from _recorded(plan, device, "replay", "lambda x: model(x)", batch)
    yield f"for {batch.variable} in loader:"
    yield from batch.moved
    plainly = _autocast(plan, device, f"outputs = {batch.outputs}")
    if plan.launch == "graph" and batch.single:
        yield "    if inputs.shape == inputs_0.shape:"
        yield "        outputs = replay(inputs).clone()"
        yield "    else:"
        plainly = (f"    {line}" for line in plainly)
    yield from plainly


def _recorded(plan: Plan, device: str, name: str, function: str, batch: _Batch) -> Iterator[str]:
    """A function of the inputs as a graph, for inputs of the loader's first shape."""
    if plan.launch != "graph":
        return
    if not batch.single:
        yield "# hal records the whole step as one graph; for several inputs, see"
        yield f"# torch.{_kind(device)}.graph in PyTorch's documentation."
        return
    yield "# hal records the whole step as one graph, these lines the model."
    yield f'inputs_0 = next(iter(loader))[0].to("{device}")'
    if plan.layout == "nhwc":
        yield "if inputs_0.ndim == 4:  # images"
        yield "    inputs_0 = inputs_0.to(memory_format=torch.channels_last)"
    record = f"torch.{_kind(device)}.make_graphed_callables"
    lines = [f"{name} = {record}(", f"    {function}, (inputs_0,)", ")"]
    if plan.precision in _DTYPES:
        yield "with torch.autocast("
        yield f'    "{_kind(device)}", {_DTYPES[plan.precision]}, cache_enabled=False'
        yield "):"
        lines = [f"    {line}" for line in lines]
    yield from lines


def _kind(device: str) -> str:
    """PyTorch's word for a device without its number."""
    return device.partition(":")[0]
