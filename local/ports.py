"""TCP ports on the loopback address."""

import socket


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


def free_port() -> int:
    """A free port, chosen by the operating system."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def pick(wanted: int, taken: set[int]) -> int:
    """The wanted port, else the first free one of the next fifty, else any; 0 requests any.

    The port is added to `taken`, so that one start never assigns a port twice.
    """
    candidates = range(wanted, min(wanted + 50, 65536)) if wanted else range(0)
    port = next((port for port in candidates if port not in taken and is_free(port)), None)
    while port is None or port in taken:
        port = free_port()
    taken.add(port)
    return port
