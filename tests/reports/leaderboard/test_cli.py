"""`mimbench report leaderboard`, as typed."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import scipy.stats

import mimbench
from reports.api import OVERVIEW, SUFFIXES
from reports.formats import FORMATS
from tests.reports import factory
from tests.support.command import ROOT

NAMES = [f"leaderboard.{suffix}" for suffix in ("csv", "html", "json", "md", "parquet", "tex", "txt")]
NAMES.append(OVERVIEW)


def report(*arguments: object) -> int:
    return mimbench.main(["report", "leaderboard", *map(str, arguments)])


def words(text: str) -> str:
    """Return a text without its line breaks."""
    return " ".join(text.split())


def test_prints_what_it_writes(tmp_path: Path, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new/report"
    assert report(runs, "--baseline", "supervised", "--out", out) == 0
    printed = capsys.readouterr().out
    assert sorted(path.name for path in out.iterdir()) == NAMES
    assert printed.startswith((out / "leaderboard.txt").read_text(encoding="utf-8"))
    for name in NAMES:
        assert f"written: {out / name}\n" in printed


def test_every_format_can_be_asked_for_alone(tmp_path: Path, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tuple(FORMATS) == SUFFIXES
    assert report(runs, "--out", tmp_path / "one", "--formats", "json,tex") == 0
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["leaderboard.json", "leaderboard.tex"]
    assert report(runs, "--out", tmp_path / "two", "--formats", "json,latex") == 2
    assert "--formats = latex" in capsys.readouterr().err


def without_pyarrow(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a report in a process of its own: pandas takes pyarrow where it finds it, and keeps it."""
    code = "import sys; sys.modules['pyarrow'] = None; import mimbench; sys.exit(mimbench.main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "report", "leaderboard", *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


