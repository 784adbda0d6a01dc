"""Settings that depend on the hardware: numeric precision, memory allocator, devices."""

import ctypes
import os
import sys
from typing import Any, Literal

import torch

from training.model.distributed import world_size


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
