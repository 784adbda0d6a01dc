"""Larger networks to learn from: any ONNX files that answer `pixels` with `probability`."""

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
from training.data.cache import remembered
from training.data.dataset import TrainingSet
from training.data.folders import Photos
from training.recipe import Recipe

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

    def answers(
        self, photos: Photos, digests: Sequence[str], recipe: Recipe, drawn: int, view: int, cache: Path
    ) -> Array:
        """Return P(positive) of one view of each photo, float32 [N] in [0, 1]. Raises as `remembered` does.

        Args:
            photos: to look at.
            digests: SHA-256 of each, hex.
            recipe: has the augmentation.
            drawn: as in `dataset.augmented`.
            view: its number.
            cache: a folder that keeps the answers.
        """

        def compute(positions: list[int]) -> Array:
            some = photos.take(positions)
            views = TrainingSet(some, torch.from_numpy(some.targets)[None], recipe.augmentation, drawn)
            items = [(index, view, self.size) for index in range(len(some))]
            loader = DataLoader(views, 32, sampler=items, num_workers=loky.cpu_count())
            bar = tqdm(loader, f"{self.path.name}, view {view + 1}", unit=" batches", leave=False, disable=None)
            return np.concatenate([self._session.run(["probability"], {"pixels": p.numpy()})[0] for p, _ in bar])

        key = hashlib.sha256(f"{self.digest} {recipe.augmentation} {drawn} {view}".encode()).hexdigest()
        return remembered(cache, key[:32], digests, compute)


class Ensemble:
    """Teachers that look at the same crop of each photo, and whose answers are averaged.

    A student that sees that very crop has to match a function, not a label (Beyer et al. 2022, arXiv:2106.05237).

    Attributes:
        drawn: side in pixels at which a crop is made: that of the largest teacher.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._teachers = [Teacher(path) for path in paths]
        self.drawn = max(teacher.size for teacher in self._teachers)

    def answers(self, photos: Photos, digests: Sequence[str], recipe: Recipe, cache: Path) -> Array:
        """Return the mean P(positive) of each view of each photo, float32 [recipe.views, N] in [0, 1]."""
        return np.stack(
            [
                np.mean([each.answers(photos, digests, recipe, self.drawn, view, cache) for each in self._teachers], 0)
                for view in range(min(recipe.views, max(1, recipe.epochs)))
            ]
        )
