"""The folder of a run, and the life of its record: started -> completed | failed | preempted."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, overload

from pydantic import ValidationError

from benchmarks import ranks
from benchmarks.errors import Stopped, UserError, WorkFailed
from benchmarks.files.atomic import make_folder, write_atomically
from benchmarks.files.json_files import path_from, read_json, read_json_bytes
from benchmarks.files.locks import Locked, locked
from benchmarks.files.tables import table_bytes
from benchmarks.runs.migrations import NewerSchema, parse_record
from benchmarks.runs.record import RunRecord, now

RECORD, LOCK, METRICS = "record.json", ".lock", "metrics.jsonl"
RECORD_BYTES = 2**22
RECORD_VALUES = 2**17
"""What a record may have at most: hundreds of times what a training writes."""


class _Inside:
    """A file or folder in a run's folder. Its path is made when it is asked for: there are thousands of runs."""

    def __init__(self, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, run: None, _: type[RunFolder]) -> _Inside: ...
    @overload
    def __get__(self, run: RunFolder, _: type[RunFolder]) -> Path: ...
    def __get__(self, run: RunFolder | None, _: type[RunFolder]) -> Path | _Inside:
        return self if run is None else run.path / self.name


class RunFolder:
    """The paths of one run."""

    record = _Inside(RECORD)
    lock = _Inside(LOCK)
    recipe = _Inside("recipe.yaml")
    metrics = _Inside(METRICS)
    checkpoints = _Inside("checkpoints")
    tensorboard = _Inside("tensorboard")
    wandb = _Inside("wandb")
    encoder = _Inside("encoder")
    encoders = _Inside("encoders")
    predictions = _Inside("predictions.csv")
    """A classifier's predictions: one line for every test image."""
    predicted = _Inside("predictions")
    """A detector's or a segmentation model's predictions, on request: a folder of files."""
    classes = _Inside("classes.csv")
    """The scores of every class, of what scores classes but classification with one label: one line for each."""
    keypoints = _Inside("keypoints.csv")
    """Correspondence: where every keypoint was found, and where it is."""
    depths = _Inside("depths.csv")
    """An estimate of depth's scores: one line for every test image."""
    per_class = _Inside("per_class.csv")
    """A classifier's accuracy: one line for every class."""
    test_sets = _Inside("test_sets.csv")
    layers = _Inside("layers.csv")
    grid = _Inside("grid.csv")
    """A probe's grid: every member's held-out score, and which was chosen."""
    neighbours = _Inside("neighbours.csv")
    shots = _Inside("shots.csv")
    """A few-shot protocol's scores: one line for every draw of every number of images."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def encoder_after(self, epochs: int) -> Path:
        """Return the folder of the encoder as it was after so many epochs of those in the recipe's export_epochs."""
        return self.encoders / f"epoch_{epochs}"

    @property
    def number_of_classes(self) -> int | None:
        """How many classes a classifier's test set has; None where no file tells."""
        try:
            return max(0, len(table_bytes(self.per_class).splitlines()) - 1) or None
        except (OSError, ValueError):
            return None

    def read_by_reports(self) -> list[Path]:
        """Return the files from which reports are made, of those that are there."""
        named = (self.record, self.recipe, self.metrics)
        return sorted([*filter(Path.exists, named), *self.path.glob("*.csv")])

    def earlier(self) -> RunRecord | None:
        """Return the record that an earlier attempt left; None where there is none, or a damaged one."""
        try:
            return read_record(self.path)
        except UserError:
            return None


def read_record(folder: Path) -> RunRecord | None:
    """Return the record of a run folder, or None when there is none. Raises UserError when damaged or unreadable."""
    path = folder / RECORD
    try:
        return parse_record(read_json_bytes(path, RECORD_BYTES, RECORD_VALUES))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        what = (error.strerror or str(error)).lower()
        raise UserError.about(str(path), what, "a run record, a readable file", "repair or remove it") from None
    except NewerSchema as error:
        remedy = "read it with the mimbench that wrote it"
        raise UserError.about(str(path), "(newer)", f"a run record that this version knows ({error})", remedy) from None
    except ValidationError as error:
        first = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:3])
        remedy = f"delete the file and run again ({first})"
        raise UserError.about(str(path), "(damaged)", "a run record", remedy) from None
    except ValueError as error:
        remedy = "delete the file and run again, or restore it"
        raise UserError.about(str(path), str(error), "a run record as a training writes it", remedy) from None


def completed(folder: Path) -> RunRecord | None:
    """Return the record when the run in `folder` is completed. A damaged record counts as not completed."""
    try:
        record = read_record(folder)
    except UserError:
        return None
    return record if record is not None and record.status == "completed" else None


def announce(path: Path | None, folder: Path, label: str | None = None) -> None:
    """Write where a run lies, for whoever waits for it (the stages of a pipeline).

    `label` is what the encoder is called by whoever asked for this run: a run that two pipelines share has two names.
    """
    if path is not None and ranks.is_main():
        make_folder(path.parent)
        write_atomically(path, json.dumps({"run_dir": str(folder.resolve()), "label": label}).encode())


