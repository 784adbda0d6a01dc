"""Score a folder with an exported fastai learner, with `test_dl` and `get_preds`."""

import csv
from pathlib import Path

import click
from fastai.vision.all import get_image_files, load_learner


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
def main(folder: Path, model: Path, out: Path) -> None:
    """Write the probabilities of the photos of FOLDER into OUT, a CSV file."""
    learner = load_learner(model)
    files = get_image_files(folder)
    with learner.no_bar():
        probabilities, _ = learner.get_preds(dl=learner.dls.test_dl(files))
    with out.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([path, *row] for path, row in zip(files, probabilities.tolist(), strict=True))


if __name__ == "__main__":
    main()
