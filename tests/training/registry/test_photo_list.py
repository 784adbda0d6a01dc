"""The list of a version's photos is read, or its error is one sentence."""

from pathlib import Path

import pytest

from service.errors import SeeFoodError
from training.registry.photo_list import PHOTOS, read_photo_list


def test_a_version_without_a_list_has_no_photos(tmp_path: Path) -> None:
    assert read_photo_list(tmp_path) == {}


@pytest.mark.parametrize("content", [b"name,split\nx,fit\n", b"sha256,split\n\xff\xff,fit\n"])
def test_another_file_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / PHOTOS).write_bytes(content)
    with pytest.raises(SeeFoodError, match=r"photos\.csv can't be read: .*; restore it\."):
        read_photo_list(tmp_path)
