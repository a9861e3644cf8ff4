"""A student as an ONNX file that goes from pixels to probabilities, checked against torch, and int8."""

from __future__ import annotations

import json
import logging
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dmws_lite.data.augmentation import normalise
from dmws_lite.data.sets import ImageSet
from dmws_lite.method.networks import input_statistics
from dmws_lite.runtime.files import write_atomically
from dmws_lite.runtime.report import load_extra
from dmws_lite.training.evaluation import check_images, predict
from dmws_lite.training.export import load_student

Array = np.ndarray
WHOLE, DYNAMIC, STATIC = "model.onnx", "model.int8-dynamic.onnx", "model.int8-static.onnx"
OPSET = 17  # the newest that the exporter of every supported torch writes


class FromPixels(nn.Module):
    """A network from uint8 pixels (N, 1 or 3, H, W) to probabilities (N, classes): normalisation and softmax inside."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        return self.model(normalise(pixels, *input_statistics(self.model))).softmax(dim=1)  # (N, classes)


def to_onnx(folder: str | Path, licence: str = "not stated") -> Path:
    """Write the student that `Run.save` wrote into `folder` as `folder/model.onnx`. Returns its path.

    licence: of the weights, for the file's metadata. They come from the teacher's and from your images.
    The graph's input is `pixels`, uint8 (N, 1 or 3, H, W), its output `probabilities`, float32 (N, classes), N is free.
    Its metadata are the student's facts, licence and version. Raises ImportError without onnx.
    """
    onnx = require("onnx")  # written by torch's older exporter: no onnxscript, no paths of this machine in the file
    from dmws_lite import __version__

    model, facts = load_student(folder)
    example = torch.zeros(2, 1, facts["image_size"], facts["image_size"], dtype=torch.uint8)
    with tempfile.TemporaryDirectory() as temporary, warnings.catch_warnings():
        for category in (DeprecationWarning, torch.jit.TracerWarning):  # of this exporter, and of fixed shapes
            warnings.simplefilter("ignore", category)
        file = Path(temporary, WHOLE)
        torch.onnx.export(
            FromPixels(model).eval(),
            (example,),
            file,
            input_names=["pixels"],
            output_names=["probabilities"],
            dynamic_axes={"pixels": {0: "N", 1: "C"}, "probabilities": {0: "N"}},
            opset_version=OPSET,
            dynamo=False,
        )
        graph = onnx.load(file)
    metadata = {key: json.dumps(value) for key, value in facts.items()}
    return _write_graph(graph, Path(folder) / WHOLE, metadata | {"licence": licence, "dmws_lite": __version__})


def _write_graph(graph: Any, path: Path, metadata: dict[str, str]) -> Path:
    onnx = require("onnx")
    onnx.helper.set_model_props(graph, metadata)
    onnx.checker.check_model(graph, full_check=path.name == WHOLE)
    return write_atomically(path, lambda part: part.write_bytes(graph.SerializeToString()))


def predict_onnx(path: str | Path, images: ImageSet | Array, batch_size: int = 256) -> Array:
    """Class probabilities, float32 (N, classes), by what `load_answer` takes; images as for `predict`."""
    pixels, answer = check_images(images, batch_size), load_answer(path)
    return np.concatenate([answer(pixels[start : start + batch_size]) for start in range(0, len(pixels), batch_size)])


def load_answer(path: str | Path) -> Callable[[Array], Array]:
    """A saved student as a function on the CPU, from pixels uint8 (N, C, H, W) to probabilities (N, classes).

    path: a folder that `Run.save` wrote, which torch answers, or an ONNX file, which onnxruntime answers on one thread.
    Raises ImportError without onnxruntime, FileNotFoundError for a file that is not there.
    """
    if Path(path).suffix != ".onnx":
        network = FromPixels(load_student(path)[0]).eval()
        return torch.inference_mode()(lambda pixels: network(torch.tensor(pixels)).numpy())
    runtime = require("onnxruntime")
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} does not exist: write it with to_onnx or quantize")
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda pixels: session.run(None, {"pixels": np.ascontiguousarray(pixels)})[0]


def check_onnx(folder: str | Path, images: ImageSet | Array, tolerance: float = 1e-4) -> float:
    """The largest difference of a probability between `folder/model.onnx` and torch: expect about 1e-6.

    Raises ValueError when it is more than `tolerance`.
    """
    expected = predict(load_student(folder)[0], images)
    difference = float(np.abs(predict_onnx(Path(folder) / WHOLE, images) - expected).max())
    if not difference <= tolerance:
        text = f"{WHOLE} differs from torch by {difference:.2g}, more than tolerance={tolerance:g}"
        raise ValueError(f"{text}: was the student saved again after to_onnx? Write it again")
    return difference


def quantize(folder: str | Path, calibration: ImageSet | Array | None = None) -> Path:
    """Write `folder/model.onnx` with 8-bit weights: `model.int8-dynamic.onnx`, or with images `model.int8-static.onnx`.

    calibration: training images (64 are enough), uint8 (N, C, H, W), on which the ranges of the inputs of matrix
                 products and convolutions are measured ("static"). None: matrix products only, and ranges are found
                 when an input comes ("dynamic"); a network of convolutions stays as large as it was.
    Raises ImportError without onnx or onnxruntime, FileNotFoundError without model.onnx.
    """
    onnx, _ = require("onnx"), require("onnxruntime")
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_dynamic, quantize_static

    source = Path(folder) / WHOLE
    if not source.is_file():
        raise FileNotFoundError(f"{source} does not exist: write it with to_onnx first")
    options: dict[str, Any] = {"per_channel": True, "weight_type": QuantType.QInt8}
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)  # the quantiser's remarks need no action here
    try:
        with tempfile.TemporaryDirectory() as temporary:
            quantized = Path(temporary, "int8.onnx")
            if calibration is None:
                quantize_dynamic(source, quantized, op_types_to_quantize=["MatMul", "Gemm"], **options)
            else:
                options |= {"activation_type": QuantType.QInt8, "op_types_to_quantize": ["MatMul", "Gemm", "Conv"]}
                batches = ({"pixels": image[None]} for image in check_images(calibration))
                reader = type("Reader", (CalibrationDataReader,), {"get_next": lambda self: next(batches, None)})
                quantize_static(source, quantized, reader(), **options)
            graph = onnx.load(quantized)
    finally:
        logging.disable(disabled)
    name, kind = (DYNAMIC, "dynamic") if calibration is None else (STATIC, f"static, {len(calibration)} images")
    return _write_graph(graph, Path(folder) / name, onnx_facts(source) | {"precision": f"int8, {kind}"})


def onnx_facts(path: str | Path) -> dict[str, str]:
    """The metadata of an ONNX file, as text; all but licence and versions as JSON."""
    return {entry.key: entry.value for entry in require("onnx").load(path).metadata_props}


def require(package: str) -> Any:
    """Import a package of the extra `course`. Raises ImportError saying how to get it."""
    return load_extra(package, "course", ", and ONNX files need it")
