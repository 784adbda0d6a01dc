"""Where a model file is: a folder with one folder a version, and the name of the current one in a text file."""

from pathlib import Path

from service.errors import SeeFoodError

FILES = {"float32": "model.onnx", "int8": "model.int8.onnx"}  # of a version's folder, by precision


def find_model(models: Path, model: str, precision: str) -> Path:
    """Return the ONNX file of a version (empty: the current one) in a registry folder, or of a path to a file.

    Raises:
        SeeFoodError: there is no such file.
    """
    if model.endswith(".onnx"):
        path = Path(model)
    else:
        version = model or current_version(models)
        path = models / version / FILES[precision]
    if not path.is_file():
        raise SeeFoodError(f"There is no model file {path}; `seefood models` lists the versions in {models}.")
    return path


def current_version(models: Path) -> str:
    """Return the version that a registry folder names as current; raises SeeFoodError where it names none."""
    try:
        return (models / "current").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SeeFoodError(
            f"{models} names no current model; make one with seefood train, or set SEEFOOD_MODELS or SEEFOOD_MODEL."
        ) from error
