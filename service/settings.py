"""Every setting of the service: one frozen record, filled from SEEFOOD_* variables and checked before the start."""

import codecs
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from service.decoder import MEMORY, SECONDS
from service.errors import SeeFoodError, in_words
from service.photo import MAX_BYTES, MAX_PIXELS

DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("auto", "int8", "float32")


def _setting(
    default: Any,
    meaning: str,
    smallest: int | None = None,
    largest: int | None = None,
    choices: tuple[str, ...] = (),
    *,
    secret: bool = False,
) -> Any:
    about = {"meaning": meaning, "smallest": smallest, "largest": largest, "choices": choices}
    return field(default=default, repr=not secret, metadata=about)


@dataclass(frozen=True)
class Settings:
    """The settings, each with its default and meaning; SEEFOOD_ and the name in capitals is the variable."""

    host: str = _setting("127.0.0.1", "address to listen on; 0.0.0.0 lets other machines in")
    port: int = _setting(8000, "port to listen on", smallest=1, largest=65535)
    models: Path = _setting(Path("models"), "folder of the model registry")
    model: str = _setting("", "version, `phone` or path of an ONNX file; empty: the registry's current version")
    device: str = _setting("auto", "auto, cpu or cuda", choices=DEVICES)
    precision: str = _setting("auto", "int8 or float32; auto: int8 on a CPU, float32 on CUDA", choices=PRECISIONS)
    threads: int = _setting(64, "requests that are received and answered at a time", smallest=1, largest=1024)
    queue: int = _setting(
        16, "photos that are under way at a time; more are refused with 429", smallest=1, largest=10_000
    )
    deadline: int = _setting(
        10, "seconds in which a photo that has arrived is answered; else 504", smallest=1, largest=3600
    )
    decode_memory: int = _setting(
        MEMORY, "bytes that the decoding of one photo may take; else 413", smallest=1_000_000, largest=100_000_000_000
    )
    decode_seconds: int = _setting(SECONDS, "seconds that the decoding of one photo may take; else 413", 1, 3600)
    max_bytes: int = _setting(
        MAX_BYTES, "largest photo, in bytes; a whole request may be a third larger", smallest=1, largest=1_000_000_000
    )
    max_pixels: int = _setting(
        MAX_PIXELS,
        "largest photo, in pixels; half as many of WebP, AVIF, GIF, BMP",
        smallest=1,
        largest=1_000_000_000,
    )
    max_images: int = _setting(16, "most photos in one request", smallest=1, largest=1000)
    feedback_dir: str = _setting("", "folder for the photos of POST /v1/feedback, kept as sent; empty: it is off")
    feedback_max_bytes: int = _setting(1_000_000_000, "bytes that this folder may take; then 507", smallest=1)
    api_keys: str = _setting("", "keys, with commas between; if any is set, /v1 and /v2 ask for one", secret=True)
    api_keys_file: str = _setting("", "file with further keys, one a line; # begins a comment")
    cors_origins: str = _setting("", "origins whose pages may ask, with commas between, as https://a.example; or *")

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> "Settings":
        """Read SEEFOOD_* variables; raises SeeFoodError naming the variable that can't be used."""
        if environ.get("SEEFOOD_HOST", "x").strip() == "":
            raise SeeFoodError("SEEFOOD_HOST is empty; name an address, as 127.0.0.1, or unset it.")
        settings = cls(
            **{
                setting.name: _parse(variable, environ[variable], setting.type, **_rules(setting.metadata))
                for setting in fields(cls)
                if (variable := f"SEEFOOD_{setting.name.upper()}") in environ
            }
        )
        if settings.queue < settings.max_images:
            raise SeeFoodError(
                f"SEEFOOD_QUEUE is {settings.queue}; it must be at least SEEFOOD_MAX_IMAGES, {settings.max_images}, "
                "or a request of so many photos could never be answered."
            )
        return settings

    def keys(self) -> list[bytes]:
        """Return the API keys; none lets everybody ask. Raises SeeFoodError where some should be and are not."""
        keys = [os.fsencode(key) for key in _split(self.api_keys)]
        if self.api_keys and not keys:
            raise SeeFoodError("SEEFOOD_API_KEYS has no key in it; unset it to let everybody ask.")
        if not self.api_keys_file:
            return keys
        try:
            text = Path(self.api_keys_file).read_bytes().removeprefix(codecs.BOM_UTF8)  # some editors begin with it
            lines = [line.strip() for line in text.splitlines()]
        except OSError as error:
            raise SeeFoodError(f"SEEFOOD_API_KEYS_FILE: {in_words(error)}") from error
        if not (listed := [line for line in lines if line and not line.startswith(b"#")]):
            raise SeeFoodError(f"SEEFOOD_API_KEYS_FILE: {self.api_keys_file} has no key in it; write one on each line.")
        return keys + listed

    def origins(self) -> list[str]:
        """Return the origins whose pages may ask; raises SeeFoodError naming one that no browser would send."""
        origins = _split(self.cors_origins)
        for origin in origins:
            if not re.fullmatch(r"\*|[a-z][a-z0-9+.-]*://[^/\s]+", origin):
                raise SeeFoodError(f"SEEFOOD_CORS_ORIGINS has {origin!r}; an origin is like https://a.example, or *.")
        return origins


def _split(text: str) -> list[str]:
    return [part for part in map(str.strip, text.split(",")) if part]


def _rules(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {name: metadata[name] for name in ("smallest", "largest", "choices")}


def _parse(
    variable: str, text: str, kind: Any, smallest: int | None, largest: int | None, choices: tuple[str, ...]
) -> Any:
    if kind is int and not re.fullmatch(r"[+-]?[0-9]{1,18}", text.strip()):  # int() also reads 8_121 and other digits
        raise SeeFoodError(f"{variable} is {text[:40]!r}; it must be a whole number.")
    parse: Callable[[str], Any] = kind
    value = parse(text)
    if smallest is not None and value < smallest:
        raise SeeFoodError(f"{variable} is {text!r}; it must be at least {smallest}.")
    if largest is not None and value > largest:
        raise SeeFoodError(f"{variable} is {text!r}; it must be at most {largest}.")
    if choices and value not in choices:
        raise SeeFoodError(f"{variable} is {text!r}; it must be one of {', '.join(choices)}.")
    return value
