"""Compare SeeFood with its peers, with the same weights and photos, in turns.

SeeFood runs all the time. Each peer is started in turn. For each photo size, the load is sent to the peer and then to
SeeFood, while the other one is paused. Each ratio is therefore of two rates that were measured seconds apart.
"""

import json
import os
import struct
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.photos import SIZES, photo
from benchmarks.serving.contenders import LIMIT, SEEFOOD, Contender
from benchmarks.serving.limit import limit
from benchmarks.serving.load import Body, load
from benchmarks.serving.running import Running, running
from benchmarks.serving.weights import prepare

_OPEN = "0.3 MP"  # photo size of the open load
_CLIENTS, _OPEN_CLIENTS = 8, 64
_SHARE = 0.8  # rate of the open load, relative to the rate with _CLIENTS
_WARM_UP = 1


def measure(models: Path, peers: Sequence[Contender], *, seconds: float, rounds: int) -> dict[str, Any]:
    """Measure SeeFood and its peers.

    Returns:
        contenders: by name `versions`, `command`, `errors` of failed turns, and `turns`. A turn has `ready_seconds`,
            `open`, and by photo size the result of `load` with `cpu_ms` per photo, `memory_mb`, and `seefood`: photos
            per second of SeeFood right after.
        answers: by name P(hotdog) of one photo, which shows that all run the same network.
    """
    photos = {name: photo(size) for name, size in SIZES.items()}
    contenders: dict[str, Any] = {
        each.name: {"versions": each.versions(), "command": _command(each), "turns": [], "errors": []}
        for each in (SEEFOOD, *peers)
    }
    limits: list[dict[str, Any]] = []
    answers: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        prepare(models, folder)
        settings = {"BENCH_WEIGHTS": str(folder), "SEEFOOD_MODELS": str(models)}
        raw = {name: Body.of(data, folder) for name, data in photos.items()}
        with running(SEEFOOD, raw[_OPEN], settings=settings) as own:
            answers[SEEFOOD.name] = _probability(own.ask(raw[_OPEN]))
            for _ in range(rounds):
                limits.append(_limit_turn(models, photos, own, raw, seconds))
                contenders[SEEFOOD.name]["turns"].append(_turn(own, raw, seconds))
                for peer in peers:
                    bodies = {name: Body.of(data, folder, peer.form, peer.headers) for name, data in photos.items()}
                    found = contenders[peer.name]
                    try:
                        with running(peer, bodies[_OPEN], settings=settings) as theirs:
                            answers[peer.name] = _probability(theirs.ask(bodies[_OPEN]))
                            found["turns"].append(_peer_turn(theirs, bodies, own, raw, seconds))
                    except RuntimeError as error:
                        found["errors"].append(str(error))
                    print(peer.name, len(found["turns"]), "turns", *found["errors"], flush=True)
    return {"contenders": contenders, LIMIT: limits, "answers": answers, "clients": _CLIENTS, "seconds": seconds}


def _peer_turn(
    theirs: Running, bodies: dict[str, Body], own: Running, raw: dict[str, Body], seconds: float
) -> dict[str, Any]:
    turn: dict[str, Any] = {"ready_seconds": theirs.ready_seconds}
    for name, body in bodies.items():
        with own.paused():
            turn |= _loads(theirs, name, body, seconds)
        with theirs.paused():
            turn[name]["seefood"] = _rate(own, raw[name], seconds)
    return turn


def _turn(own: Running, raw: dict[str, Body], seconds: float) -> dict[str, Any]:
    turn: dict[str, Any] = {"ready_seconds": own.ready_seconds}
    for name, body in raw.items():
        turn |= _loads(own, name, body, seconds)
    return turn


def _loads(run: Running, name: str, body: Body, seconds: float) -> dict[str, Any]:
    """Return the closed load of a photo size by its name, and for one size the open load."""
    before, _ = run.usage()
    closed = load(run.url, body, clients=_CLIENTS, seconds=seconds, warm_up=_WARM_UP)
    after, memory = run.usage()
    if not closed["per_second"]:
        raise RuntimeError(f"{run.contender.name} answered no photo of {name} in {seconds:g} seconds")
    cpu_ms = round((after - before) * 1000 / max(1, closed["answered"]), 2)
    found: dict[str, Any] = {name: {**closed, "cpu_ms": cpu_ms, "memory_mb": round(memory)}}
    if name == _OPEN:
        rate = round(_SHARE * closed["per_second"], 2)
        opened = load(run.url, body, clients=_OPEN_CLIENTS, seconds=seconds, rate=rate, warm_up=_WARM_UP)
        found["open"] = {"rate": rate, **opened}
    return found


def _limit_turn(
    models: Path, photos: dict[str, bytes], own: Running, raw: dict[str, Body], seconds: float
) -> dict[str, Any]:
    cpus = len(os.sched_getaffinity(0))
    turn: dict[str, Any] = {}
    for name, data in photos.items():
        with own.paused():
            both = limit(models, data, processes=cpus, seconds=seconds)
            inference = limit(models, data, processes=cpus, seconds=seconds, decode=False)
        rates = {"per_second": round(both, 3), "inference": round(inference, 3)}
        turn[name] = {**rates, "seefood": _rate(own, raw[name], seconds)}
    return turn


def _rate(own: Running, body: Body, seconds: float) -> float:
    return float(load(own.url, body, clients=_CLIENTS, seconds=seconds, warm_up=_WARM_UP)["per_second"])


def _probability(text: bytes) -> float:
    """Read P(hotdog) from an answer; Triton's ends with it as a float32."""
    if b'"parameters":{"binary_data_size":4}' in text:
        return float(struct.unpack("<f", text[-4:])[0])
    answer = json.loads(text)
    if isinstance(answer, list):
        return float(answer[0])
    return float(answer["probability"] if "probability" in answer else answer["predictions"][0]["probability"])


def _command(contender: Contender) -> str:
    return " ".join(contender.command).replace(f"{contender.environment}/bin/", "")
