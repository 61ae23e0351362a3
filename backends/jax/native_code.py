"""A plan as lines of plain JAX."""

from __future__ import annotations

from hal.contract.plan import Plan

__all__ = ["native_code"]

_DTYPES = {"bf16": "jnp.bfloat16", "fp16": "jnp.float16"}


def native_code(plan: Plan) -> str:
    """Lines that apply a plan to ``loss_fn(params, batch)``, ``optimizer`` (optax) and ``batches(size)``.

    Args:
        plan: resolved for a device.
    """
    lines = ["import jax", "import jax.numpy as jnp", "import optax", ""]
    if plan.precision in ("fp32", "tf32"):
        kind = "highest" if plan.precision == "fp32" else "tensorfloat32"
        lines += [f'jax.config.update("jax_default_matmul_precision", "{kind}")']
    if plan.conv == "patches":
        lines += ["# convolutions: jax.lax.conv_general_dilated_patches, then a matrix product"]
    if plan.pool == "reshape":
        lines += ["# max-pooling: reshape (b, h/2, 2, w/2, 2, c), then max over the axes of 2"]
    lines += ["def step(params, state, batch):"]
    compute = "params"
    if plan.precision in _DTYPES:
        dtype = _DTYPES[plan.precision]
        lines += [f"    low = lambda tree: jax.tree.map(lambda x: x.astype({dtype}), tree)"]
        compute = "low(params)"
    lines += [f"    grads = jax.grad(lambda params: loss_fn({compute}, batch).astype(jnp.float32))(params)"]
    lines += ["    updates, state = optimizer.update(grads, state, params)"]
    lines += ["    return optax.apply_updates(params, updates), state", ""]
    if plan.accumulate > 1:
        lines += [f"optimizer = optax.MultiSteps(optimizer, every_k_schedule={plan.accumulate})"]
    if plan.compile != "eager":
        lines += ["step = jax.jit(step, donate_argnums=(0, 1))"]
    lines += [f"for batch in batches({plan.batch // plan.accumulate}):"]
    lines += ["    params, state = step(params, state, batch)"]
    return "\n".join(lines) + "\n"
