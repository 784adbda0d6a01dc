"""The texts of the page: every language has every text, and no text is missing or unused."""

import json
import re

import pytest

from tests.fixtures.page import WEB, check_translation

LANGUAGES = {path.stem: json.loads(path.read_text("utf-8")) for path in (WEB / "languages").glob("*.json")}
SOURCES = "\n".join(path.read_text("utf-8") for path in [WEB / "index.html", *WEB.glob("*.js")])


def test_the_languages_are_those_of_the_switch() -> None:
    names = re.search(r"const NAMES = (\{.*\})", SOURCES)
    assert names
    assert set(LANGUAGES) == set(re.findall(r'"?([\w-]+)"?: "', names[1])) == {"en", "pt-BR", "es"}


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_has_the_texts_of_the_others(language: str) -> None:
    check_translation(LANGUAGES[language], LANGUAGES["en"])


def test_every_text_that_the_page_names_exists() -> None:
    named = set(re.findall(r'data-(?:text|label|alt)="([^"]+)"', SOURCES)) | set(
        re.findall(r'\btext\("([^"]+)"', SOURCES)
    )
    assert len(named) > 20
    assert named <= set(LANGUAGES["en"])
    of_problems = re.search(r"const FAILURES = (\{.*?\});", SOURCES, re.DOTALL)
    assert of_problems
    failures = re.findall(r'new Failure\("([\w-]+)"\)', SOURCES) + re.findall(r': "([\w-]+)"', of_problems[1])
    assert failures
    for kind in failures:
        assert {f"error.{kind}", f"error.{kind}.detail"} <= set(LANGUAGES["en"]), kind


def test_every_text_is_used() -> None:
    for key in LANGUAGES["en"]:
        start = key.split(".")[0]
        if start not in ("label", "error", "privacy", "phone", "source"):  # the page composes their names
            assert f'"{key}"' in SOURCES, key
