"""Every kind of photo becomes upright RGB on white; everything else is a typed error."""

import errno
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from service.photo import (
    SUFFIXES,
    EmptyPhoto,
    PhotoError,
    PhotoTooCostly,
    PhotoTooLarge,
    UndecodablePhoto,
    UnsupportedPhoto,
    decode,
    find_photos,
    read_file,
    read_photo,
    square,
    suffix,
)
from tests.fixtures.drawing import draw, encode
from tests.fixtures.files import ARITHMETIC_JPEG, display_p3

ORIENTATION = 0x0112
# How a camera in each orientation stores an upright scene (EXIF 2.32, section 4.6.5).
STORED_AS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
RED, WHITE = (220, 30, 20), (255, 255, 255)


def _colour(data: bytes) -> tuple[int, ...]:
    return tuple(int(value) for value in read_photo(data, 8).reshape(-1, 3).mean(axis=0).round())


def _near(data: bytes, colour: tuple[int, ...], tolerance: int = 6) -> bool:
    return max(abs(a - b) for a, b in zip(_colour(data), colour, strict=True)) <= tolerance


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "MPO", "HEIF", "AVIF"])
def test_each_format_is_read(kind: str) -> None:
    assert _near(encode(Image.new("RGB", (40, 30), RED), kind), RED)


def test_progressive_and_arithmetic_jpegs_are_read() -> None:
    assert _near(encode(Image.new("RGB", (40, 30), RED), progressive=True), RED)
    assert b"\xff\xc9" in ARITHMETIC_JPEG, "SOF9 of ITU T.81: arithmetic coding"
    assert _near(ARITHMETIC_JPEG, RED)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "HEIF"])
def test_wide_colours_become_srgb(kind: str) -> None:
    """Full red of Display P3 is outside sRGB; half of it is inside, and must keep its appearance."""
    data = encode(Image.new("RGB", (40, 30), (128, 64, 64)), kind, icc_profile=display_p3())
    assert _near(data, (136, 60, 62), tolerance=4)


def test_alpha_and_grey_photos_ignore_an_rgb_profile() -> None:
    assert _near(encode(Image.new("RGBA", (40, 30), (*RED, 0)), "PNG", icc_profile=display_p3()), WHITE)
    assert _near(encode(Image.new("L", (40, 30), 90), "PNG", icc_profile=display_p3()), (90, 90, 90))


@pytest.mark.parametrize("profile", [display_p3()[:200], display_p3() + bytes(1_000_000)], ids=["damaged", "huge"])
def test_an_invalid_profile_is_ignored(profile: bytes) -> None:
    assert _near(encode(Image.new("RGB", (40, 30), RED), icc_profile=profile), RED)


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "YCbCr", "RGB"])
def test_each_mode_becomes_rgb(mode: str) -> None:
    image = Image.new("RGB", (40, 30), WHITE).convert(mode)
    kind = "JPEG" if mode in ("CMYK", "YCbCr") else "PNG"
    assert _near(encode(image, kind), WHITE)


def test_sixteen_bits_keep_their_brightness() -> None:
    grey = Image.fromarray(np.full((30, 40), 0x8000, np.uint16))
    assert _near(encode(grey, "PNG"), (128, 128, 128))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF"])
def test_transparent_pixels_are_white(kind: str) -> None:
    assert _near(encode(Image.new("RGBA", (40, 30), (*RED, 0)), kind), WHITE)


def test_half_transparent_pixels_are_mixed_with_white() -> None:
    assert _near(encode(Image.new("RGBA", (40, 30), (*RED, 128)), "PNG"), (237, 142, 137))
    assert _near(encode(Image.new("LA", (40, 30), (0, 128)), "PNG"), (127, 127, 127))


def test_a_transparent_palette_entry_is_white() -> None:
    image = Image.new("P", (40, 30), 0)
    image.putpalette([*RED, 0, 0, 0])
    assert _near(encode(image, "PNG", transparency=0), WHITE)


def test_the_first_frame_of_an_animation_counts() -> None:
    frames = [Image.new("RGB", (40, 30), colour) for colour in (RED, (0, 0, 255))]
    assert _near(encode(frames[0], "GIF", save_all=True, append_images=frames[1:]), RED)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "HEIF"])
def test_exif_orientation_is_applied(kind: str, orientation: int) -> None:
    upright = draw("hotdog", 1, (96, 64))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored = upright.transpose(STORED_AS[orientation]) if orientation in STORED_AS else upright
    data = encode(stored, kind, exif=exif.tobytes(), **({"lossless": True} if kind == "WEBP" else {}))
    seen = decode(data, at_least=64)
    assert seen.size == upright.size
    assert np.abs(np.asarray(seen, np.int16) - np.asarray(upright, np.int16)).mean() < 6


