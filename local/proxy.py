"""`/rest/v1`: a proxy to PostgREST, streaming in both directions."""

from collections.abc import AsyncIterator

import aiohttp
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from yarl import URL

from local import apikeys
from local.apikeys import ApiKeys

PREFIX = "/rest/v1"

# Hop-by-hop headers (RFC 9110, 7.6.1).
_HOP_BY_HOP = {
    *("connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"),
    *("proxy-authenticate", "proxy-authorization"),
}
_NOT_FORWARDED = _HOP_BY_HOP | {"host", "apikey", "authorization", "content-length", "prefer"}


class RestProxy:
    """Forwards requests to PostgREST with the JWT of the API key, or with the caller's own Authorization."""

    def __init__(self, rest_url: str, keys: ApiKeys, http: aiohttp.ClientSession) -> None:
        self._rest_url = rest_url
        self._keys = keys
        self._http = http

    async def answer(self, request: Request) -> Response:
        """PostgREST's response; 401 without a key, 503 problem+json if PostgREST cannot be reached."""
        key, authorization = apikeys.given(request), request.headers.get("authorization")
        if request.method == "OPTIONS":
            pass  # a preflight has no key
        elif key is None and authorization is None:
            return apikeys.missing()
        elif key is not None:
            token = self._keys.token(key)
            if token is None:
                return apikeys.invalid()
            if authorization is None or authorization == f"Bearer {key}":
                authorization = f"Bearer {token}"
        return await self._forward(request, authorization)

    async def _forward(self, request: Request, authorization: str | None) -> Response:
        headers = [(name, value) for name, value in request.headers.items() if name not in _NOT_FORWARDED]
        if authorization is not None:
            headers.append(("authorization", authorization))
        # PostgREST reads several Prefer headers, but shows only the last one to check_request.
        if preferences := request.headers.getlist("prefer"):
            headers.append(("prefer", ", ".join(preferences)))
        length = request.headers.get("content-length")
        if length is not None:
            headers.append(("content-length", length))
        has_body = length not in (None, "0") or "transfer-encoding" in request.headers
        try:
            answer = await self._http.request(
                request.method,
                self._target(request),
                headers=headers,
                data=request.stream() if has_body else None,
                allow_redirects=False,
                skip_auto_headers=("User-Agent", "Content-Type", "Accept-Encoding", "Accept"),
            )
        except (aiohttp.ClientError, TimeoutError, OSError):
            return unavailable()
        response = StreamingResponse(
            _body(answer), status_code=answer.status, background=BackgroundTask(answer.release)
        )
        response.raw_headers = [
            (name.lower(), value)
            for name, value in answer.raw_headers
            if name.decode("latin-1").lower() not in _HOP_BY_HOP
        ]
        return response

    def _target(self, request: Request) -> URL:
        """The same path and query below PostgREST's root, byte for byte, without an `apikey` parameter."""
        path = request.scope["raw_path"].decode("ascii").removeprefix(PREFIX) or "/"
        query = request.scope["query_string"].decode("latin-1")
        kept = "&".join(pair for pair in query.split("&") if pair and not pair.startswith("apikey="))
        return URL(f"{self._rest_url}{path}{'?' + kept if kept else ''}", encoded=True)


async def _body(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    try:
        async for chunk in answer.content.iter_any():
            yield chunk
    finally:
        # The reader has disconnected: the rest is not read.
        if not answer.content.at_eof():
            answer.close()


def unavailable() -> JSONResponse:
    """503 problem+json: PostgREST is down or starting."""
    return problem(503, "backend_unavailable", "The database's API is not reachable at the moment.", retry_after=1)


def problem(
    status: int, code: str, title: str, detail: str | None = None, *, retry_after: int | None = None
) -> JSONResponse:
    """An RFC 9457 response in the functions' format."""
    document: dict[str, object] = {"type": "about:blank", "title": title, "status": status, "code": code}
    if detail is not None:
        document["detail"] = detail
    headers = {"Access-Control-Allow-Origin": "*", "Cache-Control": "no-store"}
    if retry_after is not None:
        document["retry_after"] = retry_after
        headers["Retry-After"] = str(retry_after)
    return JSONResponse(document, status, headers=headers, media_type="application/problem+json")
