"""Charts of the report, as wide as a phone; grey on a transparent background, for light and dark pages."""

import csv
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator, PercentFormatter, StrMethodFormatter
from sklearn.calibration import CalibrationDisplay
from sklearn.metrics import ConfusionMatrixDisplay, PrecisionRecallDisplay, RocCurveDisplay
from torch import Tensor, nn

from service.photo import Pixels, read_photo
from training.data.photos import Photos
from training.evaluation.evaluate import Evaluation
from training.evaluation.learning_curve import LearningCurve
from training.model.classifier import Classifier

YES, NO, GREY = "#2f9e57", "#c0392b", "#808080"
_WIDTH = 5.0  # inches; text of 11 points is then 10 px high on a screen of 360 px
_STYLE: Any = {
    "figure.dpi": 150,
    "font.size": 11,
    "savefig.transparent": True,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), GREY),
    "axes.facecolor": "none",
    "legend.facecolor": "none",
    "legend.edgecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
}
mpl.rcParams.update(_STYLE)


def training_curves(table: Path | None) -> dict[str, Figure]:
    """Draw loss and validation metrics by epoch from a CSV table; None: no figures."""
    if table is None:
        return {}
    with table.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    figures = {}
    for title, names in (("loss", ("loss", "val_loss")), ("validation", ("val_accuracy", "val_auc"))):
        figures[title], axes = _chart()
        for name, colour in zip(names, (GREY, YES), strict=True):
            points = [(int(row["epoch"]) + 1, float(row[name])) for row in rows if row.get(name)]
            if points:
                axes.plot(*zip(*points, strict=True), "o-", markersize=4, color=colour, label=name.replace("_", " "))
                axes.legend()
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figures


