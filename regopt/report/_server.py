"""The pages of sweeps that train, served to this machine alone."""

import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from regopt.report._findings import Findings
from regopt.report._page import page, side_by_side

LOOPBACK = "127.0.0.1"
_WAIT = """<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="2">
<title>regopt</title></head><body><p>The sweep has saved nothing yet.</p></body></html>"""


class Watched(NamedTuple):
    """A sweep that a server shows while it trains."""

    name: str
    read: Callable[[], Findings | None]  # gives the sweep; None where nothing is saved yet
    version: Callable[[], str]  # gives a text that changes when what ``read`` gives does


def server(sweeps: Sequence[Watched], port: int = 0) -> ThreadingHTTPServer:
    """A server of the pages of sweeps on the loopback interface; ``serve_forever`` starts it.

    The page of a single sweep is at ``/``. Those of several are at ``/0/``, ``/1/`` and so on, and ``/`` shows them
    side by side.

    Args:
        sweeps: at least one.
        port: where to listen; 0 takes a free one, ``server_port`` of the server says which.

    Returns:
        The server.

    Raises:
        ValueError: there is no sweep.
        OSError: the port is in use.

    Example:
        >>> from regopt.report import Watched, server
        >>> with server([Watched("mine", lambda: None, lambda: "nothing saved yet")]) as page:
        ...     page.server_port > 0  # it listens
        True
    """
    if not sweeps:
        raise ValueError("sweeps must be at least one, got none")
    pages = [_Page(each) for each in sweeps]
    places = {f"/{number}/": each for number, each in enumerate(pages)} if len(pages) > 1 else {"/": pages[0]}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the name that the library calls
            if (self.headers.get("Host") or "").rsplit(":", 1)[0] not in (LOOPBACK, "localhost"):
                self.send_error(403)  # another site whose name resolves to this machine may not read the page
            elif self.path in places:
                self._answer("text/html; charset=utf-8", places[self.path].rendered())
            elif self.path.removesuffix("version") in places:
                self._answer("text/plain", places[self.path.removesuffix("version")].version().encode())
            elif self.path == "/":
                self._answer("text/html; charset=utf-8", side_by_side([each.name for each in sweeps]).encode())
            else:
                self.send_error(404)

        def _answer(self, kind: str, content: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing, because a line for each request would hide the messages of the sweep."""

    return ThreadingHTTPServer((LOOPBACK, port), Handler)


class _Page:
    """The page of a sweep, rendered again when the sweep has gone on."""

    def __init__(self, sweep: Watched):
        self.version, self._read = sweep.version, sweep.read
        self._made: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def rendered(self) -> bytes:
        now = self.version()
        with self._lock:
            if now not in self._made:
                found = self._read()
                if found is None:
                    return _WAIT.encode()
                self._made = {now: page(found, now).encode()}
            return self._made[now]
