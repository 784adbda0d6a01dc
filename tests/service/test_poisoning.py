"""An attacker with one key sends 500 wrong labels: quota, votes and review keep them out of what is exported."""

from pathlib import Path

import pytest
from flask.testing import FlaskClient

from service.inbox import review
from service.inbox.export import accepted, export
from service.inbox.records import Decision
from service.inbox.review import Filter
from service.inbox.senders import key_id
from tests.conftest import MakeClient
from tests.fixtures.command import seefood
from tests.fixtures.drawing import draw, encode
from tests.fixtures.inbox import make_inbox
from training.data.photos import find_labelled

ATTACKER, HONEST, OTHER = "the-attackers-key", "an-honest-key", "another-honest-key"
SENT, QUOTA, HONEST_PHOTOS = 500, 40, 12


def _send(client: FlaskClient, key: str, label: str, motif: str, seed: int) -> int:
    photo = encode(draw(motif, seed), quality=80)
    header = {"Authorization": f"Bearer {key}"}
    answer = client.post(f"/v1/feedback?label={label}", data=photo, content_type="image/jpeg", headers=header)
    return answer.status_code


@pytest.mark.slow
def test_wrong_labels_of_one_key_are_kept_out_of_the_export(make_client: MakeClient, tmp_path: Path) -> None:
    folder = tmp_path / "inbox"
    settings = {
        "feedback_dir": str(folder),
        "feedback_per_key": QUOTA,
        "api_keys": f"{ATTACKER},{HONEST},{OTHER}",
    }
    service = make_client(**settings)
    for seed in range(HONEST_PHOTOS):
        assert _send(service, HONEST, "hotdog", "hotdog", seed) == 201
        assert _send(service, OTHER, "hotdog", "hotdog", seed) == 201, "a second vote for the same picture"

    # Burgers as hotdogs, and the votes of honest senders contradicted.
    answers = [_send(service, ATTACKER, "not_hotdog", "hotdog", seed) for seed in range(HONEST_PHOTOS)]
    answers += [_send(service, ATTACKER, "hotdog", "not_hotdog", seed) for seed in range(SENT - HONEST_PHOTOS)]
    assert len(answers) == SENT
    assert answers.count(201) == QUOTA, "the quota stops the others"
    assert answers.count(429) == SENT - QUOTA

    inbox, attacker = make_inbox(folder), f"key {key_id(ATTACKER.encode())}"
    assert accepted(inbox) == [], "nothing is trained on before a review"
    assert review.counts(inbox, Filter(sender=attacker))["waiting"] == QUOTA
    conflicts = review.photos(inbox, Filter(conflict=True), "waiting", 999)
    assert len(conflicts) == HONEST_PHOTOS, "contradicted photos are shown as conflicts"
    refused = seefood(tmp_path, "inbox", "--inbox", folder, "accept", conflicts[0]["id"])
    assert "no label that all its senders gave" in refused.stderr, "no label is accepted by a careless command"

    # The reviewer decides conflicts by looking, and drops the rest of the attacker at once, as the page does.
    decisions = {photo["id"]: Decision("accepted", "hotdog") for photo in conflicts}
    review.decide(inbox, decisions, "reviewer")
    rest = review.photos(inbox, Filter(sender=attacker), "waiting", 999)
    review.decide(inbox, {photo["id"]: Decision("dropped") for photo in rest}, "reviewer")
    assert export(inbox, tmp_path / "out") == {"hotdog": HONEST_PHOTOS}
    exported = find_labelled(tmp_path / "out", "hotdog", "not_hotdog")
    wrong = {photo["file"] for photo in review.photos(inbox, Filter(), "dropped", 999)}
    assert len(wrong) == QUOTA - HONEST_PHOTOS
    assert not wrong & {path.name for path in exported.paths}

    # The same pictures do not wait again, and the quota holds after a restart.
    again = make_client(**settings)
    assert _send(again, ATTACKER, "hotdog", "not_hotdog", 400) == 429
    assert _send(again, HONEST, "not_hotdog", "not_hotdog", 0) == 201
    assert review.counts(inbox, Filter())["waiting"] == 0, "a dropped picture stays dropped"
