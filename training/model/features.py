"""Pooled features of photos by a network that is not trained any more."""

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from training.data.cache import Cache
from training.data.dataset import validation_loader
from training.data.photos import Photos
from training.model.classifier import Classifier

Array = npt.NDArray[np.float32]


def logits_and_features(classifier: Classifier, photos: Photos) -> tuple[Array, Array]:
    """Return the logits before calibration, float32 [N], and the pooled features, float32 [N, channels]."""
    with torch.inference_mode():
        loader = validation_loader(photos, classifier.size)
        features = torch.cat([classifier.pooled_features(pixels) for pixels, _ in loader])
        return classifier.head(features[:, :, None, None]).flatten().numpy(), features.numpy()


def cached_features(classifier: Classifier, photos: Photos, digests: Sequence[str], cache: Cache) -> Array:
    """Return the pooled features of each photo, float32 [N, channels]; only new photos are computed.

    Args:
        classifier: with pretrained weights; its head is not used.
        photos: to compute the features of.
        digests: SHA-256 of each photo, hex.
        cache: keeps the features.

    Raises:
        SeeFoodError: the cache can't be used.
    """
    classifier = classifier.eval().to(memory_format=torch.channels_last)
    weights = hashlib.sha256(classifier.backbone.encode())
    for tensor in classifier.features.state_dict().values():
        weights.update(tensor.numpy().tobytes())

    def compute(positions: list[int]) -> Array:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        loader = validation_loader(photos.take(positions), classifier.size)
        with torch.inference_mode():
            batches = [
                classifier.to(device).pooled_features(pixels.to(device)).cpu()
                for pixels, _ in tqdm(loader, "Features", unit=" batches", leave=False, disable=None)
            ]
        classifier.cpu()
        return torch.cat(batches).numpy()

    return cache.rows(f"features {weights.hexdigest()}", digests, compute)
