"""A small hub on this machine: as much of Hugging Face's interface as an upload of small files asks for."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.support.web import address_of, answering


@dataclass
class Hub:
    """What is there, and what it was asked for."""

    private: dict[str, bool] = field(default_factory=dict)
    """Whether a repository is private, for each that is there."""
    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    tokens: set[str | None] = field(default_factory=set)
    refuses: int | None = None
    """The status of HTTP with which it answers everything."""
    address: str = ""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        hub = self._noted()
        name = self.path.partition("?")[0].removeprefix("/api/models/").partition("/revision/")[0]
        if hub.refuses:
            self._answer({"error": "no"}, hub.refuses)
        elif name in hub.private:
            self._answer({"id": name, "private": hub.private[name], "sha": "0" * 40, "siblings": [], "tags": []})
        else:
            self._answer({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})

    def do_POST(self) -> None:
        hub = self._noted()
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if hub.refuses:
            self._answer({"error": "no"}, hub.refuses)
        elif self.path.startswith("/api/repos/create"):
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
            if name in hub.private:
                self._answer({"error": "You already created this model repo", "url": f"{hub.address}/{name}"}, 409)
                return
            hub.private[name] = asked.get("private") is True or asked.get("visibility") == "private"
            self._answer({"url": f"{hub.address}/{name}", "name": name, "id": name})
        elif "/preupload/" in self.path:
            named = [each["path"] for each in json.loads(body)["files"]]
            self._answer({"files": [{"path": each, "uploadMode": "regular", "shouldIgnore": False} for each in named]})
        elif "/commit/" in self.path:
            for line in body.decode().splitlines():
                each = json.loads(line)
                if each["key"] == "file":
                    hub.files[each["value"]["path"]] = base64.b64decode(each["value"]["content"])
            address = f"{hub.address}/my-lab/encoder/commit/{'1' * 40}"
            self._answer({"commitUrl": address, "commitOid": "1" * 40, "success": True})
        else:
            self._answer({}, 200)

    def _noted(self) -> Hub:
        hub: Hub = self.server.hub  # type: ignore[attr-defined]
        hub.asked.append(f"{self.command} {self.path.partition('?')[0]}")
        hub.tokens.add(self.headers.get("Authorization"))
        return hub

    def _answer(self, content: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(data)),
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def serving() -> Iterator[Hub]:
    """Run an empty hub until the block ends."""
    with answering(_Handler) as server:
        server.hub = hub = Hub(address=address_of(server))  # type: ignore[attr-defined]
        yield hub
