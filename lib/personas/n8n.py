"""n8n as a persona: POSTs the message to a workflow's webhook and takes its answer from there, or later.

Facts as seen with n8n 2.41: a failed header auth is a 403 in text, an inactive workflow a 404 in JSON, and a
webhook that responds "Immediately" answers `{"message": "Workflow was started"}`. What a workflow that is
done answers is in n8n_answer.
https://docs.n8n.io/integrations/builtin/core-nodes/n8n-nodes-base.webhook
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from lib.outbound import client
from lib.personas import Deferred, PersonaTurn, Piece, Text, calls, configured, n8n_answer, n8n_poll
from lib.personas.thoughts import without_thoughts


class Config(calls.Timeouts):
    """The settings of an n8n persona.

    `url` is the webhook's production URL. In `mode` `sync` the response is the answer. In `async` and `poll` the
    workflow acknowledges the message: then it calls back, or `poll_url` is polled every `poll_seconds`.
    """

    url: calls.Url
    auth: calls.Auth = "none"
    mode: Literal["sync", "async", "poll"] = "sync"
    poll_url: calls.Url | None = Field(default=None, validate_default=True)
    poll_seconds: float = Field(default=2, ge=0.2, le=60)

    @field_validator("poll_url")
    @classmethod
    def _only_when_polling(cls, url: str | None, info: ValidationInfo) -> str | None:
        polls = info.data.get("mode") == "poll"
        if "mode" in info.data and polls != (url is not None):
            raise ValueError("is needed with mode poll" if polls else "is for mode poll only")
        return url


class N8n:
    """Calls a workflow."""

    async def answer(self, turn: PersonaTurn) -> AsyncGenerator[Piece, None]:
        """The pieces of a streaming workflow; of any other, the whole answer as one piece.

        Raises PersonaError.
        """
        config = configured(Config, turn)
        headers = n8n_answer.ACCEPTED | calls.credentials(turn, config.auth)
        deadline = asyncio.get_running_loop().time() + turn.time_limit_seconds
        try:
            async with client.post(
                config.url,
                json=_payload(turn),
                headers=headers,
                limits=config.within(turn.time_limit_seconds),
                allowed=turn.allowed_networks,
            ) as answer:
                if not 200 <= answer.status <= 299:
                    raise await n8n_answer.refusal(answer, turn.secret)
                if config.mode == "async":
                    yield Deferred()
                    return
                if config.poll_url is None:
                    async with aclosing(n8n_answer.texts(answer, turn.secret)) as texts:
                        async for text in texts:
                            yield Text(text)
                    return
                acknowledgement = await n8n_poll.acknowledgement(answer)
        except client.OutboundError as error:
            raise calls.failed(error) from error
        polling = n8n_poll.Polling(config.poll_url, config.poll_seconds, config, headers, deadline)
        yield Text(await n8n_poll.wait(turn, polling, acknowledgement))


def _payload(turn: PersonaTurn) -> dict[str, object]:
    """The body for the workflow: our fields, and those that n8n's Chat Trigger expects."""
    contact = turn.contact
    return {
        "message": turn.message,
        "conversationId": turn.conversation_id,
        "personaId": turn.persona_id,
        "userId": turn.sender_id,
        "sessionId": turn.session_id,
        "turnId": turn.turn_id,
        "verified": turn.verified,
        "contact": contact and {"name": contact.name, "email": contact.email, "attributes": contact.attributes},
        "history": [
            {"role": said.role, "text": text, "created_at": said.created_at}
            for said in turn.history
            if (text := without_thoughts(said.text) if said.role == "persona" else said.text)
        ],
        "memories": [
            {
                "id": memory.id,
                "kind": memory.kind,
                "content": memory.content,
                "valid_from": memory.valid_from,
                "score": memory.score,
            }
            for memory in turn.memories
        ],
        "spaceId": turn.space_id,
        "metadata": turn.metadata,
        "action": "sendMessage",
        "chatInput": turn.message,
    }


persona = N8n()
