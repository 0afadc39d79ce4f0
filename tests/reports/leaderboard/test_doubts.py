"""What is marked on rows, and named in notes: other software, skipped steps, encoders of no run, odd labels."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks.encoders import MANIFEST
from benchmarks.runs.record import MetricValue, RunRecord
from reports.leaderboard.board import Request, make
from reports.leaderboard.notes import words
from reports.tables.csv_json_parquet import typed_rows
from tests.reports import factory


def marks(runs: Path, baseline: str | None = None) -> dict[str, str]:
    """Return what is marked on each row, by its encoder's name; rows without a mark are absent."""
    found = typed_rows(make(Request((str(runs),), baseline)))
    return {str(row["encoder"]): str(row["mark"]) for row in found if row.get("mark")}


def notes(runs: Path, baseline: str | None = None) -> str:
    return "\n".join(words(make(Request((str(runs),), baseline))).notes)


def elsewhere(**fields: Any) -> dict[str, Any]:
    return {"environment": factory.ENVIRONMENT.model_copy(update=fields)}


@pytest.mark.parametrize(
    ("fields", "mark"),
    [
        (elsewhere(git_commit="feedbeef0123"), "other commit: feedbeef0123, baseline 0123456789ab"),
        (elsewhere(git_commit=None), "other commit: unknown, baseline 0123456789ab"),
        (elsewhere(packages={"torch": "2.14.0", "timm": "1.0.31"}), "other torch: 2.14.0, baseline 2.15.0"),
        (elsewhere(packages={"torch": "2.15.0"}), "other timm: none, baseline 1.0.31"),
        (elsewhere(device="NVIDIA H100"), "other device: NVIDIA H100, baseline cpu"),
        (elsewhere(python="3.12.1"), "other Python: 3.12.1, baseline 3.11.9"),
        (elsewhere(host="another", device="cpu (2 threads)"), None),
        ({"skipped_steps": (7, 9)}, "2 of 240 steps skipped"),
    ],
)
def test_a_row_that_was_made_otherwise_is_marked_with_what_differs(
    tmp_path: Path, fields: dict[str, Any], mark: str | None
) -> None:
    for label in ("supervised", "other"):
        factory.write(tmp_path, factory.transfer(label))
    factory.write(tmp_path, factory.transfer("simmim", **fields))
    assert marks(tmp_path, "supervised") == ({} if mark is None else {"simmim": mark})


def test_without_a_baseline_rows_are_held_against_most_of_them(tmp_path: Path) -> None:
    for label in ("supervised", "other"):
        factory.write(tmp_path, factory.transfer(label, **elsewhere(git_commit="feedbeef0123")))
    factory.write(tmp_path, factory.transfer("simmim"))
    assert marks(tmp_path) == {"simmim": "other commit: 0123456789ab, most rows feedbeef0123"}


def test_runs_of_one_row_by_different_commits_are_marked(tmp_path: Path) -> None:
    factory.write(tmp_path, factory.transfer("simmim", 0))
    factory.write(tmp_path, factory.transfer("simmim", 1, **elsewhere(git_commit="feedbeef0123")))
    assert marks(tmp_path) == {"simmim": "commit differs between its runs: 0123456789ab, feedbeef0123"}


@pytest.mark.parametrize(("top1", "trains", "marked"), [(90.0, False, True), (90.0, True, False), (91.0, False, False)])
def test_seeds_that_change_nothing_count_as_one(tmp_path: Path, top1: float, trains: bool, marked: bool) -> None:
    """Nearest neighbours of a pretrained encoder are the same for every seed; of random weights they are not."""
    training = {"training": {"epochs": 20}} if trains else {}
    recipe = factory.recipe("digits_knn").model_copy(update={"resolved": {"protocol": "knn", **training}})
    values = {"top1": MetricValue(last=90.0)}
    for seed in (0, 1, 2):
        last = {"top1": MetricValue(last=top1)} if seed == 2 else values
        factory.write(tmp_path, factory.transfer("simmim", seed, metrics=last, recipe=recipe))
    expected = "the same scores in all 3 runs: the seed changes nothing, so they count as one"
    assert marks(tmp_path) == ({"simmim": expected} if marked else {})


def started_from(reference: str, sha256: str, **fields: Any) -> RunRecord:
    return factory.transfer(encoder=factory.encoder("simmim", reference=reference, sha256=sha256), **fields)


