"""The line of figures at the top of README.md and README.pt-BR.md."""

import json
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.serving.contenders import LIMIT
from benchmarks.serving_tables import standings

MARKS = ("<!-- figures -->", "<!-- end of figures -->")
TEMPLATES = {
    "README.md": (
        "**{accuracy} accuracy** on {photos} public photos like those that we expect from new users ({hotdogs} show a "
        "hotdog, recall {recall}); {scraped} on {scraped_photos} scraped photos, some with doubtful labels. **{small} "
        "photos/s** of 0.3 MP and **{large} photos/s** of 12 MP on {cpus} CPUs in int8 ({small_float32} and "
        "{large_float32} in float32). The fastest other servers use float32, as in the examples of their "
        "documentation: {small_peer} photos/s of 0.3 MP ({small_name}) and {large_peer} of 12 MP ({large_name})."
    ),
    "README.pt-BR.md": (
        "**{accuracy} de acurácia** em {photos} fotos públicas como as que esperamos de novos usuários ({hotdogs} "
        "mostram um cachorro-quente, recall {recall}); {scraped} em {scraped_photos} fotos coletadas da web, algumas "
        "com rótulos duvidosos. **{small} fotos/s** de 0,3 MP e **{large} fotos/s** de 12 MP em {cpus} CPUs em int8 "
        "({small_float32} e {large_float32} em float32). Os outros servidores mais rápidos usam float32, como nos "
        "exemplos da documentação deles: {small_peer} fotos/s de 0,3 MP ({small_name}) e {large_peer} de 12 MP "
        "({large_name})."
    ),
}
_OURS = ("SeeFood", "SeeFood, float32")


def write(folder: Path) -> None:
    """Write the line into both READMEs of a checkout, from the JSON files in its benchmarks/."""
    measured = folder / "benchmarks"
    results, shipped = (json.loads((measured / name).read_text()) for name in ("results.json", "shipped.json"))
    for name in TEMPLATES:
        report.write(results, folder / name, partial(line, shipped=shipped, name=name), MARKS)


def line(results: dict[str, Any], shipped: dict[str, Any], name: str) -> str:
    """Return the line for a README.

    Args:
        results: the content of results.json.
        shipped: the content of shipped.json.
        name: file name of the README, which decides the language.
    """
    figures: dict[str, Any] = {"cpus": results["serving"]["machine"]["cpus"]}
    for prefix, size in (("small", "0.3 MP"), ("large", "12 MP")):
        rates = {one.name: one.rates[size] for one in standings(results["serving"]) if one.name != LIMIT}
        int8, float32 = (rates.pop(ours) for ours in _OURS)
        peer = max(rates, key=lambda name: rates[name])
        figures |= {prefix: f"{int8:.0f}", f"{prefix}_float32": f"{float32:.0f}"}
        figures |= {f"{prefix}_peer": f"{rates[peer]:.0f}", f"{prefix}_name": peer.partition(",")[0]}
    folders = shipped["models"]["current"]["files"]["int8"]["folders"]
    users, scraped = folders["data/stranger_test"], folders["data/test"]
    shares = {"accuracy": users["accuracy"], "recall": users["recall"], "scraped": scraped["accuracy"]}
    counts = {"photos": users["photos"], "scraped_photos": scraped["photos"]}
    figures |= {key: _local(f"{100 * share['value']:.1f}%", name) for key, share in shares.items()}
    figures |= {key: _local(f"{sum(photos.values()):,}", name) for key, photos in counts.items()}
    return TEMPLATES[name].format(hotdogs=users["photos"]["positive"], **figures)


def _local(number: str, name: str) -> str:
    """Exchange points and commas in a number for Portuguese."""
    return number.translate(str.maketrans(".,", ",.")) if "pt" in name else number
