"""A function under the server that functions-framework starts where it is deployed."""

import http.client
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from local.place import REPOSITORY
from local.ports import free_port


@pytest.mark.parametrize("upgrade", ["h2c", "websocket"])
def test_a_body_is_read_when_the_request_offers_an_upgrade(upgrade: str) -> None:
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
            headers = {"Content-Type": "application/json", "Connection": "Upgrade", "Upgrade": upgrade}
            body = json.dumps({"email": "no address"})
            connection.request("POST", "/landing/00000000-0000-7000-8000-000000000004/register", body, headers)
            answer = connection.getresponse()
            problem = json.loads(answer.read())
        finally:
            os.killpg(server.pid, signal.SIGKILL)
    assert (answer.status, problem["code"]) == (422, "invalid_body")
    assert [error["field"] for error in problem["errors"]] == ["email"]
