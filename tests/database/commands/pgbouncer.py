"""PgBouncer in transaction mode in front of a server: what Supabase recommends to serverless functions."""

import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from local import processes
from local.paths import server_user
from local.ports import free_port, is_free
from tests.servers import Server, missing

BACKENDS = 3

_SETTINGS = """
[databases]
* = host=127.0.0.1 port={server_port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
pool_mode = transaction
default_pool_size = {backends}
"""


@contextmanager
def running(server: Server, user: str, password: str) -> Iterator[int]:
    """Its port; it lets this user in with at most BACKENDS connections to the server."""
    program = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin")
    if program is None:
        missing("There is no PgBouncer here; Debian's comes with `local/debian.sh`, which `make test` runs.")
    folder = Path(tempfile.mkdtemp(prefix="switchboard-pgbouncer-"))
    folder.chmod(0o711)
    port, users, settings = free_port(), folder / "users.txt", folder / "pgbouncer.ini"
    users.write_text(f'"{user}" "{password}"\n')
    settings.write_text(_SETTINGS.format(server_port=server.cluster.port, port=port, users=users, backends=BACKENDS))
    process = subprocess.Popen([program, "-q", str(settings)], **processes.tied_options(signal.SIGTERM, server_user()))
    try:
        _wait_for(port, process)
        yield port
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(500):
        assert process.poll() is None, "PgBouncer has ended"
        if not is_free(port):
            return
        time.sleep(0.01)
    raise TimeoutError("PgBouncer does not listen")
