"""Opens an ONNX Runtime session on a CPU or CUDA, and checks the model's input and outputs."""

import contextlib
import ctypes
from pathlib import Path

import onnxruntime as ort

from service.errors import SeeFoodError

CUDA = "CUDAExecutionProvider"
CPU = "CPUExecutionProvider"
# This optimizer moves the rounding to uint8 before the first max-pool. ONNX Runtime pools uint8 in that layout thirty
# times slower than float32, so that the pool takes a third of an int8 inference. Without it, the outputs are identical.
DISABLED_OPTIMIZERS = ["QDQPropagationTransformer"]


def open_session(path: Path, device: str) -> ort.InferenceSession:
    """Open a file on a device, with one thread for one inference; raises SeeFoodError if it can't be opened."""
    if device == "cuda":
        check_cuda()
        with contextlib.redirect_stdout(None):  # it prints missing libraries; the session's error names them too
            ort.preload_dlls()  # NVIDIA's libraries from their wheels, if they are installed
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1  # the calling thread; ONNX Runtime creates no other
    options.log_severity_level = 3  # errors only
    cuda = (CUDA, {"cudnn_conv_algo_search": "HEURISTIC"})
    providers = [cuda, CPU] if device == "cuda" else [CPU]
    try:
        return ort.InferenceSession(path, options, providers=providers, disabled_optimizers=DISABLED_OPTIMIZERS)
    except Exception as error:  # ONNX Runtime's errors have no other common base class
        reason = str(error).splitlines()[0]
        raise SeeFoodError(f"The model {path} can't be opened on {device}: {reason}") from error


def check_cuda() -> None:
    """Raise SeeFoodError if CUDA can't be used."""
    if CUDA not in ort.get_available_providers():
        raise SeeFoodError("The device cuda can't be used: install onnxruntime-gpu in place of onnxruntime.")
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError as error:  # ONNX Runtime's own message is a page long
        reason = "there is no NVIDIA driver; give a container a GPU with --gpus all, or set SEEFOOD_DEVICE=cpu"
        raise SeeFoodError(f"The device cuda can't be used: {reason}.") from error


def input_size(path: Path, session: ort.InferenceSession) -> int:
    """Return the side of the input square in pixels; raises SeeFoodError if the input is not uint8 [N, S, S, 3]."""
    inputs = {each.name: (each.type, each.shape) for each in session.get_inputs()}
    kind, shape = inputs.get("pixels", ("", []))
    is_square = len(shape) == 4 and type(shape[1]) is int and shape[1] == shape[2] and shape[3] == 3
    if len(inputs) != 1 or kind != "tensor(uint8)" or not is_square:
        raise SeeFoodError(f"{path} must have one input, uint8 `pixels` [N, S, S, 3]; export it with seefood train.")
    size: int = shape[1]
    return size


def output_shapes(path: Path, session: ort.InferenceSession, names: list[str]) -> dict[str, list[int]]:
    """Return the shape of each output, -1 for the number of photos; raises SeeFoodError if an output is unusable."""
    found = {output.name: (output.type, output.shape) for output in session.get_outputs()}
    shapes = {}
    for name in names:
        if name not in found:
            raise SeeFoodError(f"{path} has no output {name}; export it with seefood train.")
        kind, shape = found[name]
        dimensions = 3 if name == "heatmap" else 1
        if kind != "tensor(float)" or len(shape) != dimensions or any(type(side) is not int for side in shape[1:]):
            raise SeeFoodError(
                f"{path} has the output {name} as {kind} of shape {shape}; it must be float32 with {dimensions} "
                "dimensions. Export it with seefood train."
            )
        shapes[name] = [-1, *shape[1:]]
    return shapes
