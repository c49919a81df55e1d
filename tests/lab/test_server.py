"""The lab's server: what it answers, and to whom it does not. A real one, on a port of its own."""

import http.client
import json
import re
import socket
import threading

import pytest

from minidl.datasets import mnist
from minidl.lab.reader import small_network
from minidl.lab.session import Session

pytest.importorskip("starlette", reason="needs the extra: pip install 'minidl[lab]'")
uvicorn = pytest.importorskip("uvicorn", reason="needs the extra: pip install 'minidl[lab]'")
server = pytest.importorskip("minidl.lab.server")

TOKEN = "a-token"
DRAWING = {"drawing": {"strokes": [[[0.3, 0.2], [0.7, 0.8]]]}}


class Lab:
    """A running server. ask: one request → (status, headers, body)."""

    def __init__(self, port, session):
        self.port, self.session = port, session

    def ask(self, path, body=None, method=None, host=None, token=TOKEN, headers=()):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.putrequest(
                method or ("GET" if body is None else "POST"),
                f"/{token}/{path}",
                skip_host=True,
                skip_accept_encoding=True,
            )
            for name in [host or f"127.0.0.1:{self.port}"] if host != "" else []:
                connection.putheader("Host", name)
            for name, value in headers:
                connection.putheader(name, value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read().decode()
        finally:
            connection.close()

    def call(self, name, arguments, **how):
        status, _, body = self.ask(name, json.dumps(arguments).encode(), **how)
        return status, json.loads(body)


@pytest.fixture(scope="module")
def lab():
    (x, y), (x_test, y_test) = mnist.load_data()
    session = Session(small_network(), ((x[:200], y[:200]), (x_test[:100], y_test[:100])))
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    config = uvicorn.Config(server.app(session, port, TOKEN), lifespan="off", ws="none", log_level="warning")
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
    thread.start()
    yield Lab(port, session)
    session.close()
    running.should_exit = True
    thread.join(20)
    listener.close()


# ------------------------------------------------------------------------------------------------------- what it answers


def test_the_page_and_all_that_it_loads(lab):
    """Every file that the page or one of its modules names is there, with its type, and names nothing elsewhere."""
    seen, waiting = {}, ["lab.html"]
    while waiting:
        name = waiting.pop()
        status, headers, body = lab.ask("" if name == "lab.html" else name)
        assert status == 200, name
        seen[name] = headers["content-type"]
        names = re.findall(r'(?:from|src=|href=) ?"(?:\./)?([^"]+)"', body)
        waiting += [each for each in names if not each.startswith("data:") and each not in seen and each not in waiting]
    assert {"lab.js", "lab.css", "microscope.js", "microscope.css", "pad.js"} <= set(seen)
    kinds = {".js": "text/javascript", ".css": "text/css", ".html": "text/html"}
    assert all(kind.startswith(kinds[name[name.rindex(".") :]]) for name, kind in seen.items())


def test_every_answer_forbids_what_a_page_could_do_with_it(lab):
    answers = [lab.ask(""), lab.ask("lab.js"), lab.ask("look", json.dumps(DRAWING).encode()), lab.ask("nothing")]
    answers += [lab.ask("", token="x"), lab.ask("look", b"{}")]
    for _, headers, _ in answers:
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["cache-control"] == "no-store"
        assert not any(name.startswith("access-control") for name in headers)


def test_a_drawing_is_looked_at(lab):
    status, found = lab.call("look", DRAWING | {"label": 3})
    assert status == 200
    assert found == json.loads(json.dumps(lab.session.look(**DRAWING, label=3)))


def test_the_session_can_be_used_from_end_to_end(lab):
    assert lab.call("digit", {"place": 0})[1]["label"] == 7
    before = lab.call("look", DRAWING | {"label": 3})[1]["loss"]
    status, found = lab.call("step", DRAWING | {"label": 3, "rate": 0.01})
    assert (status, found["before"]["loss"]) == (200, before)
    assert found["after"]["loss"] < before
    assert lab.call("reset", {}) == (200, None)
    assert lab.call("look", DRAWING | {"label": 3})[1]["loss"] == before
    assert lab.call("plant", {"bug": "conv-stops", "layer": "conv2d"})[1]["faulty"][0]["passed"] is False
    training = {"digits": 200, "epochs": 20, "optimizer": "SGD", "rate": 0.1}
    assert lab.call("compare", training)[0] == 200
    status, refused = lab.call("heal", {})
    if lab.session.state()["phase"] == "comparing":  # it may be over by now
        assert (status, "stop it first" in refused["error"]) == (409, True)
    assert lab.call("stop", {}) == (200, None)
    lab.session.wait()
    assert lab.call("heal", {}) == (200, None)


def test_the_state_comes_as_events(lab):
    connection = http.client.HTTPConnection("127.0.0.1", lab.port, timeout=30)
    connection.request("GET", f"/{TOKEN}/events")
    answer = connection.getresponse()
    assert answer.getheader("content-type").startswith("text/event-stream")

    def event():
        line = answer.readline()
        assert answer.readline() == b"\n"
        return json.loads(line.removeprefix(b"data: "))

    first = event()
    assert first == json.loads(json.dumps(lab.session.state()))
    lab.session.step(DRAWING["drawing"], 3, 0.01)
    second = event()
    assert second["weights"] == first["weights"] + 1
    answer.close()
    connection.close()


# ---------------------------------------------------------------------------------------------------- to whom it does not


@pytest.mark.parametrize("path", ["", "lab.js", "events", "look"])
@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "evil.example:{port}",
        "127.0.0.1",
        "127.0.0.1:1",
        "127.0.0.1.evil.example:{port}",
        "[::1]:{port}",
    ],
)
def test_another_host_is_refused(lab, path, host):
    """What a page can reach whose own name leads to this machine (DNS rebinding)."""
    body = json.dumps(DRAWING).encode() if path == "look" else None
    status, _, said = lab.ask(path, body, host=host.format(port=lab.port))
    assert status in (400, 403)
    assert "label" not in said
    assert "<html" not in said


