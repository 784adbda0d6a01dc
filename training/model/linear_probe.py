"""What a pretrained network knows before any fit: its features of each photo, and a linear probe of them."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from training.data.cache import remembered
from training.data.dataset import validation_loader
from training.data.folders import Photos
from training.model.classifier import Classifier

Array = npt.NDArray[np.float32]

FEATURES = ".features"  # in the registry folder
_REGULARISATION = 0.01  # C: hundreds of standardised features, and a few thousand photos
_FOLDS = 5


def frozen_features(network: Classifier, photos: Photos, digests: Sequence[str], cache: Path) -> Array:
    """Return the features of each photo, averaged over the grid: float32 [N, channels]. Raises as `remembered` does."""
    network = network.eval().to(memory_format=torch.channels_last)
    key = hashlib.sha256(network.backbone.encode())
    for tensor in network.features.state_dict().values():
        key.update(tensor.numpy().tobytes())

    def compute(positions: list[int]) -> Array:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        loader = validation_loader(photos.take(positions), network.size)
        with torch.inference_mode():
            batches = [
                network.to(device).pooled(pixels.to(device)).cpu()
                for pixels, _ in tqdm(loader, "Features", unit=" batches", leave=False, disable=None)
            ]
        network.cpu()
        return torch.cat(batches).numpy()

    return remembered(cache, key.hexdigest()[:32], digests, compute)


def probe_head(network: Classifier, features: Array, targets: Array) -> None:
    """Make the head the linear probe of float32 [N, channels] features and targets, 0 or 1 [N]."""
    scaler, regression = _probe().fit(features, targets)
    weights = regression.coef_[0] / scaler.scale_
    bias = regression.intercept_[0] - (weights * scaler.mean_).sum()
    with torch.no_grad():
        network.head.weight.copy_(torch.tensor(weights).view_as(network.head.weight))
        network.head.bias.fill_(float(bias))  # type: ignore[union-attr]


def out_of_fold(features: Array, targets: Array) -> Array:
    """Return P(positive) of each photo, [N] in [0, 1], by a probe that was fitted on the other photos alone."""
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=0)
    return cross_val_predict(_probe(), features, targets, cv=folds, method="predict_proba")[:, 1]  # type: ignore[no-any-return]


def _probe() -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression(C=_REGULARISATION, max_iter=2000))
