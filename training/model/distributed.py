"""Training with several processes that torchrun starts (torch.distributed)."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import distributed


def world_size() -> int:
    """Return the number of processes; 1 without torchrun."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Return the number of this process, from 0."""
    return int(os.environ.get("RANK", "0"))


def is_main_process() -> bool:
    """Return whether this is the process that logs, writes files and exports."""
    return rank() == 0


def init_process_group() -> None:
    """Connect to the other processes, if there are any."""
    if world_size() > 1 and not distributed.is_initialized():
        distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")


def broadcast(text: str) -> str:
    """Return the text of the main process, in every process."""
    if world_size() == 1:
        return text
    values = [text]
    distributed.broadcast_object_list(values)
    return values[0]


@contextmanager
def main_process_first() -> Iterator[None]:
    """Run the block in the main process first, so that the other processes find its results in the cache."""
    if world_size() > 1 and not is_main_process():
        distributed.barrier()
    yield
    if world_size() > 1 and is_main_process():
        distributed.barrier()
