"""One ONNX file: opens it on a CPU or CUDA, warms it up, and turns a batch of pixels into verdicts."""

import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from service.errors import SeeFoodError
from service.metadata import Metadata
from service.photo import RESIZE_POLICY, Pixels
from service.registry import find_model
from service.self_test import TOLERANCE, digest, reference_square
from service.session import CUDA, check_cuda, input_size, open_session, output_shapes

Floats = npt.NDArray[np.float32]


class Outputs(NamedTuple):
    """What a model answers to a batch of N photos.

    Attributes:
        probability: float32 [N], P(positive) in [0, 1].
        heatmap: float32 [N, h, w], the evidence for the positive label at each place.
        familiarity: float32 [N], higher the more a photo resembles those of training; None where the model can't tell.
    """

    probability: Floats
    heatmap: Floats
    familiarity: Floats | None = None

    def each(self) -> Iterator[tuple[float, Floats, float | None]]:
        """Return an iterator over the photos: the probability, the heatmap, float32 [h, w], and the familiarity."""
        probability = self.probability.tolist()
        familiarity = [None] * len(probability) if self.familiarity is None else self.familiarity.tolist()
        return zip(probability, self.heatmap, familiarity, strict=True)


@dataclass(frozen=True)
class Verdict:
    """What a model says of one photo.

    Attributes:
        label: the positive or the negative label.
        positive: whether it is the positive one.
        probability: P(positive) in [0, 1].
        uncertain: whether the verdict is in doubt.
        unfamiliar: whether it does not resemble the photos of training; None where the model can't tell.
    """

    label: str
    positive: bool
    probability: float
    uncertain: bool
    unfamiliar: bool | None

    def as_dict(self, positive_label: str) -> dict[str, Any]:
        """Return the verdict as an answer's fields, `positive` under the positive label's name."""
        fields = {
            "label": self.label,
            positive_label: self.positive,
            "probability": round(self.probability, 6),
            "uncertain": self.uncertain,
        }
        return fields if self.unfamiliar is None else fields | {"unfamiliar": self.unfamiliar}


class Model:
    """An opened model.

    Attributes:
        metadata: what the file says of itself.
        size: side of the input square in pixels.
        outputs: shape of each output that `run` returns, -1 for the number of photos.
        provider: what ONNX Runtime calls the device that the session really runs on.
        device: the same in short, `cpu` or `cuda`.
        warm: whether an inference has succeeded.
    """

    def __init__(self, path: Path, device: str = "cpu", threads: int = 1) -> None:
        """Open a file; threads are those that one inference may use.

        Raises:
            SeeFoodError: the file is missing or no seefood model, or the device can't be used.
        """
        self.path = path
        self._session = open_session(path, device, threads)
        self.provider: str = self._session.get_providers()[0]
        self.device = "cuda" if self.provider == CUDA else "cpu"
        if self.device != device:
            raise SeeFoodError(f"The device {device} can't be used: ONNX Runtime fell back to {self.device}.")
        try:
            self.metadata = Metadata.from_properties(self._session.get_modelmeta().custom_metadata_map)
        except ValueError as error:
            raise SeeFoodError(f"{path} is not a seefood model: {error}; export it with seefood train.") from error
        if self.metadata.resize != RESIZE_POLICY:
            raise SeeFoodError(f"{path} wants photos resized by '{self.metadata.resize}', not by '{RESIZE_POLICY}'.")
        names = ["probability", "heatmap"]
        if self.metadata.familiarity_level is not None:  # older files have none
            names.append("familiarity")
        self.size = input_size(path, self._session)
        self.outputs = output_shapes(path, self._session, names)
        self.warm = False

    def run(self, pixels: Pixels) -> Outputs:
        """Answer a batch of squares, uint8 [N, S, S, 3], RGB."""
        return Outputs(*self._session.run(list(self.outputs), {"pixels": pixels}))

    def warm_up(self, largest: int = 1) -> None:
        """Run the reference square in every batch size, so that no photo pays for what ONNX Runtime sets up lazily.

        Raises:
            SeeFoodError: the answers have another shape than the file says, are not numbers, or differ from the
                probability that the file stores.
        """
        square = reference_square(self.size)
        reference = digest(square)
        for count in range(1, largest + 1):
            self._check(self.run(np.stack([square] * count)), count, reference)
        self.warm = True

    def _check(self, answers: Outputs, count: int, reference: str) -> None:
        for name, shape in self.outputs.items():
            answer: Floats = getattr(answers, name)
            if answer.shape != (count, *shape[1:]) or not np.isfinite(answer).all():
                raise SeeFoodError(
                    f"{self.path} answers {count} squares with {name} of shape {list(answer.shape)}, or with values "
                    "that are not numbers; export it again with seefood train."
                )
        stored = self.metadata.reference_probability
        if stored is None or self.metadata.reference_digest != reference:
            return  # an older file, or one that was checked on another square
        if (difference := float(np.abs(answers.probability - stored).max())) > TOLERANCE:
            raise SeeFoodError(
                f"{self.path} answers its reference square with a probability that is {difference:.3f} from the one it "
                "stores; the file is damaged, or ONNX Runtime computes wrongly on this device."
            )

    def describe(self) -> dict[str, Any]:
        """Return the metadata, and what this session makes of the file."""
        return {**asdict(self.metadata), "file": self.path.name, "input_size": self.size, "device": self.device}

    def verdict(self, probability: float, familiarity: float | None) -> Verdict:
        """Decide, by the file's threshold, uncertain band and familiarity level, what `run` says of one photo."""
        meta = self.metadata
        positive = probability >= meta.threshold
        level = meta.familiarity_level
        return Verdict(
            label=meta.positive_label if positive else meta.negative_label,
            positive=positive,
            probability=probability,
            uncertain=meta.uncertain_low < probability < meta.uncertain_high,
            unfamiliar=None if familiarity is None or level is None else familiarity < level,
        )


def open_model(models: Path, model: str = "", device: str = "auto", precision: str = "auto", threads: int = 1) -> Model:
    """Open a version of the registry, or a file, on the best device that is asked for; raises SeeFoodError."""
    if device == "cpu" or (device == "auto" and CUDA not in ort.get_available_providers()):
        return Model(find_model(models, model, "int8" if precision == "auto" else precision), "cpu", threads)
    try:
        check_cuda()
        return Model(find_model(models, model, "float32" if precision == "auto" else precision), "cuda", threads)
    except SeeFoodError as error:
        if device == "cuda":
            raise
        logging.getLogger(__name__).warning("%s Serving on the CPU.", error)
        return open_model(models, model, "cpu", precision, threads)
