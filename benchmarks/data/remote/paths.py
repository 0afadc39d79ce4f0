"""Addresses of data that lies elsewhere (`s3://bucket/folder`), as paths. Light to import."""

from __future__ import annotations

import os
import re
from pathlib import Path, PosixPath
from typing import Annotated
from urllib.parse import unquote, urlsplit, urlunsplit

from pydantic import AfterValidator

from benchmarks.errors import UserError

PROTOCOL = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)
WEB = ("http", "https")


class RemotePath(PosixPath):
    """An address, whose parts are those of a path; printed, it is an address again.

    No function for the files of this machine finds anything there.
    """

    def __str__(self) -> str:
        return re.sub(r"^([a-z][a-z0-9+.-]+):/(?!/)", r"\1://", super().__str__())

    @property
    def protocol(self) -> str:
        return self.parts[0].removesuffix(":")

    def is_file(self, *, follow_symlinks: bool = True) -> bool:  # noqa: ARG002 (of newer versions of Python)
        return False

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:  # noqa: ARG002 (of newer versions of Python)
        return False

    def exists(self, *, follow_symlinks: bool = True) -> bool:  # noqa: ARG002 (of newer versions of Python)
        return False


def data_path(given: str) -> Path:
    """Return the path that a recipe gives: of this machine, or a RemotePath. Raises what `without_secrets` raises."""
    match = PROTOCOL.match(given)
    if match is None:
        return Path(os.path.expanduser(given))
    without_secrets(given)
    protocol = match[1].lower()
    if protocol in ("file", "local"):
        return Path(unquote(urlsplit(given).path)) if protocol == "file" else Path(given[match.end() :])
    if given.endswith((".tar", ".parquet")):
        folder, _, name = given.rpartition("/")
        raise UserError.about("data.root", given, "the folder of the shards", f"data.root={folder} data.split={name}")
    return RemotePath(protocol + given[len(protocol) :])


def without_secrets(given: str) -> str:
    """Return an address. Raises UserError, which does not show them, where it holds a password or a query.

    It would stand in records, in the batch scripts of jobs and in the list of processes.
    """
    if PROTOCOL.match(given) is None:
        return given
    parts = urlsplit(given)
    user, at, host = parts.netloc.rpartition("@")
    web = parts.scheme in WEB
    if not (at and (web or ":" in user)) and not (web and parts.query):
        return given
    shown = urlunsplit((parts.scheme, host if at else parts.netloc, parts.path, "", ""))
    what = "a user or password" if at else "a query, as signed addresses have it"
    rule = f"an address without {what}, which records and job scripts would show"
    remedy = "fsspec reads credentials from its own configuration (~/.config/fsspec, FSSPEC_HTTPS=...), AWS_*, HF_TOKEN"
    raise UserError.about("data.root", f"{shown} (what is secret in it is left out here)", rule, remedy)


Root = Annotated[str, AfterValidator(without_secrets)]
"""The folder of a data set, or its address."""
