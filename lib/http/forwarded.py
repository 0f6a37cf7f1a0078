"""A response that an ASGI application of a library writes."""

from collections.abc import Awaitable, Callable, Mapping

from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class ForwardedResponse(StreamingResponse):
    """The response of an application to a request whose body has been read; ``headers`` are added to its own."""

    def __init__(self, application: Application, body: bytes, headers: Mapping[str, str]) -> None:
        super().__init__((), headers=headers)
        del self.headers["content-type"]
        self._application, self._body = application, body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the application answer."""
        unread = [self._body]

        async def replay() -> Message:
            return {"type": "http.request", "body": unread.pop()} if unread else await receive()

        async def merged(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *self.raw_headers]
            await send(message)

        await self._application(scope, replay, merged)
