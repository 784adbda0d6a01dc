"""The commands that the training extra adds to `seefood`: train, evaluate, models."""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from service.errors import SeeFoodError
from service.model import open_model
from service.photo import printable
from service.registry import CURRENT, POINTERS, current_version, find_model, version_of
from service.settings import Settings
from training.config import BACKBONE, BACKBONE_NAMES, SEED, WEIGHTS, Aim, Job
from training.recipe import Recipe
from training.registry.store import store as registry
from training.registry.table import tabulate
from training.text_table import Row, aligned


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--backbone",
    default=BACKBONE,
    show_default=True,
    metavar="NAME",
    help=f"{', '.join(BACKBONE_NAMES)}, or timm/NAME for a convolutional network of timm.",
)
@click.option(
    "--weights", default=WEIGHTS, show_default=True, help="imagenet (a download), none, or the path of a state_dict."
)
@click.option("--positive", help="Class to say yes to.  [default: hotdog]")
@click.option(
    "--extra", "extras", multiple=True, type=click.Path(path_type=Path), help="Folder with more photos; repeatable."
)
@click.option(
    "--test", "tests", multiple=True, type=click.Path(path_type=Path), help="Folder for the final figures; repeatable."
)
@click.option("--labels", type=click.Path(path_type=Path), help="CSV list of corrected labels: sha256,label,reason.")
@click.option(
    "--teacher",
    "teachers",
    multiple=True,
    type=click.Path(path_type=Path),
    help="ONNX file to learn from beside the labels; repeatable: their mean.",
)
@click.option("--drop-suspects", is_flag=True, help="Fit without the photos that look mislabelled.")
@click.option("--models", type=click.Path(path_type=Path), help="Registry to add to; SEEFOOD_MODELS, else models.")
@click.option(
    "--epochs",
    default=Recipe.epochs,
    show_default=True,
    type=click.IntRange(0),
    help="Times the photos are seen; 0: a linear probe.",
)
@click.option("--freeze", metavar="STAGE", help="Last pretrained stage that stays as it is, as layer2 of a ResNet.")
@click.option("--aim", default="accuracy", show_default=True, help="Of the threshold; or precision=0.99, recall=0.95.")
@click.option(
    "--prevalence",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Share of positives that users will show, for calibration and threshold.  [default: that of the photos]",
)
@click.option("--seed", default=SEED, show_default=True, type=click.IntRange(0, 2**32 - 1), help="Of all randomness.")
@click.option(
    "--seeds",
    "fits",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="Fits, each with the next seed; the best is kept.",
)
@click.option("--resume", metavar="RUN", help="Go on with a run that was interrupted.")
def train(models: Path | None, aim: str, epochs: int, freeze: str | None, **given: Any) -> None:
    """Fine-tune a network on a FOLDER with two subfolders of photos, and export it."""
    asked = Aim.parse(aim)
    _require_training()
    from training.model import distributed as ranks
    from training.train import train

    models = models or Settings.from_env().models
    job = Job(models=models, aim=asked, recipe=Recipe(epochs=epochs, frozen=freeze), **given)
    version, evaluations = train(job, say=lambda line: click.echo(line, err=True))
    if not ranks.leads():
        return
    for name, evaluation in evaluations.items():
        click.echo(f"\n{name}: {sum(evaluation.photos)} photos")
        _print_metrics(evaluation.metrics)
    click.echo(f"\nThe new version is {models / version}; its card.md says what it measured.")
    if current_version(models) != version:
        click.echo(f"Ask it with   seefood predict --model {version} PHOTO")
        click.echo(f"Serve it with seefood models promote {version} --test FOLDER")


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--positive", help="Class to say yes to.  [default: hotdog]")
@click.option("--extra", "extras", multiple=True, type=click.Path(path_type=Path), help="As for seefood train.")
@click.option("--test", "tests", multiple=True, type=click.Path(path_type=Path), help="As for seefood train.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def check(folder: Path, as_json: bool, **given: Any) -> None:
    """Look at a training FOLDER: damaged, doubled, contradictory, small and blank photos. Nothing is changed."""
    _require_training()
    from training.data.checks import CACHE, check
    from training.data.folders import gather

    models = Settings.from_env().models
    data = gather(folder, **given)
    findings = check(data.photos, data.held_back(), models / CACHE if os.access(models, os.W_OK) else None)
    if as_json:
        click.echo(json.dumps(findings.as_dict(), indent=2))
        return
    for name, count in findings.photos.items():
        click.echo(f"{count:7} photos of {name}")
    for what, paths in findings.by_kind().items():
        click.echo(f"{len(paths):7} {what}")
        for path in paths:
            click.echo(f"        {printable(path)}: {findings.left_out.get(path, 'It stays in.')}")
    click.echo(f"{len(findings.left_out):7} photos that training leaves out")


@click.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FOLDER...")
@click.option("--model", default="", help="Version, phone or ONNX file; SEEFOOD_MODEL, else the current version.")
@click.option("--slices", "only_slices", is_flag=True, help="Print only what is made of each kind of photos.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def evaluate(folders: tuple[Path, ...], model: str, only_slices: bool, as_json: bool) -> None:
    """Measure a model on each FOLDER with subfolders named by its labels, through the code that serves."""
    _require_training()
    from training.evaluation.evaluate import evaluate, slice_tables, verdict_tables

    settings = Settings.from_env()
    opened = open_model(settings.models, model or settings.model, settings.device, settings.precision)
    evaluations = {printable(folder): evaluate(opened, folder) for folder in folders}
    for evaluation in evaluations.values():
        for path, reason in evaluation.unreadable.items():
            click.echo(f"Left out: {printable(path)}: {reason}", err=True)
    labels = opened.metadata.positive_label, opened.metadata.negative_label
    if as_json:
        found = {folder: evaluation.as_dict() for folder, evaluation in evaluations.items()}
        (one, *others) = found.values()
        shown = {"folders": found} if others else one
        click.echo(json.dumps({"version": opened.metadata.version, **shown}, indent=2))
        return
    if only_slices:
        tables = verdict_tables(evaluations, labels[0])
        click.echo("\n\n".join(_headed(rows) for rows in tables.values()))
        return
    for number, (folder, evaluation) in enumerate(evaluations.items()):
        positive, negative = evaluation.photos
        before = "\n" if number else ""
        click.echo(f"{before}{opened.path}: {positive} {labels[0]} and {negative} {labels[1]} photos of {folder}")
        _print_metrics(evaluation.metrics)
        for rows in slice_tables(evaluation.slices).values():
            click.echo(f"\n{_headed(rows)}")


@click.command()
@click.argument("model", default="")
def inspect(model: str) -> None:
    """Show a MODEL (a version, phone or an ONNX file; none: the current one) layer by layer."""
    _require_training()
    from training.export.layer_table import HEADING, layers

    settings = Settings.from_env()
    path = find_model(settings.models, model or settings.model, "float32")
    found = layers(path)
    heading = tuple(name.upper() for name in HEADING)
    click.echo(f"{path}\n\n{aligned([heading, *(layer.cells() for layer in found)], right=range(2, len(heading)))}")
    total, dense = sum(layer.parameters for layer in found), sum(layer.fully_connected for layer in found)
    click.echo(
        f"\n{total:,} parameters; layers that are fully connected instead would have {dense:,}, "
        f"{dense // total:,} times as many.\nSEES is the receptive field: the side, in pixels of the photo, of the "
        "square that one output looks at.\nA convolution looks at a small window and uses the same weights "
        "everywhere; that is all the difference."
    )


_pointer = click.option(
    "--as",
    "pointer",
    default=CURRENT,
    show_default=True,
    type=click.Choice(tuple(POINTERS)),
    help="Which of the registry's two names the version gets.",
)


@click.group(invoke_without_command=True)
@click.pass_context
def models(context: click.Context) -> None:
    """List the versions of the registry, the current one with a star; promote one, or roll back."""
    if context.invoked_subcommand is None:
        _list_versions()


@models.command("list")
def list_versions() -> None:
    """List the versions, as `seefood models` alone does."""
    _list_versions()


@models.command()
@click.argument("version")
@click.option(
    "--test", "tests", multiple=True, type=click.Path(path_type=Path), help="Photos to compare on; repeatable."
)
@_pointer
@click.option("--force", is_flag=True, help="Promote without a comparison, or against it; the history says so.")
def promote(version: str, tests: tuple[Path, ...], pointer: str, force: bool) -> None:
    """Have current or phone name a VERSION, unless it is worse on the photos of --test than the one named now."""
    settings = Settings.from_env()
    version = version_of(settings.models, version)
    why = "forced, without a comparison"
    if not (settings.models / pointer).exists():
        why = f"the first {pointer} version, with none to compare it with"
    elif tests:
        _require_training()
        from training.evaluation.comparison import compare

        in_use = open_model(settings.models, pointer, settings.device, settings.precision)
        candidate = open_model(settings.models, version, settings.device, settings.precision)
        trial = compare(in_use, candidate, tests)
        if trial.worse and not force:
            raise SeeFoodError(f"{version} is worse: {trial}; --force promotes it all the same.")
        why = f"{'forced: ' if trial.worse else ''}{trial}"
    elif not force:
        raise SeeFoodError("Name labelled photos to compare on with --test FOLDER, or promote unseen with --force.")
    registry.promote(settings.models, version, why, pointer)
    click.echo(f"{version} is {pointer}: {why}.")


@models.command()
@_pointer
def rollback(pointer: str) -> None:
    """Undo the last promotion of current or phone."""
    click.echo(f"{registry.rollback(Settings.from_env().models, pointer)} is {pointer} again.")


def _list_versions() -> None:
    folder = Settings.from_env().models
    found = registry.versions(folder)
    if not found:
        raise SeeFoodError(f"There is no version in {folder}; make one with seefood train FOLDER.")
    columns = shutil.get_terminal_size(fallback=(120, 24)).columns
    click.echo(f"{tabulate(folder, found, columns)}\n\nFigures are those on the validation photos.")


def _headed(rows: Sequence[Row]) -> str:
    return aligned([tuple(cell.upper() for cell in rows[0]), *rows[1:]], right=[1])


def _print_metrics(metrics: Mapping[str, object]) -> None:
    for name, metric in metrics.items():
        click.echo(f"  {name.replace('_', ' '):20} {metric}")


def _require_training() -> None:
    if find_spec("torch") is None or find_spec("lightning") is None:
        raise SeeFoodError("This command needs the training packages; pip install '.[train]'.")
