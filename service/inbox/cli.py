"""The command `seefood inbox`: what the page /review does, for scripts and for people without a browser."""

import getpass
import json
import re
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import click

from service.decoders import Decoders
from service.errors import SeeFoodError
from service.inbox import records, review
from service.inbox.export import export, purge
from service.inbox.records import ACCEPTED, DROPPED, IMPORTED, STATES, WAITING, Decision, Limits, NewPhoto, Sender
from service.inbox.review import Filter
from service.inbox.store import Inbox
from service.photo import PhotoError, find_photos, printable, read_file
from service.settings import Settings

_UNITS = {"h": 3600, "d": 86400}
_NO_LIMIT = 2**62
_Open = Callable[..., Inbox]


@click.group()
@click.option(
    "--inbox", "folder", type=click.Path(path_type=Path), help="Folder of the inbox.  [default: SEEFOOD_FEEDBACK_DIR]"
)
@click.pass_context
def inbox(context: click.Context, folder: Path | None) -> None:
    """List, accept, drop, export and delete the photos that wait for a decision."""
    context.obj = partial(_open, folder)  # not opened here, because --help of a subcommand needs no inbox


@inbox.command("list")
@click.option("--state", type=click.Choice(STATES), default=WAITING, show_default=True, help="State to list.")
@click.option("--reason", type=click.Choice(records.REASONS), help="Only photos stored for this reason.")
@click.option("--sender", help="Only photos that this sender sent or votes for, as 'key 0123456789ab'.")
@click.option("--conflict", is_flag=True, help="Only photos whose senders disagree.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on each line.")
@click.pass_obj
def list_photos(open_inbox: _Open, /, state: str, as_json: bool, **chosen: Any) -> None:
    """List photos, those that are most worth a look first."""
    store = open_inbox()
    found = review.photos(store, Filter(**chosen), state, _NO_LIMIT)
    for photo in found:
        click.echo(json.dumps(photo) if as_json else _line(photo))
    if not as_json:
        counts = review.counts(store, Filter(**chosen))
        click.echo(", ".join(f"{count} {name}" for name, count in counts.items()), err=True)


@inbox.command()
@click.argument("numbers", nargs=-1, required=True, type=click.IntRange(1), metavar="NUMBER...")
@click.option("--label", help="The correct label.  [default: the label that all senders gave]")
@click.pass_obj
def accept(open_inbox: _Open, numbers: tuple[int, ...], label: str | None) -> None:
    """Accept photos for training, by the NUMBERs that the list shows."""
    store, decisions = open_inbox(), {}
    for number, photo in _photos(store, numbers).items():
        voted = {vote["label"] for vote in photo["votes"]}
        if not label and len(voted) != 1:
            raise SeeFoodError(f"Photo {number} has no label that all its senders gave; give one with --label.")
        decisions[number] = Decision(ACCEPTED, label or next(iter(voted)))
    _decide(store, decisions)


@inbox.command()
@click.argument("numbers", nargs=-1, required=True, type=click.IntRange(1), metavar="NUMBER...")
@click.pass_obj
def drop(open_inbox: _Open, numbers: tuple[int, ...]) -> None:
    """Drop photos: they stay until their room is needed, so that the same picture does not wait again."""
    store = open_inbox()
    _decide(store, dict.fromkeys(_photos(store, numbers), Decision(DROPPED)))


@inbox.command("export")
@click.argument("folder", type=click.Path(path_type=Path))
@click.pass_obj
def export_photos(open_inbox: _Open, folder: Path) -> None:
    """Copy the accepted photos into a new image FOLDER, which `seefood train` reads."""
    counts = export(open_inbox(), folder)
    click.echo(f"{folder} has {' and '.join(f'{count} {label}' for label, count in sorted(counts.items()))}.")


