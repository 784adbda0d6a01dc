"""Votes: what senders say a photo shows, and which photos are worth a look first."""

import sqlite3
import time


def vote(db: sqlite3.Connection, photo: int, sender: str, label: str) -> int:
    """Set the vote of a sender for a photo; a sender has one, the last. Returns its number."""
    row = db.execute(
        "INSERT INTO votes (photo, sender, label, voted) VALUES (?, ?, ?, ?) "
        "ON CONFLICT (photo, sender) DO UPDATE SET label = excluded.label, voted = excluded.voted RETURNING id",
        (photo, sender, label, time.time()),
    ).fetchone()
    return int(row[0])


def update_rank(db: sqlite3.Connection, photo: int) -> None:
    """Compute the rank of a photo, when it is new or its votes have changed."""
    row = db.execute("SELECT positive, probability, unfamiliar FROM photos WHERE id = ?", (photo,)).fetchone()
    labels = [each[0] for each in db.execute("SELECT label FROM votes WHERE photo = ?", (photo,))]
    verdict = None if row["probability"] is None else (row["probability"], row["positive"])
    db.execute("UPDATE photos SET rank = ? WHERE id = ?", (rank(verdict, bool(row["unfamiliar"]), labels), photo))


def rank(verdict: tuple[float, str] | None, unfamiliar: bool, labels: list[str]) -> float:
    """Return how much a look at a photo is worth: doubt x novelty x votes.

    Doubt, in [0, 1], is the larger one of how unsure the model is and how far its probability is from a vote.
    Novelty is 2 for a photo unlike those of training, else 1. The factor for votes is 1 plus their number.

    Args:
        verdict: the probability of the positive label, and that label; None: there is no model's verdict.
        unfamiliar: whether the photo is unlike the training photos.
        labels: the votes.
    """
    doubt = 0.5
    if verdict:
        probability, positive = verdict
        distances = [abs((label == positive) - probability) for label in labels]
        doubt = max([2 * min(probability, 1 - probability), *distances])
    return doubt * (2 if unfamiliar else 1) * (1 + len(labels))