def test_without_pyarrow_all_but_parquet_is_written(tmp_path: Path, runs: Path) -> None:
    out = tmp_path / "out"
    done = without_pyarrow(str(runs), "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in out.iterdir()) == [n for n in NAMES if "parquet" not in n]
    assert "not written: leaderboard.parquet needs pyarrow: pip install 'mimbench[reports]'" in done.stdout
    done = without_pyarrow(str(runs), "--out", str(out), "--formats", "parquet")
    assert done.returncode == 2
    assert "rule:   pyarrow, which writes it" in done.stderr


def test_without_a_baseline_it_says_how_to_ask(tmp_path: Path, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report(runs, "--out", tmp_path / "out") == 0
    printed = capsys.readouterr().out
    assert "Δ" not in printed
    assert "name a baseline with --baseline LABEL (here: scratch, simmim, supervised)" in printed


def test_a_page_where_a_folder_is(tmp_path: Path, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "leaderboard.html").mkdir()
    assert report(runs, "--out", tmp_path) == mimbench.WRONG
    assert "leaderboard.html = is a directory" in capsys.readouterr().err


def test_a_folder_where_a_record_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    factory.write(tmp_path / "runs", factory.transfer("simmim"))
    (tmp_path / "runs" / "odd" / "record.json").mkdir(parents=True)
    assert report(tmp_path / "runs", "--out", tmp_path / "out") == 0
    assert "1 unreadable" in capsys.readouterr().out


def test_labels_and_usage_are_fit_for_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    factory.write(tmp_path / "runs", factory.transfer("two\nlines\x1b[31m"))
    assert report(tmp_path / "runs", "--baseline", "nope", "--out", tmp_path / "out") == 2
    assert "Known: two\\nlines\\x1b[31m\n" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        report(tmp_path / "runs")
    assert capsys.readouterr().err.startswith("usage: mimbench report leaderboard [-h] [--in [NAME=]RUNS] --out DIR")


def test_a_misspelt_baseline_or_task_is_a_wrong_request(
    tmp_path: Path, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report(runs, "--baseline", "supervized", "--out", tmp_path / "out") == 2
    assert "Did you mean supervised?" in capsys.readouterr().err
    assert report(runs, "--task", "digit", "--out", tmp_path / "out") == 2
    assert "Did you mean digits?" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_baseline_whose_runs_all_failed_is_named_as_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    factory.write(tmp_path / "runs", factory.transfer("simmim"))
    factory.write(tmp_path / "runs", factory.transfer("supervised", status="failed", error="OSError: x"))
    factory.write(tmp_path / "runs", factory.transfer("simmim", 1, status="started"))
    assert report(tmp_path / "runs", "--baseline", "supervised", "--out", tmp_path / "out") == 0
    assert "the baseline has no usable run for this task (left out: 1 failed)" in words(capsys.readouterr().out)


def test_no_usable_run_fails_and_the_page_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs, out = tmp_path / "runs", tmp_path / "out"
    factory.write(runs, factory.transfer(status="preempted", error="time limit"))
    factory.write(runs, factory.pretrain(), factory.loss_lines(2))
    assert report(runs, "--baseline", "supervised", "--out", out) == 1
    said = capsys.readouterr().err
    assert said.startswith("failed: no usable run. 2 records found: 0 transfer runs in 0 rows; 1 pretraining run")
    assert sorted(path.name for path in out.iterdir()) == NAMES
    page = (out / "leaderboard.html").read_text(encoding="utf-8")
    assert "preempted: time limit" in page
    assert "Pretraining loss" in page


def test_an_empty_folder_fails_and_a_wrong_path_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "runs").mkdir()
    assert report(tmp_path / "runs", "--out", tmp_path / "out") == 1
    assert f"no record found in {tmp_path / 'runs'}: nothing written" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert report(tmp_path / "nowhere", "--out", tmp_path / "out") == 2
    (tmp_path / "file").write_text("")
    factory.write(tmp_path / "runs", factory.transfer())
    assert report(tmp_path / "runs", "--out", tmp_path / "file") == 2


def test_several_tasks_become_several_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("digits", "imagefolder"):
        factory.write(tmp_path / "runs", factory.transfer(task=factory.TaskUse(name=name, version=1)))
    assert report(tmp_path / "runs", "--baseline", "simmim", "--out", tmp_path / "out") == 0
    printed = capsys.readouterr().out
    assert "1 row on imagefolder over 1 seed each; 1 row on digits over 1 seed each" in printed
    assert report(tmp_path / "runs", "--task", "digits", "--out", tmp_path / "out") == 0
    assert "1 left out (1 other task)" in capsys.readouterr().out


def test_help_names_only_what_works(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        mimbench.main(["report", "--help"])
    assert stopped.value.code == 0
    assert "leaderboard" in capsys.readouterr().out


def test_a_terminal_without_utf8_still_gets_the_report(tmp_path: Path, runs: Path) -> None:
    command = [sys.executable, "-m", "mimbench", "report", "leaderboard", runs]
    command += ["--baseline", "supervised", "--out", tmp_path / "out"]
    environment = {
        "PYTHONPATH": str(Path(mimbench.__file__).parent),
        "PYTHONIOENCODING": "ascii",
        "HOME": str(tmp_path),
    }
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert "95.97 \\xb1 0.40 (n = 3)" in done.stdout


def test_a_report_needs_no_training_engine(tmp_path: Path, runs: Path) -> None:
    code = "import sys; from reports.cli import main; main(sys.argv[1:]); assert 'torch' not in sys.modules"
    arguments = ["leaderboard", str(runs), "--out", str(tmp_path / "out")]
    root = str(Path(mimbench.__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_many_differences_to_one_baseline_are_noted_and_corrected_on_request(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gains = {"a": (1.0, 1.5, 2.0), "b": (0.5, 2.0, 4.0), "c": (0.0, 1.0, -1.0)}
    for label, own in {"base": (0.0, 0.0, 0.0), **gains}.items():
        for seed, gain in enumerate(own):
            factory.write(tmp_path / "runs", factory.transfer(label, seed, 80.0 + seed + gain))
    asked = ["report", "leaderboard", str(tmp_path / "runs"), "--out", str(tmp_path / "report"), "--formats", "csv"]
    assert mimbench.main([*asked, "--baseline", "base"]) == 0
    said = words(capsys.readouterr().out)
    assert "digits: 3 encoders are compared with one baseline, each interval by itself." in said
    assert "up to 14 % of such tables" in said  # 1 - 0.95^3
    assert mimbench.main([*asked, "--baseline", "base", "--holm"]) == 0
    assert "digits: p is corrected by Holm for the 3 differences of its table." in capsys.readouterr().out
    rows = list(csv.DictReader((tmp_path / "report/leaderboard.csv").read_text().splitlines()))
    p = {label: scipy.stats.ttest_1samp(own, 0).pvalue for label, own in gains.items()}
    assert p["a"] < p["b"] < p["c"]
    expected = {"a": 3 * p["a"], "b": max(3 * p["a"], 2 * p["b"]), "c": 1.0}
    assert {row["encoder"]: row["top1_delta_p_holm"] for row in rows} == {
        "base": "",
        **{label: f"{value:.3f}" for label, value in expected.items()},
    }
    assert mimbench.main([*asked, "--holm"]) == 2


ALONE = """
import os, sys, threading
from mimbench.command import main
from reports.records import collect

judge = collect._judged
def judged(*arguments, **named):
    names = [thread.name for thread in threading.enumerate()]
    print("threads:", len(os.listdir("/proc/self/task")), "of which Python's:", names, file=sys.stderr)
    return judge(*arguments, **named)

collect._judged = judged
sys.exit(main(["report", *sys.argv[1:]]))
"""


@pytest.mark.parametrize("verb", ["leaderboard", "publish"])
def test_no_library_has_started_threads_before_records_are_judged(tmp_path: Path, verb: str) -> None:
    """A process with threads of its own is not forked, so thousands of records would be read by one core alone."""
    factory.write(tmp_path / "runs", factory.transfer("simmim"))
    command = [sys.executable, "-c", ALONE, verb, str(tmp_path / "runs"), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "threads: 1 of" in done.stderr, done.stderr
