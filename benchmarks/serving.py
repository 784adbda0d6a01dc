"""Against whom: SeeFood and its peers with the same weights and photos, side by side, turn by turn.

    python -m benchmarks --only serving

SeeFood runs all the time. Each peer is started, and one photo size after the other is asked of the peer and, right
after, of SeeFood, whoever is not asked being held still. So each ratio is of two figures seconds apart, and a machine
that slows down hits both. Then the next peer, and so on; and all that again.
"""

import json
import os
import struct
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.contenders import LIMIT, PEERS, SEEFOOD, Contender
from benchmarks.limit import limit
from benchmarks.load import Body, load
from benchmarks.photos import SIZES, photo
from benchmarks.processes import Running, running
from benchmarks.weights import prepare

OPEN = "0.3 MP"  # what an open load is made of
CLIENTS, OPEN_CLIENTS = 8, 64
SHARE = 0.8  # of what a contender just did with CLIENTS, asked of it at a fixed rate
WARM_UP = 1


def measure(models: Path, *, seconds: float, rounds: int) -> dict[str, Any]:
    """Return what was seen of every contender.

    Returns:
        contenders: by name, `versions`, `command`, `errors` of turns that came to nothing, and `turns`: of each,
            `ready_seconds`, `open` and, by photo size, what the load saw with `cpu_ms` for each photo, `memory_mb`,
            and `seefood`: answers a second that SeeFood gave right after.
        answers: by name, P(hotdog) of one photo, so that all can be seen to have the same network.
    """
    photos = {name: photo(size) for name, size in SIZES.items()}
    contenders: dict[str, Any] = {
        peer.name: {"versions": peer.versions(), "command": _command(peer), "turns": [], "errors": []}
        for peer in (SEEFOOD, *PEERS)
    }
    limits: list[dict[str, Any]] = []
    answers: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        prepare(models, folder)
        settings = {"BENCH_WEIGHTS": str(folder), "SEEFOOD_MODELS": str(models)}
        raw = {name: Body.of(data, folder) for name, data in photos.items()}
        with running(SEEFOOD, raw[OPEN], settings=settings) as own:
            answers[SEEFOOD.name] = _probability(own.ask(raw[OPEN])[1])
            for _ in range(rounds):
                limits.append(_limit_turn(models, photos, own, raw, seconds))
                contenders[SEEFOOD.name]["turns"].append(_own_turn(own, raw, seconds))
                for peer in PEERS:
                    bodies = {name: Body.of(data, folder, peer.form, peer.headers) for name, data in photos.items()}
                    found = contenders[peer.name]
                    try:
                        with running(peer, bodies[OPEN], settings=settings) as theirs:
                            answers[peer.name] = _probability(theirs.ask(bodies[OPEN])[1])
                            found["turns"].append(_turn(theirs, bodies, own, raw, seconds))
                    except RuntimeError as error:
                        found["errors"].append(str(error))
                    _say(peer.name, found)
    return {"contenders": contenders, LIMIT: limits, "answers": answers, "clients": CLIENTS, "seconds": seconds}


def _turn(
    theirs: Running, bodies: dict[str, Body], own: Running, raw: dict[str, Body], seconds: float
) -> dict[str, Any]:
    turn: dict[str, Any] = {"ready_seconds": theirs.ready_seconds}
    for name, body in bodies.items():
        with own.paused():
            turn[name] = _closed(theirs, body, seconds)
            if not turn[name]["per_second"]:
                raise RuntimeError(f"{theirs.contender.name} answered no photo of {name} in {seconds:g} seconds")
            if name == OPEN:
                turn["open"] = _open(theirs, body, turn[name]["per_second"], seconds)
        with theirs.paused():
            turn[name]["seefood"] = _rate(own, raw[name], seconds)
    return turn


def _own_turn(own: Running, raw: dict[str, Body], seconds: float) -> dict[str, Any]:
    turn: dict[str, Any] = {"ready_seconds": own.ready_seconds}
    for name, body in raw.items():
        turn[name] = _closed(own, body, seconds)
    return turn | {"open": _open(own, raw[OPEN], turn[OPEN]["per_second"], seconds)}


def _limit_turn(
    models: Path, photos: dict[str, bytes], own: Running, raw: dict[str, Body], seconds: float
) -> dict[str, Any]:
    cpus = len(os.sched_getaffinity(0))
    turn: dict[str, Any] = {}
    for name, data in photos.items():
        with own.paused():
            whole = limit(models, data, processes=cpus, seconds=seconds)
            inference = limit(models, data, processes=cpus, seconds=seconds, decode=False)
        turn[name] = {
            "per_second": round(whole, 3),
            "inference": round(inference, 3),
            "seefood": _rate(own, raw[name], seconds),
        }
    return turn


def _closed(run: Running, body: Body, seconds: float) -> dict[str, Any]:
    before, _ = run.usage()
    seen = load(run.url, body, clients=CLIENTS, seconds=seconds, warm_up=WARM_UP)
    after, memory = run.usage()
    return {
        **seen,
        "cpu_ms": round((after - before) * 1000 / max(1, seen["answered"]), 2),
        "memory_mb": round(memory),
    }


def _rate(own: Running, body: Body, seconds: float) -> float:
    return float(load(own.url, body, clients=CLIENTS, seconds=seconds, warm_up=WARM_UP)["per_second"])


def _open(run: Running, body: Body, per_second: float, seconds: float) -> dict[str, Any]:
    rate = round(SHARE * per_second, 2)
    seen = load(run.url, body, clients=OPEN_CLIENTS, seconds=seconds, rate=rate, warm_up=WARM_UP) if rate else {}
    return {"rate": rate, **seen}


def _probability(text: bytes) -> float:
    """Read P(hotdog) from an answer: SeeFood's, a list, an object, or Triton's, whose last four bytes it is."""
    if b'"parameters":{"binary_data_size":4}' in text:
        return float(struct.unpack("<f", text[-4:])[0])
    answer = json.loads(text)
    if isinstance(answer, list):
        return float(answer[0])
    return float(answer["probability"] if "probability" in answer else answer["predictions"][0]["probability"])


def _command(contender: Contender) -> str:
    return " ".join(contender.command).replace(f"{Path(sys.executable).parent}/", "")


def _say(name: str, found: dict[str, Any]) -> None:
    last = found["turns"][-1] if found["turns"] else {}
    seen = ", ".join(f"{size} {last[size]['per_second']} (SeeFood {last[size]['seefood']})" for size in SIZES if last)
    print(f"{name}: {seen or found['errors']}", flush=True)
