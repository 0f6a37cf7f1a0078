"""The server of the Model Context Protocol: one message, answered as its caller, over streamable HTTP without sessions.

The official package speaks the protocol, in all of its versions. Nothing of a message outlives its response.
"""

import asyncio
import functools
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import anyio
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.exceptions import MCPError
from mcp.types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    ToolAnnotations,
)
from mcp.types import Tool as ListedTool

from lib import errors, log
from lib.auth.callers import User
from lib.auth.client_info import ClientInfo
from lib.mcp.tools import TOOLS, Call

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

VERSION = "0.1.0"

INSTRUCTIONS = """\
Switchboard links every contact to every chat session. Find a contact with resolve_contact, and give its id to \
start_session and send_message: each contact has conversations of its own. Without a contact_id you speak for yourself.\
"""


def application(caller: User, client: ClientInfo, *, streams: bool) -> Application:
    """The ASGI application that answers one message of this caller.

    With ``streams`` the answer is an event stream, with progress and heartbeats; else one JSON document. A tool call
    runs to its end even if its reader disconnects, as the answer of a persona does in the chat.
    """

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        server = Server(
            "switchboard",
            title="Switchboard",
            version=VERSION,
            instructions=INSTRUCTIONS,
            on_list_tools=_list_tools,
            on_call_tool=functools.partial(_call_tool, caller, client),
        )
        manager = StreamableHTTPSessionManager(server, stateless=True, json_response=not streams)
        # The choice is made: a client that does not say what it accepts, or only one of the two, is served too.
        headers = [(name, value) for name, value in scope["headers"] if name != b"accept"]
        accepting = {**scope, "headers": [*headers, (b"accept", b"application/json, text/event-stream")]}
        async with manager.run():
            await manager.handle_request(accepting, receive, send)

    return answer


async def _list_tools(_: ServerRequestContext[Any], __: PaginatedRequestParams | None) -> ListToolsResult:
    return ListToolsResult(tools=_listed())


@functools.cache
def _listed() -> list[ListedTool]:
    return [
        ListedTool(
            name=tool.name,
            description=tool.description,
            input_schema=tool.arguments.model_json_schema(by_alias=False),
            output_schema=tool.answer.model_json_schema(by_alias=False, mode="serialization"),
            annotations=ToolAnnotations(read_only_hint=tool.reads_only, destructive_hint=False, open_world_hint=False),
        )
        for tool in TOOLS.values()
    ]


async def _call_tool(
    caller: User, client: ClientInfo, context: ServerRequestContext[Any], params: CallToolRequestParams
) -> CallToolResult:
    if params.name not in TOOLS:
        raise MCPError(INVALID_PARAMS, f"There is no tool {params.name}.")

    reports = asyncio.Queue[tuple[int, str] | None]()
    call = Call(caller, client, lambda position, text: reports.put_nowait((position, text)))
    # A task of its own: neither a slow reader nor one that disconnects stops it.
    running = asyncio.create_task(TOOLS[params.name].call(call, params.arguments or {}))
    running.add_done_callback(lambda _: reports.put_nowait(None))
    try:
        while (progress := await reports.get()) is not None:
            position, text = progress
            await context.session.report_progress(position, message=text)
    finally:
        with anyio.CancelScope(shield=True):
            await asyncio.wait({running})
    try:
        done = await running
    except errors.Problem as problem:
        return _refused(problem)
    except Exception:
        log.error("unexpected_error", function="mcp", tool=params.name)
        return _refused(errors.InternalError())
    # Language models read the text, in which members without a value are absent; programs read the structure.
    text = done.model_dump_json(exclude_none=True)
    return CallToolResult(content=[TextContent(text=text)], structured_content=done.model_dump(mode="json"))


def _refused(problem: errors.Problem) -> CallToolResult:
    """A refusal as a result, for the model to read: the problem document, with its code."""
    document = problem.document()
    return CallToolResult(
        content=[TextContent(text=json.dumps(document, default=str))], structured_content=document, is_error=True
    )
