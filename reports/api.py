"""`mimbench.leaderboard` and `mimbench.records`: run records as tables; `report leaderboard` is made of it."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.errors import UserError, WorkFailed, did_you_mean, first_of
from benchmarks.files.atomic import write_atomically
from benchmarks.verbs.overrides import path_text

if TYPE_CHECKING:
    from pandas import DataFrame

    from benchmarks.runs.find import FoundRun, LeftOut
    from reports.leaderboard.board import Leaderboard
    from reports.leaderboard.lines import Shown

SHOWN: dict[str, Shown] = {"same": "same", "all": "all", "none": "none"}
SUFFIXES = ("txt", "md", "csv", "json", "parquet", "tex", "html")
OVERVIEW = "overview.txt"
"""How the text begins, for those who show a report in a few lines."""


def records(*runs: str | Path) -> DataFrame:
    """Return a table of run records: one row a run, pretrainings too, whether completed or not.

    `runs` are run folders, folders of runs, globs, or announcement files. Scores have a column `score.NAME` each, with
    the last epoch's value, and `best.NAME`. Records that cannot be read are warned of, and listed with the reason in
    the table's `attrs["left_out"]`. Raises UserError for an argument that leads nowhere.
    """
    import pandas as pd

    from benchmarks.runs.find import find_runs

    found = find_runs(_texts(runs))
    table = pd.DataFrame([_row(run) for run in found.runs])
    return _with_left_out(table, found.left_out)


def leaderboard(
    *runs: str | Path,
    within: Sequence[str] = (),
    baseline: str | None = None,
    task: str | None = None,
    references: str | Sequence[str] = (),
    unverified: bool = False,
    holm: bool = False,
    pictures: bool = False,
    out: str | Path | None = None,
    formats: Sequence[str] | None = None,
) -> DataFrame:
    """Return a leaderboard of runs, one row for each encoder and recipe over its seeds: what leaderboard.csv has.

    The arguments are those of `mimbench report leaderboard`; `references` is "same", "all" or "none", and paths of CSV
    files. With `out`, the report is written to that folder as well, in `formats` (default: all). The table's `attrs`
    have the report's sentences: `summary`, `notes`, and `left_out`, the records that are in no row.

    Raises UserError for what is asked for wrongly, and WorkFailed where no run is usable.
    """
    import pandas as pd

    from reports.leaderboard.notes import words
    from reports.tables.csv_json_parquet import fields_of, typed_rows

    given = [references] if isinstance(references, str) else list(references)
    board = board_of(
        _texts(runs),
        within=within,
        baseline=baseline,
        task=task,
        references=given,
        unverified=unverified,
        holm=holm,
        pictures=pictures,
    )
    if out is not None:
        write_board(board, Path(path_text("out", out)), suffixes_of(formats))
    require_runs(board)
    table = pd.DataFrame(typed_rows(board))
    whole = {field.name: "Int64" for field in fields_of(board) if field.type is int}
    table = _with_left_out(table.astype(whole), board.left_out)
    sentences = words(board)
    table.attrs |= {"summary": sentences.summary, "notes": list(sentences.notes)}
    return table


def board_of(
    runs: Sequence[str],
    *,
    within: Sequence[str] = (),
    baseline: str | None = None,
    task: str | None = None,
    references: Sequence[str] = (),
    unverified: bool = False,
    holm: bool = False,
    pictures: bool = False,
) -> Leaderboard:
    """Return the leaderboard that is asked for. Raises UserError for a wrong argument."""
    from benchmarks.catalogue.suites import tasks_in
    from benchmarks.catalogue.tasks import find_task
    from benchmarks.version import program
    from reports.leaderboard.board import Request, make
    from reports.records.collections import named

    if task is not None:
        for each in tasks_in(task):
            find_task(each)
    if holm and baseline is None:
        raise UserError.about("--holm", "(given)", "with --baseline, to which differences are", "add --baseline LABEL")
    if bool(runs) == bool(within):
        value = "both" if runs else "(neither)"
        raise UserError.about("RUNS and --in", value, "one of the two", "name RUNS, or each collection with --in")
    places, names = named(within) if within else (tuple(runs), ())
    shown, files = _references(references)
    request = Request(
        places,
        baseline=baseline,
        task=task,
        references=shown,
        unverified=unverified,
        holm=holm,
        pictures=pictures,
        collections=names,
        reference_files=files,
        made_by=program(),
    )
    return make(request)


def write_board(board: Leaderboard, out: Path, suffixes: Sequence[str]) -> list[Path]:
    """Write leaderboard.SUFFIX to a folder, and how the text begins to overview.txt; return the files.

    Raises UserError where the folder cannot be made, and WorkFailed, without having written, where there is no record.
    """
    from reports.formats import rendered
    from reports.tables.text_markdown import to_overview

    _require_records(board)
    prepare(out)
    paths = []
    for suffix in suffixes:
        paths.append(out / f"leaderboard.{suffix}")
        write_atomically(paths[-1], rendered(board, suffix))
    if "txt" in suffixes:
        paths.append(out / OVERVIEW)
        write_atomically(paths[-1], to_overview(board).encode())
    return paths


def suffixes_of(formats: Sequence[str] | None) -> list[str]:
    """Return the formats asked for; by default all, Parquet where what writes it is installed.

    Raises UserError for one that is none.
    """
    if formats is None:
        without = () if importlib.util.find_spec("pyarrow") else ("parquet",)
        return [suffix for suffix in SUFFIXES if suffix not in without]
    for suffix in formats:
        if suffix not in SUFFIXES:
            raise UserError.about("--formats", suffix, "a list of formats", did_you_mean(suffix, SUFFIXES))
    return list(formats)


def require_runs(board: Leaderboard) -> None:
    """Raise WorkFailed, with what was left out, where a leaderboard has no run."""
    from reports.leaderboard.notes import words

    _require_records(board)
    if not board.sections:
        remedy = "complete a transfer; the record of each run says what became of it"
        raise WorkFailed(f"no usable run. {words(board).account}\n  remedy: {remedy}")


def _require_records(board: Leaderboard) -> None:
    """Raise WorkFailed where no record was found, not even of a run that is left out."""
    if not (board.sections or board.pretrainings or board.left_out):
        where = ", ".join(board.request.runs)
        raise WorkFailed(f"no record found in {where}: nothing written\n  remedy: check the path")


def prepare(out: Path) -> None:
    """Make the folder that is written to. Raises UserError where that is not possible."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        rule = f"a folder that can be made ({error.strerror})"
        raise UserError.about("--out", str(out), rule, "name another folder") from None


