"""Features are computed once."""

from pathlib import Path

import numpy as np
import pytest

from tests.fixtures.drawing import draw_folder
from training.data.cache import Cache
from training.data.folders import find_photos_to_train
from training.model.classifier import build_classifier
from training.model.features import cached_features


def test_features_are_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = find_photos_to_train(draw_folder(tmp_path / "photos", each=32)).take([0, 1, 40])
    network, _ = build_classifier("none")
    cache = Cache(tmp_path / "cache.sqlite")
    first = cached_features(network, photos, ["a", "b", "c"], cache)
    assert first.shape == (3, 512)
    monkeypatch.setattr(network, "pooled_features", None)
    assert np.array_equal(cached_features(network, photos, ["a", "b", "c"], cache), first)
    assert np.array_equal(
        cached_features(network, photos.take([2]), ["c"], Cache(tmp_path / "cache.sqlite")), first[2:]
    )
