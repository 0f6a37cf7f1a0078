"""The lines of docs/identity.md make tokens that are accepted."""

import base64
import hashlib
import hmac
import json
import re
import shutil
import subprocess
from uuid import uuid4

import pytest

from lib import errors
from lib.auth import identity_tokens
from local.paths import REPOSITORY

PAGE = (REPOSITORY / "docs" / "identity.md").read_text()
LINES = dict(re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL))
SECRET, SUBJECT, EMAIL = "the secret ✓ of a space", "auth0|4711/Ü", "Ana+1@Example.com"

RUNS = {
    "js": (["node", "-e"], "const secret = {0}, user = {{id: {1}, email: {2}}}; {3} process.stdout.write(token);"),
    "python": (
        ["python3", "-c"],
        "import base64, hmac, json, sys, time, types\n"
        "secret, user = {0}, types.SimpleNamespace(id={1}, email={2})\n{3}\nsys.stdout.write(token)",
    ),
    "php": (
        ["php", "-r"],
        "$secret = {0}; $user = (object) ['id' => {1}, 'email' => {2}]; {3} echo $token;",
    ),
    "ruby": (
        ["ruby", "-e"],
        "require 'json'; require 'openssl'\n"
        "secret = {0}; user = Struct.new(:id, :email).new({1}, {2})\n{3}\nprint token",
    ),
}
"""How the lines of a language are run, with a secret and a user before them."""


def test_every_language_has_five_lines() -> None:
    assert {language: len(lines.splitlines()) for language, lines in LINES.items()} == dict.fromkeys(RUNS, 5)


@pytest.mark.parametrize("language", RUNS)
def test_the_lines_of_the_page_make_a_token_that_is_accepted(language: str) -> None:
    command, script = RUNS[language]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not on this machine")
    values = [json.dumps(text, ensure_ascii=False) for text in (SECRET, SUBJECT, EMAIL)]
    run = [*command, script.format(*values, LINES[language])]
    token = subprocess.run(run, capture_output=True, check=True, timeout=20, text=True).stdout
    read = identity_tokens.read(token, uuid4())
    assert read.signature == hmac.digest(SECRET.encode(), read.signed.encode(), hashlib.sha256).hex()
    assert (read.subject, read.email and read.email.typed) == (f"sub:{SUBJECT}", EMAIL)
    claims = json.loads(base64.urlsafe_b64decode(read.signed.split(".")[1] + "=="))
    assert set(claims) == {"sub", "email", "exp"}


def test_the_page_has_every_code_and_claim() -> None:
    codes = {code for code in errors.TITLES if code.startswith("identity_token_")}
    assert set(re.findall(r"`(identity_token_\w+)`", PAGE)) == codes
    claims = re.findall(r"(?m)^\| ((?:`\w+`(?:, )?)+) \| (?:your|an email|required|optional)", PAGE)
    assert set(re.findall(r"\w+", " ".join(claims))) == {"sub", "email", "exp", "iat", "nbf", "aud"}
