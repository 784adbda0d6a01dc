"""How quickly a folder is scored, from the start of the command to its end, beside Ultralytics, fastai and PyTorch.

    python -m benchmarks.bulk

All run a ResNet-18 at 224 px over the same files and write down what they find. They take turns, on all CPUs, and with
the first folder on one CPU too. What differs:

- `seefood predict` runs the int8 model on a CPU unless told otherwise, and float32 where SEEFOOD_PRECISION says so. The
  others compute in float32.
- It decodes a JPEG at a reduced size and squashes it to 224 px; the others decode it whole, resize its short side and
  crop the centre.
- Ultralytics takes one photo a batch unless told otherwise. It is spared the drawings that its command would write.
- fastai's and Ultralytics' heads have one more layer, which costs little.
- The model of SeeFood is the one in the box; those of the others have never learnt anything, which takes as long.
"""

import csv
import importlib.metadata
import itertools
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from benchmarks.photo_folders import camera_folder, flat_folder
from benchmarks.watched import ROOT, warm_up, watch

PACKAGES = ("seefood", "onnxruntime", "torch", "torchvision", "fastai", "ultralytics")
DATA = ROOT.parent / "shared" / "data" / "test"
_LIMIT = 900.0  # seconds that one command may take
_SEEFOOD = [sys.executable, "-c", "from service.cli import main; main()", "predict"]
_YOLO = [str(Path(sys.executable).with_name("yolo")), "classify", "predict", "imgsz=224", "save=False", "save_txt=True"]


@dataclass(frozen=True)
class Scorer:
    """A tool: what to call it, its command with places for what changes, and variables that it needs."""

    what: str
    command: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()


_OWN = ("--out", "{out}.csv")
SCORERS = {
    "seefood": Scorer("seefood predict", (*_SEEFOOD, "{folder}", *_OWN)),
    "seefood, float32": Scorer(
        "seefood predict, float32", (*_SEEFOOD, "{folder}", *_OWN), (("SEEFOOD_PRECISION", "float32"),)
    ),
    "ultralytics": Scorer(
        "yolo classify predict", (*_YOLO, "model={models}/ultralytics.pt", "source={folder}", "project={out}")
    ),
    "ultralytics, batches": Scorer(
        "yolo classify predict batch=32",
        (*_YOLO, "batch=32", "model={models}/ultralytics.pt", "source={folder}", "project={out}"),
    ),
    "fastai": Scorer(
        "fastai: learn.get_preds(dl=learn.dls.test_dl(files))",
        (sys.executable, "-m", "benchmarks.scorers.with_fastai", "{folder}", "{models}/fastai.pkl", "{out}.csv"),
    ),
    "pytorch": Scorer(
        "PyTorch: a DataLoader and batches of 32",
        (sys.executable, "-m", "benchmarks.scorers.plain_torch", "{folder}", "{models}/plain.pth", "{out}.csv"),
    ),
}


