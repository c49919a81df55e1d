"""The lab's server as a reader: a request, written down as JSON in a file, is given to the whole application, and is answered.

    {"address": "look", "method": "POST", "headers": [["sec-fetch-site", "none"], …], "body": …}

A body that is a string is sent as it is, anything else as JSON. However odd the request, the answer is one that the page can
show, never a server's error, and no number of the model is lost.
"""

import asyncio
import functools
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
from mutations import Bytewise, change, change_json

from minidl.lab.reader import small_network
from minidl.lab.session import Session

TOKEN, PORT = "token", 8000
STROKES = {"strokes": [[[0.3, 0.2], [0.7, 0.8]], [[0.5, 0.5]]]}
TRAINING = {"digits": 8, "epochs": 1, "optimizer": "SGD", "rate": 0.1}
REQUESTS: dict[str, Any] = {
    "digit": {"place": 3},
    "look": {"drawing": STROKES, "label": 4, "full": True},
    "step": {"drawing": {"digit": 2}, "label": 4, "rate": 0.1},
    "reset": {},
    "train": TRAINING | {"fresh": False},
    "stop": {},
}


def requests() -> list[bytes]:
    """One of each kind, in an order in which each is answered; and the page, a file of it and its events."""
    bugs = [(bug["bug"], layer) for bug in session().state()["bugs"] for layer in bug["layers"]]
    planted = [("plant", {"bug": bug, "layer": layer}) for bug, layer in bugs[:2]]
    posted = [*REQUESTS.items(), *planted, ("compare", TRAINING), ("heal", {})]
    asked = [(name, "GET", "") for name in ("", "lab.css", "events")]
    every = [*((name, "POST", body) for name, body in posted), *asked]
    return [
        json.dumps({"address": name, "method": method, "headers": [], "body": body}).encode()
        for name, method, body in every
    ]


@functools.cache
def session() -> Session:
    rng = np.random.default_rng(1)
    x, y = rng.integers(0, 256, (8, 28, 28)).astype(np.uint8), np.arange(8)
    return Session(small_network(), ((x, y), (x, y)))


@functools.cache
def served() -> tuple[Any, asyncio.AbstractEventLoop]:
    """The application, and a loop to run it in."""
    from minidl.lab.server import app

    return app(session(), PORT, TOKEN), asyncio.new_event_loop()


def ask(path: Path) -> int:
    """Send the request in this file; the status of the answer. Raises ValueError where it is refused."""
    request = json.loads(path.read_bytes())
    if not isinstance(request, dict) or not isinstance(request.get("headers"), list):
        raise ValueError("it is no request.")
    body = request.get("body")
    sent = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else json.dumps(body).encode()
    pairs = [each for each in request["headers"] if isinstance(each, list) and len(each) == 2]
    headers = [("host", f"127.0.0.1:{PORT}"), *((str(name).lower(), str(value)) for name, value in pairs)]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": str(request.get("method")),
        "scheme": "http",
        "path": f"/{TOKEN}/{request.get('address')}".encode("utf-8", "replace").decode(),  # as uvicorn decodes it
        "raw_path": b"",
        "query_string": b"",
        "root_path": "",
        "headers": [(name.encode("latin-1", "replace"), value.encode("latin-1", "replace")) for name, value in headers],
        "client": None,
        "server": None,
    }
    waiting = [{"type": "http.request", "body": sent, "more_body": False}]
    answer: list[Any] = []

    async def receive() -> Any:
        return waiting.pop() if waiting else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        answer.append(message)

    application, loop = served()
    try:
        loop.run_until_complete(application(scope, receive, send))
        session().stop()
        session().wait()
        status = answer[0]["status"]
        if status >= 500:
            raise ValueError(f"it answered with {status}")
        if dict(answer[0]["headers"]).get(b"content-type", b"").startswith(b"application/json"):
            content = b"".join(message.get("body", b"") for message in answer[1:])
            json.loads(content, parse_constant=lambda name: 1 / 0)  # NaN is no JSON
        weights = session()._reader.model.get_weights()
        if not all(np.isfinite(array).all() for array in weights):
            raise ValueError("numbers of the model are lost")
    except Exception as error:
        raise RuntimeError(f"the lab's server failed: {error!r}") from error
    if status >= 400:
        raise ValueError(f"refused with {status}")
    return status


def change_request(content: bytes, rng: random.Random, bytewise: Bytewise) -> bytes:
    """The request a little different, mostly in its body: other changes are refused at once."""
    try:
        request = json.loads(content)
        if rng.random() < 0.8:
            request["body"] = change(request["body"], rng)
            return json.dumps(request).encode()
        if rng.random() < 0.3:
            name = rng.choice(("host", "origin", "sec-fetch-site", "content-type", "content-length"))
            request["headers"].append([name, rng.choice(("none", "same-origin", "null", "http://127.0.0.1:8000", "x"))])
            return json.dumps(request).encode()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    return change_json(content, rng, bytewise)
