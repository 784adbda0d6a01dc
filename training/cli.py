"""The commands of the training extra: train, retrain, learn-curve, check, evaluate, inspect and models."""

import json
import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import reduce
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from service import shadow_record
from service.errors import SeeFoodError
from service.model import Model, open_model
from service.photo import printable
from service.registry import CURRENT, INSIDE, POINTERS, SHADOW, current_version, find_model, version_of
from service.settings import Settings
from service.shadow_record import Pair
from training.config import BACKBONE, BACKBONE_NAMES, SEED, WEIGHTS, Hyperparameters, ThresholdTarget, TrainConfig
from training.registry import store
from training.registry.table import tabulate
from training.terminal import align, with_heading

_PATH = click.Path(path_type=Path)
_Command = Callable[..., None]


def _options(*options: Callable[[_Command], _Command]) -> Callable[[_Command], _Command]:
    """Return one decorator for several options that more than one command has."""
    return lambda command: reduce(lambda done, option: option(done), reversed(options), command)


_photo_options = _options(
    click.option("--positive", help="Positive class.  [default: hotdog]"),
    click.option("--extra", "extras", multiple=True, type=_PATH, help="Folder with more training photos; repeatable."),
    click.option("--test", "tests", multiple=True, type=_PATH, help="Folder with test photos; repeatable."),
)
_network_options = _options(
    click.option(
        "--backbone",
        default=BACKBONE,
        show_default=True,
        metavar="NAME",
        help=f"{', '.join(BACKBONE_NAMES)}, or timm/NAME for a convolutional network of timm.",
    ),
    click.option(
        "--weights",
        default=WEIGHTS,
        show_default=True,
        help="imagenet (a download), none, or the path of a state_dict.",
    ),
    click.option(
        "--labels", "label_list", type=_PATH, help="CSV file of corrected labels with the columns sha256,label,reason."
    ),
    click.option("--models", type=_PATH, help="Model registry to use.  [default: SEEFOOD_MODELS, or models]"),
    click.option("--seed", default=SEED, show_default=True, type=click.IntRange(0, 2**32 - 1), help="Random seed."),
)
_fit_options = _options(
    click.option("--teacher", "teachers", multiple=True, type=_PATH, help="ONNX file for distillation; repeatable."),
    click.option("--drop-suspects", "drop_label_issues", is_flag=True, help="Leave out photos that look mislabelled."),
    click.option(
        "--epochs",
        default=Hyperparameters.epochs,
        show_default=True,
        type=click.IntRange(0),
        help="Number of epochs; 0 trains a linear probe only.",
    ),
    click.option(
        "--freeze", metavar="STAGE", help="Last pretrained stage that is not trained, e.g. layer2 of a ResNet."
    ),
    click.option(
        "--aim",
        default="accuracy",
        show_default=True,
        help="Metric that chooses the threshold: accuracy, precision=0.99 or recall=0.95.",
    ),
    click.option(
        "--prevalence",
        type=click.FloatRange(0, 1, min_open=True, max_open=True),
        help="Expected share of positive photos, for calibration and threshold.  "
        "[default: that of the validation photos]",
    ),
    click.option(
        "--seeds",
        "fits",
        default=1,
        show_default=True,
        type=click.IntRange(1),
        help="Number of fits, each with the next seed; the best is kept.",
    ),
)


@click.command()
@click.argument("folder", type=_PATH)
@_photo_options
@click.option(
    "--inbox", type=_PATH, help="Folder of an inbox; its accepted photos are training photos too, except one in five."
)
@_network_options
@_fit_options
@click.option("--resume", metavar="RUN", help="Resume an interrupted run.")
def train(**options: Any) -> None:
    """Train a classifier on a FOLDER with two subfolders of photos, and export it."""
    config = _train_config(options)
    _require_training()
    from training.model.devices import is_main_process
    from training.train import train

    with _log_to_stderr(logging.INFO if is_main_process() else logging.WARNING):
        version, evaluations = train(config)
    if not is_main_process():
        return
    for name, evaluation in evaluations.items():
        click.echo(f"\n{name}: {sum(evaluation.photos)} photos")
        _print_metrics(evaluation.metrics)
    click.echo(f"\nThe new version is {config.models / version}; card.md in it has its metrics.")
    if current_version(config.models) != version:
        click.echo(f"Try it:   seefood predict --model {version} PHOTO")
        click.echo(f"Serve it: seefood models promote {version} --test FOLDER")


def _train_config(options: dict[str, Any]) -> TrainConfig:
    """Return the configuration of a run from the options of the command line; raises SeeFoodError."""
    aim, epochs, freeze, models = (options.pop(name) for name in ("aim", "epochs", "freeze", "models"))
    return TrainConfig(
        threshold_target=ThresholdTarget.parse(aim),
        models=models or Settings.from_env().models,
        hyperparameters=Hyperparameters(epochs=epochs, freeze=freeze),
        **options,
    )


