"""What TorchInductor generates for the card, compiled by Triton for the card's architecture and never launched.

Triton needs no card for that, but TorchInductor asks the driver for one. The driver is replaced here, and so are the
measurements by which TorchInductor would choose among its kernels for products.
"""

import contextlib
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch

__all__ = ["Kernel", "compiled", "generating"]

TEMPLATES = 2
"""So many kernels of TorchInductor's own are generated for each product, of those that a card would try."""


@dataclass(frozen=True)
class Kernel:
    """What one generated kernel uses of the card, in one of the configurations that the card would try.

    Attributes:
        name: as TorchInductor names it.
        registers: of one work-item.
        spilled_bytes: of one work-item, of values that registers do not hold.
        shared_bytes: of one work-group.
    """

    name: str
    registers: int
    spilled_bytes: int
    shared_bytes: int


class _Generated(Exception):
    pass


class _Driver:
    """Triton's view of the card."""

    def __init__(self, target: Any) -> None:
        self.target = target

    def get_current_target(self) -> Any:
        return self.target

    def get_current_device(self) -> int:
        return 0


@contextlib.contextmanager
def generating(facts: Mapping[str, int]) -> Iterator[dict[str, str]]:
    """Let compiled code be generated, and its results be zeros; the source of each kernel by its name is filled in.

    Args:
        facts: of the card, which its recorded description lacks and TorchInductor reads.
    """
    import triton.runtime
    from torch._inductor import choices, compile_fx, config, graph, select_algorithm
    from torch._inductor.exc import InductorError
    from torch._inductor.runtime import triton_helpers
    from triton.backends.compiler import GPUTarget

    lowlevel: Any = torch.cuda
    plain, offered = lowlevel._get_device_properties, choices.InductorChoices._finalize_template_configs
    sources: dict[str, str] = {}

    def properties(index: int) -> Any:
        found = plain(index)
        vars(found).update(facts)
        return found

    def generate(lowered: Any) -> None:
        lowered.codegen()
        for source, name in lowered.wrapper_code.src_to_kernel.items():
            text = source if isinstance(source, str) else source[0]
            sources[f"{name}_{len(sources)}"] = re.sub(r"Placeholder\.(KERNEL|DESCRIPTIVE)_NAME", "kernel", text)
        raise _Generated

    def compile_graph(module: Any, inputs: Any, **more: Any) -> Any:
        returned = module.graph.output_node().args[0]
        made = [node.meta["val"] if isinstance(node, torch.fx.Node) else node for node in returned]
        try:
            compile_fx.compile_fx_inner(module, inputs, **more)
        except InductorError as error:
            if not isinstance(error.inner_exception, _Generated):
                raise

        def call(args: list[Any]) -> Any:
            args.clear()
            return [
                torch.zeros(value.shape, dtype=value.dtype, device=value.device)
                if isinstance(value, torch.Tensor)
                else value
                for value in made
            ]

        call._boxed_call = True
        return call

    def compile_function(wrapper: Any, module: Any, inputs: Any, **_: Any) -> Any:
        return compile_fx.compile_fx(module, inputs, inner_compile=compile_graph, config_patches=wrapper.config)

    def few(*args: Any, **more: Any) -> Any:
        found = offered(*args, **more)
        libraries = [each for each in found if isinstance(each.template, select_algorithm.ExternKernelChoice)]
        return libraries + [each for each in found if each not in libraries][:TEMPLATES]

    def rank(_: Any, given: Any, *args: Any, **more: Any) -> dict[Any, float]:
        return {each: float(isinstance(each, select_algorithm.ExternKernelCaller)) for each in given}

    properties_now = properties(0)
    name = properties_now.gcnArchName.partition(":")[0]
    version = properties_now.major * 10 + properties_now.minor
    target = GPUTarget("hip", name, facts["warp_size"]) if torch.version.hip else GPUTarget("cuda", version, 32)
    triton.runtime.driver.set_active(_Driver(target))
    inductor: Any = torch._TorchCompileInductorWrapper
    search: Any = select_algorithm.AlgorithmSelectorCache
    with (
        mock.patch.object(lowlevel, "_get_device_properties", properties),
        mock.patch.object(inductor, "__call__", compile_function),
        mock.patch.object(graph.GraphLowering, "compile_to_module", generate),
        mock.patch.object(choices.InductorChoices, "_finalize_template_configs", few),
        mock.patch.object(search, "benchmark", rank),
        mock.patch.object(search, "make_precompile_fn", return_value=dict),
        mock.patch.object(triton_helpers, "set_driver_to_gpu"),
        # Neither fusion with products nor padding of them is decided by a measurement.
        config.patch(fx_graph_cache=False, compile_threads=1, benchmark_epilogue_fusion=False, shape_padding=False),
    ):
        yield sources


def compiled(name: str, source: str) -> list[Kernel]:
    """Compile a kernel in the first and in the last of its configurations, the smallest and the largest mostly."""
    from torch._inductor import config
    from torch._inductor.codecache import PyCodeCache
    from torch._inductor.runtime import triton_helpers

    nothing = mock.patch.object(triton_helpers, "set_driver_to_gpu")
    with nothing, config.patch(use_static_triton_launcher=False):
        made: Any = PyCodeCache.load(source).kernel
        tried = [made.configs[0], *made.configs[1:][-1:]]
        return [_used(name, made._precompile_config(each).kernel) for each in tried]


def _used(name: str, binary: Any) -> Kernel:
    registers, spilled = _amd(binary.asm["amdgcn"]) if "amdgcn" in binary.asm else _nvidia(binary.asm["cubin"])
    return Kernel(name, registers, spilled, binary.metadata.shared)


def _amd(assembly: str) -> tuple[int, int]:
    """From the metadata of the code object; a work-item's memory is what the compiler found no register for."""
    found = dict(re.findall(r"\.(vgpr_count|private_segment_fixed_size):\s+(\d+)", assembly))
    return int(found["vgpr_count"]), int(found["private_segment_fixed_size"])


def _nvidia(binary: bytes) -> tuple[int, int]:
    """As NVIDIA's tool, which comes with Triton, says."""
    from triton import knobs

    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary)
        file.flush()
        words = [knobs.nvidia.cuobjdump.path, "-res-usage", file.name]
        said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    found = dict(re.findall(r"\b(REG|STACK|LOCAL):(\d+)", said))
    return int(found["REG"]), int(found["STACK"]) + int(found["LOCAL"])
