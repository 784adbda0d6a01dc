"""The metadata of a model file: the ONNX metadata properties as one typed record."""

import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any

SCHEMA_VERSION = "1"
HISTOGRAM_BINS = 20  # of equal width, from 0 to 1
# Names of the other fields of a prediction: in a response, on the page and in the output of `seefood predict`.
RESERVED_LABELS = (
    *("label", "probability", "uncertain", "unfamiliar", "filename", "file"),
    *("heatmap", "heatmap_png", "version", "milliseconds"),
)


@dataclass(frozen=True)
class Metadata:
    """The properties of one model.

    Attributes:
        name: short name of the classifier, for people.
        version: the folder of the model in the registry.
        positive_label, negative_label: the two labels.
        threshold: in [0, 1]; from this probability on, the verdict is the positive label.
        uncertain_low, uncertain_high: in [0, 1]; a verdict is uncertain if the probability is strictly between them.
        temperature: > 0; the graph divides the logit by it.
        backbone: name of the network, as in `seefood train --backbone`.
        resize: how a photo becomes the input square.
        photos_digest: SHA-256 of the training and validation photos and their labels.
        metrics: a JSON object of metrics with their 95% intervals.
        created: time of the export, ISO 8601, UTC.
        familiarity_level: a photo with a lower familiarity is unfamiliar; None if the model has no such output.
        reference_digest: SHA-256 of the pixels of `self_test.reference_square`; None in older files.
        reference_probability: the probability of that square at the time of the export, in [0, 1].
        probability_histogram: validation photos in each of HISTOGRAM_BINS bins of the probability; None in older files.
        schema_version: version of this set of properties.
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
    probability_histogram: tuple[int, ...] | None = None
    schema_version: str = SCHEMA_VERSION

    @property
    def labels(self) -> tuple[str, str]:
        """The positive and the negative label."""
        return self.positive_label, self.negative_label

    def to_properties(self) -> dict[str, str]:
        """Return the record as ONNX properties: strings unchanged, numbers and objects as JSON, None left out."""
        values = {key: value for key, value in asdict(self).items() if value is not None}
        return {key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}

    @classmethod
    def from_properties(cls, properties: Mapping[str, str]) -> "Metadata":
        """Parse ONNX properties; raises ValueError with the name of a missing or invalid property."""
        if properties.get("schema_version") != SCHEMA_VERSION:
            raise ValueError(f"schema_version is {properties.get('schema_version')!r}, not {SCHEMA_VERSION!r}")
        values: dict[str, Any] = {}
        for field in fields(cls):
            if field.name in properties:
                values[field.name] = _parse(field.name, field.type, properties[field.name])
            elif field.default is MISSING:
                raise ValueError(f"the property {field.name!r} is missing")
        for key in ("threshold", "uncertain_low", "uncertain_high", "reference_probability"):
            if not 0 <= (values.get(key) or 0) <= 1:
                raise ValueError(f"the property {key!r} is not between 0 and 1: {values[key]!r}")
        if "probability_histogram" in values:
            values["probability_histogram"] = _histogram(values["probability_histogram"])
        if values["temperature"] <= 0:
            raise ValueError(f"the property 'temperature' is not above 0: {values['temperature']!r}")
        return cls(**values)


def _histogram(value: Any) -> tuple[int, ...]:
    is_list = isinstance(value, list) and len(value) == HISTOGRAM_BINS
    if not is_list or not all(type(count) is int and 0 <= count < 2**31 for count in value) or not any(value):
        raise ValueError(f"the property 'probability_histogram' is not {HISTOGRAM_BINS} counts: {str(value)[:80]}")
    return tuple(value)


def _parse(key: str, kind: Any, text: str) -> Any:
    if kind in (str, str | None):
        return text
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ValueError(f"the property {key!r} is not JSON: {text!r}") from error
    if kind in (float, float | None) and not (type(value) in (int, float) and abs(value) < math.inf):
        raise ValueError(f"the property {key!r} is not a finite number: {text!r}")
    return value
