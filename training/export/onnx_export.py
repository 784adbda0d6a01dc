"""Export of the classifier as a float32 ONNX file, and its metadata."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import torch

from service.metadata import Metadata
from service.photo import Pixels
from service.self_test import digest, reference_square
from training.model.classifier import Classifier

Floats = npt.NDArray[np.float32]

_BATCH_SIZE = 16


def export_float32(classifier: Classifier, path: Path) -> None:
    """Write the classifier as one ONNX file: uint8 [N, S, S, 3] `pixels` in, the values of its `forward` out."""
    classifier = classifier.eval().to("cpu", torch.float32)
    program = torch.onnx.export(
        classifier,
        (torch.zeros(2, classifier.size, classifier.size, 3, dtype=torch.uint8),),
        input_names=["pixels"],
        output_names=["probability", "heatmap", "familiarity"],
        dynamic_shapes={"pixels": {0: torch.export.Dim("N")}},
        dynamo=True,
        verbose=False,
    )
    assert program is not None, "torch.onnx.export returns a program if dynamo is true"  # noqa: S101 - for mypy
    program.save(path, external_data=False)
    model = onnx.load(path)
    graph = model.graph
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info):
        del part.metadata_props[:]  # the exporter writes stack traces with local paths there
    onnx.save(model, path)


def write_metadata(path: Path, metadata: Metadata) -> None:
    """Write the metadata properties into an ONNX file, with the model's own answer to the reference square."""
    model = onnx.load(path)
    size = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    square = reference_square(size)
    probability = round(float(run_onnx(path, square[None])[0]), 6)
    metadata = replace(metadata, reference_digest=digest(square), reference_probability=probability)
    onnx.helper.set_model_props(model, metadata.to_properties())
    onnx.save(model, path)


def run_onnx(path: Path, photos: Pixels) -> Floats:
    """Return the probabilities of an ONNX file for uint8 [N, S, S, 3] photos: float32 [N] in [0, 1]."""
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(["probability"], {"pixels": batch})[0] for batch in batches(photos)])


def batches(photos: Pixels) -> Iterator[Pixels]:
    """Yield photos, uint8 [N, S, S, 3], in batches."""
    for start in range(0, len(photos), _BATCH_SIZE):
        yield photos[start : start + _BATCH_SIZE]