@click.command()
@click.argument("folder", type=_PATH)
@click.option("--inbox", required=True, type=_PATH, help="Folder of an inbox with accepted photos.")
@click.option(
    "--when", default="accepted=200", show_default=True, help="Number of new accepted photos that starts a training."
)
@click.option(
    "--hard-negatives", multiple=True, type=_PATH, help="Folder of photos for the comparison only; repeatable."
)
@_photo_options
@_network_options
@_fit_options
def retrain(when: str, hard_negatives: tuple[Path, ...], **options: Any) -> None:
    """Train on FOLDER and accepted photos if there are enough new ones, and compare the candidate; it is not promoted.

    The exit status is 0 if there is nothing to do or the candidate is not worse, and 3 if it is worse.
    """
    config = _train_config(options)
    _require_training()
    from training.report.comparison_report import PAGE
    from training.retrain import parse_condition, retrain

    needed = parse_condition(when)
    with _log_to_stderr(logging.INFO):
        done = retrain(config, needed, hard_negatives)
    if not done.version:
        click.echo(f"{done.new} accepted photos are new, and {needed} are needed; nothing was trained.")
        return
    click.echo(f"{done.version} is not worse: {done.comparison}.")
    click.echo(f"{config.models / done.version / PAGE} shows the photos that change.")
    click.echo(f"Serve it: seefood models promote {done.version} --test FOLDER")


@click.command()
@click.argument("folder", type=_PATH)
@_photo_options
@_network_options
@click.option("--more", type=click.IntRange(1), help="Number of additional photos.  [default: as many again]")
@click.option(
    "--out", default="learning-curve", show_default=True, type=_PATH, help="Folder for the plot and the points."
)
def learn_curve(more: int | None, out: Path, models: Path | None, **options: Any) -> None:
    """Estimate what more photos would bring to a training FOLDER, with linear probes on growing parts of it."""
    _require_training()
    from training.learn_curve import CURVE_JSON, CURVE_PNG, learn_curve

    config = TrainConfig(models=models or Settings.from_env().models, **options)
    with _log_to_stderr(logging.INFO):
        curve = learn_curve(config, out, more)
    click.echo(f"{curve}\nThe plot is {out / CURVE_PNG}, the points are in {out / CURVE_JSON}.")


@click.command()
@click.argument("folder", type=_PATH)
@_photo_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def check(folder: Path, as_json: bool, **options: Any) -> None:
    """Find damaged, duplicate, contradictory, small and blank photos in a training FOLDER; nothing is changed."""
    _require_training()
    from training.data.cache import CACHE, Cache
    from training.data.checks import check_photos
    from training.data.photos import gather

    models = Settings.from_env().models
    data = gather(folder, **options)
    cache = Cache(models / CACHE if os.access(models, os.W_OK) else None)
    findings = check_photos(data.photos, data.held_out(), cache)
    if as_json:
        click.echo(json.dumps(findings.as_dict(), indent=2))
        return
    for name, count in findings.photos.items():
        click.echo(f"{count:7} photos of {name}")
    for kind, paths in findings.by_kind().items():
        click.echo(f"{len(paths):7} {kind}")
        for path in paths:
            click.echo(f"        {printable(path)}: {findings.left_out.get(path, 'It is kept.')}")
    click.echo(f"{len(findings.left_out):7} photos that training leaves out")


