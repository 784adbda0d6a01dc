"""The settings of the service, read from environment variables SEEFOOD_* and validated at start-up."""

import codecs
import os
import re
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any

from service.decoder import DECODE_MEMORY, DECODE_SECONDS
from service.errors import SeeFoodError, describe_os_error
from service.photo import MAX_BYTES, MAX_PIXELS

MIN_REVIEW_KEY = 16  # characters; random hexadecimal digits are then 64 bits, too many to try
_NUMBERS = {  # what is accepted; int() and float() also accept 8_121, nan and digits of other scripts
    int: (r"[+-]?[0-9]{1,18}", "a whole number from {smallest} to {largest}"),
    float: (r"[0-9]{1,18}(\.[0-9]{1,18})?", "a number from {smallest} to {largest}, as 0.5"),
}


def _setting(
    default: Any, meaning: str, *, smallest: int = 1, largest: int = 10**15, choices: tuple[str, ...] = ()
) -> Any:
    about = {"meaning": meaning, "smallest": smallest, "largest": largest, "choices": choices}
    return field(default=default, metadata=about)


@dataclass(frozen=True, repr=False)  # the keys must not reach a log
class Settings:
    """All settings with their defaults and meanings; the variable is SEEFOOD_ and the name in capitals."""

    host: str = _setting("127.0.0.1", "address to listen on; 0.0.0.0 accepts connections from other machines")
    port: int = _setting(8000, "port to listen on", largest=65535)
    models: Path = _setting(Path("models"), "folder of the model registry")
    model: str = _setting("", "version, `phone` or path of an ONNX file; empty: the registry's current version")
    device: str = _setting("auto", "auto, cpu or cuda", choices=("auto", "cpu", "cuda"))
    precision: str = _setting(
        "auto", "int8 or float32; auto: int8 on a CPU, float32 on CUDA", choices=("auto", "int8", "float32")
    )
    threads: int = _setting(64, "maximum number of requests processed at a time", largest=1024)
    queue: int = _setting(16, "maximum number of photos in flight; further requests get 429", largest=10_000)
    deadline: int = _setting(10, "seconds to classify a photo after it was received; else 504", largest=3600)
    decode_memory: int = _setting(
        DECODE_MEMORY, "bytes of memory to decode one photo; else 413", smallest=1_000_000, largest=100_000_000_000
    )
    decode_seconds: int = _setting(DECODE_SECONDS, "seconds to decode one photo; else 413", largest=3600)
    max_bytes: int = _setting(
        MAX_BYTES, "maximum size of a photo in bytes; a request may be a third larger", largest=1_000_000_000
    )
    max_pixels: int = _setting(
        MAX_PIXELS, "maximum size of a photo in pixels; half of it for WebP, AVIF, GIF and BMP", largest=1_000_000_000
    )
    max_images: int = _setting(16, "maximum number of photos in one request; at most SEEFOOD_QUEUE", largest=1000)
    feedback_dir: str = _setting("", "folder of the inbox, for the photos of POST /v1/feedback; empty: off")
    feedback_max_bytes: int = _setting(
        1_000_000_000,
        "maximum size of the photos in the inbox, in bytes; above it, dropped ones and then the oldest waiting ones "
        "are deleted",
    )
    feedback_per_key: int = _setting(200, "photos that one API key may add to the inbox in 24 hours; then 429")
    feedback_per_address: int = _setting(
        100, "photos that one address may add to the inbox in 24 hours without an API key; then 429"
    )
    feedback_exif: str = _setting(
        "drop",
        "drop: a new JPEG without metadata, at most 1,024 px long, is stored; keep: the photo as it was sent",
        choices=("drop", "keep"),
    )
    collect: str = _setting(
        "", "photos of /v1/predict that also go to the inbox: uncertain, unfamiliar, sample:0.01, separated by commas"
    )
    shadow: str = _setting("", "version to compare with the served one; empty: that of `seefood models shadow`")
    shadow_share: float = _setting(
        0.1, "share of the photos of /v1/predict that the candidate answers too, from 0 to 1", smallest=0, largest=1
    )
    rollback_minutes: int = _setting(
        0,
        "minutes after a promotion; if the mix of labels changes in this time, the service serves the previous version "
        "again; 0: off",
        smallest=0,
        largest=100_000,
    )
    review_key: str = _setting(
        "", "keys for the page /review, separated by commas, of at least 16 characters; empty: no page"
    )
    proxies: int = _setting(
        0, "number of proxies in front, each of which adds an address to X-Forwarded-For", smallest=0, largest=100
    )
    api_keys: str = _setting("", "API keys, separated by commas; if any is set, /v1 and /v2 require one")
    api_keys_file: str = _setting("", "file with further API keys, one on each line; # starts a comment")
    cors_origins: str = _setting(
        "", "origins that may send requests from a browser, separated by commas, as https://a.example; or *"
    )

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> "Settings":
        """Read the SEEFOOD_* variables; raises SeeFoodError with the name of an invalid variable."""
        if environ.get("SEEFOOD_HOST", "x").strip() == "":
            raise SeeFoodError("SEEFOOD_HOST is empty; set an address, as 127.0.0.1, or unset it.")
        variables = {f"SEEFOOD_{setting.name.upper()}": setting for setting in fields(cls)}
        settings = cls(**{s.name: _parse(name, environ[name], s) for name, s in variables.items() if name in environ})
        if settings.queue < settings.max_images:
            raise SeeFoodError(
                f"SEEFOOD_QUEUE is {settings.queue}; it must be at least SEEFOOD_MAX_IMAGES, {settings.max_images}, "
                "or the service would refuse every request with that many photos."
            )
        return settings

    @property
    def address(self) -> str:
        """The host and the port, as in a URL."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def keys(self) -> list[bytes]:
        """Return the API keys; without any, no request needs one. Raises SeeFoodError for a setting without a key."""
        keys = [os.fsencode(key) for key in _split(self.api_keys)]
        if self.api_keys and not keys:
            raise SeeFoodError("SEEFOOD_API_KEYS has no key in it; set a key, or unset it to require none.")
        if not self.api_keys_file:
            return keys
        try:
            text = Path(self.api_keys_file).read_bytes().removeprefix(codecs.BOM_UTF8)  # some editors write a BOM
        except OSError as error:
            raise SeeFoodError(f"SEEFOOD_API_KEYS_FILE: {describe_os_error(error)}") from error
        lines = [line.strip() for line in text.splitlines()]
        if not (listed := [line for line in lines if line and not line.startswith(b"#")]):
            raise SeeFoodError(f"SEEFOOD_API_KEYS_FILE: {self.api_keys_file} has no key in it; write one on each line.")
        return keys + listed

    def review_keys(self) -> list[bytes]:
        """Return the keys of reviewers; raises SeeFoodError for one that is too short."""
        keys = [os.fsencode(key) for key in _split(self.review_key)]
        if any(len(key) < MIN_REVIEW_KEY for key in keys) or (self.review_key and not keys):
            raise SeeFoodError(
                f"SEEFOOD_REVIEW_KEY has a key of fewer than {MIN_REVIEW_KEY} characters; make one with "
                "openssl rand -hex 32."
            )
        return keys

    def origins(self) -> list[str]:
        """Return the allowed CORS origins; raises SeeFoodError with an origin that no browser sends."""
        origins = _split(self.cors_origins)
        for origin in origins:
            if not re.fullmatch(r"\*|[a-z][a-z0-9+.-]*://[^/\s]+", origin):
                raise SeeFoodError(f"SEEFOOD_CORS_ORIGINS has {origin!r}; write it as https://a.example, or *.")
        return origins


def _split(text: str) -> list[str]:
    return [part for part in map(str.strip, text.split(",")) if part]


def _parse(variable: str, text: str, setting: "Field[Any]") -> Any:
    rules = setting.metadata
    if rules["choices"] and text not in rules["choices"]:
        raise SeeFoodError(f"{variable} is {text!r}; it must be one of {', '.join(rules['choices'])}.")
    kind: Any = setting.type
    if kind not in _NUMBERS:
        return kind(text)
    pattern, expected = _NUMBERS[kind]
    if not re.fullmatch(pattern, text.strip()) or not rules["smallest"] <= kind(text) <= rules["largest"]:
        raise SeeFoodError(f"{variable} is {text[:40]!r}; it must be {expected.format(**rules)}.")
    return kind(text)
