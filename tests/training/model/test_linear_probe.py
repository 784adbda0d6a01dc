"""The head equals the linear probe, and out-of-fold predictions do not know their labels."""

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from tests.fixtures.clouds import two_clouds
from training.model.classifier import build_classifier
from training.model.linear_probe import out_of_fold_probabilities, set_head_to_probe


def test_the_head_is_the_probe() -> None:
    features, targets = two_clouds(300)
    network, _ = build_classifier("none")
    set_head_to_probe(network, features, targets)
    maps = torch.from_numpy(features)[:, :, None, None]
    with torch.inference_mode():
        probabilities = torch.sigmoid(network.head(maps).flatten()).numpy()
    standard = (features - features.mean(0)) / features.std(0)
    expected = LogisticRegression(C=0.01, max_iter=2000).fit(standard, targets).predict_proba(standard)[:, 1]
    np.testing.assert_allclose(probabilities, expected, atol=1e-3)


def test_predictions_out_of_fold_do_not_know_their_label() -> None:
    """Noise has no information about the labels."""
    features, targets = two_clouds(300)
    noise = np.random.default_rng(1).normal(size=features.shape).astype(np.float32)
    assert abs(((out_of_fold_probabilities(noise, targets) > 0.5) == (targets == 1)).mean() - 0.5) < 0.12
    assert ((out_of_fold_probabilities(features, targets) > 0.5) == (targets == 1)).mean() > 0.9
