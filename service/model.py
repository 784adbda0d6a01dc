"""One ONNX model: opened on a CPU or CUDA, warmed up and self-tested; turns a batch of pixels into verdicts."""

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
    """The outputs of a model for a batch of N photos.

    Attributes:
        probability: float32 [N], probability of the positive label, in [0, 1].
        heatmap: float32 [N, h, w], the evidence for the positive label in each cell.
        familiarity: float32 [N], similarity to the training photos, higher is more similar; None if the model has no
            such output.
    """

    probability: Floats
    heatmap: Floats
    familiarity: Floats | None = None

    def each(self) -> Iterator[tuple[float, Floats, float | None]]:
        """Iterate over the photos: probability, heatmap, float32 [h, w], and familiarity."""
        probability = self.probability.tolist()
        familiarity = [None] * len(probability) if self.familiarity is None else self.familiarity.tolist()
        return zip(probability, self.heatmap, familiarity, strict=True)


@dataclass(frozen=True)
class Verdict:
    """The decision for one photo.

    Attributes:
        label: the positive or the negative label.
        positive: whether it is the positive label.
        probability: probability of the positive label, in [0, 1].
        uncertain: whether the probability is within the uncertain band.
        unfamiliar: whether the photo is unlike the training photos; None if the model can't tell.
    """

    label: str
    positive: bool
    probability: float
    uncertain: bool
    unfamiliar: bool | None

    def as_dict(self, positive_label: str) -> dict[str, Any]:
        """Return the fields of a response; `positive` gets the name of the positive label."""
        fields = {
            "label": self.label,
            positive_label: self.positive,
            "probability": round(self.probability, 6),
            "uncertain": self.uncertain,
        }
        return fields if self.unfamiliar is None else fields | {"unfamiliar": self.unfamiliar}


class Model:
    """An open model.

    Attributes:
        metadata: the metadata in the file.
        size: side of the input square in pixels.
        outputs: shape of each output of `run`, -1 for the number of photos.
        provider: ONNX Runtime's execution provider that the session uses.
        device: `cpu` or `cuda`.
        warm: whether the warm-up has succeeded.
    """

    def __init__(self, path: Path, device: str = "cpu") -> None:
        """Open a file.

        Args:
            path: the ONNX file.
            device: `cpu` or `cuda`.

        Raises:
            SeeFoodError: the file is missing or not a seefood model, or the device can't be used.
        """
        self.path = path
        self._session = open_session(path, device)
        self.provider: str = self._session.get_providers()[0]
        self.device = "cuda" if self.provider == CUDA else "cpu"
        if self.device != device:
            raise SeeFoodError(
                f"The device {device} can't be used: ONNX Runtime fell back to {self.device}; install a newer driver, "
                "or set SEEFOOD_DEVICE=cpu."
            )
        try:
            self.metadata = Metadata.from_properties(self._session.get_modelmeta().custom_metadata_map)
        except ValueError as error:
            raise SeeFoodError(f"{path} is not a seefood model: {error}; export it with seefood train.") from error
        if self.metadata.resize != RESIZE_POLICY:
            raise SeeFoodError(
                f"{path} needs photos resized by '{self.metadata.resize}', but the service resizes by "
                f"'{RESIZE_POLICY}'; export it with seefood train."
            )
        names = ["probability", "heatmap"]
        if self.metadata.familiarity_level is not None:  # older files have none
            names.append("familiarity")
        self.size = input_size(path, self._session)
        self.outputs = output_shapes(path, self._session, names)
        self.warm = False

    def run(self, pixels: Pixels) -> Outputs:
        """Run a batch of squares, uint8 [N, S, S, 3], RGB."""
        return Outputs(*self._session.run(list(self.outputs), {"pixels": pixels}))

    def warm_up(self, max_batch_size: int = 1) -> None:
        """Run the reference square in every batch size, because ONNX Runtime allocates on the first use of each.

        Raises:
            SeeFoodError: an output has another shape than the file declares, is not finite, or differs from the
                probability that the file stores.
        """
        square = reference_square(self.size)
        square_digest = digest(square)
        for count in range(1, max_batch_size + 1):
            self._check(self.run(np.stack([square] * count)), count, square_digest)
        self.warm = True

    def _check(self, outputs: Outputs, count: int, square_digest: str) -> None:
        for name, shape in self.outputs.items():
            output: Floats = getattr(outputs, name)
            if output.shape != (count, *shape[1:]) or not np.isfinite(output).all():
                raise SeeFoodError(
                    f"{self.path} returns {name} of shape {list(output.shape)} for {count} squares, or values that are "
                    "not finite; export it again with seefood train."
                )
        stored = self.metadata.reference_probability
        if stored is None or self.metadata.reference_digest != square_digest:
            return  # an older file, or one that was exported with another reference square
        if (difference := float(np.abs(outputs.probability - stored).max())) > TOLERANCE:
            raise SeeFoodError(
                f"{self.path} answers its reference square with a probability that is {difference:.3f} from the stored "
                "one; the file is damaged, or ONNX Runtime computes wrongly on this device."
            )

    def describe(self) -> dict[str, Any]:
        """Return the metadata, the file name, the input size and the device."""
        return {**asdict(self.metadata), "file": self.path.name, "input_size": self.size, "device": self.device}

    def verdict(self, probability: float, familiarity: float | None) -> Verdict:
        """Return the verdict for the outputs of one photo, by the thresholds in the metadata."""
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


def open_model(models: Path, model: str = "", device: str = "auto", precision: str = "auto") -> Model:
    """Open a version of a registry, or an ONNX file; `auto` takes CUDA if it can be used. Raises SeeFoodError."""
    if device == "cpu" or (device == "auto" and CUDA not in ort.get_available_providers()):
        return Model(find_model(models, model, "int8" if precision == "auto" else precision), "cpu")
    try:
        check_cuda()  # first, because an image for CPUs has no float32 file
        return Model(find_model(models, model, "float32" if precision == "auto" else precision), "cuda")
    except SeeFoodError as error:
        if device == "cuda":
            raise
        logging.getLogger(__name__).warning("%s Serving on the CPU.", error)
        return open_model(models, model, "cpu", precision)
