"""A plan as lines of plain JAX."""

from __future__ import annotations

from collections.abc import Iterator

from hal.contract.plan import Plan

__all__ = ["native_code"]

_DTYPES = {"bf16": "jnp.bfloat16", "fp16": "jnp.float16"}


def native_code(plan: Plan, mode: str) -> str:
    """Lines that apply a plan to what a JAX program has: ``params``, and ``batches(size)``, which gives batches.

    To train also ``loss_fn(params, batch)`` and ``optimizer`` (optax); to infer ``apply(params, batch)``.

    Args:
        plan: resolved for a device.
        mode: train, or infer to compute outputs alone.
    """
    given = "loss_fn, optimizer, params, batches" if mode == "train" else "apply, params, batches"
    lines = _train(plan) if mode == "train" else _infer(plan)
    return "\n".join([f"# Before these lines, define: {given}", *_setup(plan), *lines, ""])


def _setup(plan: Plan) -> Iterator[str]:
    yield from ("import jax", "import jax.numpy as jnp", "")
    if plan.precision in ("fp32", "tf32"):
        kind = "highest" if plan.precision == "fp32" else "tensorfloat32"
        yield f'jax.config.update("jax_default_matmul_precision", "{kind}")'
    if plan.conv == "patches":
        yield "# convolutions: jax.lax.conv_general_dilated_patches,"
        yield "# then a matrix product"
    if plan.pool == "reshape":
        yield "# max-pooling: reshape (b, h/2, 2, w/2, 2, c), then max over the axes of 2"
    if plan.precision in _DTYPES:
        yield "def low(tree):"
        yield "    def cast(x):"
        yield "        floats = jnp.issubdtype(x.dtype, jnp.floating)"
        yield f"        return x.astype({_DTYPES[plan.precision]}) if floats else x"
        yield "    return jax.tree.map(cast, tree)"
        yield ""


def _train(plan: Plan) -> Iterator[str]:
    yield "import optax"
    given = "low(params), low(batch)" if plan.precision in _DTYPES else "params, batch"
    if plan.accumulate > 1:
        yield f"optimizer = optax.MultiSteps(optimizer, {plan.accumulate})"
    yield "state = optimizer.init(params)"
    yield "def step(params, state, batch):"
    yield "    def loss(params):"
    yield f"        return loss_fn({given}).astype(jnp.float32)"
    yield "    grads = jax.grad(loss)(params)"
    yield "    updates, state = optimizer.update(grads, state, params)"
    yield "    return optax.apply_updates(params, updates), state"
    yield ""
    if plan.compile != "eager":
        yield "step = jax.jit(step, donate_argnums=(0, 1))"
    yield f"for batch in batches({plan.batch // plan.accumulate}):"
    yield "    params, state = step(params, state, batch)"


def _infer(plan: Plan) -> Iterator[str]:
    given = "low(params), low(batch)" if plan.precision in _DTYPES else "params, batch"
    yield "def predict(params, batch):"
    yield f"    return apply({given})"
    yield ""
    if plan.compile != "eager":
        yield "predict = jax.jit(predict)"
    yield f"for batch in batches({plan.batch}):"
    yield "    outputs = predict(params, batch)"
