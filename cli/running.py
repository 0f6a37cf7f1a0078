"""Run one command against the backend; a failure becomes a sentence and an exit status.

0  done            2  the command line, the settings or a value is wrong     3  it does not exist
1  another failure  4  refused: a conflict, or not allowed                    5  the backend cannot be reached
"""

import asyncio
import base64
import codecs
import contextlib
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar
from uuid import UUID

import click
from pydantic import BaseModel, ValidationError

from cli import target
from lib import errors
from lib.database.paging import MAX_PAGE_SIZE, Page, PageRequest
from lib.database.queries import Queries
from lib.http import request_body
from lib.workspaces.secrets import GivenSecret

if TYPE_CHECKING:
    from cli.backend import Backend

Model = TypeVar("Model", bound=BaseModel)
Result = TypeVar("Result")
Command = TypeVar("Command", bound=Callable[..., Any])


class Failure(click.ClickException):
    """A failed command."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        setattr(self, "exit_code", status)  # noqa: B010 (click declares it for the class)


def run(work: Callable[["Backend"], Awaitable[Result]], *, new_user: str | None = None) -> Result:
    """Run a command with the backend. Raises Failure.

    If the command is refused with user_not_found, a user with the email ``new_user`` is created and the command
    repeated. So a command that is refused for another reason creates no user.
    """
    from cli import backend  # noqa: PLC0415 (Supabase's client takes long to import, and --help does without it)

    chosen = project()

    async def connected() -> Result:
        async with backend.opened(chosen) as opened:
            try:
                return await work(opened)
            except errors.Refused as refused:
                if new_user is None or refused.code != "user_not_found":
                    raise
            with contextlib.suppress(errors.Refused):  # a user with this email, who has not confirmed it
                await opened.create_user(new_user)
            return await work(opened)

    try:
        return asyncio.run(connected())
    except errors.InvalidBody as invalid:
        _refuse_fields(invalid.errors)
    except errors.BackendUnavailable:
        raise Failure("The backend cannot be reached now.", 5) from None
    except (errors.Refused, errors.NotFound, errors.Moved) as refused:
        text = f"{refused.detail or refused.title} ({refused.code})"
        raise Failure(text, {404: 3, 422: 2}.get(refused.status, 4)) from None
    except (errors.Unauthenticated, errors.Forbidden, errors.InternalError):
        raise Failure("the service key is not accepted, or the backend does not answer as it should", 1) from None
    except backend.BackendError as error:
        raise Failure(str(error), 1) from None


def project() -> target.Target:
    """The project that the environment names. Raises Failure."""
    try:
        return target.find(os.environ)
    except errors.ConfigError as missing:
        raise Failure(str(missing), 2) from None


def model(kind: type[Model], values: Mapping[str, Any]) -> Model:
    """The options as a model of a request; omitted options are left out.

    A flag ``no_<field>`` clears that field: null, or an empty list. Raises Failure, and UsageError for a field that is
    both set and cleared.
    """
    flags = {name for name in values if name.startswith("no_")}
    given = {name: value for name, value in values.items() if name not in flags and value is not None and value != ()}
    for flag in sorted(flag for flag in flags if values[flag]):
        member = flag.removeprefix("no_")
        if member in given:
            raise click.UsageError(f"Either {spelled(member)} or {spelled(flag)}.")
        given[member] = () if values[member] == () else None
    try:
        return kind.model_validate(given)
    except ValidationError as invalid:
        faults = request_body.field_errors(invalid)
    _refuse_fields(faults)


def json_option(name: str, about: str) -> Callable[[Command], Command]:
    """An option that takes a file with a JSON object, or standard input."""
    return click.option(name, type=click.File("rb"), callback=_json_object, help=f"{about}: a file of JSON, or -.")


def image_option(name: str, about: str) -> Callable[[Command], Command]:
    """An option that takes an image file and gives its data URL."""
    return click.option(name, type=click.File("rb"), callback=_data_url, help=f"{about}: a PNG, JPEG or WebP file.")


def every(read: Callable[[Queries, PageRequest], Awaitable[Page[Model]]]) -> list[Model]:
    """All pages of a list. Raises Failure."""

    async def pages(backend: "Backend") -> list[Model]:
        items: list[Model] = []
        request = PageRequest(limit=MAX_PAGE_SIZE)
        while True:
            page = await read(backend.queries, request)
            items += page.items
            if page.next_cursor is None:
                return items
            request = PageRequest(limit=MAX_PAGE_SIZE, cursor=UUID(page.next_cursor))

    return run(pages)


def secret() -> GivenSecret:
    """A secret of a persona, from standard input or a prompt."""
    return model(GivenSecret, {"secret": hidden("Secret", confirm=True)})


def hidden(name: str, *, confirm: bool) -> str:
    """A secret from standard input, or a hidden prompt; never from the command line, which other users can read."""
    if sys.stdin.isatty():
        typed: str = click.prompt(name, hide_input=True, confirmation_prompt=confirm, err=True)
        return typed
    return sys.stdin.read().removesuffix("\n").removesuffix("\r")


def spelled(name: str) -> str:
    """The name of a field's option, as typed."""
    return next(option.opts[0] for option in click.get_current_context().command.params if option.name == name)


def _json_object(_: click.Context, __: click.Parameter, file: Any) -> Any:
    if file is None:
        return None
    if (document := request_body.parse_object(file.read().removeprefix(codecs.BOM_UTF8))) is None:
        raise click.BadParameter("is no JSON object")
    return document


_SIGNATURES = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"RIFF": "webp"}
"""The first bytes of each kind of image."""


def _data_url(_: click.Context, __: click.Parameter, file: Any) -> str | None:
    if file is None:
        return None
    content: bytes = file.read()
    for signature, kind in _SIGNATURES.items():
        if content.startswith(signature):
            return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
    raise click.BadParameter("is no PNG, JPEG or WebP image")


def _refuse_fields(faults: Any) -> NoReturn:
    lines = (f"{fault.field}: {fault.message}" if fault.field else fault.message for fault in faults)
    raise Failure("; ".join(lines), 2)