def _references(given: Sequence[str]) -> tuple[Shown, tuple[str, ...]]:
    """Return which of the published numbers at hand to show, and the files of further ones."""
    words = [text for text in given if text in SHOWN]
    files = tuple(text for text in given if text not in SHOWN)
    if len(set(words)) > 1:
        rule = f"one of {', '.join(SHOWN)}, and any number of files"
        raise UserError.about("--references", " and ".join(words), rule, "leave one out")
    for text in files:
        if not text.endswith(".csv"):
            raise UserError.about("--references", text, f"{', '.join(SHOWN)} or a CSV file", did_you_mean(text, SHOWN))
    return SHOWN[words[0]] if words else "same", files


def _texts(runs: Sequence[str | Path]) -> tuple[str, ...]:
    return tuple(path_text("runs", each) for each in runs)


def _row(found: FoundRun) -> dict[str, object]:
    """Return what a table has of a record; what a run does not have is None."""
    record, encoder = found.record, found.record.encoder
    row: dict[str, object] = {
        "run_id": record.run_id,
        "kind": record.kind,
        "status": record.status,
        "task": record.task and record.task.name,
        "task_version": record.task and record.task.version,
        "encoder": encoder and encoder.label,
        "reference": encoder and encoder.reference,
        "method": encoder and encoder.method,
        "init_stage": encoder and encoder.init_stage,
        "architecture": encoder and encoder.architecture.name,
        "encoder_sha256": encoder and encoder.sha256,
        "coverage_percent": record.load_report and record.load_report.coverage_percent,
        "recipe": record.recipe.name,
        "seed": record.seed,
    }
    for name, value in record.metrics.items():
        row |= {f"score.{name}": value.last, f"best.{name}": value.best}
    row |= {name: getattr(record, name) for name in _FIELDS}
    where = record.environment
    row |= {"data_root": record.data.root, "data_fingerprint": record.data.fingerprint, "device": where.device}
    row |= {"mimbench": where.packages.get("mimbench"), "git_commit": where.git_commit, "folder": str(found.folder)}
    return row


_FIELDS = (
    *("image_size_px", "training_images", "steps", "seconds", "images_per_second", "seconds_per_step"),
    *("peak_memory_mb", "processes", "attempts", "started_at", "finished_at", "error"),
)
"""The record's own fields that are numbers and texts."""


def _with_left_out(table: DataFrame, left_out: Sequence[LeftOut]) -> DataFrame:
    """Return a table whose attributes list the records that are not in it, and warn of them."""
    table.attrs["left_out"] = [(each.where, each.reason) for each in left_out]
    if left_out:
        said = first_of([f"{each.where}: {each.reason}" for each in left_out], 3, "; ")
        warnings.warn(f"not in the table, as attrs['left_out'] lists: {said}", stacklevel=3)
    return table
