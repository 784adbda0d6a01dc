"""Events that a training script prints: a JSON line when its first epoch begins, and one after each epoch."""

import json


def print_start(photos: int) -> None:
    """Print that training begins, with the number of photos per epoch."""
    _print(photos=photos)


def print_epoch(epoch: int, accuracy: float) -> None:
    """Print that an epoch, counted from 1, and its validation are complete."""
    _print(epoch=epoch, accuracy=round(float(accuracy), 4))


def _print(**figures: float) -> None:
    print(json.dumps(figures), flush=True)