@inbox.command("purge")
@click.option("--older-than", "age", required=True, help="Age, as 30d or 12h.")
@click.option("--accepted", "also_accepted", is_flag=True, help="Delete accepted photos too.")
@click.pass_obj
def purge_photos(open_inbox: _Open, age: str, also_accepted: bool) -> None:
    """Delete the photos that were received longer ago than an age, without those that are accepted."""
    match = re.fullmatch(r"(\d{1,6})([dh])", age)
    if not match:
        raise SeeFoodError(f"The age {age!r} is not valid; write days or hours, as 30d or 12h.")
    states = (WAITING, DROPPED, *((ACCEPTED,) if also_accepted else ()))
    click.echo(f"{purge(open_inbox(), int(match[1]) * _UNITS[match[2]], states, _me())} photos deleted.")


@inbox.command("log")
@click.pass_obj
def log(open_inbox: _Open) -> None:
    """Print who decided what, one JSON object on each line, the oldest first."""
    for line in review.audit_lines(open_inbox()):
        click.echo(json.dumps(line))


@inbox.command("import")
@click.argument("folder", type=click.Path(path_type=Path))
@click.pass_obj
def import_photos(open_inbox: _Open, folder: Path) -> None:
    """Add the photos of an image FOLDER, with one subfolder for each label, as corrections that wait for a decision."""
    if not folder.is_dir():
        raise SeeFoodError(f"There is no folder {folder}; name a folder with one subfolder for each label.")
    store, stored, known = open_inbox(is_new=True), 0, 0
    with closing(Decoders(1)) as decoders:
        for path in find_photos(folder):
            if path.is_relative_to(store.path("")):  # earlier versions stored photos beside it
                continue
            label = path.relative_to(folder).parts[0]
            if label == path.name:
                raise SeeFoodError(f"{folder} has photos outside its subfolders, as {path.name}; move them into one.")
            try:
                prepared = decoders.prepare(read_file(path), 1)[0]
            except PhotoError as error:
                click.echo(f"Left out: {printable(path)}: {error}", err=True)
                continue
            new = NewPhoto(prepared.jpeg, ".jpg", prepared.phash)
            receipt = store.add(new, Sender(None, f"import {label}"), IMPORTED, None, label)
            stored, known = stored + (receipt is not None), known + (receipt is None)
    click.echo(f"{stored} photos added, {known} were there already.")


def _open(folder: Path | None, *, is_new: bool = False) -> Inbox:
    settings = Settings.from_env()
    folder = folder or (Path(settings.feedback_dir) if settings.feedback_dir else None)
    if folder is None:
        raise SeeFoodError("No inbox is named; give its folder with --inbox, or set SEEFOOD_FEEDBACK_DIR.")
    if not is_new and not folder.is_dir():
        raise SeeFoodError(f"There is no inbox {folder}; the service makes it with SEEFOOD_FEEDBACK_DIR.")
    store = Inbox(folder, Limits(max_bytes=_NO_LIMIT, key_per_day=_NO_LIMIT, address_per_day=_NO_LIMIT))
    store.open()
    return store


def _photos(store: Inbox, numbers: tuple[int, ...]) -> dict[int, dict[str, Any]]:
    found = {number: review.find(store, number) for number in numbers if number < _NO_LIMIT}
    if missing := [number for number in numbers if not found.get(number)]:
        raise SeeFoodError(f"The inbox has no photo {missing[0]}; `seefood inbox list` shows the numbers.")
    return {number: photo for number, photo in found.items() if photo}


def _decide(store: Inbox, decisions: dict[int, Decision]) -> None:
    before = review.decide(store, decisions, _me())
    for number, decision in decisions.items():
        click.echo(f"{number}: {before.get(number, 'deleted')} -> {decision}")


def _line(photo: dict[str, Any]) -> str:
    model = photo["model"]
    said = f"{model['label']} {model['probability']:.3f}" if model else "-"
    votes = ", ".join(f"{vote['sender']}: {vote['label']}" for vote in photo["votes"]) or "no votes"
    conflict = "  CONFLICT" if photo["conflict"] else ""
    return printable(f"{photo['id']:6}  {photo['received']}  {photo['reason']:10}  model: {said}  {votes}{conflict}")


def _me() -> str:
    try:
        return f"user {getpass.getuser()}"
    except (KeyError, OSError):  # a container may have no name for the user
        return "user"
