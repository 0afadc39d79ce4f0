"""Launching on this machine, with submitit's local executor: what runs, what is not done again, what is shown of it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.config import find_recipe
from benchmarks.encoders import WEIGHTS
from benchmarks.runs.folder import RunFolder, follow
from tests.slurm.bench import ONE_SEED, PIPELINE, STAGES, Bench

TRAINED = ["pretrain.simmim", "digits.simmim.seed0", "digits.scratch.seed0"]


@pytest.fixture
def two_seeds(bench: Bench) -> Bench:
    """Six stages."""
    (bench.path / "pipeline.yaml").write_text(PIPELINE)
    return bench


@pytest.fixture
def bench(bench: Bench) -> Bench:
    """One seed, which is enough for most: a stage costs two processes more than its own."""
    (bench.path / "pipeline.yaml").write_text(ONE_SEED)
    return bench


def test_children_begin_after_their_parent_ended_and_the_report_is_shown(two_seeds: Bench) -> None:
    two_seeds.environment["REPORT_FORMATS"] = "all"
    done = two_seeds.submit()
    assert done.returncode == 0, done.stdout
    at = {(found["stage"], found["event"]): found["at"] for found in two_seeds.diary()}
    for seed in (0, 1):
        assert at[f"digits.simmim.seed{seed}", "begins"] > at["pretrain.simmim", "ends"]
    assert two_seeds.begun() == sorted(set(STAGES) - {"report"})
    table = (two_seeds.folder.report / "leaderboard.txt").read_text()
    assert re.search(r"^simmim .*50\.50", table, re.MULTILINE)  # the mean of 50 and 51, the scores of the two seeds
    overview = (two_seeds.folder.report / "overview.txt").read_text()
    assert table.startswith(overview.rstrip())
    assert overview.strip() in done.stdout
    assert "Like for like" not in done.stdout, "the tables are in the files"
    assert "leaderboard.html" in done.stdout
    assert "6/6 stages done" in done.stdout


def test_pipelines_below_a_file_are_a_wrong_request_and_nowhere_there_are_none(bench: Bench) -> None:
    done = bench.submit("--pipelines", "pipeline.yaml")
    assert done.returncode == 2, done.stdout
    assert "pipeline.yaml is not a folder" in done.stdout
    done = bench.mimbench("pipeline", "list", "--pipelines", "nowhere")
    assert (done.returncode, done.stdout) == (0, "no pipelines in nowhere\n")


def test_a_folder_in_the_place_of_a_manifest_is_a_damaged_one(bench: Bench) -> None:
    (bench.path / "pipelines" / "broken" / "manifest.json").mkdir(parents=True)
    done = bench.mimbench("pipeline", "list")
    assert (done.returncode, done.stdout.split("  ")[0]) == (0, "broken")
    assert "its manifest is damaged" in done.stdout
    status = bench.mimbench("pipeline", "status", "broken")
    assert status.returncode == 2
    assert "(missing or damaged)" in status.stdout


def test_a_recipe_that_was_moved_counts_as_changed(bench: Bench) -> None:
    recipe = bench.path / "mine.yaml"
    recipe.write_bytes(find_recipe("pretrain", "digits_simmim").read_bytes())
    file = bench.path / "pipeline.yaml"
    file.write_text(file.read_text().replace("recipe: digits_simmim", "recipe: mine.yaml"))
    assert bench.submit().returncode == 0
    recipe.rename(bench.path / "moved.yaml")
    for command in (["status", bench.folder.id], ["list"], ["cancel", bench.folder.id]):
        done = bench.mimbench("pipeline", *command)
        assert done.returncode == 0, done.stdout
        assert "Traceback" not in done.stdout
    assert "its recipe or a parent changed" in bench.mimbench("pipeline", "status", bench.folder.id).stdout


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One seed, done; tests may ask about it, and launch it again."""
    bench = Bench(tmp_path_factory.mktemp("finished"))
    (bench.path / "pipeline.yaml").write_text(ONE_SEED)
    assert bench.submit().returncode == 0
    yield bench
    bench.close()


def test_launching_again_runs_nothing_and_shows_the_same_overview(finished: Bench) -> None:
    bench = finished
    diary, jobs = bench.diary(), sorted(bench.folder.path.glob("logs/*/*_log.out"))
    again = bench.submit()
    assert again.returncode == 0
    assert bench.diary() == diary
    assert sorted(bench.folder.path.glob("logs/*/*_log.out")) == jobs  # no process was started, not even a report's
    assert (bench.folder.report / "overview.txt").read_text().strip() in again.stdout
    assert "4/4 stages done, nothing was left to do" in again.stdout


def test_a_failed_parent_keeps_its_children_from_running_but_not_the_report(bench: Bench) -> None:
    bench.fail("pretrain.simmim")
    failed = bench.submit()
    assert failed.returncode == 1
    assert bench.begun() == ["digits.scratch.seed0", "pretrain.simmim"]
    assert "digits.simmim.seed0 skipped: parent pretrain.simmim failed" in failed.stdout
    assert "the loss is not finite" in failed.stdout
    assert "scratch" in (bench.folder.report / "leaderboard.txt").read_text()

    bench.repair("pretrain.simmim")
    repaired = bench.submit()
    assert repaired.returncode == 0, repaired.stdout
    assert bench.begun() == sorted([*TRAINED, "pretrain.simmim"])  # what was done is not done again
    assert "simmim" in (bench.folder.report / "leaderboard.txt").read_text()


