"""The files of a finished pipeline, altered value by value: words or a state are answered, never a traceback."""

from __future__ import annotations

import json
import os
import random
import shutil
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mimbench
from benchmarks.errors import UserError
from benchmarks.runs.folder import follow, read_record
from slurm.state.folder import Manifest, PipelineFolder
from slurm.state.mark import read_mark
from tests.slurm.bench import ONE_SEED, Bench

HOSTILE: list[Any] = [
    *(None, True, -1, 0, 1.5, 10**30, -(10**30), 2**63, int("9" * 4000), float("nan"), float("inf"), -1e308),
    *("", "x", "\0", "\ud800", "\x1b[2J\x07", "\n\n", "1e999", "../../../../etc/passwd", "/etc/passwd", "a" * 100_000),
    *([], {}, [[]], [None], [1] * 1000, ["x"] * 1000, {"": None}, {"a": {"b": 1}}),
]
CASES_OF_A_FILE = 25


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The working folder of a pipeline of one seed, finished."""
    bench = Bench(tmp_path_factory.mktemp("finished"))
    (bench.path / "pipeline.yaml").write_text(ONE_SEED)
    done = bench.submit()
    assert done.returncode == 0, done.stdout
    yield bench.path
    bench.close()


def places(value: Any, place: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield where the values of a JSON document lie, the document itself first."""
    yield place
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield from places(each, (*place, key))


def altered(value: Any, place: tuple[str | int, ...], new: Any) -> Any:
    """Return a document with another value at a place; with none where `new` is Ellipsis."""
    if not place:
        return new
    changed: Any = dict(value) if isinstance(value, dict) else list(value)
    if place[1:] or new is not ...:
        changed[place[0]] = altered(changed[place[0]], place[1:], new)
    else:
        del changed[place[0]]
    return changed


def readers(file: Path, pipeline: str) -> list[list[str]]:
    """Return the commands that read a file."""
    of_pipeline = [["pipeline", verb, pipeline] for verb in ("status", "cancel")]
    of_pipeline += [["pipeline", "list"], ["pipeline", "logs", pipeline, "pretrain.simmim"]]
    planned = [["pipeline", *verb, "pipeline.yaml", "--no-data-check"] for verb in (["plan"], ["submit", "--dry-run"])]
    report = f"pipelines/{pipeline}/report/leaderboard.json"
    leaderboard = ["report", "leaderboard", "runs", f"pipelines/{pipeline}/stages", "--out", "out"]
    reports = [leaderboard, ["report", "verify", report], ["report", "compare", "simmim", "scratch", "--in", "runs"]]
    if file.name == "leaderboard.json":
        return reports[1:2]
    if "pipelines" not in file.parts:
        return [*reports, *planned[:1], *of_pipeline[:1]]
    return [*of_pipeline, *planned, *(reports if file.parent.name == "stages" else [])]


@pytest.mark.parametrize("folder", ["runs", "pipelines"])
def test_any_value_of_any_file_may_be_any_other(
    finished: Path, folder: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Drawn by a fixed seed: every file, some of its places, a hostile value or none, and a command that reads it."""
    monkeypatch.chdir(finished)
    (pipeline,) = (path.name for path in Path("pipelines").iterdir())
    draw = random.Random(folder)
    files = [path for path in sorted(Path(folder).rglob("*.json")) if "code" not in path.parts]
    assert len(files) >= {"runs": 3, "pipelines": 9}[folder]
    for file in files:
        whole = file.read_bytes()
        known = list(places(json.loads(whole)))
        for _ in range(CASES_OF_A_FILE):
            place, new = draw.choice(known), draw.choice([*HOSTILE, ...])
            command = draw.choice(readers(file, pipeline))
            text = json.dumps(altered(json.loads(whole), place, new if place else None))
            file.write_bytes(text.encode("utf-8", "surrogatepass"))
            try:
                code = mimbench.main(command)
            except Exception as error:
                pytest.fail(f"{file} with {str(new)[:40]!r} at {place}: {command}: {error!r}")
            finally:
                file.write_bytes(whole)
            assert code in (0, 1, 2), (file, place, new, command)
            said = "".join(capsys.readouterr())
            assert "\x1b[2J" not in said, (file, place, command)
            assert "\x07" not in said, (file, place, command)


def test_a_manifest_names_plain_stages_after_what_they_need(finished: Path, tmp_path: Path) -> None:
    (there,) = (finished / "pipelines").iterdir()
    manifest = json.loads((there / "manifest.json").read_text())
    folder = PipelineFolder(tmp_path)

    def reads(**fields: Any) -> Manifest | None:
        first = {**manifest["entries"][0], "stage": {**manifest["entries"][0]["stage"], **fields}}
        entries = [first, *manifest["entries"][1:]]
        folder.manifest.write_text(json.dumps({**manifest, "entries": entries}))
        return folder.find_manifest()

    assert reads() is not None
    assert reads(name="../../../elsewhere") is None
    assert reads(name=manifest["entries"][1]["stage"]["name"]) is None
    assert reads(needs=["report"]) is None
    assert reads(needs=["nothing"]) is None
    assert reads(product="a\0b") is None


def test_an_announcement_and_a_mark_lead_to_a_place_that_can_be(tmp_path: Path) -> None:
    for text in ('"\\u0000"', '"\\ud800"', f'"{"a" * 300}"', f'"{"a/" * 3000}"', '""', "[]", "1"):
        (tmp_path / "stage.json").write_text(f'{{"run_dir": {text}}}')
        with pytest.raises(UserError, match="a file written by --announce"):
            follow(tmp_path / "stage.json")
        (tmp_path / ".mark.json").write_text(f'{{"token": "0123456789abcdef", "path": {text}}}')
        assert read_mark(PipelineFolder(tmp_path)) is None


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: os.truncate(path, 10**9), "more than 4,194,304 bytes"),
        (lambda path: path.write_text("[" + "1," * 2_000_000 + "1]"), "more than 131,072 values"),
        (lambda path: (path.unlink(), os.mkfifo(path)), "a fifo where an ordinary file belongs"),
    ],
)
def test_a_record_is_bounded_before_it_is_parsed(finished: Path, tmp_path: Path, make: Any, words: str) -> None:
    """A gigabyte, millions of values (each mistake among which would cost more than the file), and no file at all."""
    shutil.copy(next(finished.glob("runs/pretrain*/record.json")), tmp_path)
    make(tmp_path / "record.json")
    tracemalloc.start()
    with pytest.raises(UserError, match=words):
        read_record(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * 10**6
    assert mimbench.main(["report", "leaderboard", str(tmp_path), "--out", str(tmp_path / "out")]) in (1, 2)


def test_a_working_directory_that_is_gone_is_named(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(finished)
    (there,) = (finished / "pipelines").iterdir()
    manifest = there / "manifest.json"
    whole = manifest.read_text()
    manifest.write_text(json.dumps({**json.loads(whole), "workdir": str(tmp_path / "gone")}))
    assert mimbench.main(["pipeline", "resume", there.name]) == mimbench.WRONG
    manifest.write_text(whole)
    assert "workdir = " in capsys.readouterr().err
