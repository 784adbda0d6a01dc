"""Metadata is converted to properties and back, and invalid properties are named."""

import json
from dataclasses import replace

import pytest

from service.metadata import Metadata
from tests.fixtures.tiny_model import METADATA


def test_properties_round_trip() -> None:
    properties = METADATA.to_properties()
    assert all(isinstance(value, str) for value in properties.values())
    assert json.loads(properties["familiarity_level"]) == METADATA.familiarity_level
    assert Metadata.from_properties(properties) == METADATA


def test_metadata_without_a_familiarity_level_round_trips() -> None:
    old = replace(METADATA, familiarity_level=None)
    properties = old.to_properties()
    assert "familiarity_level" not in properties
    assert Metadata.from_properties(properties) == old


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"threshold": None}, "the property 'threshold' is missing"),
        ({"threshold": "half"}, "the property 'threshold' is not JSON: 'half'"),
        ({"threshold": '"half"'}, "the property 'threshold' is not a finite number: '\"half\"'"),
        ({"familiarity_level": "low"}, "the property 'familiarity_level' is not JSON: 'low'"),
        *(
            ({"familiarity_level": text}, f"the property 'familiarity_level' is not a finite number: {text!r}")
            for text in ("NaN", "Infinity", "-1e999", "true", "null", '"1"', "[1]")
        ),
        ({"threshold": "2"}, "the property 'threshold' is not between 0 and 1: 2"),
        ({"uncertain_low": "-0.1"}, "the property 'uncertain_low' is not between 0 and 1: -0.1"),
        ({"reference_probability": "7"}, "the property 'reference_probability' is not between 0 and 1: 7"),
        ({"temperature": "0"}, "the property 'temperature' is not above 0: 0"),
        ({"schema_version": "2"}, "schema_version is '2', not '1'"),
        ({"schema_version": None}, "schema_version is None, not '1'"),
    ],
)
def test_an_invalid_property_is_named(change: dict[str, str | None], sentence: str) -> None:
    properties = {**METADATA.to_properties(), **change}
    with pytest.raises(ValueError) as caught:
        Metadata.from_properties({key: value for key, value in properties.items() if value is not None})
    assert str(caught.value) == sentence
