"""n8n as a persona: POSTs the message to a workflow's webhook and reads the kind of answer it is set to give.

Facts as seen with n8n 2.41: a streaming webhook answers 200, `application/json`, one JSON object a line, see
n8n_stream. "When Last Node Finishes" answers the item as JSON. "Respond to Webhook" answers any status; its
text comes as text/html unless the workflow sets a content type. A failed header auth is a 403 in text, an
inactive workflow a 404 in JSON, and "Immediately" answers `{"message": "Workflow was started"}`.
https://docs.n8n.io/integrations/builtin/core-nodes/n8n-nodes-base.webhook
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from lib import outbound
from lib.answers import clean, excerpt, find_text, quote
from lib.personas import Deferred, ErrorCode, PersonaError, PersonaTurn, Piece, Text
from lib.personas.n8n_stream import Lines

_STARTED = "Workflow was started"
_JSON_TYPE = re.compile(r"application/(json|[\w.+-]+\+json|x-ndjson|ndjson|jsonl|x-jsonlines)")
_TEXT_TYPES = {"text/plain", "text/markdown"}
_CHARSETS = {"utf-8", "utf8", "us-ascii", "iso-8859-1", "latin-1", "windows-1252"}
_MARKUP = re.compile(r"\s*<\s*[!?/a-z]", re.IGNORECASE)
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")
_HEADER_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")
# Headers that frame the message, and those that intermediaries act on.
_TAKEN_HEADERS = {
    "accept-encoding", "connection", "content-encoding", "content-length", "content-type", "expect", "host",
    "keep-alive", "te", "trailer", "transfer-encoding", "upgrade",
}  # fmt: skip


class HeaderAuth(BaseModel):
    """n8n's "Header Auth" credential: the persona's secret is this header's value."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    header: str

    @field_validator("header")
    @classmethod
    def _free_header(cls, name: str) -> str:
        if not _HEADER_NAME.fullmatch(name) or name.lower() in _TAKEN_HEADERS:
            raise ValueError("not a header that may carry a secret")
        return name


class Config(BaseModel):
    """The settings of an n8n persona.

    `url` is the webhook's production URL. `mode` `sync` reads the answer from the response; with `async`
    the workflow only acknowledges and answers later. Times are in seconds and never exceed the turn's own
    limit; `first_byte_seconds` defaults to that limit, because a workflow that does not stream is silent
    until it is done.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field(min_length=1, max_length=outbound.MAX_URL_LENGTH)
    auth: HeaderAuth | Literal["bearer", "none"] = "none"
    mode: Literal["sync", "async"] = "sync"
    connect_seconds: float = Field(default=5, gt=0, le=30)
    first_byte_seconds: float | None = Field(default=None, gt=0, le=840)
    idle_seconds: float = Field(default=60, gt=0, le=840)


class N8n:
    """Asks a workflow."""

    async def answer(self, turn: PersonaTurn) -> AsyncGenerator[Piece, None]:
        """Streams what a streaming workflow sends, else gives the whole answer as one piece.

        Raises PersonaError.
        """
        config = _configured(turn)
        try:
            async with outbound.post(
                config.url,
                json=_payload(turn),
                headers={"Accept": "application/json, text/plain;q=0.9", **_credentials(turn, config)},
                limits=_limits(turn, config),
                allowed=turn.allowed_networks,
            ) as answer:
                if not 200 <= answer.status <= 299:
                    raise await _refusal(answer, turn.secret)
                if config.mode == "async":
                    yield Deferred()
                    return
                async with aclosing(_texts(answer, turn.secret)) as texts:
                    async for text in texts:
                        yield Text(text)
        except outbound.OutboundError as error:
            code = cast("ErrorCode", f"persona_{error.code}")
            raise PersonaError(code, error.detail, retryable=error.retryable) from error


def _configured(turn: PersonaTurn) -> Config:
    try:
        return Config.model_validate(turn.config)
    except ValidationError as error:
        fields = ", ".join(sorted({str(fault["loc"][0]) for fault in error.errors() if fault["loc"]}))
        raise PersonaError("persona_misconfigured", f"settings of the n8n persona to correct: {fields}") from None


def _payload(turn: PersonaTurn) -> dict[str, object]:
    """What the workflow gets: our six fields, and those with which n8n's Chat Trigger works unchanged.

    `userId` is the signed-in user where there is one, else the contact.
    """
    return {
        "message": turn.message,
        "conversationId": turn.conversation_id,
        "personaId": turn.persona_id,
        "userId": turn.user_id or turn.contact_id,
        "sessionId": turn.session_id,
        "turnId": turn.turn_id,
        "action": "sendMessage",
        "chatInput": turn.message,
    }


def _credentials(turn: PersonaTurn, config: Config) -> dict[str, str]:
    if config.auth == "none":
        return {}
    if turn.secret is None or not _HEADER_VALUE.fullmatch(turn.secret):
        raise PersonaError("persona_misconfigured", "the persona's secret is missing or cannot stand in a header")
    if config.auth == "bearer":
        return {"Authorization": f"Bearer {turn.secret}"}
    return {config.auth.header: turn.secret}


def _limits(turn: PersonaTurn, config: Config) -> outbound.Limits:
    total = float(turn.time_limit_seconds)
    return outbound.Limits(
        connect_seconds=min(config.connect_seconds, total),
        first_byte_seconds=min(config.first_byte_seconds or total, total),
        idle_seconds=min(config.idle_seconds, total),
        total_seconds=total,
    )


async def _refusal(answer: outbound.Answer, secret: str | None) -> PersonaError:
    """The error for a status that is no success; says what it usually means with n8n."""
    status = answer.status
    said = quote((await answer.excerpt(2_048)).decode("utf-8", "replace"), secret)
    if 300 <= status <= 399:
        return PersonaError("persona_refused", f"the address redirects ({status}), which is not followed")
    if status in {401, 403}:
        return PersonaError("persona_refused", f"the workflow does not accept our secret ({status}{said})")
    if status == 404:
        return PersonaError("persona_refused", f"no active workflow has this address (404{said})")
    retryable = status >= 500 or status in {408, 425, 429}
    return PersonaError("persona_refused", f"the workflow answered with an error ({status}{said})", retryable=retryable)


async def _texts(answer: outbound.Answer, secret: str | None) -> AsyncGenerator[str, None]:
    """The answer's pieces; white space before the first word waits for it, and alone is no answer."""
    if _JSON_TYPE.fullmatch(answer.content_type):
        pieces = _from_json(answer, secret)
    elif answer.content_type in _TEXT_TYPES:
        pieces = _from_text(answer)
    elif answer.content_type == "text/html":
        pieces = _from_html(answer)
    elif not answer.content_type:
        raise PersonaError("persona_bad_answer", "the answer is empty or does not say what it is")
    else:
        raise PersonaError("persona_bad_answer", f"answers cannot be {excerpt(answer.content_type, 60)}")
    waiting: str = ""
    spoken = False
    async for piece in pieces:
        waiting += piece
        if waiting and (spoken or not waiting.isspace()):
            spoken = True
            yield waiting
            waiting = ""
    if not spoken:
        raise PersonaError("persona_bad_answer", "the answer is empty")


