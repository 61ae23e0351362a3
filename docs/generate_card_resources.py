"""Writes docs/opencl-cards.md: what hal's kernels use of AMD's cards that are not here, by the compiler's word.

Run ``python docs/generate_card_resources.py`` after changing the kernels of the opencl backend. It takes some minutes
and wants clang-15 and libclc-15; a test compares the page with what is compiled for one architecture.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hal.config import build
from hal.contract.program import KernelUse
from hal.targets.compile import Compilation, compile_for_target
from hal.targets.config import CompileConfig

PAGE = Path(__file__).with_name("opencl-cards.md")
ARCHITECTURES = ("gfx803", "gfx900", "gfx906", "gfx1010", "gfx1030")
MODELS: dict[str, dict[str, Any]] = {
    "cnn": {"name": "cnn"},
    "rnn": {"name": "rnn"},
    "gan": {"name": "gan"},
    "transfer": {"name": "transfer", "weights": "random"},
    "transformer": {"name": "transformer"},
}

HEAD = """# Kernels on AMD's cards, without the cards

`docs/generate_card_resources.py` writes this page. It compiles all kernels of a model's training step with clang 15
for cards that are not here, and reads from the machine code what they use. `hal compile model=cnn
target=opencl:gfx1030` does the same for one card. None of these kernels has run on such a card.

A card keeps several waves (groups of 64 lanes, on RDNA of 32) on each SIMD and changes between them while they wait for
memory. How many fit depends on the registers of each (VGPR: vector, SGPR: scalar) and on the local memory of each
work-group; the formula, by generation, is in `backends/opencl/targets/resources.py`, with numbers from LLVM. "Spilled"
counts registers whose values go through others or through memory because there are too few, "scratch" the bytes of
memory that a work-item takes for them.
"""


def compiled(model: str, arch: str) -> Compilation:
    """A model's training step for an architecture, with the model's own batch and the default plan."""
    keys = {"model": MODELS[model], "target": f"opencl:{arch}", "largest": False}
    return compile_for_target(build(CompileConfig, keys))


def summary_row(model: str, found: Compilation) -> str:
    """All kernels of a step."""
    kernels = found.kernels
    most = {kind: max(kernel.registers[kind] for kernel in kernels) for kind in ("VGPR", "SGPR")}
    local = max(kernel.local_bytes for kernel in kernels)
    spilled = sum(kernel.spilled_registers for kernel in kernels)
    scratch = sum(kernel.scratch_bytes for kernel in kernels)
    fewest = kernels[0]
    waves = f"{fewest.waves} of {fewest.most_waves}"
    cells = (model, found.device.arch, len(kernels), most["VGPR"], most["SGPR"], local, spilled, scratch, waves)
    return f"| {' | '.join(map(str, cells))} |"


def product_rows(found: Compilation) -> list[str]:
    """The kernels of products, convolutions and their gradients."""
    return [_product_row(kernel) for kernel in found.kernels if kernel.label.startswith("product")]


def _product_row(kernel: KernelUse) -> str:
    registers, waves = kernel.registers, f"{kernel.waves} of {kernel.most_waves}"
    cells = (kernel.label, registers["VGPR"], registers["SGPR"], kernel.local_bytes, waves)
    return f"| {' | '.join(map(str, cells))} |"


def page() -> str:
    """The text of docs/opencl-cards.md."""
    steps = {(model, arch): compiled(model, arch) for model in MODELS for arch in ARCHITECTURES}
    parts = [
        HEAD,
        "## All kernels of a training step\n",
        "| model | card | kernels | most VGPR | most SGPR | most local bytes | spilled | scratch | fewest waves |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        *(summary_row(model, found) for (model, _), found in steps.items()),
    ]
    for arch in ARCHITECTURES:
        found = steps["cnn", arch]
        parts += [
            f"\n## Products of the cnn on {arch} ({found.device.name})\n",
            "A name has the sizes: products side by side, rows, depth of the sums, columns.\n",
            "| kernel | VGPR | SGPR | local bytes | waves |",
            "| --- | --- | --- | --- | --- |",
            *product_rows(found),
        ]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
