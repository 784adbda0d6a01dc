"""Metadata survives the way into a file's properties and back."""

import pytest

from service.metadata import Metadata
from tests.fixtures.tiny_model import METADATA


def test_there_and_back() -> None:
    properties = METADATA.to_properties()
    assert all(isinstance(value, str) for value in properties.values())
    assert Metadata.from_properties(properties) == METADATA


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"threshold": None}, "the property 'threshold' is missing"),
        ({"threshold": "half"}, "the property 'threshold' is not JSON: 'half'"),
        ({"schema_version": "2"}, "schema_version is '2', not '1'"),
        ({"schema_version": None}, "schema_version is None, not '1'"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, str | None], sentence: str) -> None:
    properties = {**METADATA.to_properties(), **change}
    with pytest.raises(ValueError) as caught:
        Metadata.from_properties({key: value for key, value in properties.items() if value is not None})
    assert str(caught.value) == sentence
