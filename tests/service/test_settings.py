"""Settings are read from SEEFOOD_* variables; an invalid one is named in one sentence."""

from dataclasses import fields
from pathlib import Path

import pytest

from service.errors import SeeFoodError
from service.settings import Settings


def test_defaults() -> None:
    settings = Settings.from_env({})
    assert settings == Settings()
    assert (settings.port, settings.max_bytes, settings.max_pixels) == (8000, 20_000_000, 50_000_000)


def test_every_setting_has_a_variable() -> None:
    values = {"host": "::1", "models": "/m", "model": "v", "device": "cpu", "precision": "float32"}
    values |= {"decode_memory": "7000000", "feedback_exif": "keep", "shadow_share": "0.7"}
    environ = {f"SEEFOOD_{field.name.upper()}": values.get(field.name, "7") for field in fields(Settings)}
    settings = Settings.from_env(environ)
    assert settings.models == Path("/m")
    for field in fields(Settings):
        assert str(getattr(settings, field.name)) == values.get(field.name, "7")


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("SEEFOOD_PORT", "http", "SEEFOOD_PORT is 'http'; it must be a whole number from 1 to 65535."),
        ("SEEFOOD_PORT", "8_121", "SEEFOOD_PORT is '8_121'; it must be a whole number from 1 to 65535."),
        ("SEEFOOD_PORT", "٨", "SEEFOOD_PORT is '٨'; it must be a whole number from 1 to 65535."),
        ("SEEFOOD_PORT", "0", "SEEFOOD_PORT is '0'; it must be a whole number from 1 to 65535."),
        ("SEEFOOD_PORT", "70000", "SEEFOOD_PORT is '70000'; it must be a whole number from 1 to 65535."),
        ("SEEFOOD_HOST", "", "SEEFOOD_HOST is empty; set an address, as 127.0.0.1, or unset it."),
        ("SEEFOOD_HOST", " ", "SEEFOOD_HOST is empty; set an address, as 127.0.0.1, or unset it."),
        (
            "SEEFOOD_DEADLINE",
            "99999999999",
            "SEEFOOD_DEADLINE is '99999999999'; it must be a whole number from 1 to 3600.",
        ),
        (
            "SEEFOOD_DEADLINE",
            "9" * 5000,
            f"SEEFOOD_DEADLINE is '{'9' * 40}'; it must be a whole number from 1 to 3600.",
        ),
        ("SEEFOOD_MAX_BYTES", "-1", "SEEFOOD_MAX_BYTES is '-1'; it must be a whole number from 1 to 1000000000."),
        ("SEEFOOD_SHADOW_SHARE", "1.5", "SEEFOOD_SHADOW_SHARE is '1.5'; it must be a number from 0 to 1, as 0.5."),
        ("SEEFOOD_SHADOW_SHARE", "-0.1", "SEEFOOD_SHADOW_SHARE is '-0.1'; it must be a number from 0 to 1, as 0.5."),
        ("SEEFOOD_SHADOW_SHARE", "nan", "SEEFOOD_SHADOW_SHARE is 'nan'; it must be a number from 0 to 1, as 0.5."),
        ("SEEFOOD_SHADOW_SHARE", "10%", "SEEFOOD_SHADOW_SHARE is '10%'; it must be a number from 0 to 1, as 0.5."),
        ("SEEFOOD_DEVICE", "tpu", "SEEFOOD_DEVICE is 'tpu'; it must be one of auto, cpu, cuda."),
        ("SEEFOOD_PRECISION", "int4", "SEEFOOD_PRECISION is 'int4'; it must be one of auto, int8, float32."),
        (
            "SEEFOOD_QUEUE",
            "15",
            "SEEFOOD_QUEUE is 15; it must be at least SEEFOOD_MAX_IMAGES, 16, or the service would refuse "
            "every request with that many photos.",
        ),
    ],
)
def test_a_wrong_value_is_named(variable: str, value: str, sentence: str) -> None:
    with pytest.raises(SeeFoodError) as caught:
        Settings.from_env({variable: value})
    assert str(caught.value) == sentence
