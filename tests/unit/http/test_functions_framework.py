"""A function under the server that functions-framework starts where it is deployed."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from local.paths import REPOSITORY
from local.ports import free_port

PATH = "/landing/00000000-0000-7000-8000-000000000004/register"


@pytest.fixture
def port() -> Iterator[int]:
    """The port of the registration function."""
    found = free_port()
    command = [sys.executable, "-m", "functions_framework", "--target", "registration", "--port", str(found)]
    command += ["--source", str(REPOSITORY / "functions" / "registration" / "main.py"), "--host", "127.0.0.1"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(
        command, env=environment, cwd="/", stderr=subprocess.DEVNULL, start_new_session=True
    ) as server:
        try:
            for _ in range(600):
                with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", found)):
                    break
                time.sleep(0.1)
            yield found
        finally:
            os.killpg(server.pid, signal.SIGKILL)


def test_a_body_is_read_whatever_it_offers_and_refused_when_it_is_too_large(port: int) -> None:
    for headers, body, refusal in (
        ({"Connection": "Upgrade", "Upgrade": "h2c"}, b'{"email": "no address"}', (422, "invalid_body")),
        ({"Connection": "Upgrade", "Upgrade": "websocket"}, b'{"email": "no address"}', (422, "invalid_body")),
        ({}, b" " * 5_000_000, (413, "body_too_large")),
    ):
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
            connection.request("POST", PATH, body, {"Content-Type": "application/json", **headers})
            answer = connection.getresponse()
            assert (answer.status, json.loads(answer.read())["code"]) == refusal
