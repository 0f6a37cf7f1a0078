"""The messages that clients send: JSON-RPC 2.0."""

import json
from typing import Any, Literal, cast

from pydantic import Field, StrictInt, StrictStr

from lib import errors
from lib.fields.models import StrictRecord

PARSE_ERROR, INVALID_REQUEST = -32700, -32600


class RpcMessage(StrictRecord):
    """A request of JSON-RPC, or without an ``id`` a notification. docs/mcp.md has the methods and their parameters."""

    jsonrpc: Literal["2.0"]
    method: str = Field(min_length=1, max_length=200)
    # Null is refused: the protocol allows it for no request, and it would be taken for a notification.
    id: StrictInt | StrictStr = Field(
        cast("int", None), description="Of a request; without it the message is a notification."
    )
    params: dict[str, Any] | None = None

    def content(self) -> bytes:
        """The message as JSON, with the members that it came with."""
        # In ASCII: half of a pair of surrogates cannot be encoded, and is the reader's to refuse.
        return json.dumps(self.model_dump(exclude_unset=True)).encode()


def refusal(problem: errors.Problem) -> dict[str, Any]:
    """The members by which a problem document is also an error response of JSON-RPC, to a message that is none.

    Its id is null, because that of the message is part of what cannot be trusted. Clients take it for their request's.
    """
    code = PARSE_ERROR if isinstance(problem, errors.InvalidJson) else INVALID_REQUEST
    error = {"code": code, "message": problem.detail or problem.title, "data": {"code": problem.code}}
    return {"jsonrpc": "2.0", "id": None, "error": error}
