"""What every trainer prints: a JSON line when its first epoch begins, and one after each epoch."""

import json
import time

import psutil


def tell_start(photos: int) -> None:
    """Say that training begins, with the number of photos that an epoch sees."""
    _tell(photos=photos)


def tell_epoch(epoch: int, accuracy: float) -> None:
    """Say that an epoch, counted from 1, and its validation are over."""
    _tell(epoch=epoch, accuracy=round(float(accuracy), 4))


def _tell(**figures: float) -> None:
    seconds = time.time() - psutil.Process().create_time()
    print(json.dumps({"seconds": round(seconds, 2), **figures}), flush=True)
