"""Tables of evaluations, as text cells with the heading first, for the terminal, the card and the report."""

from collections.abc import Mapping, Sequence

from training.evaluation.evaluate import Evaluation, Slice
from training.terminal import Row

_METRICS = ("accuracy", "recall", "false_positive_rate", "unfamiliar")


def slice_tables(slices: Sequence[Slice]) -> dict[str, list[Row]]:
    """Return a table of the slices for `source` and one for `kind`; metrics that no slice has are omitted."""
    tables = {}
    for by in sorted({each.by for each in slices}, reverse=True):
        parts = [each for each in slices if each.by == by]
        shown = [name for name in _METRICS if any(name in part.metrics for part in parts)]
        heading = (by, "photos", *(name.replace("_", " ") for name in shown))
        rows = [
            (part.name, str(sum(part.photos)), *(str(part.metrics.get(name, "-")) for name in shown)) for part in parts
        ]
        tables[by] = [heading, *rows]
    return tables


def positive_tables(evaluations: Mapping[str, Evaluation], positive_label: str) -> dict[str, list[Row]]:
    """Return a table of the kinds, and one of the sources if there are any, of one or several folders.

    Each row has the share of negative photos that are called positive, the recall, and the share of unfamiliar photos;
    columns that no slice has are omitted. The least accurate slices are first. The table of kinds ends with a row for
    all photos of each folder.
    """
    tables = {}
    for by in ("kind", "source"):
        parts = [(folder, part) for folder, found in evaluations.items() for part in found.slices if part.by == by]
        parts.sort(key=lambda each: each[1].metrics["accuracy"].value)
        if by == "kind":
            parts += [(folder, _all(found)) for folder, found in evaluations.items()]
        titles = {"false_positive_rate": f"called {positive_label}", "recall": "recall", "unfamiliar": "unfamiliar"}
        shown = [name for name in titles if any(name in part.metrics for _, part in parts)]
        rows = [(by, "photos", *(titles[name] for name in shown), "folder")]
        for folder, part in parts:
            cells = (str(part.metrics.get(name, "-")) for name in shown)
            rows.append((part.name, str(sum(part.photos)), *cells, folder))
        if parts:
            tables[by] = rows if len(evaluations) > 1 else [row[:-1] for row in rows]
    return tables


def comparison_table(new: Evaluation, old: Evaluation, labels: tuple[str, str], old_version: str) -> list[Row]:
    """Return a table of two models on the same folder, by kind and label; all photos of each label are last.

    Each row has the share of its photos that each model calls positive: the recall of the positive photos, and the
    false positive rate of the negative ones.

    Args:
        new: evaluation of this version.
        old: evaluation of the other version on the same photos.
        labels: the positive and the negative label.
        old_version: name of the other version.
    """
    new_parts, old_parts = ([*(part for part in each.slices if part.by == "kind"), _all(each)] for each in (new, old))
    old_metrics = {part.name: part.metrics for part in old_parts}
    called = f"called {labels[0]}"
    rows: list[Row] = [
        ("kind", "label", "photos", f"{called}, this version", f"{called}, version {old_version} before")
    ]
    for part in new_parts:
        for label, count, name in zip(labels, part.photos, ("recall", "false_positive_rate"), strict=True):
            if count:
                cells = (str(metrics.get(name, "-")) for metrics in (part.metrics, old_metrics.get(part.name, {})))
                rows.append((part.name, label, str(count), *cells))
    return rows


def _all(evaluation: Evaluation) -> Slice:
    return Slice("kind", "(all)", evaluation.photos, evaluation.metrics)
