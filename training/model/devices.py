"""Processes, devices, numeric precision and memory of a training; torchrun starts several processes."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

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


def precision() -> Literal["bf16-mixed", "16-mixed", "32-true"]:
    """Return bfloat16 autocast if the hardware multiplies it natively, else float16 on CUDA and float32 on a CPU."""
    if torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"
    capabilities = torch.cpu.get_capabilities()
    return "bf16-mixed" if capabilities.get("amx_bf16") or capabilities.get("avx512_bf16") else "32-true"


def keep_freed_memory() -> None:
    """Tell glibc to keep freed memory; an epoch on a CPU then takes a third of the time (mallopt(3))."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.mallopt(-4, 0)  # M_MMAP_MAX
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD


def trainer_devices() -> dict[str, Any]:
    """Return Lightning's device options for this process, or for all processes of torchrun."""
    if world_size() == 1:
        return {"devices": 1}
    local = int(os.environ["LOCAL_WORLD_SIZE"])
    cuda = torch.cuda.is_available()
    return {"strategy": "ddp", "devices": local, "num_nodes": world_size() // local, "sync_batchnorm": cuda}
