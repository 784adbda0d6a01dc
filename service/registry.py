"""Finds model files in a registry: a folder with one subfolder for each version, and pointers.

A pointer is a small text file that contains the name of a version.
"""

from pathlib import Path

from service.errors import SeeFoodError

FILES = {"float32": "model.onnx", "int8": "model.int8.onnx"}  # in the folder of a version, by precision
INSIDE = "inside.onnx"  # beside them: the file for the page /inside
CURRENT = "current"
PHONE = "phone"  # the small model, for phones
POINTERS = {  # each with what to do if it does not exist
    CURRENT: "make one with seefood train, or set SEEFOOD_MODELS or SEEFOOD_MODEL",
    PHONE: "name one with seefood models promote VERSION --as phone",
}
SHADOW = "shadow"  # the pointer to the candidate that is compared with the served version, and is not served
_HINTS = {**POINTERS, SHADOW: "name one with seefood models shadow VERSION"}


def find_model(models: Path, model: str, precision: str) -> Path:
    """Return the path of an ONNX file.

    Args:
        models: the registry's folder.
        model: a version, a pointer (empty: current) or the path of an ONNX file.
        precision: key of FILES; ignored for a path.

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
    """Return the current version of a registry; raises SeeFoodError if there is none."""
    return version_of(models, CURRENT)


def version_of(models: Path, name: str) -> str:
    """Return the version that a pointer names, and any other name unchanged; raises SeeFoodError if there is none."""
    if name not in _HINTS:
        return name
    try:
        version = (models / name).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SeeFoodError(f"{models} names no {name} model; {_HINTS[name]}.") from error
    if not version or version in _HINTS or Path(version).name != version:
        raise SeeFoodError(f"{models / name} does not contain the name of a version; {_HINTS[name]}.")
    return version
