"""Archive objects: Parquet files (zstd) of the rows of sessions.

A row group holds all rows of some sessions, in the order in which they were read; the row groups are in the order of
sessions. With the file's footer, which the database keeps, one ranged read of a row group's bytes serves each of its
sessions.
"""

import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

if "jemalloc" in pa.supported_memory_backends():
    # It keeps fewer freed pages than the default, and is not slower.
    pa.set_memory_pool(pa.jemalloc_memory_pool())

_MOMENT = pa.timestamp("us", tz="UTC")

COLUMNS: tuple[tuple[str, pa.DataType], ...] = (
    ("session_id", pa.string()),
    ("conversation_id", pa.string()),
    ("relation", pa.string()),
    ("row_id", pa.string()),
    ("turn_id", pa.string()),
    ("role", pa.string()),
    ("contact_id", pa.string()),
    ("user_id", pa.string()),
    ("persona_id", pa.string()),
    ("text", pa.string()),
    ("partial", pa.bool_()),
    ("metadata", pa.string()),
    ("created_at", _MOMENT),
    ("client_message_id", pa.string()),
    ("speaker", pa.string()),
    ("changed_at", _MOMENT),
    ("attempt_id", pa.string()),
    ("status", pa.string()),
    ("deadline", _MOMENT),
    ("lease_until", _MOMENT),
    ("first_token_ms", pa.int32()),
    ("usage", pa.string()),
    ("error_code", pa.string()),
    ("finished_at", _MOMENT),
    ("cancel_requested_at", _MOMENT),
    ("taken_over", pa.bool_()),
    ("retry_of", pa.string()),
    ("fallback_persona_id", pa.string()),
    ("collecting", pa.bool_()),
    ("row", pa.string()),
)
"""The columns of an object, in the order of the view session_rows. JSON and ids are text, as Postgres writes them."""

SCHEMA = pa.schema(COLUMNS)
NAMES = SCHEMA.names

_REPEATED = [
    "session_id", "conversation_id", "relation", "role", "contact_id", "user_id", "persona_id", "status", "error_code",
    "speaker",
]  # fmt: skip
_WITH_STATISTICS = ["session_id", "created_at"]

_ENCODED = pa.schema(
    (name, pa.dictionary(pa.int32(), pa.string()) if name in _REPEATED else type_) for name, type_ in COLUMNS
)
"""What repeats is in memory once. In a file that is an encoding: its columns are text."""

_COPIED = _ENCODED.append(pa.field("version", pa.int64()))

_QUERY = "select {columns} from public.session_rows where id = any (array[{ids}]::uuid[])"

Row = dict[str, Any]


@dataclass(frozen=True)
class RowGroup:
    """A row group of an object: its bytes in it, and their SHA-256."""

    number: int
    byte_offset: int
    byte_length: int
    sha256: str


@dataclass(frozen=True)
class ArchiveObject:
    """A finished object with its row groups; ``footer``: its metadata as a file without rows."""

    content: bytes
    footer: bytes
    sha256: str
    row_count: int
    row_groups: tuple[RowGroup, ...]


def copy_query(session_ids: Sequence[str]) -> str:
    """The query whose rows `of_csv` takes."""
    names = ", ".join(["id as session_id", *(f'"{name}"' for name in _COPIED.names[1:])])
    return _QUERY.format(columns=names, ids=",".join(f"'{session}'" for session in session_ids))


def of_csv(content: bytes | bytearray) -> tuple[pa.Table, int]:
    """The rows that COPY wrote as CSV, and the sum of their versions. Null is nothing, an empty text has quotes.

    In one block, so that no line break within quotes is taken for its end.
    """
    table = pyarrow.csv.read_csv(
        cast(IO[bytes], pa.BufferReader(content)),
        read_options=pyarrow.csv.ReadOptions(
            column_names=_COPIED.names, block_size=len(content) + 1, use_threads=False
        ),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=_COPIED,
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            true_values=["t"],
            false_values=["f"],
            check_utf8=False,  # Postgres has checked it
        ),
    )
    return table.drop_columns("version"), pc.sum(table["version"]).as_py()


