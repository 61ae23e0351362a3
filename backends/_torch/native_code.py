"""A plan as lines of plain PyTorch."""

from __future__ import annotations

from hal.contract.plan import Plan

__all__ = ["native_code"]

_DTYPES = {"bf16": "torch.bfloat16", "fp16": "torch.float16"}


def native_code(plan: Plan, device_type: str) -> str:
    """Lines that apply a plan to ``model``, ``loss_fn``, ``optimizer`` and ``dataset`` of a PyTorch program.

    Args:
        plan: resolved for a device.
        device_type: PyTorch's word for the device.
    """
    nhwc = ".to(memory_format=torch.channels_last)" if plan.layout == "nhwc" else ""
    micro = plan.batch // plan.accumulate
    lines = ["import torch", ""]
    if plan.threads is not None:
        lines += [f"torch.set_num_threads({plan.threads})"]
    if plan.precision == "tf32":
        # These two set PyTorch's newer switches as well; what was compiled asks both.
        lines += ['torch.set_float32_matmul_precision("high")', "torch.backends.cudnn.allow_tf32 = True"]
    if plan.conv == "search":
        lines += ["torch.backends.cudnn.benchmark = True"]
    lines += [f'model = model.to("{device_type}"){nhwc}']
    if plan.compile != "eager":
        mode = ', mode="max-autotune-no-cudagraphs"' if plan.compile == "max" else ""
        lines += [f"model = torch.compile(model, dynamic=False{mode})"]
    lines += [f"loader = torch.utils.data.DataLoader(dataset, batch_size={micro}, shuffle=True, drop_last=True)"]
    scaled = plan.precision == "fp16"
    lines += [f'scaler = torch.amp.GradScaler("{device_type}")'] if scaled else []
    lines += ["for index, (inputs, labels) in enumerate(loader, start=1):"]
    lines += [f'    inputs, labels = inputs.to("{device_type}"){nhwc}, labels.to("{device_type}")']
    compute = f"loss = loss_fn(model(inputs), labels){f' / {plan.accumulate}' if plan.accumulate > 1 else ''}"
    if plan.precision in _DTYPES:
        lines += [f'    with torch.autocast("{device_type}", dtype={_DTYPES[plan.precision]}):', f"        {compute}"]
    else:
        lines += [f"    {compute}"]
    lines += ["    scaler.scale(loss).backward()" if scaled else "    loss.backward()"]
    indent = "    "
    if plan.accumulate > 1:
        lines += [f"    if index % {plan.accumulate} == 0:"]
        indent = "        "
    lines += [f"{indent}scaler.step(optimizer); scaler.update()" if scaled else f"{indent}optimizer.step()"]
    lines += [f"{indent}optimizer.zero_grad()"]
    return "\n".join(lines) + "\n"
