"""Where the output of an earlier version is kept, how a test lays it out again and gives the same commands."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KEPT = Path(__file__).parent / "before"
WORK = "@WORK@"
"""Stands for the absolute path of the folder in which the kept files were written."""
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "COLUMNS": "200",
    "ATEN_CPU_CAPABILITY": "default",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "MKL_CBWR": "COMPATIBLE",
}
"""Arithmetic that follows the processor as little as possible: with its own vector instructions, each rounds in its own
way."""
COMPUTED = ("*.csv", "encoder/*.safetensors", "encoders/*/*.safetensors", "checkpoints/*/*.safetensors")
ASKED = KEPT / "asked"
"""What a person wrote."""
PRETRAINED = "pretrain-digits_simmim-3b854210dfc7"
OLDER = {1: "digits-digits_finetune-f699e0ba2cea", 2: "digits-digits_finetune-f324559d1459"}
"""By schema version of the record."""
PIPELINE = "before-5c9d954f"

ALL = """
import contextlib, io, json, sys, traceback
import mimbench

for name, command in json.loads(sys.argv[1]).items():
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = mimbench.main(command)
        except Exception:
            code = traceback.print_exc()
    print(json.dumps({"name": name, "code": code, "out": out.getvalue(), "err": err.getvalue()}))
"""
"""Carries out several commands in one process, which imports torch once."""


@dataclass(frozen=True)
class Answer:
    """What a command said."""

    code: int | None
    """None where it broke off with a traceback."""
    out: str
    err: str


def environment(checkout: Path) -> dict[str, str]:
    """Return the environment in which the version in `checkout` is run."""
    return {**os.environ, **ENVIRONMENT, "PYTHONPATH": str(checkout)}


def carry_out(commands: Mapping[str, Sequence[str]], folder: Path, checkout: Path) -> dict[str, Answer]:
    """Have the version in `checkout` carry out commands in `folder`, in turn; return its answers by name."""
    done = subprocess.run(
        [sys.executable, "-c", ALL, json.dumps(commands)],
        cwd=folder,
        env=environment(checkout),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    answers = map(json.loads, done.stdout.splitlines())
    return {answer.pop("name"): Answer(**answer) for answer in answers}


def lay(folder: Path) -> None:
    """Lay out in `folder` what is kept, as it was when it was written."""
    for name, place in {"finished": "runs", "unfinished": "runs", "older": "older", "launched": "pipelines"}.items():
        shutil.copytree(KEPT / name, folder / place, dirs_exist_ok=True)
    for archive in folder.glob("runs/*/checkpoints.tar.gz"):
        shutil.unpack_archive(archive, archive.parent)
        archive.unlink()
    replace(folder / "pipelines", WORK, str(folder))
    shutil.copytree(ASKED, folder, dirs_exist_ok=True)


def pack_checkpoints(run: Path) -> None:
    """Keep the last checkpoint alone, without the one that a run writes before its first step."""
    first, *_, last = sorted((run / "checkpoints").iterdir())
    assert first != last
    shutil.rmtree(first)
    shutil.make_archive(str(run / "checkpoints"), "gztar", run, "checkpoints")


def replace(folder: Path, old: str, new: str) -> None:
    """Replace a text in all files below `folder`."""
    for path in filter(Path.is_file, folder.rglob("*")):
        path.write_text(path.read_text().replace(old, new))


def computed(run: Path) -> dict[str, str]:
    """Return the sha256 of everything that a run computed, by path below it."""
    files = sorted(file for pattern in COMPUTED for file in run.glob(pattern))
    return {str(file.relative_to(run)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def processor() -> str:
    """Return a digest of this processor's model and instructions; another one may round differently."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.is_file() else []
    same = sorted({line for line in lines if line.startswith(("model name", "flags"))})
    return hashlib.sha256("\n".join([platform.machine(), *same]).encode()).hexdigest()


def record_of(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "record.json").read_text())
    return found


def known_then(found: Any, kept: Any) -> Any:
    """Return what is found of the fields that were known at that time, those of nested objects included."""
    if isinstance(kept, dict):
        return {key: known_then(found[key], value) for key, value in kept.items()}
    if isinstance(kept, list) and len(found) == len(kept):
        return [known_then(*both) for both in zip(found, kept, strict=True)]
    return found
