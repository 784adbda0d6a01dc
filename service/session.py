"""An ONNX Runtime session of one file: opened on a CPU or CUDA, its input and outputs as the contract has them."""

import contextlib
import ctypes
import sys
from pathlib import Path

import onnxruntime as ort

from service.errors import SeeFoodError

CUDA = "CUDAExecutionProvider"
CPU = "CPUExecutionProvider"
# It moves the rounding to uint8 from behind the first max-pool to before it. ONNX Runtime pools uint8 in that layout
# thirty times slower than float32, so that the pool took a third of an int8 inference; the answers are the same bits.
HARMFUL_OPTIMIZERS = ["QDQPropagationTransformer"]


def open_session(path: Path, device: str, threads: int) -> ort.InferenceSession:
    """Open a file; threads are those that one inference may use. Raises SeeFoodError where it can't be opened."""
    if device == "cuda":
        check_cuda()
        with contextlib.redirect_stdout(None):  # what it lacks, opening the session will say
            ort.preload_dlls()  # NVIDIA's libraries from their wheels, where they are installed so
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # a spinning thread eats a CPU quota
    options.log_severity_level = 3  # errors only
    cuda = (CUDA, {"cudnn_conv_algo_search": "HEURISTIC"})
    try:
        return ort.InferenceSession(
            path,
            options,
            providers=[cuda, CPU] if device == "cuda" else [CPU],
            disabled_optimizers=HARMFUL_OPTIMIZERS,
        )
    except Exception as error:  # ONNX Runtime's errors share no base class but Exception
        reason = str(error).splitlines()[0]
        raise SeeFoodError(f"The model {path} can't be opened on {device}: {reason}") from error


def check_cuda() -> None:
    """Raise SeeFoodError where CUDA can't be used."""
    if CUDA not in ort.get_available_providers():
        raise SeeFoodError("The device cuda can't be used: install onnxruntime-gpu in place of onnxruntime.")
    try:
        ctypes.CDLL("libcuda.so.1" if sys.platform != "win32" else "nvcuda.dll")
    except OSError as error:  # said here in a sentence, and by ONNX Runtime in a page
        reason = "there is no NVIDIA driver; give a container a GPU with --gpus all, or set SEEFOOD_DEVICE=cpu"
        raise SeeFoodError(f"The device cuda can't be used: {reason}.") from error


def input_size(path: Path, session: ort.InferenceSession) -> int:
    """Return the side of the square that a session takes; raises SeeFoodError where it takes anything else."""
    inputs = {each.name: (each.type, each.shape) for each in session.get_inputs()}
    kind, shape = inputs.get("pixels", ("", []))
    square = len(shape) == 4 and type(shape[1]) is int and shape[1] == shape[2] and shape[3] == 3
    if len(inputs) != 1 or kind != "tensor(uint8)" or not square:
        raise SeeFoodError(f"{path} must take uint8 `pixels` [N, S, S, 3] alone; export it with seefood train.")
    size: int = shape[1]
    return size


def output_shapes(path: Path, session: ort.InferenceSession, names: list[str]) -> dict[str, list[int]]:
    """Return the shape of each named output, -1 for the number of photos; raises SeeFoodError where one is unusable."""
    found = {output.name: (output.type, output.shape) for output in session.get_outputs()}
    shapes = {}
    for name in names:
        kind, shape = found.get(name, ("", []))
        axes = 3 if name == "heatmap" else 1
        if name not in found:
            raise SeeFoodError(f"{path} has no output {name}; export it with seefood train.")
        if kind != "tensor(float)" or len(shape) != axes or any(type(side) is not int for side in shape[1:]):
            raise SeeFoodError(
                f"{path} has the output {name} as {kind} of shape {shape}; it must be float32 with {axes} axes. "
                "Export it with seefood train."
            )
        shapes[name] = [-1, *shape[1:]]
    return shapes
