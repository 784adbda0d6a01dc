"""Write the web page, ONNX Runtime and one model as static files: python deploy/web/pages.py FOLDER [MODEL]."""

import json
import shutil
import sys
from pathlib import Path

from service.browser_model import find_phone_model, read_browser_model
from service.errors import SeeFoodError, describe_os_error
from service.registry import PHONE, POINTERS, find_model

_WEB = Path(__file__).parents[2] / "service" / "web"
_MODELS = Path(__file__).parents[2] / "models"
_SERVICE_ONLY = shutil.ignore_patterns("docs.*", "openapi.json", "inside", "review")


def write_pages(folder: Path, model: str = PHONE) -> None:
    """Write a folder that any static host can serve; the model runs in the browser.

    Args:
        folder: must not exist, or must be a folder that this function wrote.
        model: a pointer or a version of the registry, or the path of an ONNX file.

    Raises:
        SeeFoodError: the folder contains other files, the model is missing, or ONNX Runtime is not installed.
        OSError: a file can't be copied; then the folder is as before.
    """
    if folder.exists() and not (folder / "web" / "model.json").is_file():
        raise SeeFoodError(f"{folder} exists and was not written by this command; name another folder.")
    path = find_phone_model(_MODELS) if model == PHONE else find_model(_MODELS, model, "int8")
    offered = read_browser_model(path, path.stat().st_mtime_ns)
    part = folder.absolute().with_name(f".{folder.absolute().name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        shutil.copytree(_WEB, part / "web", ignore=_SERVICE_ONLY)
        for name in ("index.html", "sw.js"):
            (part / "web" / name).rename(part / name)
        target = part / "web" / offered.description["url"]
        target.parent.mkdir()
        shutil.copyfile(path, target)
        (part / "web" / "model.json").write_text(json.dumps(offered.description), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(f"usage: python {sys.argv[0]} FOLDER [{'|'.join(POINTERS)}|VERSION|FILE.onnx]")
    try:
        write_pages(Path(sys.argv[1]), *sys.argv[2:])
    except SeeFoodError as error:
        sys.exit(f"pages: {error}")
    except shutil.Error as error:  # copytree collects errors: sources, targets and reasons
        sys.exit(f"pages: A file can't be copied: {error.args[0][0][2]}.")
    except OSError as error:
        sys.exit(f"pages: {describe_os_error(error, sys.argv[1])}")
    sys.stdout.write(
        f"{sys.argv[1]}: serve it with any web server, for example: python -m http.server --directory {sys.argv[1]}\n"
    )