def learning_curve_figure(curve: LearningCurve) -> Figure:
    """Draw the error rate by the number of training photos: random subsets, and the fitted laws up to the forecast."""
    figure, axes = _chart()
    total = curve.counts[-1]
    last = total + (curve.forecast.more if curve.forecast else 0)
    for count, errors in zip(curve.counts, curve.errors, strict=True):
        axes.plot([count] * len(errors), errors, "o", markersize=3, color=GREY, alpha=0.6)
    axes.plot(curve.counts, curve.means, "o", color=YES, label="mean of the subsets")
    for first, end, line, colour, label in (
        (curve.counts[0], total, "-", YES, "fitted law, 95% interval"),
        (total, last, "--", NO, "more photos"),
    ):
        if first < end:
            counts = np.geomspace(first, end, 50)
            low, middle, high = curve.band(counts)
            axes.plot(counts, middle, line, color=colour, label=label)
            axes.fill_between(counts, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.set(xlabel="training photos", ylabel="error on held-out photos", xscale="log")
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xticks([*curve.counts, *([last] if last > total else [])])
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.legend(fontsize=10)
    return figure


def prediction_charts(evaluation: Evaluation, labels: tuple[str, str], threshold: float) -> dict[str, Figure]:
    """Draw the scores and, if there are both classes, confusion matrix, ROC, precision-recall and reliability."""
    truth, probabilities = evaluation.targets, evaluation.probabilities
    figures = {"scores": _scores(truth, probabilities, labels, threshold)}
    if min(evaluation.photos) == 0:
        return figures
    figures["confusion"], matrix = _chart()
    predicted = probabilities >= threshold
    ConfusionMatrixDisplay.from_predictions(
        truth, predicted, display_labels=[labels[1], labels[0]], ax=matrix, colorbar=False, cmap="Greens"
    )
    matrix.set(xlabel="prediction", ylabel="label")
    matrix.tick_params(axis="y", labelrotation=90)  # long names would leave no space for the matrix
    for tick in matrix.get_yticklabels():
        tick.set_verticalalignment("center")

    true_positives, false_positives = (predicted & (truth == 1)).sum(), (predicted & (truth == 0)).sum()
    chosen: Any = {"color": NO, "label": f"threshold {threshold:.3g}"}
    figures["roc"], roc = _chart()
    RocCurveDisplay.from_predictions(truth, probabilities, ax=roc, name="model", curve_kwargs={"color": YES})
    roc.plot(false_positives / (truth == 0).sum(), true_positives / truth.sum(), "o", **chosen)
    roc.set(xlabel="false positive rate", ylabel="recall", aspect="auto")

    figures["precision-recall"], recall = _chart()
    PrecisionRecallDisplay.from_predictions(truth, probabilities, ax=recall, name="model", curve_kwargs={"color": YES})
    recall.plot(true_positives / truth.sum(), true_positives / max(predicted.sum(), 1), "o", **chosen)
    recall.set(xlabel="recall", ylabel="precision", aspect="auto")

    figures["reliability"], reliability = _chart()
    CalibrationDisplay.from_predictions(truth, probabilities, n_bins=10, ax=reliability, color=YES, name="model")
    reliability.lines[0].set_color(GREY)  # the default, black, is invisible on a dark page
    reliability.set(xlabel=f"P({labels[0]}) as answered", ylabel=f"share that is {labels[0]}")
    for axes in (roc, recall, reliability):
        axes.legend(fontsize=10)
    return figures


def _scores(truth: npt.NDArray[Any], scores: npt.NDArray[Any], labels: tuple[str, str], threshold: float) -> Figure:
    figure, axes = _chart()
    for target, label, colour in ((1, labels[0], YES), (0, labels[1], NO)):
        if (truth == target).any():
            axes.hist(scores[truth == target], bins=20, range=(0, 1), alpha=0.6, color=colour, label=label)
    axes.axvline(threshold, color=GREY, linestyle=":", label=f"threshold {threshold:.3g}")
    axes.set(xlabel=f"P({labels[0]})", ylabel="photos")
    axes.legend(fontsize=10)
    return figure


def samples(photos: Photos, size: int, rows: int = 2, columns: int = 4) -> Figure:
    """Show some photos of each class, evenly spaced over the folder, as the network sees them."""
    classes = {
        label: np.flatnonzero(photos.targets == target)
        for target, label in ((1, photos.positive), (0, photos.negative))
        if (photos.targets == target).any()
    }
    figure, axes = _pictures(rows * len(classes), columns, 1.25)
    for number, (label, found) in enumerate(classes.items()):
        spread = np.linspace(0, len(found) - 1, min(rows * columns, len(found))).astype(int)
        plots = axes[rows * number : rows * (number + 1)]
        plots[0, 0].set_title(label, loc="left")
        for plot, index in zip(plots.flat, found[spread], strict=False):
            plot.imshow(read_photo(photos.paths[index].read_bytes(), size))
    return figure


def first_kernels(classifier: Classifier, columns: int = 8) -> Figure:
    """Show the kernels of the first convolution."""
    first = next(module for module in classifier.features.modules() if isinstance(module, nn.Conv2d))
    weights = first.weight.detach().float().numpy()
    figure, axes = _pictures(-(-len(weights) // columns), columns, _WIDTH / columns)
    for plot, kernel in zip(axes.flat, weights, strict=False):
        plot.imshow((0.5 + kernel / (2 * np.abs(kernel).max() + 1e-3)).transpose(1, 2, 0), interpolation="nearest")
    return figure


def feature_maps(classifier: Classifier, pixels: Pixels, channels: int = 5) -> Figure:
    """Show a photo, uint8 [S, S, 3], and its most active channels at the last stage of each grid size."""
    stages: dict[tuple[int, ...], tuple[str, Tensor]] = {}
    with torch.inference_mode():
        maps = classifier.normalize(torch.tensor(pixels[None]))
        for name, stage in classifier.features.named_children():
            maps = stage(maps)
            stages[tuple(maps.shape[2:])] = name, maps[0]
    figure, axes = _pictures(len(stages), channels + 1, 1.05)
    for row, (name, tensor) in zip(axes, stages.values(), strict=True):
        activations = tensor.numpy()
        row[0].imshow(pixels)
        row[0].set_title(f"{name}: {' x '.join(map(str, activations.shape))}", loc="left")
        strongest = activations.mean(axis=(1, 2)).argsort()[::-1][:channels]
        for plot, channel in zip(row[1:], strongest, strict=False):
            plot.imshow(activations[channel], cmap="magma", interpolation="nearest")
    return figure


def _chart() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_WIDTH, 0.75 * _WIDTH), layout="constrained")
    return figure, figure.subplots()


def _pictures(rows: int, columns: int, height: float) -> tuple[Figure, npt.NDArray[Any]]:
    """Return a figure of rows of pictures without axes; `height` is that of a row in inches."""
    figure = Figure(figsize=(_WIDTH, height * rows), layout="constrained")
    axes: npt.NDArray[Any] = figure.subplots(rows, columns, squeeze=False)
    for plot in axes.flat:
        plot.axis("off")
    return figure, axes
