"""Reads the text of an n8n workflow's answer.

Observed with n8n 2.41: a streaming webhook answers 200, `application/json`, one JSON object per line, see
n8n_stream. "When Last Node Finishes" answers the item as JSON. "Respond to Webhook" answers any status; its
text comes as text/html unless the workflow sets a content type.
https://docs.n8n.io/integrations/builtin/core-nodes/n8n-nodes-base.webhook
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from lib.outbound import client
from lib.personas import PersonaError, failures
from lib.personas.n8n_stream import Lines
from lib.personas.text import clean, excerpt, find_text, quote
from lib.personas.thoughts import ThoughtFilter, without_thoughts
from lib.personas.wrappers import Unwrapper, require_no_error, text_in, unwrapped

ACCEPTED = {"Accept": "application/json, text/plain;q=0.9"}

_STARTED = "Workflow was started"
_JSON_TYPE = re.compile(r"application/(json|[\w.+-]+\+json|x-ndjson|ndjson|jsonl|x-jsonlines)")
_TEXT_TYPES = {"text/plain", "text/markdown"}
_CHARSETS = {"utf-8", "utf8", "us-ascii", "iso-8859-1", "latin-1", "windows-1252"}
_MARKUP = re.compile(r"\s*<\s*[!?/a-z]", re.IGNORECASE)


# Statuses of a polled workflow, among them n8n's own for an execution.
_UNFINISHED = {"new", "queued", "pending", "waiting", "started", "running", "processing", "in_progress"}
_FAILED = {"error", "failed", "crashed", "canceled", "cancelled"}


class NotYet(Exception):  # noqa: N818 (it is no error)
    """A polled workflow is still running."""


async def refusal(answer: client.Answer, secret: str | None) -> PersonaError:
    """The error for an unsuccessful status, with its usual cause in n8n."""
    status = answer.status
    raw = (await answer.excerpt(2_048)).decode("utf-8", "replace")
    said = quote(raw, secret)
    if 300 <= status <= 399:
        return PersonaError("persona_refused", f"the address redirects ({status}), which is not followed")
    code = failures.code_of(status, raw)
    if code == "persona_declined":
        detail = f"a content filter stopped the message ({status}{said})"
    elif code == "persona_input_refused":
        detail = f"the workflow does not accept the message ({status}{said})"
    elif status in {401, 403}:
        detail = f"the workflow does not accept our secret ({status}{said})"
    elif status == 404:
        detail = f"no active workflow has this address (404{said})"
    else:
        detail = f"the workflow answered with an error ({status}{said})"
    return PersonaError(code, detail, retryable=code == "persona_failed")


async def texts(answer: client.Answer, secret: str | None, *, polled: bool = False) -> AsyncGenerator[str, None]:
    """The answer's pieces; leading white space waits for text, and a blank answer is an error.

    `polled`: a JSON document may also report by its `status` that the answer is not ready, or will never be. Raises
    PersonaError, OutboundError, and NotYet if polled.
    """
    if _JSON_TYPE.fullmatch(answer.content_type):
        pieces = _from_json(answer, secret, polled=polled)
    elif answer.content_type in _TEXT_TYPES:
        pieces = _without_wrappers(_from_text(answer), secret)
    elif answer.content_type == "text/html":
        pieces = _without_wrappers(_from_html(answer), secret)
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


async def _from_json(answer: client.Answer, secret: str | None, *, polled: bool) -> AsyncIterator[str]:
    """Streamed lines or one JSON document; both are application/json, so only the content differs."""
    lines = Lines(secret)
    try:
        async for chunk in answer.chunks():
            for text in lines.feed(chunk):
                yield text
    except client.OutboundError as error:
        for text in lines.rest():
            yield text
        raise lines.failure() or error from error
    for text in lines.finish():
        yield text
    if lines.document is not None:
        yield _from_document(lines.document, secret, polled=polled)


def _from_document(body: bytes, secret: str | None, *, polled: bool) -> str:
    try:
        value: Any = json.loads(body.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise PersonaError("persona_bad_answer", "the answer is not the JSON that it says it is") from error
    only = value[0] if isinstance(value, list) and len(value) == 1 else value
    if only == {"message": _STARTED}:
        raise PersonaError(
            "persona_misconfigured",
            "the webhook answers before the workflow is done: set it to stream or to respond when finished, "
            "or set the persona's mode to async or poll",
        )
    if polled:
        _judge_status(only, secret)
    text = find_text(value) or (text_in(only) if isinstance(only, dict) else None)
    if text is not None:
        return without_thoughts(unwrapped(text, secret))
    require_no_error(value, secret)
    raise PersonaError("persona_bad_answer", "the answer holds no text, or more than one item")


def _judge_status(value: Any, secret: str | None) -> None:
    """Raises NotYet or PersonaError if a document reports that the workflow is running or has failed."""
    status = value.get("status") if isinstance(value, dict) else None
    if not isinstance(status, str):
        return
    if status.lower() in _UNFINISHED:
        raise NotYet
    if status.lower() in _FAILED:
        said = find_text(value.get("error")) or find_text(value) or ""
        raise failures.failure_in_words("the workflow failed", said, secret)


async def _without_wrappers(pieces: AsyncIterator[str], secret: str | None) -> AsyncIterator[str]:
    unwrapper, thoughts = Unwrapper(secret), ThoughtFilter()
    async for piece in pieces:
        yield thoughts.feed(unwrapper.feed(piece))
    yield thoughts.feed(unwrapper.finish()) + thoughts.finish()


async def _from_text(answer: client.Answer) -> AsyncIterator[str]:
    if answer.charset.lower() not in _CHARSETS:  # the standard library's list includes compressed types
        raise PersonaError("persona_bad_answer", "the answer is in an unknown character set")
    decoder = codecs.getincrementaldecoder(answer.charset)("replace")
    async for chunk in answer.chunks():
        yield clean(decoder.decode(chunk))
    yield clean(decoder.decode(b"", final=True))


async def _from_html(answer: client.Answer) -> AsyncIterator[str]:
    """Text that n8n labels as HTML because no content type is set. Real HTML is a login page or an error page."""
    text = "".join([piece async for piece in _from_text(answer)])
    if _MARKUP.match(text):
        raise PersonaError("persona_bad_answer", "the answer is an HTML page")
    yield text
