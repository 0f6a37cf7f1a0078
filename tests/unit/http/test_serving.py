"""A function under the server that functions-framework starts where it is deployed."""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from local.paths import REPOSITORY
from local.ports import free_port

PATH = "/landing/00000000-0000-7000-8000-000000000004/register"


@contextlib.contextmanager
def connected() -> Iterator[http.client.HTTPConnection]:
    """A connection to the registration function."""
    port = free_port()
    command = [sys.executable, "-m", "functions_framework", "--target", "registration", "--port", str(port)]
    command += ["--source", str(REPOSITORY / "functions" / "registration" / "main.py"), "--host", "127.0.0.1"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(
        command, env=environment, cwd="/", stderr=subprocess.DEVNULL, start_new_session=True
    ) as server:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            for _ in range(600):
                try:
                    connection.connect()
                    break
                except ConnectionRefusedError:
                    time.sleep(0.1)
            yield connection
        finally:
            os.killpg(server.pid, signal.SIGKILL)


@pytest.mark.parametrize("upgrade", ["h2c", "websocket"])
def test_a_body_is_read_when_the_request_offers_an_upgrade(upgrade: str) -> None:
    headers = {"Content-Type": "application/json", "Connection": "Upgrade", "Upgrade": upgrade}
    with connected() as connection:
        connection.request("POST", PATH, json.dumps({"email": "no address"}), headers)
        answer = connection.getresponse()
        problem = json.loads(answer.read())
    assert (answer.status, problem["code"]) == (422, "invalid_body")
    assert [error["field"] for error in problem["errors"]] == ["email"]


def test_who_writes_much_before_reading_is_told_that_it_is_too_much() -> None:
    with connected() as connection:
        connection.request("POST", PATH, b" " * 5_000_000, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        problem = json.loads(answer.read())
    assert (answer.status, problem["code"]) == (413, "body_too_large")
