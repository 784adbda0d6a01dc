"""Where a model file is: a folder with one folder a version, and small text files, pointers, that each name one."""

from pathlib import Path

from service.errors import SeeFoodError

FILES = {"float32": "model.onnx", "int8": "model.int8.onnx"}  # of a version's folder, by precision
CURRENT = "current"
POINTERS = {  # and what to do where one names no version
    CURRENT: "make one with seefood train, or set SEEFOOD_MODELS or SEEFOOD_MODEL",
    "phone": "name one with seefood models promote VERSION --as phone",
}


def find_model(models: Path, model: str, precision: str) -> Path:
    """Return the ONNX file of a version or pointer (empty: current) in a registry folder, or of a path to a file.

    Raises:
        SeeFoodError: there is no such file.
    """
    path = Path(model)
    if not model.endswith(".onnx"):
        path = models / version_of(models, model or CURRENT) / FILES[precision]
    if not path.is_file():
        raise SeeFoodError(f"There is no model file {path}; `seefood models` lists the versions in {models}.")
    return path


def current_version(models: Path) -> str:
    """Return the version that a registry folder names as current; raises SeeFoodError where it names none."""
    return version_of(models, CURRENT)


def version_of(models: Path, name: str) -> str:
    """Return the version that a pointer names, or any other name as it is; raises SeeFoodError where there is none."""
    if name not in POINTERS:
        return name
    try:
        return (models / name).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SeeFoodError(f"{models} names no {name} model; {POINTERS[name]}.") from error
