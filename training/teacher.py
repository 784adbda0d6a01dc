"""A larger network to learn from: any ONNX file that answers `pixels` with `probability`."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import loky
import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from tqdm import tqdm

from service.errors import SeeFoodError
from training.dataset import validation_loader
from training.folders import Photos
from training.remember import remembered

Array = npt.NDArray[np.float32]

ANSWERS = ".teachers"  # in the registry folder


class Teacher:
    """An opened teacher; raises SeeFoodError where the file is none."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.digest = hashlib.sha256(path.read_bytes()).hexdigest()
            options = ort.SessionOptions()
            options.intra_op_num_threads = loky.cpu_count()
            self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except OSError as error:
            raise SeeFoodError(f"The teacher {path} can't be read: {error.strerror}.") from error
        except Exception as error:  # ONNX Runtime's errors share no base class but Exception
            raise SeeFoodError(f"The teacher {path} is not an ONNX file.") from error
        inputs = {each.name: each for each in self._session.get_inputs()}
        outputs = {each.name for each in self._session.get_outputs()}
        shape = inputs["pixels"].shape if list(inputs) == ["pixels"] else []
        square = len(shape) == 4 and isinstance(shape[1], int) and shape[1] == shape[2] and shape[3] == 3
        if not square or inputs["pixels"].type != "tensor(uint8)" or "probability" not in outputs:
            raise SeeFoodError(
                f"The teacher {path} must take uint8 `pixels` [N, S, S, 3] and answer `probability` [N]; "
                "files that seefood train makes do."
            )
        self.size: int = shape[1]

    def probabilities(self, photos: Photos, digests: Sequence[str], cache: Path) -> Array:
        """Return P(positive) of each photo, float32 [N] in [0, 1]. Raises as `remembered` does."""

        def compute(positions: list[int]) -> Array:
            loader = validation_loader(photos.take(positions), self.size)
            bar = tqdm(loader, "Teacher", unit=" batches", leave=False, disable=None)
            return np.concatenate([self._session.run(["probability"], {"pixels": p.numpy()})[0] for p, _ in bar])

        return remembered(cache, self.digest[:32], digests, compute)
