"""A real web server for a folder, with and without ranges, and with the faults that servers have."""

from __future__ import annotations

import contextlib
import functools
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class Web:
    """A server that is running. What it should do can be changed meanwhile."""

    folder: Path
    ranges: bool = True
    refusals: int = 0
    """How many of the next GETs are answered by 503."""
    good_gets: int | None = None
    """How many more GETs are answered before all are refused."""
    cuts: int = 0
    """How many of the next GETs end in the middle of the content."""
    redirect_to: str | None = None
    """What is appended to the address of every file, in a redirection."""
    status: int | None = None
    """What every GET and HEAD is answered by."""
    address: str = ""
    gets: Counter[str] = field(default_factory=Counter)
    sent_bytes: int = 0


class _Handler(SimpleHTTPRequestHandler):
    def __init__(self, web: Web, *args: object) -> None:
        self.web = web
        super().__init__(*args, directory=str(web.folder))  # type: ignore[arg-type]

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(head=True)

    def do_GET(self) -> None:
        web = self.web
        web.gets[self.path] += 1
        if web.good_gets is not None:
            web.good_gets -= 1
        if web.refusals > 0 or (web.good_gets is not None and web.good_gets < 0):
            web.refusals -= 1
            self.send_error(503)
            return
        self._answer(head=False)

    def _answer(self, *, head: bool) -> None:
        web = self.web
        if web.status is not None:
            self.send_error(web.status)
            return
        if web.redirect_to is not None and web.redirect_to not in self.path:
            self.send_response(302)
            self.send_header("Location", f"{self.path}{web.redirect_to}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        file = Path(self.translate_path(self.path))
        if not file.is_file():
            super().do_HEAD() if head else super().do_GET()
            return
        data = file.read_bytes()
        match = re.fullmatch(r"bytes=(\d+)-(\d+)?", self.headers.get("Range", "")) if web.ranges else None
        part = data[int(match[1]) : int(match[2] or len(data)) + 1] if match else data
        self.send_response(206 if match else 200)
        if match:
            self.send_header("Content-Range", f"bytes {match[1]}-{int(match[1]) + len(part) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(part)))
        self.send_header("ETag", f'"{file.stat().st_mtime_ns}"')
        self.end_headers()
        if head:
            return
        if web.cuts > 0 and len(part) > 1:
            web.cuts -= 1
            part = part[: len(part) // 2]
            self.close_connection = True
        web.sent_bytes += len(part)
        with contextlib.suppress(ConnectionError):
            self.wfile.write(part)


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Web]:
    """Serve a folder on this machine until the block ends."""
    web = Web(folder)
    with answering(functools.partial(_Handler, web)) as server:
        web.address = address_of(server)
        yield web


@contextlib.contextmanager
def answering(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[ThreadingHTTPServer]:
    """Answer requests to this machine by a handler until the block ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def address_of(server: ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_port}"
