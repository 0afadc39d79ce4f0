"""A real HTTP server on this machine that serves one file, and fails as it is asked to."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.support.web import address_of, answering


@dataclass
class Served:
    """What the server sends, and what it was asked for."""

    content: bytes
    state: str | None = '"first"'
    """The file's ETag."""
    kind: str = "application/octet-stream"
    ranges: bool = True
    answers: list[int | str] = field(default_factory=list)
    """What befalls the next requests, one after another: a status of HTTP, `break:N` (N bytes, then the end), or an
    address to go to instead."""
    asked: list[str | None] = field(default_factory=list)
    """The `Range` of every request."""
    address: str = ""


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        served: Served = self.server.served  # type: ignore[attr-defined]
        served.asked.append(self.headers.get("Range"))
        answer = served.answers.pop(0) if served.answers else 200
        if isinstance(answer, str) and not answer.startswith("break:"):
            self.send_response(302)
            self.send_header("Location", answer)
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif isinstance(answer, int) and answer != 200:
            self.send_error(answer)
        else:
            self._send(served, int(answer.partition(":")[2]) if isinstance(answer, str) else None)

    def _send(self, served: Served, until: int | None) -> None:
        asked, start = self.headers.get("Range"), 0
        if asked and served.ranges and self.headers.get("If-Range") == served.state:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(served.content) - 1}/{len(served.content)}")
        if served.state:
            self.send_header("ETag", served.state)
        self.send_header("Content-Type", served.kind)
        self.send_header("Content-Length", str(len(served.content) - start))
        self.end_headers()
        self.wfile.write(served.content[start:] if until is None else served.content[start : start + until])
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def serving(content: bytes) -> Iterator[Served]:
    """Serve `content` as `/weights.pth` until the block ends."""
    with answering(_Handler) as server:
        server.served = served = Served(content, address=f"{address_of(server)}/weights.pth")  # type: ignore[attr-defined]
        yield served