@pytest.mark.long
def test_a_child_that_is_refused_a_damaged_encoder_has_its_parent_done_again_by_the_next_launch(bench: Bench) -> None:
    """Of the parent's run only the export is done again; what else is completed is kept."""
    bench.fail("digits.simmim.seed0")
    assert bench.submit().returncode == 1
    bench.repair("digits.simmim.seed0")
    weights = RunFolder(follow(bench.folder.announcement("pretrain.simmim"))).encoder / WEIGHTS
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-5] + b"?" + whole[-4:])
    refused = bench.submit()
    assert refused.returncode == 1
    assert "digits.simmim.seed0 failed: " in refused.stdout
    assert f"sha256 of {weights}" in refused.stdout
    again = bench.submit()
    assert again.returncode == 0, again.stdout
    assert "the encoder of pretrain.simmim is damaged, and exported again" in again.stdout
    assert weights.read_bytes() == whole

    bench.folder.forget_attempt("digits.simmim.seed0")  # as of a child that has not begun
    shutil.rmtree(weights.parent)
    status = "".join(bench.mimbench("pipeline", "status", "small").stdout.split())
    assert "failed:done,butencoder=" in status
    last = bench.submit()
    assert last.returncode == 0, last.stdout
    assert weights.read_bytes() == whole
    assert bench.begun().count("digits.scratch.seed0") == 1


def test_resume_goes_on_from_anywhere_without_the_file(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    (bench.path / "one.yaml").write_text("{executor: local, stages_at_once: 1, cpus_per_stage: 3}")
    bench.fail("pretrain.simmim")
    assert bench.submit("--cluster", "one.yaml", "--runs", "elsewhere").returncode == 1
    bench.repair("pretrain.simmim")
    for name in ("pipeline.yaml", "one.yaml"):
        (bench.path / name).unlink()
    folder = bench.folder
    monkeypatch.setattr(bench, "path", bench.desk)  # the command starts in another folder
    resumed = bench.mimbench("pipeline", "resume", str(folder.path))
    assert resumed.returncode == 0, resumed.stdout
    assert "4/4 stages done" in resumed.stdout
    assert bench.begun() == sorted([*TRAINED, "pretrain.simmim"])
    assert {found["threads"] for found in bench.diary()} == {"3"}  # on the cluster it was launched on
    assert not (bench.desk / "runs").exists()


def test_stages_keep_to_the_places_and_threads_of_the_cluster(bench: Bench) -> None:
    (bench.path / "one.yaml").write_text("{executor: local, stages_at_once: 1, cpus_per_stage: 3}")
    assert bench.submit("--cluster", "one.yaml").returncode == 0
    events = [found["event"] for found in bench.diary()]
    assert events == ["begins", "ends"] * len(TRAINED)  # never two at work
    assert {found["threads"] for found in bench.diary()} == {"3"}


def test_an_edited_recipe_runs_again_what_depends_on_it_and_nothing_else(bench: Bench) -> None:
    recipe = bench.path / "mine.yaml"
    recipe.write_text(find_recipe("pretrain", "digits_simmim").read_text())
    file = bench.path / "pipeline.yaml"
    file.write_text(file.read_text().replace("digits_simmim", "./mine.yaml"))
    assert bench.submit().returncode == 0
    recipe.write_text(re.sub(r" epochs: \d+", " epochs: 7", recipe.read_text()))
    assert bench.submit().returncode == 0
    again = ["pretrain.simmim", "digits.simmim.seed0"]
    assert bench.begun() == sorted([*TRAINED, *again])


def test_status_plan_list_and_logs_read_what_was_done(two_seeds: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = two_seeds.mimbench("pipeline", "plan", "pipeline.yaml").stdout
    assert "6 stages, 0 done already" in planned
    two_seeds.fail("digits.scratch.seed1")
    two_seeds.submit()
    status = two_seeds.mimbench("pipeline", "status", "small").stdout
    rows = {line.split()[0]: line.split()[1:3] for line in status.splitlines() if line.split()[0] in STAGES}
    assert rows["digits.scratch.seed0"] == ["completed", "5/5"]
    assert rows["digits.scratch.seed1"][0] == "failed:"
    assert rows["report"][0] == "completed"
    assert "5 completed, 1 failed" in two_seeds.mimbench("pipeline", "list").stdout
    logs = two_seeds.mimbench("pipeline", "logs", "small", "digits.scratch.seed1").stdout
    assert "failed: the loss is not finite" in logs
    assert two_seeds.mimbench("pipeline", "logs", "small", "--follow").stdout == logs, "those of the failed stage"
    assert "digits.scratch.seed1  failed" in two_seeds.mimbench("pipeline", "status", "small", "--watch").stdout
    planned = two_seeds.mimbench("pipeline", "plan", "pipeline.yaml").stdout
    assert "5 done already" in planned
    monkeypatch.chdir(Path("/"))
    elsewhere = two_seeds.mimbench("pipeline", "status", str(two_seeds.folder.path))
    assert "5 completed, 1 failed" in elsewhere.stdout


def test_a_mistake_in_a_launched_pipeline_s_name_gets_the_nearest(finished: Bench) -> None:
    wrong = finished.mimbench("pipeline", "status", finished.folder.id.replace("small", "smell"))
    assert wrong.returncode == 2
    assert f"Did you mean {finished.folder.id}?" in wrong.stdout
    no_stage = finished.mimbench("pipeline", "logs", "small", "pretrain.simmin")
    assert no_stage.returncode == 2
    assert "Did you mean pretrain.simmim?" in no_stage.stdout
