"""A language model as a persona: any server with OpenAI's `POST /chat/completions`, asked to stream.

    {"model": "…", "messages": [{"role": "system", "content": "…"}, {"role": "user", "content": "…"}, …],
     "stream": true, "stream_options": {"include_usage": true}}

OpenAI, Azure, vLLM, Ollama, llama.cpp, LiteLLM and many gateways serve it, each with its own gaps, so only `stream`,
`stream_options` and `user` are sent without being configured. openai_stream reads the answers.
https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from math import inf
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationInfo, field_validator

from lib.outbound import client
from lib.personas import (
    HistoryMessage,
    PersonaError,
    PersonaTurn,
    Piece,
    Role,
    Text,
    Usage,
    calls,
    configured,
    failures,
    memory_prompt,
)
from lib.personas.openai_stream import Completion
from lib.personas.text import quote
from lib.personas.thoughts import without_thoughts

# A chunk of one token has 200 to 400 bytes: enough for 64,000 tokens, including reasoning.
_MAX_BYTES = 24 * 1024 * 1024
_MAX_EXTRA_CHARACTERS = 16_000
_OURS = {
    "model", "messages", "stream", "stream_options", "n", "temperature", "max_tokens", "max_completion_tokens",
}  # fmt: skip
_PATH = "/chat/completions"
# The wait for the end of the response after [DONE] only lets the connection serve the next turn.
_CLOSING_SECONDS = 0.1
_MOUTHFUL_BYTES = 16 * 1024

_ROLES: dict[Role, Literal["user", "assistant"]] = {
    "contact": "user",
    "user": "user",
    "persona": "assistant",
    "member": "assistant",
}


class Config(calls.Timeouts):
    """The settings of a language model.

    `base_url` is the URL before `/chat/completions`; its query string is kept. `auth` is bearer by default, if
    the persona has a secret. `max_tokens` and `max_completion_tokens` are one limit under two
    names: OpenAI's newer models take only the second, most compatible servers only the first.
    `history_characters` bounds the earlier messages, newest first and whole, beside the persona's `history_limit`;
    `memory_characters` bounds the memories, best first and whole. `alternate` is for models whose prompt template
    refuses two messages of one role in a row, or an answer first: a conversation has both after a failed turn or a cut
    history.
    `send_user` sends the sender's id as `user`. `begins_thinking` is for servers whose prompt template has the opening
    `<think>`, so that the answer begins with thoughts and only `</think>` is in it.
    `extra` is sent unchanged.
    """

    base_url: calls.Url = "https://api.openai.com/v1"
    model: str = Field(min_length=1, max_length=200)
    auth: calls.Auth | None = None
    system_prompt: str | None = Field(default=None, max_length=32_000)
    history_characters: int = Field(default=32_000, ge=0, le=1_000_000)
    memory_characters: int = Field(default=4_000, ge=0, le=100_000)
    alternate: bool = False
    temperature: float | None = Field(default=None, ge=0, le=2)
    max_tokens: int | None = Field(default=None, ge=1, le=1_000_000)
    max_completion_tokens: int | None = Field(default=None, ge=1, le=1_000_000)
    include_usage: bool = True
    send_user: bool = True
    begins_thinking: bool = False
    extra: dict[str, Any] = Field(default_factory=dict)

    @field_validator("max_completion_tokens")
    @classmethod
    def _one_limit(cls, limit: int | None, info: ValidationInfo) -> int | None:
        if limit is not None and info.data.get("max_tokens") is not None:
            raise ValueError("only one of max_tokens and max_completion_tokens can be set")
        return limit

    @field_validator("extra")
    @classmethod
    def _not_ours(cls, extra: dict[str, Any]) -> dict[str, Any]:
        if ours := sorted(_OURS & extra.keys()):
            raise ValueError(f"cannot set {', '.join(ours)}")
        try:
            length = len(json.dumps(extra, allow_nan=False))
        except (ValueError, TypeError, RecursionError):
            raise ValueError("must be JSON") from None
        if length > _MAX_EXTRA_CHARACTERS:
            raise ValueError(f"must have at most {_MAX_EXTRA_CHARACTERS} characters as JSON")
        return extra

    @property
    def url(self) -> str:
        """The URL of the requests."""
        return _address(self.base_url)


class OpenAI:
    """Calls a model."""

    async def answer(self, turn: PersonaTurn) -> AsyncGenerator[Piece, None]:
        """The model's text, then its usage if the server reports it.

        May raise PersonaError after the usage: a filtered or refused answer has a cost too.
        """
        config = configured(Config, turn)
        completion = Completion(turn.secret, begins_thinking=config.begins_thinking)
        try:
            async with client.post(
                config.url,
                json=_payload(turn, config),
                headers={
                    "Accept": "text/event-stream, application/json;q=0.9",
                    **calls.credentials(turn, config.auth or ("bearer" if turn.secret else "none")),
                },
                limits=config.within(turn.time_limit_seconds, max_bytes=_MAX_BYTES),
                allowed=turn.allowed_networks,
            ) as answer:
                if not 200 <= answer.status <= 299:
                    raise await _refusal(answer, turn.secret)
                async with aclosing(_body(answer, completion)) as body:
                    async for chunk in body:
                        # Tokens that arrive in one read become one piece, because the cost is per piece.
                        together, failure = [], None
                        try:
                            for text in completion.feed(chunk):
                                together.append(text)  # noqa: PERF402 - text before a failure counts
                        except PersonaError as error:
                            failure = error
                            together += completion.rest()
                        if together:
                            yield Text("".join(together))
                        if failure is not None:
                            raise failure
        except client.OutboundError as error:
            for text in completion.rest():
                yield Text(text)
            raise calls.failed(error) from error
        for text in completion.finish():
            yield Text(text)
        if completion.usage:
            yield Usage(completion.usage)
        if completion.failure is not None:
            raise completion.failure


@functools.lru_cache(maxsize=1_024)
def _address(base_url: str) -> str:
    parts = urlsplit(base_url)
    path = parts.path.rstrip("/").removesuffix(_PATH) + _PATH
    return parts._replace(path=path, fragment="").geturl()


def _payload(turn: PersonaTurn, config: Config) -> dict[str, Any]:
    messages = [
        {"role": _ROLES[role], "content": text} for role, text in _window(turn.history, config.history_characters)
    ]
    messages.append({"role": "user", "content": turn.message})
    if config.alternate:
        messages = _alternating(messages)
    # One system message: some servers refuse a second one, or one after the others.
    memories = memory_prompt.compose(turn.memories, config.memory_characters)
    if system := [part for part in (_system_prompt(config.system_prompt or "", turn), memories) if part]:
        messages.insert(0, {"role": "system", "content": "\n\n".join(system)})
    payload: dict[str, Any] = {"user": turn.sender_id} if config.send_user else {}
    payload |= {**config.extra, "model": config.model, "messages": messages, "stream": True}
    if config.include_usage:
        payload["stream_options"] = {"include_usage": True}
    for name in ("temperature", "max_tokens", "max_completion_tokens"):
        if (value := getattr(config, name)) is not None:
            payload[name] = value
    return payload


def _system_prompt(prompt: str, turn: PersonaTurn) -> str:
    """The prompt with the facts about the sender that it asks for."""
    for name, value in (("verified", json.dumps(turn.verified)), ("sender_id", turn.sender_id)):
        prompt = prompt.replace("{{" + name + "}}", value)
    return prompt


def _window(history: tuple[HistoryMessage, ...], characters: int) -> list[tuple[Role, str]]:
    """The newest messages that fit, oldest first; blank ones are omitted, because some servers refuse them, and
    thoughts, which answers stored by an older version may have."""
    kept: list[tuple[Role, str]] = []
    for message in reversed(history):
        text = without_thoughts(message.text) if message.role == "persona" else message.text
        if not text.strip():
            continue
        characters -= len(text)
        if characters < 0:
            break
        kept.append((message.role, text))
    return kept[::-1]


def _alternating(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    """Alternating user and assistant messages, user first: adjacent messages of one role are merged."""
    joined: list[dict[str, str]] = []
    for message in messages:
        if joined and joined[-1]["role"] == message["role"]:
            joined[-1] = message | {"content": f"{joined[-1]['content']}\n\n{message['content']}"}
        elif joined or message["role"] == "user":
            joined.append(message)
    return joined


async def _body(answer: client.Answer, completion: Completion) -> AsyncGenerator[bytes, None]:
    """The body's chunks, to the end or to [DONE]. A server that marks the end of its answer and then keeps the
    connection open is waited for until a time limit."""
    loop = asyncio.get_running_loop()
    body, limit = answer.chunks(), inf
    while True:
        if completion.done:
            limit = min(limit, loop.time() + _CLOSING_SECONDS)
        try:
            if limit == inf:
                chunk = await anext(body, None)
            else:
                async with asyncio.timeout_at(limit):
                    chunk = await anext(body, None)
        except (TimeoutError, client.OutboundError) as error:
            if completion.done or (completion.whole and isinstance(error, client.LateError)):
                return
            raise
        if chunk is None:
            return
        for start in range(0, len(chunk), _MOUTHFUL_BYTES):
            if start:
                await asyncio.sleep(0)  # let other turns run between the chunks of a large read
            yield chunk[start : start + _MOUTHFUL_BYTES]


async def _refusal(answer: client.Answer, secret: str | None) -> PersonaError:
    """The error for an unsuccessful status, with its usual cause."""
    status = answer.status
    raw = (await answer.excerpt(8_192)).decode("utf-8", "replace")
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        body = None
    told = f"{status}{quote(failures.error_text(body) or raw, secret)}"
    if 300 <= status <= 399:
        return PersonaError("persona_refused", f"the address redirects ({status}), which is not followed")
    code = failures.error_code_in(status, body, raw)
    if code == "persona_declined":
        detail = f"the provider's content filter stopped the message ({told})"
    elif code == "persona_input_refused":
        detail = f"the server does not accept the message ({told})"
    elif status in {401, 403}:
        detail = f"the server does not accept our secret ({told})"
    elif status == 404:
        detail = f"the server has no such model, or no such address ({told})"
    elif status == 429:
        detail = f"the server's limit or our credit is used up ({told})"
    else:
        detail = f"the server answered with an error ({told})"
    return PersonaError(code, detail, retryable=code == "persona_failed")


persona = OpenAI()
