"""The lab in the browser: draw a digit, and see the network forward and backward.

``python -m minidl.lab`` starts it on this machine and opens the page; Ctrl-C ends it.
"""

import argparse
import contextlib
import signal
import socket
import sys
import threading
import webbrowser
from collections.abc import Sequence
from types import FrameType

from ..datasets import mnist
from ..engine.workers import set_num_threads
from .reader import load
from .session import MEASURED, Session


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the lab until Ctrl-C. The exit status is 0 then, and 2 where it could not begin."""
    options = _parser().parse_args(arguments)
    try:
        import uvicorn

        from . import server
    except ImportError as error:
        print(f"The lab needs a server ({error}): pip install 'minidl[lab]'", file=sys.stderr)
        return 2
    try:
        if options.threads is not None:
            set_num_threads(options.threads)
        session = _session(options.model)
        listener = socket.create_server((server.HOST, options.port))
    except (OSError, ValueError) as error:
        print(f"The lab cannot begin: {error}", file=sys.stderr)
        return 2

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            session.closed = True  # or the stream of events would keep the server waiting
            super().handle_exit(sig, frame)

    with listener, contextlib.closing(session):
        token, port = server.new_token(), listener.getsockname()[1]
        address = f"http://{server.HOST}:{port}/{token}/"
        print(f"The lab is at {address}\nCtrl-C ends it.", flush=True)
        if not options.no_browser:
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
        application = server.app(session, port, token)
        config = uvicorn.Config(
            application, lifespan="off", ws="none", log_level="warning", timeout_graceful_shutdown=2
        )
        with contextlib.suppress(KeyboardInterrupt):  # uvicorn passes it on when it has closed everything
            Server(config).run(sockets=[listener])
    print("The lab is closed.")
    return 0


def _session(path: str | None) -> Session:
    """Raises OSError and ValueError where there is no model for the lab in the file."""
    if path is None:
        return Session()
    train, test = mnist.load_data()
    return Session(load(path, test[0][:MEASURED], test[1][:MEASURED]), (train, test))


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) >= 1 << 16:
        raise argparse.ArgumentTypeError(f"a port must be a number from 0 to 65535, received {text!r}.")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m minidl.lab", description="Draw a digit, and see the network forward and backward."
    )
    parser.add_argument(
        "--model",
        metavar="PATH",
        help="a model from model.save, for images of 28 × 28 pixels and ten classes "
        "(default: a small convolutional network, trained in seconds at the start)",
    )
    parser.add_argument(
        "--port", type=_port, default=0, help="where to listen on this machine (default: where it is free)"
    )
    parser.add_argument(
        "--threads", type=int, help="how many to train with; they change no result (default: one per core)"
    )
    parser.add_argument("--no-browser", action="store_true", help="only print the page's address")
    return parser


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ended by a service manager, it ends as by Ctrl-C
    sys.exit(main())
