"""The mark of a pipeline's folder: by it, and not by their names alone, Slurm's jobs are known to belong to the folder.

Two checkouts that submit one pipeline file have folders, and so jobs, of the same names. Each folder has a random token
of its own, which its jobs carry in their comment. The mark also records where the folder was when it was launched: a
folder that was moved or copied has no jobs, because those that were submitted work in the place where it was.
"""

from __future__ import annotations

import re
import secrets
from pathlib import Path

from benchmarks.config import Config, PathText
from benchmarks.errors import UserError, printable
from benchmarks.files.atomic import write_atomically
from slurm.state.folder import PipelineFolder, read_as

IN_COMMENT = re.compile(r"mimbench:([0-9a-f]{16})\b")


class Mark(Config):
    """What identifies a pipeline's folder."""

    token: str
    path: PathText
    """Where the folder was when it was launched last: absolute, without links."""

    @property
    def comment(self) -> str:
        """What the jobs of the folder carry."""
        return f"mimbench:{self.token}"


def token_in(comment: str) -> str | None:
    """Return the token in a job's comment, which may hold other words; None where it has none."""
    found = IN_COMMENT.search(comment)
    return found.group(1) if found else None


def read_mark(folder: PipelineFolder) -> Mark | None:
    """Return the folder's mark; None where it was never launched, or by a version that wrote no mark."""
    return read_as(Mark, _file(folder.path))


def claim(folder: PipelineFolder) -> Path | None:
    """Give the folder its mark, a new one where it was moved or copied; return from where (else None).

    The caller must hold the folder's lock.
    """
    origin = came_from(folder)
    if origin is not None or read_mark(folder) is None:
        mark = Mark(token=secrets.token_hex(8), path=str(folder.path.resolve()))
        write_atomically(_file(folder.path), mark.model_dump_json(indent=2).encode())
    return origin


def came_from(folder: PipelineFolder) -> Path | None:
    """Return where the folder was when it was launched; None where it is still there, or was never launched."""
    place = _place(folder)
    if place is None:
        return None
    here = folder.path.resolve()
    return None if place == here or (place.exists() and place.samefile(here)) else place


def require_in_place(folder: PipelineFolder) -> None:
    """Raise UserError where the folder was moved or copied: the jobs and places in its files are another folder's."""
    if (origin := came_from(folder)) is None:
        return
    file, cluster = folder.file.resolve(), folder.cluster.resolve()
    command = f"mimbench pipeline submit {file} --cluster {cluster} --pipelines {folder.path.resolve().parent}"
    rule = f"in the place where it was launched: it was {how_it_came(folder, origin)}, and the jobs are that one's"
    remedy = f"to run it here, too, in the working directory that it shall have: {command}"
    raise UserError.about("pipeline", str(folder.path), rule, remedy)


def how_it_came(folder: PipelineFolder, origin: Path) -> str:
    """Return `copied from PLACE` where the original is still there, else `moved from PLACE`."""
    own, there = read_mark(folder), read_as(Mark, _file(origin))
    is_there = there == own if own is not None else (origin / folder.manifest.name).is_file()
    return f"{'copied' if is_there else 'moved'} from {printable(str(origin))}"


def _place(folder: PipelineFolder) -> Path | None:
    """Return where the folder was when it was launched last; versions without marks recorded it in the manifest."""
    mark = read_mark(folder)
    if mark is not None:
        return Path(mark.path)
    manifest = folder.find_manifest()
    return (Path(manifest.workdir) / manifest.places.pipelines / manifest.id).resolve() if manifest else None


def _file(path: Path) -> Path:
    return path / ".mark.json"
