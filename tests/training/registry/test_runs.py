"""Each run has a folder of its own."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from training.registry.runs import new_run


def test_two_runs_of_one_second_have_folders_of_their_own(tmp_path: Path) -> None:
    with ThreadPoolExecutor(3) as pool:
        names = set(pool.map(new_run, [tmp_path] * 3))
    assert len(names) == 3
    assert {path.name for path in (tmp_path / ".runs").iterdir()} == names
