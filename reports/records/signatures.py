"""Signatures of runs by whoever ran them: what lies in a run's folder is signed, and checked, with OpenSSH's keys."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.errors import UserError
from benchmarks.files.atomic import write_atomically
from benchmarks.files.json_files import parse_json, read_json_bytes
from benchmarks.files.named_files import sha256_of
from benchmarks.files.regular import regular
from benchmarks.runs.folder import RECORD, RunFolder

SIGNED, SIGNATURE = "signed.json", "signed.json.sig"
NAMESPACE = "run@mimbench"
"""What the signature is for, so that it cannot be taken from another document."""


@dataclass(frozen=True)
class Signature:
    """Whether a run is signed."""

    state: Literal["signed", "unsigned", "wrongly signed"]
    words: str = ""
    """By whom, or what is wrong."""


def sign(folder: Path, key: Path) -> None:
    """Write the digests of a run's files and their signature by `key`, a private key or a public one of ssh-agent's.

    Raises UserError where the key cannot sign.
    """
    try:
        digests = _digests(folder)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError.about("RUNS", str(folder), f"files that can be read ({reason})", "repair the run") from None
    text = json.dumps({"schema_version": 1, "files": digests}, indent=1).encode()
    done = _ssh_keygen(["-Y", "sign", "-f", str(key), "-n", NAMESPACE], text)
    if done.returncode:
        rule = f"a key of OpenSSH that can sign ({done.stderr.decode(errors='replace').strip()})"
        raise UserError.about("--key", str(key), rule, "make one: ssh-keygen -t ed25519 -f FILE")
    write_atomically(folder / SIGNED, text)
    write_atomically(folder / SIGNATURE, done.stdout)


def signature_of(folder: Path, signers: Path | None) -> Signature:
    """Check a run's signature; `signers` is a file of allowed signers as ssh-keygen(1) describes it.

    Without one any key will do, and is named by its fingerprint.
    """
    try:
        text = read_json_bytes(folder / SIGNED)
    except FileNotFoundError:
        if (folder / SIGNATURE).exists():
            return Signature("wrongly signed", f"{SIGNED} is gone")
        return Signature("unsigned")
    except (OSError, ValueError) as error:
        return Signature("wrongly signed", f"{SIGNED}: {getattr(error, 'strerror', None) or error}")
    if (changed := _changed(folder, text)) is not None:
        return Signature("wrongly signed", changed)
    return _by_key(folder, text) if signers is None else _by_signer(folder, text, signers)


def _digests(folder: Path) -> dict[str, str]:
    return {path.name: sha256_of(regular(path)) for path in RunFolder(folder).read_by_reports()}


def _changed(folder: Path, text: bytes) -> str | None:
    """Return which file is no longer what was signed; none is read where one is new or gone."""
    try:
        signed = dict(parse_json(text)["files"])
        if RECORD not in signed:
            return f"{SIGNED} does not name {RECORD}"
        there = {path.name for path in RunFolder(folder).read_by_reports()}
        found = _digests(folder) if there == signed.keys() else {}
        changed = sorted(name for name in there | signed.keys() if signed.get(name) != found.get(name))
        named = sorted(there ^ signed.keys()) or changed
    except (OSError, ValueError, LookupError, TypeError):
        return f"{SIGNED} or a file that it names cannot be read"
    return f"{named[0]} is not what was signed" if named else None


def _by_key(folder: Path, text: bytes) -> Signature:
    done = _ssh_keygen(["-Y", "check-novalidate", "-n", NAMESPACE, "-s", str(folder / SIGNATURE)], text)
    key = re.search(rb"SHA256:[A-Za-z0-9+/]+", done.stdout)
    if done.returncode or key is None:
        return Signature("wrongly signed", f"{SIGNATURE} is no signature of {SIGNED}")
    return Signature("signed", f"key {key[0].decode()}")


def _by_signer(folder: Path, text: bytes, signers: Path) -> Signature:
    signature = str(folder / SIGNATURE)
    found = _ssh_keygen(["-Y", "find-principals", "-s", signature, "-f", str(signers)], b"")
    names = found.stdout.decode(errors="replace").split()
    if found.returncode or not names:
        known = _by_key(folder, text)
        whose = f"by {known.words}, which {signers} does not have" if known.state == "signed" else known.words
        return Signature("wrongly signed", whose)
    options = ["-f", str(signers), "-I", names[0], "-n", NAMESPACE, "-s", signature]
    if _ssh_keygen(["-Y", "verify", *options], text).returncode:
        return Signature("wrongly signed", f"{SIGNATURE} is no signature of {SIGNED} by {names[0]}")
    return Signature("signed", names[0])


def _ssh_keygen(arguments: Sequence[str], text: bytes) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(["ssh-keygen", *arguments], input=text, capture_output=True)
    except FileNotFoundError:
        remedy = "install OpenSSH 8.1 or later"
        raise UserError.about("signatures", "ssh-keygen", "a program that is installed", remedy) from None
