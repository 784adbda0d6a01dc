"""Read and write results as Parquet; requires pyarrow."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from scoring.rows import Row

_GROUP = 65_536  # rows in memory at a time
_SCHEMA = pa.schema(
    [
        ("file", pa.string()),
        ("label", pa.string()),
        ("probability", pa.float64()),
        ("uncertain", pa.bool_()),
        ("unfamiliar", pa.bool_()),
        ("model_version", pa.string()),
        ("error", pa.string()),
    ]
)


def read_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a file; raises ValueError or TypeError if `write_rows` did not write it."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(_GROUP):
            for cells in batch.to_pylist():
                yield Row(**cells)


def write_rows(path: Path, rows: Iterator[Row]) -> None:
    """Write a new file; raises OSError."""
    with pq.ParquetWriter(path, _SCHEMA) as writer:
        while group := [row._asdict() for row in islice(rows, _GROUP)]:
            writer.write_batch(pa.RecordBatch.from_pylist(group, _SCHEMA))
