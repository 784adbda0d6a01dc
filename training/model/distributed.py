"""One fit over several processes, as torchrun starts them: who am I, and who does what only one must do."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import distributed


def world() -> int:
    """Return how many processes fit together; 1 without torchrun."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Return the number of this process, from 0."""
    return int(os.environ.get("RANK", "0"))


def leads() -> bool:
    """Return whether this process is the one that speaks, writes and exports."""
    return rank() == 0


def join() -> None:
    """Meet the other processes, where there are any."""
    if world() > 1 and not distributed.is_initialized():
        distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")


def agree(text: str) -> str:
    """Return what the leading process says, in every process."""
    if world() == 1:
        return text
    said = [text]
    distributed.broadcast_object_list(said)
    return said[0]


@contextmanager
def leader_first() -> Iterator[None]:
    """Let the leading process do it, and the others then find it done."""
    if world() > 1 and not leads():
        distributed.barrier()
    yield
    if world() > 1 and leads():
        distributed.barrier()