class Writer:
    """Writes an object, row group by row group, in memory."""

    def __init__(self) -> None:
        self._sink = pa.BufferOutputStream()
        self._metadata: list[pq.FileMetaData] = []
        self._writer = pq.ParquetWriter(
            self._sink,
            _ENCODED,
            store_schema=False,
            compression="zstd",
            compression_level=1,
            use_dictionary=cast(bool, _REPEATED),  # its stubs know no list
            column_encoding={name: "DELTA_BINARY_PACKED" for name, type_ in COLUMNS if type_ == _MOMENT},
            write_statistics=_WITH_STATISTICS,
            metadata_collector=self._metadata,
        )
        self.tables: list[pa.Table] = []
        """The rows of each row group, to compare them with what the store returns."""

    @property
    def source_bytes(self) -> int:
        """Memory of the rows so far."""
        return sum(table.nbytes for table in self.tables)

    def add(self, table: pa.Table) -> int:
        """Write these rows as a row group of their own; its number."""
        table = table.cast(_ENCODED)
        self._writer.write_table(table, row_group_size=max(1, table.num_rows))
        self.tables.append(table)
        return len(self.tables) - 1

    def finish(self) -> ArchiveObject:
        """The object. Nothing can be added after it."""
        self._writer.close()
        content = self._sink.getvalue()
        footer = io.BytesIO()
        (metadata,) = self._metadata
        metadata.write_metadata_file(footer)
        return ArchiveObject(
            content=content.to_pybytes(),
            footer=footer.getvalue(),
            sha256=hashlib.sha256(content).hexdigest(),
            row_count=metadata.num_rows,
            row_groups=tuple(_row_group(metadata, number, content) for number in range(metadata.num_row_groups)),
        )


def _row_group(metadata: pq.FileMetaData, number: int, content: pa.Buffer) -> RowGroup:
    group = metadata.row_group(number)
    columns = [group.column(place) for place in range(group.num_columns)]
    offset = min(column.dictionary_page_offset or column.data_page_offset for column in columns)
    length = sum(column.total_compressed_size for column in columns)
    return RowGroup(number, offset, length, hashlib.sha256(content.slice(offset, length)).hexdigest())


def equal(content: bytes, tables: Sequence[pa.Table]) -> bool:
    """Whether an object holds exactly these row groups."""
    file = pq.ParquetFile(pa.BufferReader(content), read_dictionary=_REPEATED)
    return file.num_row_groups == len(tables) and all(
        file.read_row_group(number, use_threads=False).equals(table) for number, table in enumerate(tables)
    )


def read(content: bytes) -> Iterator[pa.Table]:
    """The rows of a whole object, row group by row group."""
    file = pq.ParquetFile(pa.BufferReader(content))
    for number in range(file.num_row_groups):
        yield file.read_row_group(number, use_threads=False)


def read_row_group(footer: bytes, group: RowGroup, content: bytes) -> pa.Table:
    """The rows of a row group from its bytes alone. Raises ValueError if they are not what was written."""
    if len(content) != group.byte_length or hashlib.sha256(content).hexdigest() != group.sha256:
        raise ValueError("the row group is not what was recorded")
    window = cast(IO[bytes], _Window(content, group.byte_offset))
    file = pq.ParquetFile(window, metadata=pq.read_metadata(io.BytesIO(footer)), pre_buffer=False)
    return file.read_row_group(group.number, use_threads=False)


def of_session(table: pa.Table, session_id: str) -> pa.Table:
    """The rows of one session."""
    return table.filter(pc.field("session_id") == session_id)


def describe(table: pa.Table) -> dict[str, list[Any]]:
    """The sessions of a row group, for record_archive: how many rows and messages each has."""
    sessions = table["session_id"]
    rows = _counts(sessions)
    messages = _counts(sessions.filter(pc.equal(table["relation"], pa.scalar("messages"))))
    return {
        "session_ids": list(rows),
        "row_counts": list(rows.values()),
        "message_counts": [messages.get(session, 0) for session in rows],
    }


def _counts(sessions: "pa.ChunkedArray[Any]") -> dict[str, int]:
    found = sessions.cast(pa.string()).value_counts()
    return cast(dict[str, int], dict(zip(*map(pa.Array.to_pylist, found.flatten()), strict=True)))


class _Window(io.RawIOBase):
    """A file of which only some bytes are at hand."""

    def __init__(self, content: bytes, offset: int) -> None:
        self._content, self._offset, self._position = memoryview(content), offset, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        ends = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._offset + len(self._content)}
        self._position = ends[whence] + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        start = self._position - self._offset
        if start < 0:
            raise OSError("these bytes are not at hand")
        given = self._content[start : start + len(buffer)]
        buffer[: len(given)] = given
        self._position += len(given)
        return len(given)