def is_announcement(path: Path) -> bool:
    """Tell whether `path` is an announcement; one of a stage that has not started yet is known by its folder."""
    try:
        return "run_dir" in read_json(path)
    except FileNotFoundError:
        return path.parent.name == "stages"
    except (OSError, ValueError, TypeError):
        return False


def follow(path: Path) -> Path:
    """Return the run folder that an announcement file names. Raises UserError where it is missing or damaged."""
    try:
        return path_from(read_json(path)["run_dir"])
    except (OSError, ValueError, KeyError, TypeError):
        rule = "a file written by --announce"
        raise UserError.about("run", str(path), rule, "has the stage that writes it started?") from None


def run_folder_of(path: Path) -> Path:
    """Return the run folder that an announcement (a `.json`) names; any other path as it is. Raises like `follow`."""
    return follow(path) if path.suffix == ".json" and is_announcement(path) else path


def announced_label(path: Path) -> str | None:
    """Return the name that an announcement gives the run's encoder; None where it gives none."""
    try:
        label = read_json(path)["label"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return label if isinstance(label, str) else None


class Run:
    """A run in progress: its folder and its record."""

    def __init__(self, folder: RunFolder, record: RunRecord) -> None:
        self.folder = folder
        self.record = record
        self._seconds_before = record.seconds
        self._started = time.monotonic()

    def update(self, **fields: Any) -> None:
        """Replace fields of the record, in memory and on disk."""
        self.record = self.so_far().model_copy(update=fields)
        if ranks.is_main():
            write_atomically(self.folder.record, self.record.model_dump_json(indent=2).encode())

    def so_far(self) -> RunRecord:
        """Return the record with the time at work until now."""
        seconds = self._seconds_before + time.monotonic() - self._started
        return self.record.model_copy(update={"seconds": seconds})

    def add(self, **fields: Any) -> None:
        """Replace fields of a completed run's record."""
        self.update(seconds=self._seconds_before, **fields)

    def complete(self, **fields: Any) -> None:
        """Mark the run completed; call it last."""
        self.update(status="completed", finished_at=now(), error=None, **fields)


@contextlib.contextmanager
def open_run(folder: RunFolder, record: RunRecord, recipe_yaml: str) -> Iterator[Run]:
    """Hold the run's lock, write its `started` record and, whatever happens, how it ended; only the main rank writes.

    Raises UserError when another process is working on the same run, or when the folder cannot be written.
    """
    with _held(folder.path) if ranks.is_main() else contextlib.nullcontext():
        run = Run(folder, _continued(folder, record))
        run.update()
        if ranks.is_main():
            write_atomically(folder.recipe, recipe_yaml.encode())
        try:
            yield run
        except (Stopped, KeyboardInterrupt) as error:
            run.update(status="preempted", error=str(error) or "interrupted", finished_at=now())
            raise
        except Exception as error:
            _note_failure(run, error)
            raise


@contextlib.contextmanager
def reopen(folder: RunFolder) -> Iterator[Run]:
    """Hold the lock of a completed run, to which something is added; the time at work on it stays as it was.

    Raises UserError when another process is working on it.
    """
    with _held(folder.path) if ranks.is_main() else contextlib.nullcontext():
        record = completed(folder.path)
        assert record is not None, "the caller has seen that it is completed"
        yield Run(folder, record)


def note_pruned(folder: Path, why: str) -> None:
    """Write into the record of a run that waits at a rung why it ends there.

    A run that is completed, or that another process is at work on, keeps its record: it is not ended by this.
    """
    with contextlib.suppress(Locked), locked(RunFolder(folder).lock):
        record = read_record(folder)
        if record is not None and record.status != "completed":
            ended = record.model_copy(update={"status": "preempted", "error": why, "pruned": why})
            write_atomically(folder / RECORD, ended.model_dump_json(indent=2).encode())


def _note_failure(run: Run, error: Exception) -> None:
    # On a disk that is full or gone the record goes on saying `started`; the error itself is about to be shown.
    with contextlib.suppress(OSError, WorkFailed, UserError):
        run.update(status="failed", error=f"{type(error).__name__}: {error}", finished_at=now())


def _continued(folder: RunFolder, record: RunRecord) -> RunRecord:
    """Carry attempts and seconds over from an earlier, unfinished attempt."""
    earlier = folder.earlier()
    if earlier is None:
        return record
    return record.model_copy(
        update={
            "attempts": earlier.attempts + 1,
            "steps": earlier.steps,
            "seconds": earlier.seconds,
            "started_at": earlier.started_at,
            "data": record.data.model_copy(update={"unreadable": earlier.data.unreadable}),
        }
    )


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    try:
        with locked(RunFolder(folder).lock):
            yield
    except Locked:
        rule = "worked on by one process at a time"
        raise UserError.about("run", str(folder), rule, "wait for the other process, or stop it") from None