def test_damaged_metadata_is_ignored() -> None:
    data = encode(Image.new("RGB", (40, 30), RED), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f nonsense")
    assert _near(data, RED)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        *[("JPEG", ".jpg"), ("MPO", ".jpg"), ("PNG", ".png"), ("WEBP", ".webp")],
        *[("GIF", ".gif"), ("BMP", ".bmp"), ("HEIF", ".heic"), ("AVIF", ".avif")],
    ],
)
def test_the_suffix_follows_the_bytes(kind: str, expected: str) -> None:
    assert suffix(encode(Image.new("RGB", (40, 30), RED), kind)) == expected
    assert expected in SUFFIXES


def test_big_jpegs_are_decoded_at_a_reduced_scale() -> None:
    data = encode(draw("hotdog", 1, (1600, 1200)), "JPEG")
    assert decode(data, at_least=224).size == (400, 300)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_reduced_decoding_shows_the_same_picture(kind: str) -> None:
    big = draw("hotdog", 3, (1600, 1200))
    whole = np.asarray(big.resize((224, 224), Image.Resampling.BILINEAR), np.int16)
    assert np.abs(read_photo(encode(big, kind), 224).astype(np.int16) - whole).mean() < 3


def test_small_photos_are_not_reduced() -> None:
    assert decode(encode(Image.new("RGB", (40, 30), RED)), at_least=224).size == (40, 30)


def test_the_square_shows_the_whole_photo() -> None:
    image = Image.new("RGB", (400, 100), RED)
    image.paste(WHITE, (0, 0, 200, 100))
    pixels = square(image, 64)
    assert pixels.shape == (64, 64, 3)
    assert pixels.dtype == np.uint8
    assert (pixels[:, :28] == WHITE).all()
    assert (pixels[:, 36:] == RED).all()


def _png_of(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


def test_too_many_pixels_are_refused_before_decoding() -> None:
    with pytest.raises(PhotoTooLarge, match="30000 x 30000 pixels; at most 50,000,000"):
        read_photo(_png_of(30000, 30000), 224)


def test_a_side_that_is_too_long_is_refused_before_decoding() -> None:
    with pytest.raises(PhotoTooLarge, match="1 x 50000000 pixels; at most 65,535 on a side are accepted"):
        read_photo(_png_of(1, 50_000_000), 224)


def test_too_many_bytes_are_refused(tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(encode(draw("hotdog", 1)))
    with pytest.raises(PhotoTooLarge, match="at most 100 are accepted"):
        read_file(photo, max_bytes=100)


def _tiff() -> bytes:
    return encode(draw("hotdog", 1), "TIFF")


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (lambda: b"", EmptyPhoto),
        (lambda: b"\0", UndecodablePhoto),
        (lambda: b"not a photo at all, but text", UndecodablePhoto),
        (lambda: bytes(range(256)) * 40, UndecodablePhoto),
        (lambda: b"\xff\xd8\xff\xe0" + b"\0" * 100, UndecodablePhoto),
        (lambda: b"\x89PNG\r\n\x1a\n", UndecodablePhoto),
        (lambda: _png_of(50, 50), UndecodablePhoto),
        (lambda: _tiff(), UnsupportedPhoto),
        (lambda: b"%PDF-1.7\n" + b"\0" * 100, UnsupportedPhoto),
        (lambda: b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 100, UndecodablePhoto),
        (lambda: b"PK\x03\x04" + b"\0" * 100, UnsupportedPhoto),
        (lambda: b"RIFF\x64\0\0\0WAVEfmt " + b"\0" * 92, UnsupportedPhoto),
        (lambda: b"RIFF\x64\0\0\0AVI LIST" + b"\0" * 92, UnsupportedPhoto),
        (lambda: b"RIFF\x64\0\0\0WEBPVP8 " + b"\0" * 92, PhotoTooCostly),
    ],
)
def test_other_files_give_a_typed_error(data: Callable[[], bytes], error: type[PhotoError]) -> None:
    with pytest.raises(error) as caught:
        read_photo(data(), 224)
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "HEIF", "AVIF"])
@pytest.mark.parametrize("kept", [0.2, 0.5, 0.9])
def test_truncated_photos_are_undecodable(kind: str, kept: float) -> None:
    whole = encode(draw("hotdog", 1, (320, 240)), kind)
    with pytest.raises(UndecodablePhoto):
        read_photo(whole[: int(len(whole) * kept)], 224)


def test_only_photos_are_found(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "notes.txt", ".hidden.jpg", "deeper/c.webp", ".git/d.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [str(path.relative_to(tmp_path)) for path in find_photos(tmp_path)] == ["a.png", "b.JPG", "deeper/c.webp"]


def test_a_folder_that_cant_be_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "closed").mkdir()
    (tmp_path / "a.png").touch()
    scandir = os.scandir

    def refuse(path: str) -> Any:
        """Root may read every folder, so the refusal is simulated."""
        if Path(path).name == "closed":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(PermissionError, match="closed"):
        find_photos(tmp_path)


def test_a_device_is_read_up_to_the_limit() -> None:
    with pytest.raises(PhotoTooLarge, match="at most 1,000 are accepted"):
        read_file(Path("/dev/zero"), max_bytes=1000)
