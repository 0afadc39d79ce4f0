"""One file over HTTPS: continued where it broke off, tried again where the network or the server failed."""

from __future__ import annotations

import contextlib
import errno
import http.client
import json
import os
import shutil
import socket
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from benchmarks.catalogue.checkpoints import may_be_fetched
from benchmarks.errors import WorkFailed, printable
from benchmarks.files.atomic import disk_error, write_atomically
from benchmarks.files.json_files import read_json
from benchmarks.text.progress import ProgressReport

CHUNK_BYTES = 2**20
PATIENCE_S = 60.0
"""How long a server may be silent."""
WAITS_S = (1.0, 4.0, 16.0, 30.0)
"""How long to wait before each further try; the count begins anew whenever a try brought something."""
PASSING = (408, 425, 429, 500, 502, 503, 504)
"""Answers of HTTP that another try may change."""


class NotFetched(WorkFailed):
    """A file could not be downloaded; the message says why."""


class _Broken(Exception):
    """A try ended before the end of the file; another one may bring the rest."""


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to addresses that may be fetched from, and from https to https alone."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        left = req.type == "https" and not newurl.startswith("https:")
        if left or not may_be_fetched(newurl):
            raise NotFetched(f"{req.full_url} leads to {printable(newurl)}, which is no https address")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


_OPENER = urllib.request.build_opener(_Redirects)


@dataclass(frozen=True)
class _Part:
    """The beginning of a file, and beside it what the server calls the state of the file that it belongs to."""

    path: Path

    @property
    def about(self) -> Path:
        return self.path.with_name(f"{self.path.name}.json")

    def begun(self, address: str) -> tuple[int, str | None]:
        """Return how many bytes are there, and the state; (0, None) where they cannot be continued."""
        with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
            known = read_json(self.about)
            if known.get("address") == address and isinstance(known.get("state"), str):
                return self.path.lstat().st_size, known["state"]
        return 0, None

    def remove(self) -> None:
        for path in (self.path, self.about):
            path.unlink(missing_ok=True)


def download(address: str, path: Path, title: str, size: int | None = None) -> None:
    """Write the file at `address` to `path`, whose folder exists.

    What a broken download has left beside `path` is continued, where the server says that the file is still the same.
    Raises NotFetched where the server refuses, or fails again and again, or sends another number of bytes than it
    states, or than `size`; WorkFailed where the disk is full.
    """
    part = _Part(path.with_name(f".{path.name}.part"))
    tries = 0
    while True:
        before = part.begun(address)[0]
        try:
            _fetch(address, part, title, size)
            break
        except _Broken as error:
            tries = 1 if part.begun(address)[0] > before else tries + 1
            if tries > len(WAITS_S):
                raise NotFetched(f"{error}, {tries} times in a row") from None
            wait = WAITS_S[tries - 1]
            print(f"{title}: {error}; trying again in {wait:g} s", file=sys.stderr, flush=True)
            time.sleep(wait)
    os.replace(part.path, path)
    part.remove()


def _fetch(address: str, part: _Part, title: str, size: int | None) -> None:
    """Fetch what is still missing of a file. Raises _Broken where the connection ends before."""
    begun, state = part.begun(address)
    headers = {"User-Agent": "mimbench", "Accept-Encoding": "identity"}
    if begun and state:
        headers |= {"Range": f"bytes={begun}-", "If-Range": state}
    try:
        with _OPENER.open(urllib.request.Request(address, headers=headers), timeout=PATIENCE_S) as answer:
            start = begun if answer.status == 206 and _starts_at(answer, begun) else 0
            if answer.status == 206 and not start:
                part.remove()
                raise _Broken(f"{address} sent another part of the file than was asked for")
            _refuse_page(address, answer)
            total = _total(answer, start)
            _check_size(address, total, size)
            _receive(answer, part, address, start, total, title)
    except urllib.error.HTTPError as error:
        error.close()
        _raise_for(address, error, part)
    except urllib.error.URLError as error:
        if isinstance(error.reason, socket.gaierror | ssl.SSLCertVerificationError):
            raise NotFetched(f"{address}: {_reason(error)}") from None
        raise _Broken(f"{address}: {_reason(error)}") from error
    except (http.client.HTTPException, TimeoutError, ConnectionError) as error:
        raise _Broken(f"{address}: {_reason(error)}") from error


def _receive(answer: Any, part: _Part, address: str, start: int, total: int | None, title: str) -> None:
    state = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
    if state is None or state.startswith("W/"):  # a weak ETag says nothing of single bytes
        part.about.unlink(missing_ok=True)
    else:
        write_atomically(part.about, json.dumps({"address": address, "state": state}).encode())
    done, everything = start, None if total is None else _megabytes(total)
    with _appended(part.path, start, total) as file, ProgressReport(title, everything, "MB", by_any_rank=True) as bar:
        while chunk := answer.read(CHUNK_BYTES):
            file.write(chunk)
            done += len(chunk)
            bar.show(_megabytes(done))
    if total is not None and done != total:
        raise _Broken(f"{address} ended after {done:,} of {total:,} bytes")


@contextlib.contextmanager
def _appended(path: Path, start: int, total: int | None) -> Iterator[IO[bytes]]:
    """Open a part for what follows its first `start` bytes; what it has beyond them goes.

    Raises WorkFailed where the disk has no room for the whole.
    """
    if total is not None and shutil.disk_usage(path.parent).free < total - start:
        raise disk_error(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), path, total - start)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | (0 if start else os.O_TRUNC), 0o666)
        with os.fdopen(handle, "wb") as file:
            file.truncate(start)
            file.seek(start)
            yield file
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        said = disk_error(error, path, total or 0)
        if said is error:  # of the network
            raise
        raise said from error


def _starts_at(answer: Any, byte: int) -> bool:
    return str(answer.headers.get("Content-Range", "")).startswith(f"bytes {byte}-")


def _total(answer: Any, start: int) -> int | None:
    """Return how many bytes the whole file has, as the server states it."""
    length = answer.headers.get("Content-Length")
    return start + int(length) if length is not None and length.isdecimal() else None


def _check_size(address: str, total: int | None, size: int | None) -> None:
    if size is not None and total is not None and total != size:
        raise NotFetched(f"{address} has {total:,} bytes, and not the {size:,} that are published")


def _refuse_page(address: str, answer: Any) -> None:
    if answer.headers.get_content_type() == "text/html":
        raise NotFetched(f"{address} answers with a page of HTML, and not with the file")


def _raise_for(address: str, error: urllib.error.HTTPError, part: _Part) -> None:
    said = f"{address} answers {error.code} {printable(str(error.reason))}"
    if error.code == 416:  # what was begun is longer than the file
        part.remove()
        raise _Broken(said) from None
    if error.code in PASSING:
        raise _Broken(said) from None
    raise NotFetched(said) from None


def _reason(error: Exception) -> str:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    return printable(str(reason) or type(reason).__name__)


def _megabytes(count: int) -> int:
    return -(-count // 10**6)
