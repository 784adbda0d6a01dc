"""Distillation: soft targets from teachers, which are ONNX files with `pixels` in and `probability` out."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import loky
import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from service.errors import SeeFoodError
from training.config import Hyperparameters
from training.data.cache import Cache
from training.data.dataset import TrainingSet
from training.data.photos import Photos

Array = npt.NDArray[np.float32]


class Teacher:
    """An opened teacher; raises SeeFoodError if the file is not one.

    Attributes:
        path: the ONNX file.
        size: side of its input square in pixels.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._digest = hashlib.sha256(path.read_bytes()).hexdigest()
            options = ort.SessionOptions()
            options.intra_op_num_threads = loky.cpu_count()
            self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except OSError as error:
            raise SeeFoodError(f"The teacher {path} can't be read: {error.strerror}.") from error
        except Exception as error:  # ONNX Runtime's errors have no other common base class
            raise SeeFoodError(f"The teacher {path} is not an ONNX file; name a file of seefood train.") from error
        inputs = {each.name: each for each in self._session.get_inputs()}
        outputs = {each.name: each.shape for each in self._session.get_outputs()}
        shape = inputs["pixels"].shape if list(inputs) == ["pixels"] else []
        square = len(shape) == 4 and isinstance(shape[1], int) and shape[1] == shape[2] and shape[3] == 3
        if not square or inputs["pixels"].type != "tensor(uint8)" or len(outputs.get("probability", [])) != 1:
            raise SeeFoodError(
                f"The teacher {path} must have the input `pixels`, uint8 [N, S, S, 3], and the output `probability`, "
                "[N]; name a file of seefood train."
            )
        self.size: int = shape[1]

    def probabilities(
        self,
        photos: Photos,
        digests: Sequence[str],
        hyperparameters: Hyperparameters,
        crop_size: int,
        view: int,
        cache: Cache,
    ) -> Array:
        """Return P(positive) of one augmented view of each photo, float32 [N] in [0, 1].

        Args:
            photos: to classify.
            digests: SHA-256 of each photo, hex.
            hyperparameters: have the augmentation.
            crop_size: as in `training.data.dataset.augmented_view`.
            view: number of the view.
            cache: keeps the probabilities.

        Raises:
            SeeFoodError: the cache can't be used.
        """

        def compute(positions: list[int]) -> Array:
            some = photos.take(positions)
            views = TrainingSet(some, torch.from_numpy(some.targets)[None], hyperparameters.augmentation, crop_size)
            items = [(index, view, self.size) for index in range(len(some))]
            loader = DataLoader(views, 32, sampler=items, num_workers=loky.cpu_count())
            bar = tqdm(loader, f"{self.path.name}, view {view + 1}", unit=" batches", leave=False, disable=None)
            batches = [self._session.run(["probability"], {"pixels": pixels.numpy()})[0] for pixels, _ in bar]
            return np.concatenate(batches)[:, None]

        namespace = f"teacher {self._digest} {hyperparameters.augmentation} {crop_size} {view}"
        return cache.rows(namespace, digests, compute)[:, 0]


class Ensemble:
    """Teachers that see the same crops, and whose probabilities are averaged.

    The student sees these crops too, so that it learns a function instead of a label (Beyer et al. 2022,
    arXiv:2106.05237).

    Attributes:
        crop_size: side in pixels at which photos are augmented: the largest of all teachers.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._teachers = [Teacher(path) for path in paths]
        self.crop_size = max(teacher.size for teacher in self._teachers)

    def probabilities(
        self, photos: Photos, digests: Sequence[str], hyperparameters: Hyperparameters, cache: Cache
    ) -> Array:
        """Return the mean P(positive) of each view of each photo, float32 [views, N] in [0, 1]; raises SeeFoodError."""
        views = range(min(hyperparameters.views, max(1, hyperparameters.epochs)))
        arguments = photos, digests, hyperparameters, self.crop_size
        return np.stack(
            [np.mean([each.probabilities(*arguments, view, cache) for each in self._teachers], 0) for view in views]
        )


def mix_targets(labels: Array, probabilities: Array, hyperparameters: Hyperparameters) -> Array:
    """Return the targets with teachers: the weighted mean of [1, N] labels and [views, N] probabilities, float32."""
    weight = hyperparameters.teacher_weight
    return ((1 - weight) * labels + weight * probabilities).astype(np.float32)
