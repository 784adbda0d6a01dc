"""Augmented views and the order of an epoch are deterministic."""

from pathlib import Path

import pytest
import torch
from torch.nn.functional import avg_pool2d

from tests.fixtures.drawing import draw_folder
from training.config import Hyperparameters
from training.data.dataset import EpochSampler, Shard, TrainingSet, augmented_view, training_loader
from training.data.photos import find_photos_to_train

SIZES = (64, 64, 96)

VIEWS = (7, 6, 5)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_folder(tmp_path_factory.mktemp("fit") / "photos", each=40)


def test_an_epoch_follows_from_its_seed_and_number_alone() -> None:
    one, again, other = (EpochSampler(50, 8, seed, SIZES, VIEWS) for seed in (3, 3, 4))
    one.set_epoch(2)
    again.set_epoch(2)
    other.set_epoch(2)
    assert list(one) == list(again) != list(other)
    assert len(list(one)) == len(one) == 48
    assert len({position for position, _, _ in one}) == 48
    assert {(view, size) for _, view, size in one} == {(5, 96)}
    again.set_epoch(1)
    assert list(one) != list(again)


def test_two_processes_see_the_batches_of_one() -> None:
    alone = list(EpochSampler(50, 8, 3, SIZES, VIEWS))
    parts = [list(EpochSampler(50, 8, 3, SIZES, VIEWS, shard=Shard(rank, 2))) for rank in (0, 1)]
    for batch in range(6):
        together = {item for part in parts for item in part[4 * batch : 4 * batch + 4]}
        assert together == set(alone[8 * batch : 8 * batch + 8])


def test_an_augmented_photo_follows_from_its_content_and_view(photos: Path) -> None:
    found = find_photos_to_train(photos)
    augmented = TrainingSet(found, torch.from_numpy(found.targets)[None], "crop")
    state = torch.get_rng_state()
    assert torch.equal(augmented[3, 7, 64][0], augmented[3, 7, 64][0])
    assert not torch.equal(augmented[3, 7, 64][0], augmented[3, 8, 64][0])
    elsewhere = found.take([5, 3])
    moved = TrainingSet(elsewhere, torch.from_numpy(elsewhere.targets)[None], "crop")
    assert torch.equal(augmented[3, 7, 64][0], moved[1, 7, 64][0])
    assert torch.equal(torch.get_rng_state(), state), "the global random state is unchanged"


def test_a_view_of_two_sizes_is_the_same_crop(photos: Path) -> None:
    content = find_photos_to_train(photos).paths[0].read_bytes()
    large, small = (augmented_view(content, 2, "crop", 96, size).permute(2, 0, 1).float() for size in (96, 48))
    assert (avg_pool2d(large, 2) - small).abs().mean() < 2, "grey levels of 256"


def test_the_targets_of_several_views_are_taken_in_turn(photos: Path) -> None:
    found = find_photos_to_train(photos).take(range(8))
    targets = torch.tensor([[0.25] * 8, [0.75] * 8])
    hyperparameters = Hyperparameters(epochs=4, batch_size=8, train_size=32, final_size=32)
    given = []
    for epoch in range(4):
        loader = training_loader(found, targets, hyperparameters, [32] * 4, 0, epoch, 48)
        given.append(next(iter(loader)))
    assert [float(target[0]) for _, target in given] == [0.25, 0.75, 0.25, 0.75]
    orders = [pixels.float().mean((1, 2, 3)).sort().values for pixels, _ in given]
    assert torch.equal(orders[0], orders[2]), "the same crops, whatever the order"
    assert not torch.equal(orders[0], orders[1])
