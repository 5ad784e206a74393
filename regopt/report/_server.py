"""The page of a sweep that trains, served to this machine alone."""

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from regopt.report._findings import Findings
from regopt.report._page import page

LOOPBACK = "127.0.0.1"
_WAIT = """<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="2">
<title>regopt</title></head><body><p>The sweep has saved nothing yet.</p></body></html>"""


def server(read: Callable[[], Findings | None], version: Callable[[], str], port: int = 0) -> ThreadingHTTPServer:
    """A server of one page on the loopback interface; ``serve_forever`` starts it.

    Args:
        read: gives the sweep; None where nothing is saved yet.
        version: gives a text that changes when what ``read`` gives does.
        port: where to listen; 0 takes a free one, ``server_port`` of the server says which.

    Returns:
        The server.

    Raises:
        OSError: the port is in use.

    Example:
        >>> from regopt.report import server
        >>> with server(lambda: None, lambda: "nothing saved yet") as page:
        ...     page.server_port > 0  # it listens
        True
    """
    made: dict[str, bytes] = {}
    lock = threading.Lock()

    def rendered() -> bytes:
        now = version()
        with lock:
            if now not in made:
                found = read()
                if found is None:
                    return _WAIT.encode()
                made.clear()
                made[now] = page(found, now).encode()
            return made[now]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the name that the library calls
            if (self.headers.get("Host") or "").rsplit(":", 1)[0] not in (LOOPBACK, "localhost"):
                self.send_error(403)  # another site whose name resolves to this machine may not read the page
            elif self.path == "/":
                self._answer("text/html; charset=utf-8", rendered())
            elif self.path == "/version":
                self._answer("text/plain", version().encode())
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
