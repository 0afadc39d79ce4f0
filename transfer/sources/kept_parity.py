"""What `mimbench checkpoint verify` found, kept in `FILE.parity.json` beside the checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

from benchmarks.config import Config
from benchmarks.encoders import Architecture
from benchmarks.files.atomic import write_atomically
from benchmarks.files.json_files import read_json
from benchmarks.runs.record import Parity


class _Kept(Config):
    sha256: str
    """Of the encoder's tensors under timm's names, whatever file they lie in."""
    architecture: Architecture
    parity: Parity


def parity_file(path: Path) -> Path:
    """Return where the parity of the checkpoint file `path` is kept."""
    return path.with_name(f"{path.name}.parity.json")


def read_parity(path: Path, sha256: str, architecture: Architecture) -> Parity | None:
    """Return what is kept of these weights in this architecture; None where nothing is, or of others."""
    try:
        kept = _Kept.model_validate_json(json.dumps(read_json(parity_file(path))))
    except (OSError, ValidationError, ValueError):
        return None
    return kept.parity if (kept.sha256, kept.architecture) == (sha256, architecture) else None


def keep_parity(path: Path, sha256: str, architecture: Architecture, parity: Parity) -> Path | None:
    """Write the parity beside a checkpoint file; return where, None where nothing can be written there."""
    kept = _Kept(sha256=sha256, architecture=architecture, parity=parity)
    try:
        write_atomically(parity_file(path), kept.model_dump_json(indent=2).encode())
    except OSError:
        return None
    return parity_file(path)
