"""Text tables are aligned."""

from training.terminal import align


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert align([("a", "bb", "c"), ("aaa", "b", "")], right=[1]) == "a    bb  c\naaa   b"
