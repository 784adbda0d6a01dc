"""The classifier: preprocessing, backbone and sigmoid head in one module that is exported; features and their probe."""

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from tqdm import tqdm

from service.errors import SeeFoodError
from training.data.cache import Cache
from training.data.dataset import validation_loader
from training.data.photos import Photos
from training.model.backbones import Body, backbone_spec, build_body, classifier_key

Array = npt.NDArray[np.float32]

FAMILIAR_SHARE = 0.95  # share of the validation photos that count as familiar
_AXES = 64  # principal axes of the features with their own variance; all others share one variance
_REGULARISATION = 0.01  # C: for hundreds of standardised features and a few thousand photos
_FOLDS = 5


class Classifier(nn.Module):
    """A convolutional backbone with one sigmoid output and its own preprocessing.

    The head is a 1 x 1 convolution whose output is averaged over the grid. This is the same function as global average
    pooling and a linear layer, and its output before the average is the class activation map (Zhou et al. 2016,
    arXiv:1512.04150).

    Attributes:
        backbone: name of the backbone, as in `backbone_spec`.
        size: side S of the input square in pixels.
        features: stages of the backbone, in order.
        auxiliary: auxiliary heads, by the stage whose output they take; only the fit uses them.
    """

    mean: Tensor
    std: Tensor
    temperature: Tensor
    feature_mean: Tensor
    feature_axes: Tensor
    feature_deviation: Tensor

    def __init__(self, name: str, body: Body) -> None:
        super().__init__()
        spec = backbone_spec(name)
        self.backbone = name
        self.size = spec.size
        self.features = nn.Sequential(body.stages)
        self.auxiliary = nn.ModuleDict(body.auxiliary_heads)
        self.head = nn.Conv2d(body.channels, 1, kernel_size=1)
        nn.init.zeros_(self.head.weight)  # so that the first probabilities are 0.5 and the first gradients small
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]
        mean, std = spec.normalisation
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1) * 255)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1) * 255)
        self.register_buffer("temperature", torch.ones(()))
        self.register_buffer("feature_mean", torch.zeros(body.channels))
        self.register_buffer("feature_axes", torch.zeros(body.channels, _AXES))
        self.register_buffer("feature_deviation", torch.ones(()))

    def set_calibration(self, temperature: float, bias: float) -> None:
        """Set probability = sigmoid(logit / temperature + bias) for the present logit; call it once."""
        with torch.no_grad():
            self.temperature.fill_(temperature)
            self.head.bias.add_(bias * temperature)  # type: ignore[union-attr]

    def set_head_to_probe(self, features: Array, targets: Array) -> None:
        """Make the head a linear probe of pooled features, float32 [N, channels], fitted to targets, 0 or 1 [N]."""
        scaler, regression = _probe().fit(features, targets)
        weights = regression.coef_[0] / scaler.scale_
        bias = regression.intercept_[0] - (weights * scaler.mean_).sum()
        with torch.no_grad():
            self.head.weight.copy_(torch.tensor(weights).view_as(self.head.weight))
            self.head.bias.fill_(float(bias))  # type: ignore[union-attr]

    def fit_gaussian(self, features: Array) -> None:
        """Fit the Gaussian of `familiarity` to the pooled features of the training photos, float32 [N, channels].

        The model is probabilistic PCA (Tipping and Bishop 1999, doi:10.1111/1467-9868.00196): principal axes, and one
        variance for all other directions, so that a few axes describe thousands of channels. The Mahalanobis distance
        detects unfamiliar photos (Lee et al. 2018, arXiv:1807.03888). Each column of `feature_axes` is a unit vector
        times sqrt(1 - deviation^2 / variance), and unused columns are 0. With r = feature - mean, the squared distance
        is (|r|^2 - |r @ axes|^2) / deviation^2.
        """
        mean = features.mean(0)
        _, singular_values, directions = np.linalg.svd((features - mean).astype(np.float64), full_matrices=False)
        variances = singular_values**2 / max(1, len(features) - 1)
        count = min(_AXES, len(variances) - 1, features.shape[1] - 1)
        other_variance = max(float(variances[count:].sum()) / (features.shape[1] - count), 1e-12)
        scale = np.sqrt(np.maximum(0, 1 - other_variance / np.maximum(variances[:count], other_variance)))
        self.feature_mean.copy_(torch.from_numpy(mean))
        self.feature_axes.zero_()
        self.feature_axes[:, :count] = torch.from_numpy(directions[:count].T * scale)
        self.feature_deviation.fill_(float(np.sqrt(other_variance)))

    def freeze(self, last: str) -> None:
        """Stop training of the stages up to `last`, including their batch norms; call it after each `train()`.

        Raises:
            SeeFoodError: there is no such stage, or it is the last one.
        """
        names = [name for name, _ in self.features.named_children()]
        if last not in names[:-1]:
            raise SeeFoodError(
                f"The backbone {self.backbone} can't be frozen at '{last}'; name one of {', '.join(names[:-1])}."
            )
        for name in names[: names.index(last) + 1]:
            self.features.get_submodule(name).eval().requires_grad_(False)

    def normalize(self, pixels: Tensor) -> Tensor:
        """Map uint8 [N, S, S, 3] RGB pixels to float32 [N, 3, S, S], normalised as the backbone's weights expect."""
        return (pixels.permute(0, 3, 1, 2).float() - self.mean) / self.std

    def pooled_features(self, pixels: Tensor) -> Tensor:
        """Map uint8 [N, S, S, 3] RGB pixels to float32 [N, channels]: the features, averaged over the grid."""
        return self.features(self.normalize(pixels)).mean((2, 3)).float()  # type: ignore[no-any-return]

    def logits_of_all_heads(self, pixels: Tensor) -> list[Tensor]:
        """Map uint8 [N, s, s, 3] RGB pixels to float32 [N] logits: of the head, then of each auxiliary head."""
        maps, logits = self.normalize(pixels), []
        for name, stage in self.features.named_children():
            maps = stage(maps)
            if name in self.auxiliary:
                logits.append(self.auxiliary[name](maps).squeeze(1).float())
        return [self.head(maps).mean((1, 2, 3)).float(), *logits]

    def heatmap(self, pixels: Tensor) -> Tensor:
        """Map uint8 [N, S, S, 3] RGB pixels to the class activation map, float32 [N, h, w]; its mean is the logit."""
        evidence: Tensor = self.head(self.features(self.normalize(pixels))).squeeze(1)
        return evidence.float()

    def familiarity(self, features: Tensor) -> Tensor:
        """Map pooled features, float32 [N, channels], to minus their distance from the training features, float32 [N].

        The unit is the standard deviation of a feature, so about -1 is usual; see `fit_gaussian`.
        """
        residual = features - self.feature_mean
        squared = (residual**2).sum(1) - ((residual @ self.feature_axes) ** 2).sum(1)
        return -torch.sqrt(torch.clamp(squared, min=0) / features.shape[1]) / self.feature_deviation

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map uint8 [N, S, S, 3] RGB pixels to the outputs of the ONNX file.

        Returns:
            Probability, float32 [N] in [0, 1]; heatmap, float32 [N, h, w]; familiarity, float32 [N].
        """
        maps = self.features(self.normalize(pixels))
        heatmap = self.head(maps).squeeze(1).float()
        probability = torch.sigmoid(heatmap.mean((1, 2)) / self.temperature)
        return probability, heatmap, self.familiarity(maps.mean((2, 3)).float())


def build_classifier(weights: str, name: str = "resnet18") -> tuple[Classifier, list[str]]:
    """Build a classifier; arguments and errors are those of `build_body`.

    Returns:
        The classifier, and the backbone's tensors without pretrained weights, by the names of torchvision or timm.
    """
    body = build_body(name, weights)
    return Classifier(name, body), body.missing_keys


def untrained_parameters(classifier: Classifier, missing_keys: list[str]) -> set[str]:
    """Return the names of the parameters without pretrained weights: missing ones, and those of every head."""
    names = {classifier_key(classifier.backbone, key) for key in missing_keys}
    auxiliary = tuple(f"auxiliary.{stage}.fc" for stage in backbone_spec(classifier.backbone).auxiliary)
    return {
        name
        for name, _ in classifier.named_parameters()
        if name in names or name.startswith("head.") or (auxiliary and name.startswith(auxiliary))
    }


def weights_digest(classifier: Classifier) -> str:
    """Return the SHA-256 (hex) of the name and the weights of the backbone; the heads do not matter."""
    digest = hashlib.sha256(classifier.backbone.encode())
    for tensor in classifier.features.state_dict().values():
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


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

    return cache.rows(f"features {weights_digest(classifier)}", digests, compute)


def out_of_fold_probabilities(features: Array, targets: Array) -> Array:
    """Return P(positive) of each photo, [N] in [0, 1], by a probe that was fitted on other photos only."""
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=0)
    return cross_val_predict(_probe(), features, targets, cv=folds, method="predict_proba")[:, 1]  # type: ignore[no-any-return]


def probe_probabilities(features: Array, targets: Array, others: Array) -> Array:
    """Fit a linear probe, and return its P(positive) of other photos, [K] in [0, 1].

    Args:
        features: float32 [N, channels].
        targets: 0 or 1, [N], of both classes.
        others: features of the other photos, float32 [K, channels].
    """
    return _probe().fit(features, targets).predict_proba(others)[:, 1]  # type: ignore[no-any-return]


def familiarity_level(familiarity: Array) -> float:
    """Return the level below which a photo is unfamiliar; FAMILIAR_SHARE of the photos, float32 [N], are above it."""
    return float(np.quantile(familiarity, 1 - FAMILIAR_SHARE))


def _probe() -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression(C=_REGULARISATION, max_iter=2000))
