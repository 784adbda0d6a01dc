"""What a model file says of itself: the ONNX metadata properties, as one typed record."""

import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any

SCHEMA_VERSION = "1"
# Fields that stand beside the label in an answer.
RESERVED_LABELS = ("label", "probability", "uncertain", "unfamiliar", "filename")


@dataclass(frozen=True)
class Metadata:
    """The properties of one model.

    Attributes:
        name: what the model tells apart, for people.
        version: the folder of the model in the registry.
        positive_label, negative_label: the two verdicts.
        threshold: in [0, 1]; a probability at or above it is the positive label.
        uncertain_low, uncertain_high: in [0, 1]; a probability strictly between them is an uncertain verdict.
        temperature: > 0; divides the logit inside the graph.
        backbone: name of the network, as `seefood train --backbone` takes it.
        resize: how a photo becomes the model's square.
        photos_digest: SHA-256 of the photos and labels it was fitted and validated on.
        metrics: a JSON object of measured metrics with their 95% intervals.
        created: when it was exported, ISO 8601, UTC.
        familiarity_level: a photo whose familiarity is below it is unfamiliar; None where the model can't tell.
        reference_digest: SHA-256 of the pixels of `self_test.reference_square`; None in older files.
        reference_probability: what the file answered to that square when it was written, in [0, 1].
        schema_version: of these properties.
    """

    name: str
    version: str
    positive_label: str
    negative_label: str
    threshold: float
    uncertain_low: float
    uncertain_high: float
    temperature: float
    backbone: str
    resize: str
    photos_digest: str
    metrics: Mapping[str, Any]
    created: str
    familiarity_level: float | None = None
    reference_digest: str | None = None
    reference_probability: float | None = None
    schema_version: str = SCHEMA_VERSION

    def to_properties(self) -> dict[str, str]:
        """Return the record as ONNX metadata properties: each value but None as text, numbers and objects as JSON."""
        values = {key: value for key, value in asdict(self).items() if value is not None}
        return {key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}

    @classmethod
    def from_properties(cls, properties: Mapping[str, str]) -> "Metadata":
        """Read the record back; raises ValueError, naming the property, where one is missing or can't be read."""
        if properties.get("schema_version") != SCHEMA_VERSION:
            raise ValueError(f"schema_version is {properties.get('schema_version')!r}, not {SCHEMA_VERSION!r}")
        values: dict[str, Any] = {}
        for field in fields(cls):
            if field.name in properties:
                values[field.name] = _from_text(field.name, field.type, properties[field.name])
            elif field.default is MISSING:
                raise ValueError(f"the property {field.name!r} is missing")
        for key in ("threshold", "uncertain_low", "uncertain_high", "reference_probability"):
            if not 0 <= (values.get(key) or 0) <= 1:
                raise ValueError(f"the property {key!r} is no number from 0 to 1: {values[key]!r}")
        if values["temperature"] <= 0:
            raise ValueError(f"the property 'temperature' is not above 0: {values['temperature']!r}")
        return cls(**values)


def _from_text(key: str, kind: Any, text: str) -> Any:
    if kind in (str, str | None):
        return text
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ValueError(f"the property {key!r} is not JSON: {text!r}") from error
    if kind in (float, float | None) and not (type(value) in (int, float) and abs(value) < math.inf):
        raise ValueError(f"the property {key!r} is no finite number: {text!r}")
    return value
