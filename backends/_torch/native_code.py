"""A plan as lines of plain PyTorch."""

from __future__ import annotations

from collections.abc import Iterator

from hal.contract.plan import Plan

__all__ = ["native_code"]

_DTYPES = {"bf16": "torch.bfloat16", "fp16": "torch.float16"}


def native_code(plan: Plan, device_type: str, mode: str, index: int = 0, library: str = "cudnn") -> str:
    """Lines that apply a plan to what a PyTorch program has: ``model`` and ``dataset``, which gives (inputs, ...).

    To train also ``loss_fn``, ``optimizer``, and labels as the second part of each sample.

    Args:
        plan: resolved for a device.
        device_type: PyTorch's word for the device.
        mode: train, or infer to compute outputs alone.
        index: number of the device among those of its type.
        library: PyTorch's word for the library of convolutions, whose switch allows TF32.
    """
    device = f"{device_type}:{index}" if index else device_type
    given = "model, dataset, loss_fn, optimizer" if mode == "train" else "model, dataset"
    lines = _train(plan, device) if mode == "train" else _infer(plan, device)
    return "\n".join([f"# Before these lines, define: {given}", *_setup(plan, device, library), *lines, ""])


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


def _inputs(plan: Plan, device: str) -> Iterator[str]:
    yield f'    inputs = inputs.to("{device}")'
    if plan.layout == "nhwc":
        yield "    if inputs.ndim == 4:  # images"
        yield "        inputs = inputs.to(memory_format=torch.channels_last)"


def _autocast(plan: Plan, device: str, line: str) -> Iterator[str]:
    if plan.precision in _DTYPES:
        yield f'    with torch.autocast("{_kind(device)}", {_DTYPES[plan.precision]}):'
        yield f"        {line}"
    else:
        yield f"    {line}"


def _train(plan: Plan, device: str) -> Iterator[str]:
    parts, scaled = plan.accumulate, plan.precision == "fp16"
    yield "loader = DataLoader("
    yield f"    dataset, batch_size={plan.batch // parts}, shuffle=True, drop_last=True"
    yield ")"
    yield from _recorded(plan, device, "model", "model")
    if scaled:
        yield f'scaler = torch.amp.GradScaler("{_kind(device)}")'
    yield "for index, (inputs, labels) in enumerate(loader, start=1):"
    yield from _inputs(plan, device)
    yield f'    labels = labels.to("{device}")'
    yield from _autocast(plan, device, "loss = loss_fn(model(inputs), labels)")
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


def _infer(plan: Plan, device: str) -> Iterator[str]:
    yield "model.eval()"
    yield "torch.set_grad_enabled(False)"
    yield f"loader = DataLoader(dataset, batch_size={plan.batch})"
    yield from _recorded(plan, device, "replay", "lambda x: model(x)")
    yield "for inputs, *_ in loader:"
    yield from _inputs(plan, device)
    plainly = _autocast(plan, device, "outputs = model(inputs)")
    if plan.launch == "graph":
        yield "    if inputs.shape == inputs_0.shape:"
        yield "        outputs = replay(inputs).clone()"
        yield "    else:"
        plainly = (f"    {line}" for line in plainly)
    yield from plainly


def _recorded(plan: Plan, device: str, name: str, function: str) -> Iterator[str]:
    """A function of the inputs as a graph, for inputs of the loader's first shape."""
    if plan.launch != "graph":
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
