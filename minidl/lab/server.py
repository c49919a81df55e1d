"""The lab's server: the page, and the session's methods as addresses for it. For this machine alone, and for this page alone.

A web page elsewhere could send requests to a server on this machine, under its own name too (DNS rebinding). So every address
begins with a random token, which only the page knows; a request must name this server as its host; and one that comes from a page
must come from this one.
"""

import asyncio
import inspect
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib.resources import files
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from .. import configs
from .session import Busy, Session

HOST = "127.0.0.1"
NAMES = (HOST, "localhost")
MOST = 1 << 18  # bytes of a request; a drawing of 2,000 points has less than 100,000
SLOWEST = 10.0  # seconds that a request may take to arrive
EVERY = 0.1  # seconds between two looks whether the state has changed
WEB = files(__package__) / "web"
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
PAGES = ("lab.html", "lab.css", "microscope.css")
HEADERS = {
    # unsafe-eval: the microscope compiles the library's own formulas; no text of a model or a user is among them
    "Content-Security-Policy": "default-src 'none'; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

Call = Callable[..., Any]


def app(session: Session, port: int, token: str) -> ASGIApp:
    """The server as an ASGI application: everything lies below /token/."""

    def calls(method: Call) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            return await _answer(request, method)

        return endpoint

    async def events(request: Request) -> Response:
        return StreamingResponse(_states(session), media_type="text/event-stream", headers=HEADERS)

    methods = ("digit", "look", "step", "reset", "train", "compare", "stop", "plant", "heal")
    routes = [
        Route("/", lambda request: _file("lab.html")),
        Route("/events", events),
        *(Route(f"/{name}", calls(getattr(session, name)), methods=["POST"]) for name in methods),
        Route("/{name}", lambda request: _file(request.path_params["name"])),
    ]
    return Guard(Starlette(routes=[Mount(f"/{token}", routes=routes)]), port, token)


class Guard:
    """Passes on only requests that name this server as their host, that no other page has sent, and that know the token."""

    def __init__(self, inner: ASGIApp, port: int, token: str) -> None:
        self._inner, self._token = inner, token.encode()
        self._hosts = {f"{name}:{port}" for name in NAMES}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope)
        handler = PlainTextResponse(f"Refused: {refusal}", 403, HEADERS) if refusal else self._inner
        await handler(scope, receive, send)

    def _refusal(self, scope: Scope) -> str:
        """Why the request is refused; empty where it is not."""
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        hosts = [value for name, value in headers if name == "host"]
        if len(hosts) != 1 or hosts[0] not in self._hosts:
            return "it names another host than this one."
        origins = [value for name, value in headers if name == "origin"]
        if any(origin != f"http://{hosts[0]}" for origin in origins):
            return "it comes from another page."
        if any(name == "sec-fetch-site" and value not in ("same-origin", "none") for name, value in headers):
            return "it comes from another site."
        if not secrets.compare_digest(scope["path"].removeprefix("/").partition("/")[0].encode(), self._token):
            return "it does not know the address that the lab has printed."
        return ""


async def _answer(request: Request, method: Call) -> Response:
    """Call a method of the session with the arguments of a request, a JSON object, and send what it returns."""
    try:
        arguments = _arguments(await asyncio.wait_for(_body(request), SLOWEST), method)
        found = await run_in_threadpool(method, **arguments)
    except Busy as error:
        return _refused(str(error), 409)
    except TimeoutError:
        return _refused("the request took too long to arrive.", 408)
    except (ValueError, FloatingPointError) as error:
        return _refused(str(error), 400)
    return Response(json.dumps(found, allow_nan=False, separators=(",", ":")), 200, HEADERS, "application/json")


def _refused(why: str, status: int) -> Response:
    return JSONResponse({"error": why[:1000]}, status, HEADERS)


async def _body(request: Request) -> bytes:
    """The body of a request. Raises ValueError where it is too long, without reading it to its end."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST:
            raise ValueError(f"a request may have {MOST:,} bytes, received more.")
    return bytes(body)


def _arguments(body: bytes, method: Call) -> dict[str, Any]:
    """Arguments by name. Raises ValueError where the body is anything but a JSON object with those that the method has."""
    found = configs.parse(body.decode("utf-8"))
    if not isinstance(found, dict):
        raise ValueError(f"a request must be a JSON object, received {type(found).__name__}.")
    try:
        inspect.signature(method).bind(**found)
    except TypeError as error:
        raise ValueError(f"the request's arguments do not fit: {error}.") from None
    return found


async def _states(session: Session) -> AsyncIterator[str]:
    """Server-sent events: the session's state now, and whenever it has changed, until the session is closed."""
    seen = -1
    while not session.closed:
        if session.version != seen:
            state = await run_in_threadpool(session.state)
            seen = state["version"]
            yield f"data: {json.dumps(state, allow_nan=False, separators=(',', ':'))}\n\n"
        await asyncio.sleep(EVERY)


def _file(name: str) -> Response:
    """A file of the page, one of those that are meant for it."""
    known = {each.name for each in WEB.iterdir()}
    suffix = f".{name.rpartition('.')[2]}"
    if name not in known or not (name in PAGES or suffix == ".js"):
        return PlainTextResponse("Not found.", 404, HEADERS)
    return Response((WEB / name).read_bytes(), 200, HEADERS, TYPES[suffix])


def new_token() -> str:
    """A name that nobody can guess."""
    return secrets.token_urlsafe(24)