def test_two_hosts_are_refused(lab):
    assert lab.ask("", headers=[("Host", "evil.example")])[0] in (400, 403)


def test_localhost_is_this_host(lab):
    assert lab.ask("", host=f"localhost:{lab.port}")[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        [("Origin", "http://evil.example")],
        [("Origin", "null")],
        [("Origin", "http://127.0.0.1:1")],
        [("Origin", "https://127.0.0.1:{port}")],
        [("Origin", "http://localhost:{port}")],  # of the page under another name
        [("Origin", "http://127.0.0.1:{port}"), ("Origin", "http://evil.example")],
        [("Sec-Fetch-Site", "cross-site")],
        [("Sec-Fetch-Site", "same-site")],  # another port of this machine
    ],
)
def test_other_pages_are_refused(lab, headers):
    filled = [(name, value.format(port=lab.port)) for name, value in headers]
    before = lab.session.version
    status, _, said = lab.ask("step", json.dumps(DRAWING | {"label": 3, "rate": 0.1}).encode(), headers=filled)
    assert (status, "Refused" in said) == (403, True)
    assert lab.session.version == before


def test_the_page_itself_is_not_refused(lab):
    headers = [("Origin", f"http://127.0.0.1:{lab.port}"), ("Sec-Fetch-Site", "same-origin")]
    assert lab.call("look", DRAWING, headers=headers)[0] == 200


@pytest.mark.parametrize("token", ["", "x", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "%2e%2e", "*", "é"])
def test_without_the_token_everything_is_refused(lab, token):
    token = token.encode().decode("latin-1") if token.isascii() else "%C3%A9"
    for path, body in (("", None), ("lab.js", None), ("events", None), ("look", json.dumps(DRAWING).encode())):
        status, _, said = lab.ask(path, body, token=token)
        assert (status, "does not know the address" in said) == (403, True)