def measure(
    photos: Path | None,
    *,
    camera: int,
    given: int,
    rounds: int,
    scratch: Path,
    one_cpu: bool = True,
    only: Sequence[str] = (),
) -> dict[str, Any]:
    """Let every tool take its turn, so many rounds, and return all that was seen, as JSON can hold it.

    Args:
        photos: a folder with photos below it, a second set to score; None: there is none.
        camera: how many photos of two megapixels to score; they are drawn.
        given: how many of `photos` to score.
        rounds: turns of each.
        scratch: an empty folder for all that is written.
        one_cpu: whether to score the first of the folders on one CPU as well as on all.
        only: keys of SCORERS to measure; none: all.
    """
    folders = {"2 MP": camera_folder(scratch / "camera", count=camera)}
    if photos:
        folders["given"] = flat_folder(photos, scratch / "given", count=given)
    models = scratch / "models"
    env = {
        "SEEFOOD_MODELS": str(ROOT / "models"),
        "YOLO_CONFIG_DIR": str(scratch),
        "YOLO_OFFLINE": "true",
        "YOLO_AUTOINSTALL": "false",
    }
    make = [sys.executable, "-m", "benchmarks.scorers.make_models", str(folders["2 MP"]), str(models)]
    if error := (made := watch(make, limit=_LIMIT, env=env)).error():
        print(f"Some models could not be made: {error}", *made.lines, file=sys.stderr, flush=True)
    warm_up(sys.executable, ["scoring.cli", "fastai.vision.all", "ultralytics.models.yolo.classify"])
    every = sorted(os.sched_getaffinity(0))
    limits = {"all CPUs": every, **({"one CPU": every[:1]} if one_cpu and len(every) > 1 else {})}
    turns = [(folder, cpus) for folder in folders for cpus in limits if cpus == "all CPUs" or folder == "2 MP"]
    scorers = {name: scorer for name, scorer in SCORERS.items() if not only or name in only}
    found: dict[str, dict[str, dict[str, list[dict[str, Any]]]]] = {}
    for turn in range(rounds):
        for (folder, cpus), (name, scorer) in itertools.product(turns, scorers.items()):
            out = scratch / "out" / f"{turn}-{folder}-{cpus}-{name}"
            out.mkdir(parents=True)
            places = {"folder": folders[folder], "models": models, "out": out / "found"}
            command = [part.format(**places) for part in scorer.command]
            seen = _seen(command, {**env, **dict(scorer.env)}, limits[cpus], folders[folder], out)
            found.setdefault(folder, {}).setdefault(cpus, {}).setdefault(name, []).append(seen)
            print(turn, folder, cpus, name, json.dumps(seen), file=sys.stderr, flush=True)
    return {
        "cpus": len(every),
        "versions": {package: importlib.metadata.version(package) for package in PACKAGES},
        "tools": {name: scorer.what for name, scorer in SCORERS.items()},
        "folders": {
            name: {"photos": len(list(folders[name].iterdir())), **{cpus: _compared(by[cpus]) for cpus in by}}
            for name, by in found.items()
        },
    }


def _seen(command: list[str], env: dict[str, str], cpus: list[int], folder: Path, out: Path) -> dict[str, Any]:
    watched = watch(command, limit=_LIMIT, env=env, cpus=cpus)
    if error := watched.error():
        return {"error": error}
    photos, scored = len(list(folder.iterdir())), _scored(out)
    if scored != photos:
        return {"error": f"it scored {scored} of {photos} photos"}
    return {
        "seconds": watched.seconds,
        "photos_per_second": round(photos / watched.seconds, 2),
        "peak_memory_mb": watched.peak_mb,
    }


def _scored(out: Path) -> int:
    """Count the photos in what a tool wrote: a row that begins with the path of each, or a text file for each."""
    tables = list(out.glob("*.csv"))
    if not tables:
        return len(list(out.rglob("labels/*.txt")))
    with tables[0].open(encoding="utf-8", newline="") as file:
        return sum(Path(row[0]).is_file() for row in csv.reader(file))


def _compared(rounds: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Return each tool's rounds with its median rate, and how many times that SeeFood's is."""
    rates = {
        name: statistics.median(seen["photos_per_second"] for seen in each)
        for name, each in rounds.items()
        if not any("error" in seen for seen in each)
    }
    ours = rates.get("seefood")
    return {
        name: {
            "rounds": each,
            "photos_per_second": rates.get(name),
            "seefood_is_times_as_fast": round(ours / rates[name], 2) if ours and name in rates else None,
        }
        for name, each in rounds.items()
    }


@click.command()
@click.argument("photos", required=False, type=click.Path(exists=True, path_type=Path))
@click.option("--camera", default=200, show_default=True, type=click.IntRange(16), help="Photos of two megapixels.")
@click.option("--given", default=200, show_default=True, type=click.IntRange(1), help="How many of PHOTOS.")
@click.option("--rounds", default=1, show_default=True, type=click.IntRange(1))
@click.option("--one-cpu/--all-cpus-alone", default=True, help="Whether to measure on one CPU too.")
@click.option("--only", multiple=True, type=click.Choice(list(SCORERS)), help="Tool to measure; repeatable.")
def main(photos: Path | None, **options: Any) -> None:
    """Measure on drawn camera photos and on PHOTOS, a folder, and print JSON."""
    photos = photos or (DATA if DATA.is_dir() else None)
    with tempfile.TemporaryDirectory() as scratch:
        print(json.dumps(measure(photos, scratch=Path(scratch), **options), indent=2))


if __name__ == "__main__":
    main()
