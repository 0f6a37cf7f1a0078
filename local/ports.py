"""TCP ports on the loopback address, reserved among the stacks of one user."""

import contextlib
import fcntl
import os
import secrets
import socket
import tempfile
from pathlib import Path
from typing import IO


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of 127.0.0.1 now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: a port in TIME_WAIT is free, a listening port is not.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


_CHOICE = range(10_000, 32_000)
"""Below the ports that operating systems give to outgoing connections: one of those can be in use a moment later."""


def free_port() -> int:
    """A free port, at random."""
    while not is_free(port := secrets.choice(_CHOICE)):
        pass
    return port


class Reservations:
    """Ports that no other stack of this user takes, from before the servers listen until `release`.

    Each has a locked file, which the kernel unlocks when the process ends.
    """

    def __init__(self) -> None:
        self._folder = Path(tempfile.gettempdir()) / f"switchboard-ports-{os.getuid()}"
        self._locks: dict[int, IO[str]] = {}

    def take(self, port: int) -> bool:
        """Reserve this port; false if it is reserved, or another process listens on it."""
        if port in self._locks:
            return False
        self._folder.mkdir(mode=0o700, exist_ok=True)
        lock = (self._folder / str(port)).open("a")
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if is_free(port):
                self._locks[port] = lock
                return True
        lock.close()
        return False

    def pick(self, wanted: int) -> int:
        """Reserve the wanted port, else the first free one of the next fifty, else any; 0 requests any."""
        candidates = range(wanted, min(wanted + 50, 65536)) if wanted else range(0)
        port = next(filter(self.take, candidates), None)
        while port is None:
            port = next(filter(self.take, [free_port()]), None)
        return port

    def release(self) -> None:
        """Give all ports back."""
        while self._locks:
            self._locks.popitem()[1].close()
