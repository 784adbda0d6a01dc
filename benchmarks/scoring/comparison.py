"""Compare the speed of scoring a folder with SeeFood, Ultralytics, fastai and PyTorch, from start to end of a command.

All tools run a ResNet-18 at 224 px on the same files and write their results. The differences:

- `seefood predict` runs its int8 model by default, and float32 with SEEFOOD_PRECISION; the others compute in float32.
- SeeFood decodes a JPEG at a reduced size and resizes it to 224 px. The others decode it whole, resize the short side
  and crop the centre.
- Ultralytics scores one photo per batch by default. Its drawings are off.
- The heads of fastai and Ultralytics have one more layer.
- SeeFood runs the included model; the models of the others are untrained, which takes the same time.
"""

import csv
import itertools
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.photos import drawn_folder, flat_folder
from benchmarks.processes import ROOT, watch

_DATA = ROOT.parent / "shared" / "data" / "test"
_PHOTOS = 200  # in each folder
_LIMIT = 900  # seconds for one command


class _Tool(NamedTuple):
    """A tool: its name in tables, its command with places for paths, and additional environment variables."""

    what: str
    command: tuple[str, ...]
    settings: dict[str, str]


_SEEFOOD = (sys.executable, "-m", "service.cli", "predict", "{folder}", "--out", "{out}.csv")
_YOLO = (str(Path(sys.executable).with_name("yolo")), "classify", "predict", "imgsz=224", "save=False", "save_txt=True")
_YOLO_PATHS = ("model={models}/ultralytics.pt", "source={folder}", "project={out}")
_SCRIPT = (sys.executable, "-m")
_TOOLS = {
    "seefood": _Tool("seefood predict", _SEEFOOD, {}),
    "seefood, float32": _Tool("seefood predict, float32", _SEEFOOD, {"SEEFOOD_PRECISION": "float32"}),
    "ultralytics": _Tool("yolo classify predict", (*_YOLO, *_YOLO_PATHS), {}),
    "ultralytics, batches": _Tool("yolo classify predict batch=32", (*_YOLO, "batch=32", *_YOLO_PATHS), {}),
    "fastai": _Tool(
        "fastai: learn.get_preds(dl=learn.dls.test_dl(files))",
        (*_SCRIPT, "benchmarks.scoring.fastai_scorer", "{folder}", "{models}/fastai.pkl", "{out}.csv"),
        {},
    ),
    "pytorch": _Tool(
        "PyTorch: a DataLoader and batches of 32",
        (*_SCRIPT, "benchmarks.scoring.pytorch_scorer", "{folder}", "{models}/plain.pth", "{out}.csv"),
        {},
    ),
}


def measure() -> dict[str, Any]:
    """Score drawn photos on all CPUs and on one CPU, and real photos if `../shared/data` exists."""
    cpus = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        folders = {"2 MP": drawn_folder(scratch / "camera", count=_PHOTOS)}
        turns = [("2 MP", "all CPUs", cpus)]
        if len(cpus) > 1:
            turns.append(("2 MP", "one CPU", cpus[:1]))
        if _DATA.is_dir():
            folders["given"] = flat_folder(_DATA, scratch / "given", count=_PHOTOS)
            turns.append(("given", "all CPUs", cpus))
        settings = {
            "SEEFOOD_MODELS": str(ROOT / "models"),
            "YOLO_CONFIG_DIR": name,
            "YOLO_OFFLINE": "true",
            "YOLO_AUTOINSTALL": "false",
        }
        make = [*_SCRIPT, "benchmarks.scoring.make_models", str(folders["2 MP"]), str(scratch / "models")]
        if error := watch(make, limit=_LIMIT, settings=settings).error():
            print(f"Some models were not created: {error}", file=sys.stderr, flush=True)
        for module in ("scoring.cli", "fastai.vision.all", "ultralytics.models.yolo.classify"):
            watch([sys.executable, "-c", f"import {module}"])  # reads the modules from the disk
        found: dict[str, dict[str, Any]] = {folder: {"photos": _PHOTOS} for folder in folders}
        for (folder, limit, allowed), (tool, about) in itertools.product(turns, _TOOLS.items()):
            out = scratch / "out" / f"{folder}-{limit}-{tool}"
            out.mkdir(parents=True)
            places = {"folder": folders[folder], "models": scratch / "models", "out": out / "found"}
            command = [part.format(**places) for part in about.command]
            seen = _run(command, {**settings, **about.settings}, allowed, out)
            by_tool = found[folder].setdefault(limit, {})
            by_tool[tool] = _compared(seen, by_tool.get("seefood"))
            print(folder, limit, tool, json.dumps(seen), file=sys.stderr, flush=True)
    return {
        "tools": {tool: about.what for tool, about in _TOOLS.items()},
        "folders": found,
    }


def _run(command: list[str], settings: dict[str, str], cpus: list[int], out: Path) -> dict[str, Any]:
    watched = watch(command, limit=_LIMIT, settings=settings, cpus=cpus)
    if error := watched.error():
        return {"error": error}
    if (scored := _count(out)) != _PHOTOS:
        return {"error": f"it scored {scored} of {_PHOTOS} photos"}
    rate = round(_PHOTOS / watched.seconds, 2)
    return {"seconds": watched.seconds, "photos_per_second": rate, "peak_memory_mb": watched.peak_mb}


def _count(out: Path) -> int:
    """Count the photos in a tool's results: a CSV row that starts with a path, or one text file for each."""
    tables = list(out.glob("*.csv"))
    if not tables:
        return len(list(out.rglob("labels/*.txt")))
    with tables[0].open(encoding="utf-8", newline="") as file:
        return sum(Path(row[0]).is_file() for row in csv.reader(file))


def _compared(seen: dict[str, Any], seefood: dict[str, Any] | None) -> dict[str, Any]:
    rate = seen.get("photos_per_second")
    ours = seefood["photos_per_second"] if seefood else rate
    ratio = round(ours / rate, 2) if ours and rate else None
    return {"rounds": [seen], "photos_per_second": rate, "seefood_is_times_as_fast": ratio}
