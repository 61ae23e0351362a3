"""Writes a trained model as a program of ``torch.export`` or as ONNX, by PyTorch's own exporters."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from hal.contract import ExportedFunction
from hal.errors import HalError, UnavailableError, UnsupportedError
from hal.types import Tree
from hal.util.messages import first_line

__all__ = ["exported_files", "loaded_program"]

_ONNX, _TORCH, _ABOUT = "model.onnx", "model.pt2", "hal.json"
_OUTPUTS = "outputs"
_ANY_SIZE = 1 << 40


def exported_files(to: str, exported: ExportedFunction) -> dict[str, bytes]:
    """See :meth:`hal.contract.ExportsPrograms.export_program`."""
    if to == "onnx":
        _require_exporter()
    with _quiet(), torch.no_grad():
        program = _program(exported)
        return {_TORCH: _archive(program, exported)} if to == "torch" else {_ONNX: _onnx(program, exported)}


def loaded_program(files: Mapping[str, bytes]) -> Callable[[Mapping[str, np.ndarray]], np.ndarray]:
    """A function that runs a program of ``torch.export``."""
    with _quiet():
        module: Any = torch.export.load(io.BytesIO(files[_TORCH])).module()

    def run(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        with torch.no_grad():
            outputs = module(*(torch.from_numpy(np.array(x)) for x in inputs.values()))
        found: np.ndarray = outputs.cpu().numpy()
        return found

    return run


def _require_exporter() -> None:
    missing = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if missing:
        raise UnavailableError(
            f"--to onnx needs the package {missing[0]}, which is not installed", fix="pip install 'hal-tensor[onnx]'"
        )


class _Values(nn.Module):
    """Nested dicts of tensors as buffers, by their own names, so that files have these names too."""

    def __init__(self, tree: Mapping[str, Any]) -> None:
        super().__init__()
        self.names = {_buffer_name(name): name for name in tree}
        for name, value in tree.items():
            if isinstance(value, Mapping):
                self.add_module(_buffer_name(name), _Values(value))
            else:
                self.register_buffer(_buffer_name(name), value.detach())

    def tree(self) -> dict[str, Any]:
        """The nested dicts."""
        found = {}
        for own, name in self.names.items():
            held = getattr(self, own)
            found[name] = held.tree() if isinstance(held, _Values) else held
        return found


def _buffer_name(name: str) -> str:
    """PyTorch allows no dots in the name of a buffer, and no names that a module has itself."""
    return "v_" + name.replace(".", "__") if name.replace(".", "__") in _TAKEN else name.replace(".", "__")


_TAKEN = frozenset([*dir(nn.Module()), "names", "tree"])


class _Exported(nn.Module):
    """A function of parameters, state and inputs as a module of the inputs alone."""

    def __init__(self, exported: ExportedFunction) -> None:
        super().__init__()
        self.params, self.state = _Values(exported.params), _Values(exported.state)
        self._function, self._names = exported.function, tuple(exported.inputs)
        self._single = exported.single

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """The outputs."""
        given: Tree = inputs[0] if self._single else dict(zip(self._names, inputs, strict=True))
        outputs: torch.Tensor = self._function(self.params.tree(), self.state.tree(), given)
        return outputs


def _program(exported: ExportedFunction) -> torch.export.ExportedProgram:
    module = _Exported(exported).eval()
    device = next((x.device for x in module.buffers()), torch.device("cpu"))
    examples = tuple(torch.from_numpy(np.array(x)).to(device) for x in exported.inputs.values())
    batch: Any = {0: torch.export.Dim("batch", min=1)}
    shapes = (tuple(batch for _ in examples),) if exported.any_batch else None
    try:
        return torch.export.export(module, examples, dynamic_shapes=shapes, strict=False)
    except HalError:
        raise
    except Exception as error:
        fix = "set batch= to a size that you will use" if exported.any_batch else "use --to safetensors"
        raise UnsupportedError(
            f"torch.export cannot export the model: {type(error).__name__}: {first_line(error)}", fix=fix
        ) from error


def _archive(program: torch.export.ExportedProgram, exported: ExportedFunction) -> bytes:
    content = io.BytesIO()
    torch.export.save(program, content, extra_files={_ABOUT: exported.metadata.get(_ABOUT, "")})
    return content.getvalue()


def _onnx(program: torch.export.ExportedProgram, exported: ExportedFunction) -> bytes:
    values = (node.meta.get("val") for part in program.graph_module.modules() for node in _nodes(part))
    narrow = any(isinstance(x, torch.Tensor) and x.dtype in (torch.float16, torch.bfloat16) for x in values)
    try:
        converted: Any = torch.onnx.export(
            program,
            verbose=False,
            input_names=list(exported.inputs),
            output_names=[_OUTPUTS],
            opset_version=exported.opset,
            optimize=not narrow,
        )
        if narrow:
            # PyTorch's optimizer would merge a normalization in fp32 into a convolution in 16 bits, which no runtime
            # takes. What is left of it are the weights, whose casts are carried out here.
            optimizer: Any = importlib.import_module("onnxscript.optimizer")
            optimizer.fold_constants(converted.model, input_size_limit=_ANY_SIZE, output_size_limit=_ANY_SIZE)
            optimizer.remove_unused_nodes(converted.model)
        model = converted.model_proto
    except Exception as error:
        raise UnsupportedError(
            f"PyTorch's exporter cannot write the model as ONNX: {type(error).__name__}: {first_line(error)}",
            fix="use --to torch or --to stablehlo"
            if exported.opset is None
            else "leave opset= out, or use another opset=",
        ) from error
    version = next(each.version for each in model.opset_import if each.domain in ("", "ai.onnx"))
    if exported.opset not in (None, version):
        raise UnsupportedError(
            f"PyTorch's exporter writes the model with opset={version}, not with opset={exported.opset}",
            fix=f"leave opset= out, or use opset={version} or later",
        )
    for value in (*model.graph.input, *model.graph.output):
        first = value.type.tensor_type.shape.dim[0]
        if first.dim_param:  # the exporter numbers its own symbols
            first.dim_param = "batch"
    for name, text in exported.metadata.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = name, text
    content: bytes = model.SerializeToString()
    return content


def _nodes(module: nn.Module) -> Iterator[Any]:
    if isinstance(module, torch.fx.GraphModule):
        yield from module.graph.nodes


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep to itself what the exporters print and warn of: users get one message, hal's."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
