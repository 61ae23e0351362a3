"""ONNX files after they were written: run by onnxruntime, and quantized to int8 by it."""

from __future__ import annotations

import importlib.util
import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hal.errors import ConfigError, UnavailableError, UnsupportedError
from hal.util.messages import first_line

__all__ = ["onnx_runner", "quantized", "require_onnxruntime"]

_FIX = "pip install 'hal-tensor[onnx]'"
_QUANTIZED = ("Conv", "ConvTranspose", "MatMul", "Gemm", "Relu", "Clip")
"""Products, and the activations behind them: what a product gives is then rounded as its activation leaves it. On
EfficientNet-Lite0 that took the loss of accuracy from 13 points to 2."""


def require_onnxruntime() -> None:
    """Refuse to go on without the runtime that proves ONNX files.

    Raises:
        UnavailableError: it is not installed.
    """
    if importlib.util.find_spec("onnxruntime") is None:
        raise UnavailableError("--to onnx needs onnxruntime to prove the file, which is not installed", fix=_FIX)


def onnx_runner(content: bytes, provider: str) -> tuple[Callable[[Mapping[str, np.ndarray]], np.ndarray], str]:
    """A function that runs an ONNX file, and what runs it.

    Args:
        content: of the file.
        provider: the execution provider.

    Raises:
        ConfigError: onnxruntime has no such provider here.
        UnsupportedError: onnxruntime cannot run the file.
    """
    import onnxruntime

    there = onnxruntime.get_available_providers()
    if provider not in there:
        raise ConfigError(
            f"provider={provider} is none of the execution providers of this onnxruntime",
            fix=f"use one of: {', '.join(there)}; others come with other builds of onnxruntime",
        )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(content, options, providers=[provider])
    except Exception as error:
        raise UnsupportedError(
            f"onnxruntime cannot run the file with {provider}: {first_line(error)}",
            fix="leave opset= out, or use another precision",
        ) from error
    names = [each.name for each in session.get_inputs()]

    def run(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        given = {name: np.ascontiguousarray(inputs[name]) for name in names}
        outputs: Any = session.run(None, given)
        found: np.ndarray = outputs[0]
        return found

    return run, f"onnxruntime {onnxruntime.__version__} ({provider})"


def quantized(content: bytes, calibration: Iterator[Mapping[str, np.ndarray]]) -> bytes:
    """A file in int8, by onnxruntime's post-training static quantization.

    Weights are int8 for each channel, activations uint8 with ranges that were seen on the calibration samples, written
    as pairs of QuantizeLinear and DequantizeLinear. Weights use 7 of the 8 bits: processors without instructions for
    products of int8 add two of them in 16 bits, which 8 bits would overflow.

    Args:
        content: of a file in fp32.
        calibration: inputs by their names, in batches.

    Raises:
        UnsupportedError: onnxruntime cannot quantize the model.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> Any:
            return next(calibration, None)

    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with tempfile.TemporaryDirectory(prefix="hal-") as folder:
            first, ready, done = (Path(folder) / name for name in ("first.onnx", "ready.onnx", "done.onnx"))
            first.write_bytes(content)
            quant_pre_process(str(first), str(ready))
            quantize_static(
                str(ready),
                str(done),
                Reader(),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                reduce_range=True,
                op_types_to_quantize=list(_QUANTIZED),
            )
            return done.read_bytes()
    except Exception as error:
        raise UnsupportedError(
            f"onnxruntime cannot quantize the model: {type(error).__name__}: {first_line(error)}",
            fix="use precision=fp16",
        ) from error
    finally:
        logging.disable(level)