def test_the_token_cannot_be_guessed():
    assert len({server.new_token() for _ in range(100)}) == 100
    assert all(re.fullmatch(r"[\w-]{32}", server.new_token()) for _ in range(100))


@pytest.mark.parametrize(
    "path",
    [
        "server.py",
        "../server.py",
        "..%2Fserver.py",
        "%2e%2e/session.py",
        "web/lab.js",
        "page.html",
        "__init__.py",
        "/etc/passwd",
    ],
)
def test_other_files_are_not_served(lab, path):
    status, _, said = lab.ask(path)
    assert status in (403, 404)
    assert "import" not in said


@pytest.mark.parametrize("name", ["close", "wait", "state", "_start", "__class__", "closed", "train_data"])
def test_other_methods_cannot_be_called(lab, name):
    assert lab.ask(name, b"{}")[0] in (404, 405)
    assert not lab.session.closed


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_calls_are_posts(lab, method):
    assert lab.ask("reset", b"{}", method=method)[0] in (404, 405)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "JSON cannot be read"),
        (b"x", "JSON cannot be read"),
        (b"\xff\xfe", "decode"),
        (b"[]", "must be a JSON object, received list"),
        (b"null", "must be a JSON object"),
        (b'{"drawing": NaN}', "NaN is not a JSON number"),
        (b'{"drawing": 1, "drawing": 2}', "duplicate name"),
        (b"[" * 100000, "JSON cannot be read"),
        (b'{"drawing": {"digit": ' + b"9" * 5000 + b"}}", "cannot be read|must be an integer"),
        (b"{}", "missing a required argument: 'drawing'"),
        (b'{"drawing": {"digit": 1}, "self": 1}', "unexpected keyword argument 'self'"),
        (b'{"drawing": {"digit": 1}, "label": 1, "mode": 1}', "unexpected keyword argument 'mode'"),
        (b'{"drawing": {"strokes": [[[0.5, "x"]]]}}', "list of points"),
        (b'{"drawing": {"strokes": [[[0.5, 1e999]]]}}', "from 0 to 1"),
        (b'{"drawing": {"strokes": ' + json.dumps([[[0.5, 0.5]] * 2001]).encode() + b"}}", "received more"),
        (b'{"drawing": "' + b"x" * server.MOST + b'"}', "bytes, received more"),
    ],
)
def test_hostile_requests_get_a_short_reason(lab, body, message):
    status, _, said = lab.ask("look", body)
    assert status == 400
    assert re.search(message, json.loads(said)["error"])
    assert len(said) < 1200


def test_a_body_without_end_is_not_read_to_its_end(lab):
    """Neither by its length nor by its chunks."""
    for head, chunk in (
        (f"Content-Length: {10**12}", b"x" * 65536),
        ("Transfer-Encoding: chunked", b"10000\r\n" + b"x" * 65536 + b"\r\n"),
    ):
        with socket.create_connection(("127.0.0.1", lab.port), timeout=30) as connection:
            connection.sendall(f"POST /{TOKEN}/look HTTP/1.1\r\nHost: 127.0.0.1:{lab.port}\r\n{head}\r\n\r\n".encode())
            for _ in range(5):
                connection.sendall(chunk)
            assert connection.recv(1000).startswith(b"HTTP/1.1 400")


def test_a_request_that_does_not_arrive_is_given_up(lab, monkeypatch):
    monkeypatch.setattr(server, "SLOWEST", 0.1)
    with socket.create_connection(("127.0.0.1", lab.port), timeout=30) as connection:
        head = f"POST /{TOKEN}/look HTTP/1.1\r\nHost: 127.0.0.1:{lab.port}\r\nContent-Length: 10\r\n\r\n{{"
        connection.sendall(head.encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 408")


def test_it_listens_on_this_machine_alone():
    assert server.HOST == "127.0.0.1"
