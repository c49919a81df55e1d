"""``python -m minidl.lab`` as a program: its start, its end, and why it does not begin."""

import contextlib
import http.client
import re
import signal
import socket
import subprocess
import sys

import pytest

from minidl import Sequential
from minidl.lab.reader import small_network
from minidl.layers import Dense, Flatten, Input

WITHOUT = (
    "import sys; sys.modules[{name!r}] = None; from minidl.lab.__main__ import main; sys.exit(main(['--no-browser']))"
)


def started(*arguments):
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "minidl.lab", "--no-browser", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("name", ["starlette", "uvicorn"])
def test_without_the_extra_it_says_what_to_install(name):
    done = subprocess.run([sys.executable, "-c", WITHOUT.format(name=name)], capture_output=True, text=True)
    assert done.returncode == 2
    assert "pip install 'minidl[lab]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_importing_the_library_imports_neither_the_lab_nor_a_server():
    lines = "import sys, minidl; print([n for n in sys.modules if n.split('.')[0] in ('starlette', 'uvicorn') or '.lab' in n])"
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_the_page_until_it_is_interrupted(tmp_path, how):
    """Also while a page listens to its events, and while it trains."""
    pytest.importorskip("uvicorn", reason="needs the extra: pip install 'minidl[lab]'")
    arguments = []
    if how == signal.SIGINT:
        path = tmp_path / "digits.safetensors"
        small_network().model.save(path)
        arguments = ["--model", str(path), "--threads", "1"]
    lab = started(*arguments)
    try:
        port, token = re.match(r"The lab is at http://127\.0\.0\.1:(\d+)/([\w-]+)/\n", lab.stdout.readline()).groups()
        page, events = (
            contextlib.closing(http.client.HTTPConnection("127.0.0.1", int(port), timeout=60)) for _ in "12"
        )
        with page as one, events as other:
            one.request("GET", f"/{token}/")
            assert b"minidl lab" in one.getresponse().read()
            other.request("GET", f"/{token}/events")
            with other.getresponse() as stream:
                assert stream.readline().startswith(b"data: ")
                lab.send_signal(how)
                said, errors = lab.communicate(timeout=60)
        assert (lab.returncode, errors) == (0, "")
        assert said.endswith("The lab is closed.\n")
    finally:
        lab.kill()
        lab.communicate()


def refused(*arguments):
    lab = started(*arguments)
    said, errors = lab.communicate(timeout=60)
    assert (lab.returncode, said) == (2, "")
    assert "Traceback" not in errors
    return errors


def test_a_model_that_does_not_fit_is_refused_before_anything_is_served(tmp_path):
    pytest.importorskip("uvicorn", reason="needs the extra: pip install 'minidl[lab]'")
    path = tmp_path / "model.safetensors"
    Sequential([Input((32, 32, 3)), Flatten(), Dense(10)]).save(path)
    assert "28 × 28 pixels" in refused("--model", str(path))
    assert "No such file" in refused("--model", str(tmp_path / "nowhere"))


def test_a_port_that_is_taken_is_said():
    pytest.importorskip("uvicorn", reason="needs the extra: pip install 'minidl[lab]'")
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert "in use" in refused("--port", str(other.getsockname()[1]))
    assert "--port" in refused("--port", "100000")
    assert "positive integer" in refused("--threads", "0")