def test_an_encoder_that_no_run_and_no_file_has_is_marked(tmp_path: Path) -> None:
    parent = factory.pretrain(exported_sha256="aa" * 32)
    folder = factory.write(tmp_path / "runs", parent)
    (folder / "encoders/epoch_10").mkdir(parents=True)
    (folder / "encoders/epoch_10" / MANIFEST).write_text(json.dumps({"sha256": "bb" * 32}))
    (tmp_path / "theirs.pth").write_bytes(b"weights")
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "config.json").write_text("{}")
    mark = {"simmim": "no run and no file at hand has its encoder cccccccccccc"}
    for number, (reference, digest, expected) in enumerate(
        [
            (str(folder), "aa", {}),
            (str(folder), "bb", {}),  # the same training, as it was after 10 epochs
            (str(folder), "cc", mark),
            ("/nowhere/at/all", "cc", mark),
            ("no/path" * 1000, "cc", mark),
            ("no\0path", "cc", mark),
            ("stages/pretrain.simmim.json", "cc", mark),
            (str(tmp_path / "theirs.pth"), "cc", {}),
            (str(tmp_path / "theirs"), "cc", {}),  # as transformers and timm save what they have
            ("timm:swin_tiny_patch4_window7_224", "cc", {}),
            ("nobody:has_such_a_place", "cc", mark),
        ]
    ):
        record = started_from(reference, digest * 32, parents=(parent.run_id,), seed=number)
        transfer = factory.write(tmp_path / "runs", record)
        assert marks(tmp_path / "runs") == expected, reference
        (transfer / "record.json").unlink()
        (transfer / "metrics.jsonl").unlink()
        transfer.rmdir()


def test_a_trained_encoder_without_a_digest_is_marked(tmp_path: Path) -> None:
    use = factory.encoder("simmim", sha256=None, reference="/nowhere/at/all")
    factory.write(tmp_path, factory.transfer(encoder=use))
    factory.write(tmp_path, factory.transfer("scratch"))
    assert marks(tmp_path) == {"simmim": "no digest of its encoder's weights is on record"}


def test_predictions_of_other_images_or_labels_than_the_baseline_s_are_marked(tmp_path: Path) -> None:
    for label in ("supervised", "fewer", "relabelled", "honest"):
        folder = factory.write(tmp_path, factory.transfer(label))
        factory.predict(folder, {"cat": 3})
        lines = (folder / "predictions.csv").read_text().splitlines()
        if label == "fewer":  # without 20 of 27 images that it got right: the score is not what the records say
            assert marks(tmp_path, "supervised") == {}
            lines = [line for line in lines if not line.startswith(("test/dog", "test/owl"))]
        if label == "relabelled":  # a wrong one is made right, and a right one wrong
            lines = [line.replace("0.png,cat,other", "0.png,other,other") for line in lines]
            lines = [line.replace("9.png,cat,cat", "9.png,cat,other") for line in lines]
        (folder / "predictions.csv").write_text("\n".join(lines) + "\n")
    assert [left for left in factory.reasons(tmp_path) if "70.0 by predictions.csv" in left]
    (found,) = marks(tmp_path, "supervised").items()
    assert found[0] == "relabelled"
    assert re.fullmatch(r"predictions of other test images: 30 images with .*, baseline 30 images with .*", found[1])


def test_labels_that_look_alike_are_named(tmp_path: Path) -> None:
    alike = [
        "supervised",
        "supervised ",
        "Supervised",
        "super\u200dvised",
        "sup\u0435rv\u0456s\u0435d",
        "\uff53upervised",
        "SU\u0420\u0415RV\u0406SED",
        "\u0455upervi\u0455ed",
        "sup\u00e9rvised",
        "superv\u0131sed",
        "supervised\u3164",
        "supervised\u2800\ufe0f",
    ]
    for label in [*alike, "simmim"]:
        factory.write(tmp_path, factory.transfer(label))
    said = next(line for line in notes(tmp_path).splitlines() if "characters that look alike" in line)
    assert {f"“{label}”" in said for label in alike} == {True}
    assert "simmim" not in said


def test_swapped_labels_are_named(tmp_path: Path) -> None:
    use = {label: factory.encoder(label) for label in ("simmim", "supervised", "scratch")}
    factory.write(tmp_path, factory.transfer(encoder=use["simmim"].model_copy(update={"label": "supervised"})))
    factory.write(tmp_path, factory.transfer(encoder=use["supervised"].model_copy(update={"label": "simmim"})))
    factory.write(tmp_path, factory.transfer(encoder=use["scratch"]))
    said = notes(tmp_path)
    assert "digits: The encoder that is labelled supervised is of method simmim (self-supervised)." in said
    assert "digits: The encoder that is labelled simmim is of method supervised (supervised)." in said
    assert "labelled scratch" not in said


def test_a_baseline_that_was_trained_for_one_epoch_is_named(tmp_path: Path) -> None:
    for label, epochs in (("simmim", 80), ("supervised", 1), ("mae", 80)):
        factory.write(tmp_path, factory.transfer(encoder=factory.encoder(label, epochs=epochs)))
    factory.write(tmp_path, factory.transfer("scratch"))
    said = notes(tmp_path, "supervised")
    assert "Before this task simmim had 80 epochs of training, the baseline supervised 1." in said
    assert "scratch had" not in said
    assert notes(tmp_path, "mae").count("Before this task") == 1  # supervised alone


def test_a_study_as_a_pipeline_leaves_it_has_no_doubts(runs: Path) -> None:
    assert marks(runs, "supervised") == {}
