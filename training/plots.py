"""The pictures of a report, each one figure; axes are grey on nothing, so that they show on light and on dark pages."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.calibration import CalibrationDisplay
from sklearn.metrics import ConfusionMatrixDisplay, PrecisionRecallDisplay, RocCurveDisplay

from service.model import Model
from service.photo import Pixels, read_photo
from training.evaluate import Evaluation, Mistake
from training.folders import Photos
from training.network import Classifier

YES, NO, GREY = "#2f9e57", "#c0392b", "#8a8a8a"
_STYLE: Any = {
    "figure.dpi": 110,
    "font.size": 9,
    "savefig.transparent": True,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), GREY),
    "axes.facecolor": "none",
    "legend.facecolor": "none",
    "legend.edgecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
}
mpl.rcParams.update(_STYLE)


def learning_curves(table: Path) -> Figure:
    """Draw loss, and accuracy and area under the ROC curve on the validation photos, by epoch."""
    with table.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    figure, ((left, right),) = _charts(1, 2, 8, 3)
    for axes, names in ((left, ("loss", "val_loss")), (right, ("val_accuracy", "val_auc"))):
        for name, colour in zip(names, (GREY, YES), strict=True):
            points = [(int(row["epoch"]) + 1, float(row[name])) for row in rows if row.get(name)]
            axes.plot(*zip(*points, strict=True), "o-", markersize=3, color=colour, label=name.replace("_", " "))
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend()
    return figure


def decisions(evaluation: Evaluation, labels: tuple[str, str], threshold: float) -> Figure:
    """Draw confusion matrix, ROC and precision-recall curve with the chosen point, reliability, and the scores."""
    truth, probabilities = evaluation.targets, evaluation.probabilities
    figure, axes = _charts(2, 3, 10.5, 6.6)
    (matrix, roc, recall), (reliability, scores, nothing) = axes
    verdicts = probabilities >= threshold
    ConfusionMatrixDisplay.from_predictions(
        truth, verdicts, display_labels=[labels[1], labels[0]], ax=matrix, colorbar=False, cmap="Greens"
    )
    matrix.set(xlabel="verdict", ylabel="label")
    said, hits, alarms = verdicts.sum(), (verdicts & (truth == 1)).sum(), (verdicts & (truth == 0)).sum()
    RocCurveDisplay.from_predictions(truth, probabilities, ax=roc, curve_kwargs={"color": YES})
    roc.plot(alarms / (truth == 0).sum(), hits / truth.sum(), "o", color=NO, label=f"threshold {threshold:.3g}")
    roc.set(xlabel="false positive rate", ylabel="recall")
    PrecisionRecallDisplay.from_predictions(truth, probabilities, ax=recall, curve_kwargs={"color": YES})
    recall.plot(hits / truth.sum(), hits / max(said, 1), "o", color=NO, label=f"threshold {threshold:.3g}")
    recall.set(xlabel="recall", ylabel="precision")
    CalibrationDisplay.from_predictions(truth, probabilities, n_bins=10, ax=reliability, color=YES, name="model")
    reliability.lines[0].set_color(GREY)  # the diagonal is black by default, on any ground
    reliability.set(xlabel=f"P({labels[0]}) as answered", ylabel=f"share that is {labels[0]}")
    for target, label, colour in ((1, labels[0], YES), (0, labels[1], NO)):
        scores.hist(probabilities[truth == target], np.linspace(0, 1, 21), alpha=0.6, color=colour, label=label)
    scores.axvline(threshold, color=GREY, linestyle=":")
    scores.set(xlabel=f"P({labels[0]})", ylabel="photos")
    for plot in (roc, recall, reliability, scores):
        plot.legend(fontsize=7)
    nothing.axis("off")
    return figure


def samples(photos: Photos, size: int, each: int = 8) -> Figure:
    """Show some photos of both classes as the network sees them."""
    figure, axes = _pictures(2, each, 10.5, 3)
    for row, target, label in zip(axes, (1, 0), (photos.positive, photos.negative), strict=True):
        chosen = np.flatnonzero(photos.targets == target)[:each]
        for plot, index in zip(row, chosen, strict=False):
            plot.imshow(_read(photos.paths[index], size))
        row[0].set_title(label, loc="left")
    return figure


def worst_mistakes(model: Model, mistakes: Sequence[Mistake], columns: int = 6) -> Figure:
    """Show the surest wrong verdicts, each with its class activation map below: red speaks for the positive label."""
    shown = mistakes[: 2 * columns]
    rows = -(-len(shown) // columns)
    figure, axes = _pictures(2 * rows, columns, 10.5, 3.9 * rows)
    pixels = np.stack([_read(mistake.path, model.size) for mistake in shown])
    _, heatmaps = model.run(pixels)
    for number, (mistake, photo, heatmap) in enumerate(zip(shown, pixels, heatmaps, strict=True)):
        row, column = 2 * (number // columns), number % columns
        axes[row, column].imshow(photo)
        axes[row, column].set_title(f"{mistake.path.parent.name}: {mistake.probability:.2f}", fontsize=8)
        _overlay(axes[row + 1, column], photo, heatmap)
    return figure


def first_kernels(classifier: Classifier) -> Figure:
    """Show the kernels of the first convolution: edges, colours and their directions."""
    weights = next(classifier.features.parameters()).detach().float().numpy()
    count = len(weights)
    columns = 16
    figure, axes = _pictures(-(-count // columns), columns, 8, 0.52 * -(-count // columns))
    for plot, kernel in zip(axes.flat, weights, strict=False):
        plot.imshow((0.5 + kernel / (2 * np.abs(kernel).max() + 1e-3)).transpose(1, 2, 0), interpolation="nearest")
    return figure


def feature_maps(classifier: Classifier, pixels: Pixels, channels: int = 8) -> Figure:
    """Show one photo, uint8 [S, S, 3], on its way through the stages: the strongest channels after each of them."""
    stages: list[tuple[str, npt.NDArray[np.float32]]] = []
    with torch.inference_mode():
        maps = (torch.tensor(pixels[None]).permute(0, 3, 1, 2).float() - classifier.mean) / classifier.std
        for name, stage in classifier.features.named_children():
            maps = stage(maps)
            if name == "relu" or name.startswith("layer"):
                stages.append(("conv1" if name == "relu" else name, maps[0].numpy()))
    figure, axes = _pictures(len(stages), channels + 1, 10.5, 1.25 * len(stages))
    for row, (name, activations) in zip(axes, stages, strict=True):
        row[0].imshow(pixels)
        row[0].set_title(f"{name}: {' x '.join(map(str, activations.shape))}", loc="left", fontsize=8)
        strongest = activations.mean(axis=(1, 2)).argsort()[::-1][:channels]
        for plot, channel in zip(row[1:], strongest, strict=False):
            plot.imshow(activations[channel], cmap="magma", interpolation="nearest")
    return figure


def _charts(rows: int, columns: int, width: float, height: float) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def _pictures(rows: int, columns: int, width: float, height: float) -> tuple[Figure, Any]:
    figure, axes = _charts(rows, columns, width, height)
    for plot in axes.flat:
        plot.axis("off")
    return figure, axes


def _overlay(plot: Axes, photo: Pixels, heatmap: npt.NDArray[np.float32]) -> None:
    """Lay the evidence over a photo, the stronger the less can be seen through it."""
    side, strongest = len(photo), np.abs(heatmap).max() + 1e-9
    plot.imshow(photo)
    plot.imshow(
        heatmap,
        cmap="bwr",
        vmin=-strongest,
        vmax=strongest,
        alpha=0.75 * np.abs(heatmap) / strongest,
        interpolation="bilinear",
        extent=(0, side, side, 0),
    )


def _read(path: Path, size: int) -> Pixels:
    return read_photo(path.read_bytes(), size)
