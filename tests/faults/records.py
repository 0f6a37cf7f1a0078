"""What a run writes down: one JSON object a line, with the wall clock's time in seconds.

The clients write clients.jsonl, the killer kills.jsonl, the harness run.json. The checker reads nothing else but
these, the logs of the parts and the database.

    clients.jsonl     t, kind, and by kind
        sent          key, caller, space, message, attempt         a message is on its way (again)
        status        key | turn, attempt, status, code?            what HTTP answered
        acknowledged  key, turn, session, conversation, contact, reader
        event         reader, turn, name, id, text?, status?, code?, text_length?
        broken        key | turn, reader, why                       a connection ended before its last event
        resume        reader, turn, after, how                      a turn is read again from a position on
        resumed       reader, turn, status?, ended                  … and how that ended
        replay        reader, turn                                  a reader begins from the beginning
        abandoned     key, refused_only                             nobody sends this message any more
        wrong         what                                          an answer that no client can make sense of
    kills.jsonl       t, kind (kill | back), victim, number, pid?
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

CLIENTS = "clients.jsonl"
KILLS = "kills.jsonl"
RUN = "run.json"

Record = dict[str, Any]


class Log:
    """Appends records to a file; each line leaves the process at once."""

    def __init__(self, file: Path) -> None:
        self._file: TextIO = file.open("a", buffering=1)

    def write(self, kind: str, **fields: Any) -> None:
        """One record, stamped with the present time; fields that are None are left out."""
        record = {"t": round(time.time(), 4), "kind": kind}
        record |= {name: value for name, value in fields.items() if value is not None}
        self._file.write(json.dumps(record, ensure_ascii=False) + "\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read(file: Path) -> Iterator[Record]:
    """The records of a file in the order in which they were written."""
    with file.open() as lines:
        for line in lines:
            yield json.loads(line)