async def _from_json(answer: outbound.Answer, secret: str | None) -> AsyncIterator[str]:
    """Streamed lines, or one JSON document: only the content tells them apart, both are application/json."""
    lines = Lines(secret)
    try:
        async for chunk in answer.chunks():
            for text in lines.feed(chunk):
                yield text
    except outbound.OutboundError as error:
        raise lines.failure() or error from error
    for text in lines.finish():
        yield text
    if lines.document is not None:
        yield _from_document(lines.document, secret)


def _from_document(body: bytes, secret: str | None) -> str:
    try:
        value: Any = json.loads(body.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise PersonaError("persona_bad_answer", "the answer is not the JSON that it says it is") from error
    only = value[0] if isinstance(value, list) and len(value) == 1 else value
    if only == {"message": _STARTED}:
        raise PersonaError(
            "persona_misconfigured",
            "the webhook answers before the workflow is done: set it to stream or to respond when finished, "
            "or set the persona's mode to async",
        )
    text = find_text(value)
    if text is not None:
        return text
    if isinstance(only, dict) and only.get("error"):
        said = find_text(only["error"]) or ""
        raise PersonaError("persona_failed", "the workflow failed" + quote(said, secret))
    raise PersonaError("persona_bad_answer", "the answer holds no text, or more than one item")


async def _from_text(answer: outbound.Answer) -> AsyncIterator[str]:
    if answer.charset.lower() not in _CHARSETS:  # Python's own list has compressors in it
        raise PersonaError("persona_bad_answer", "the answer is in an unknown character set")
    decoder = codecs.getincrementaldecoder(answer.charset)("replace")
    async for chunk in answer.chunks():
        yield clean(decoder.decode(chunk))
    yield clean(decoder.decode(b"", final=True))


async def _from_html(answer: outbound.Answer) -> AsyncIterator[str]:
    """Text that n8n labels as HTML for want of a content type. Real HTML is a login page or an error page."""
    text = "".join([piece async for piece in _from_text(answer)])
    if _MARKUP.match(text):
        raise PersonaError("persona_bad_answer", "the answer is an HTML page")
    yield text


persona = N8n()