@click.command()
@click.argument("folders", nargs=-1, required=True, type=_PATH, metavar="FOLDER...")
@click.option("--model", default="", help="Version, phone or ONNX file.  [default: SEEFOOD_MODEL, or current]")
@click.option("--slices", "only_slices", is_flag=True, help="Print only the metrics of each kind of photos.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def evaluate(folders: tuple[Path, ...], model: str, only_slices: bool, as_json: bool) -> None:
    """Evaluate a model on each FOLDER with subfolders named by its labels, through the code that serves."""
    _require_training()
    from training.evaluation.evaluate import evaluate
    from training.evaluation.tables import positive_tables, slice_tables

    settings = Settings.from_env()
    opened = _open(model or settings.model, settings)
    evaluations = {printable(folder): evaluate(opened, folder) for folder in folders}
    for evaluation in evaluations.values():
        for path, reason in evaluation.unreadable.items():
            click.echo(f"Left out: {printable(path)}: {reason}", err=True)
    _warn_of_leakage(opened, folders)
    labels = opened.metadata.positive_label, opened.metadata.negative_label
    if as_json:
        found = {folder: evaluation.as_dict() for folder, evaluation in evaluations.items()}
        (first, *others) = found.values()
        shown = {"folders": found} if others else first
        click.echo(json.dumps({"version": opened.metadata.version, **shown}, indent=2))
        return
    if only_slices:
        tables = positive_tables(evaluations, labels[0])
        click.echo("\n\n".join(with_heading(rows) for rows in tables.values()))
        return
    for number, (folder, evaluation) in enumerate(evaluations.items()):
        positive, negative = evaluation.photos
        separator = "\n" if number else ""
        click.echo(f"{separator}{opened.path}: {positive} {labels[0]} and {negative} {labels[1]} photos of {folder}")
        _print_metrics(evaluation.metrics)
        for rows in slice_tables(evaluation.slices).values():
            click.echo(f"\n{with_heading(rows)}")


@click.command()
@click.argument("model", default="")
@click.option("--onnx", "as_onnx", is_flag=True, help="Write the ONNX file for the page /inside instead.")
@click.option("--output", type=_PATH, help="File that --onnx writes.  [default: inside.onnx beside the model]")
def inspect(model: str, as_onnx: bool, output: Path | None) -> None:
    """Show the layers of a MODEL: a version, phone or an ONNX file; default: SEEFOOD_MODEL, or current."""
    _require_training()
    from training.export.inside import write_inside
    from training.export.layer_table import HEADING, read_layers

    settings = Settings.from_env()
    path = find_model(settings.models, model or settings.model, "float32")
    if output and not as_onnx:
        raise SeeFoodError("--output names the file that --onnx writes; add --onnx.")
    if as_onnx:
        output = output or path.with_name(INSIDE)
        write_inside(path, output)
        click.echo(f"{output}: {output.stat().st_size / 1e6:.1f} MB. The page /inside of the service shows it.")
        return
    layers = read_layers(path)
    heading = tuple(name.upper() for name in HEADING)
    click.echo(f"{path}\n\n{align([heading, *(layer.cells() for layer in layers)], right=range(2, len(heading)))}")
    total, dense = sum(layer.parameters for layer in layers), sum(layer.fully_connected for layer in layers)
    click.echo(
        f"\n{total:,} parameters. Fully connected layers of the same sizes would have {dense:,}, "
        f"{dense // total:,} times as many.\nFIELD is the receptive field: the side, in pixels of the photo, of the "
        "square that one output depends on.\nA convolution depends on a small window, and uses the same weights at "
        "every position."
    )


_MIN_SHADOW_PHOTOS = 500
_pointer = click.option(
    "--as", "pointer", default=CURRENT, show_default=True, type=click.Choice(tuple(POINTERS)), help="Pointer to set."
)


@click.group(invoke_without_command=True)
@click.pass_context
def models(context: click.Context) -> None:
    """List the versions of the registry, the current one with a star; promote a version, or roll back."""
    if context.invoked_subcommand is None:
        _list_versions()


@models.command("list")
def list_versions() -> None:
    """List the versions, as `seefood models` does."""
    _list_versions()


@models.command()
@click.argument("version")
@click.option("--test", "tests", multiple=True, type=_PATH, help="Folder of photos for the comparison; repeatable.")
@click.option(
    "--shadow-agreement",
    "agreement",
    type=click.FloatRange(0, 1),
    help="Minimum share of live photos on which VERSION and the present version agreed, e.g. 0.98.",
)
@click.option(
    "--min-photos",
    type=click.IntRange(1),
    help=f"Minimum number of live photos for --shadow-agreement.  [default: {_MIN_SHADOW_PHOTOS}]",
)
@_pointer
@click.option("--force", is_flag=True, help="Promote even if there is no comparison or the version is worse.")
def promote(
    version: str,
    tests: tuple[Path, ...],
    agreement: float | None,
    min_photos: int | None,
    pointer: str,
    force: bool,
) -> None:
    """Set current or phone to a VERSION, unless a comparison shows that it is worse than the present one.

    --test compares both on labelled photos, --shadow-agreement on what the shadow has recorded of live photos.
    """
    if min_photos is not None and agreement is None:
        raise SeeFoodError("--min-photos counts the photos of --shadow-agreement; add --shadow-agreement 0.98.")
    settings = Settings.from_env()
    version = version_of(settings.models, version)
    reasons: list[str] = []
    if not (settings.models / pointer).exists():
        reasons.append(f"the first {pointer} version, without another one for a comparison")
        given = {"--test": bool(tests), "--shadow-agreement": agreement is not None}
        if ignored := " and ".join(option for option in given if given[option]):
            sentence = f"There is no {pointer} version to compare {version} with, so {ignored} had no effect."
            click.echo(sentence, err=True)
        tests, agreement = (), None
    if agreement is not None:
        reasons.append(_shadow_gate(settings.models, pointer, version, agreement, min_photos, force=force))
    if tests:
        _require_training()
        from training.evaluation.comparison import compare

        in_use, candidate = _open(pointer, settings), _open(version, settings)
        comparison = compare(in_use, candidate, tests)
        for model in (in_use, candidate):
            _warn_of_leakage(model, tests)
        if comparison.worse and not force:
            raise SeeFoodError(f"{version} is worse: {comparison}; promote it anyway with --force.")
        reasons.append(f"{'forced: ' if comparison.worse else ''}{comparison}")
    if not reasons and not force:
        raise SeeFoodError("Give labelled photos for a comparison with --test FOLDER, or promote without with --force.")
    why = "; ".join(reasons) or "forced, without a comparison"
    store.promote(settings.models, version, why, pointer)
    click.echo(f"{version} is {pointer}: {why}.")


@models.command()
@_pointer
def rollback(pointer: str) -> None:
    """Undo the last promotion of current or phone."""
    click.echo(f"{store.rollback(Settings.from_env().models, pointer)} is {pointer} again.")


@models.command()
@click.argument("version", default="")
@click.option("--off", is_flag=True, help="Remove the shadow.")
def shadow(version: str, off: bool) -> None:
    """Let services compare a VERSION with the one that they serve; without VERSION, show what is recorded."""
    folder = Settings.from_env().models
    if version and off:
        raise SeeFoodError("VERSION and --off can't be combined; give one of them.")
    if off:
        store.set_shadow(folder, None)
        click.echo("No version is the shadow.")
        return
    if version:
        version = version_of(folder, version)
        store.set_shadow(folder, version)
    version, served = version_of(folder, SHADOW), current_version(folder)
    photos, agreed = shadow_record.read(folder, Pair(version, served))
    click.echo(f"{version} is the shadow of {served}: they agreed on {agreed} of {photos} photos.")


def _shadow_gate(
    folder: Path, pointer: str, version: str, agreement: float, min_photos: int | None, *, force: bool
) -> str:
    """Return what the shadow has recorded of a version and the present one; raises SeeFoodError if it is too little."""
    served, needed = version_of(folder, pointer), min_photos or _MIN_SHADOW_PHOTOS
    photos, agreed = shadow_record.read(folder, Pair(version, served))
    found = f"the shadow {version} agreed with {served} on {agreed} of {photos} live photos"
    if photos >= needed and agreed >= agreement * photos:
        return found
    if force:
        return f"forced: {found}"
    share = f" ({agreed / photos:.4f})" if photos else ""
    raise SeeFoodError(
        f"{version} is not promoted: {found}{share}, but {needed} photos and an agreement of {agreement} are needed; "
        "wait for more photos, look at the disagreements in the inbox, or promote it with --force."
    )


def _list_versions() -> None:
    folder = Settings.from_env().models
    found = store.versions(folder)
    if not found:
        raise SeeFoodError(f"There is no version in {folder}; make one with seefood train FOLDER.")
    columns = shutil.get_terminal_size(fallback=(120, 24)).columns
    click.echo(f"{tabulate(folder, found, columns)}\n\nMetrics are those on the validation photos.")


def _open(model: str, settings: Settings) -> Model:
    return open_model(settings.models, model, settings.device, settings.precision)


def _warn_of_leakage(model: Model, folders: Sequence[Path]) -> None:
    """Print a warning if a model was trained with some of the test photos."""
    from training.data.photos import find_all_labelled
    from training.evaluation.leakage import count_leaked

    photos = find_all_labelled(folders, model.metadata.positive_label, model.metadata.negative_label)
    if leaked := count_leaked(model.path.parent, photos):
        click.echo(
            f"Warning: {leaked} of {len(photos)} photos are training photos of {model.metadata.version}, so its "
            "results are too good; use other photos.",
            err=True,
        )


def _require_training() -> None:
    if find_spec("torch") is None or find_spec("lightning") is None:
        raise SeeFoodError(
            "This command needs PyTorch; run pip install '.[train]' in a clone, or use the image seefood:train."
        )


def _print_metrics(metrics: Mapping[str, object]) -> None:
    """Print one line for each metric."""
    for name, metric in metrics.items():
        click.echo(f"  {name.replace('_', ' '):20} {metric}")


@contextmanager
def _log_to_stderr(level: int) -> Iterator[None]:
    """Write the log lines of training to stderr, without prefix, until the block ends."""
    logger, handler = logging.getLogger("training"), logging.StreamHandler(sys.stderr)
    old_level = logger.level
    logger.addHandler(handler)
    logger.setLevel(level)
    logger.propagate = False  # a library adds a handler to the root logger during the export
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(old_level)
        logger.propagate = True
