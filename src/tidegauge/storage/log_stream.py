"""Files of the inference log as an Arrow stream, for another cluster to write into its own log.

A stream has batches of the log's columns. Each batch says in its metadata of which file it is (``number`` and
``path``), and whether that ends with it; a file of which nothing is left is one batch without rows, and says
where it was deleted since the log is bounded (``gone``). A stream that breaks off is taken up after the last
file that came whole.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

import pyarrow as pa

from tidegauge.errors import UnavailableError
from tidegauge.storage.log_file import SCHEMA, to_records, to_table
from tidegauge.storage.segments import Record

MEDIA_TYPE = "application/vnd.apache.arrow.stream"
_ROWS = 256  # of a batch, as of a row group


@dataclass(frozen=True)
class StreamedFile:
    """A file of the log: its number, its path, and its events as they were logged, or that they are gone."""

    number: int
    path: str
    records: list[Record]
    is_gone: bool = False


def encode(files: Iterable[StreamedFile]) -> Iterator[bytes]:
    """Yield a stream in pieces, one for each batch."""
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, SCHEMA) as writer:
        for file in files:
            batches = to_table(file.records).to_batches(_ROWS) or [_empty()]
            for place, batch in enumerate(batches, 1):
                said = {
                    "number": str(file.number),
                    "path": file.path,
                    "ends": str(place == len(batches)),
                    "gone": str(file.is_gone),
                }
                writer.write_batch(batch, custom_metadata=said)
                yield _taken(sink)
    yield _taken(sink)


def decode(deployment_id: str, source: BinaryIO) -> Iterator[StreamedFile]:
    """Yield the files that came whole; UnavailableError where the stream breaks off or is none."""
    records: list[Record] = []
    try:
        with pa.ipc.open_stream(source) as reader:
            if reader.schema.names != SCHEMA.names:
                raise UnavailableError(
                    "The stream has other columns; the other cluster is of another version."
                )
            while True:
                batch, said = reader.read_next_batch_with_custom_metadata()
                records += to_records(deployment_id, pa.Table.from_batches([batch]).cast(SCHEMA))
                if said[b"ends"] == b"True":
                    is_gone = said.get(b"gone") == b"True"  # an earlier version does not say
                    yield StreamedFile(int(said[b"number"]), said[b"path"].decode(), records, is_gone)
                    records = []
    except StopIteration:
        return
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise UnavailableError(
            f"The stream of the log cannot be read ({reason}); it is tried again."
        ) from error


def _empty() -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([], schema=SCHEMA)


def _taken(sink: io.BytesIO) -> bytes:
    data = sink.getvalue()
    sink.seek(0)
    sink.truncate()
    return data
