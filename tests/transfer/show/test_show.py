"""`mimbench show`: what the page and the sheets say is what the files of the runs and of the data say."""

from __future__ import annotations

import base64
import csv
import io
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mimbench
from benchmarks.data import fingerprint
from tests.reports.browser import opened, started
from tests.support.runs import only_run, record_of
from tests.support.small import RANDOM
from tests.transfer.kinds import CLASSIFICATION, DETECTION, SEGMENTATION, VIDEO, Kind, rows_of
from tests.transfer.show.reading import rows_of_page
from tests.transfer.show.twin import Finished, twin

HOSTILE = "<script>alert(1)</script> $\\frac$ \u202eevil"


def show(out: Path, *arguments: object) -> int:
    return mimbench.main(["show", *map(str, arguments), "--out", str(out)])


def refused(capsys: pytest.CaptureFixture[str], out: Path, *arguments: object) -> str:
    """Return what is said where a request is wrong."""
    capsys.readouterr()
    assert show(out, *arguments) == mimbench.WRONG
    assert not out.exists(), "nothing is written"
    return capsys.readouterr().err


def pixels_of(url: str) -> np.ndarray:
    """Return the pixels of a picture inside the page."""
    with Image.open(io.BytesIO(base64.b64decode(url.partition("base64,")[2]))) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def rewrite(file: Path, rows: Sequence[dict[str, str]]) -> None:
    with file.open("w", newline="") as lines:
        writer = csv.DictWriter(lines, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def test_data_of_a_relative_path_are_found_from_any_folder_and_with_the_study_moved(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = tmp_path / "study"
    CLASSIFICATION.cut(request.getfixturevalue(CLASSIFICATION.whole), study / "data")
    monkeypatch.chdir(study)
    command = [*CLASSIFICATION.command(Path("data")), *CLASSIFICATION.shorter, *RANDOM]
    assert mimbench.main(command) == 0
    run = only_run(Path("runs"))
    record = record_of(run)
    assert (record.data.root, record.started_in) == ("data", "../..")
    assert str(tmp_path) not in (run / "record.json").read_text()
    monkeypatch.chdir(tmp_path)
    for name in ("study", "moved"):
        study = study.rename(tmp_path / name)
        assert show(tmp_path / f"shown_{name}", study / "runs") == 0
        further = [f"data.test_sets.{name}.root={study / 'data'}", f"data.test_sets.{name}.split=test"]
        assert mimbench.main(["evaluate", "digits", "--model", str(study / run), *further]) == 0
    monkeypatch.chdir(study)
    assert mimbench.main([*command, "--seed", "1", "--runs", str(tmp_path / "beside")]) == 0
    assert record_of(only_run(tmp_path / "beside")).started_in is None, "another folder would have to be named"


@pytest.mark.parametrize("kind", [CLASSIFICATION, VIDEO], ids=str)
def test_classes_are_those_of_the_predictions(kind: Kind, finished: Finished, tmp_path: Path) -> None:
    run = finished(kind)
    other = twin(run, tmp_path / "other", HOSTILE)
    lines = rows_of(run / "predictions.csv")
    rewrite(other / "predictions.csv", [{**line, "predicted": line["label"], "confidence": "0.987"} for line in lines])
    assert show(tmp_path / "out", run, other, "--images", 12) == 0
    head, *rows = rows_of_page(tmp_path / "out")
    assert [cell.words for cell in head[1:]] == ["truth", "one", "<script>alert(1)</script> $\\frac$ \\u202eevil"]
    expected = {
        line["path"]: (
            line["label"],
            f"{'right' if line['label'] == line['predicted'] else 'wrong'}: "
            f"{line['predicted']}, {100 * float(line['confidence']):.0f} %",
            f"right: {line['label']}, 99 %",
        )
        for line in lines
    }
    shown = {row[0].words: tuple(cell.words for cell in row[1:]) for row in rows}
    assert len(shown) == 12
    assert shown.items() <= expected.items()
    assert all(len(row[1].pictures) == 1 for row in rows)
    page = (tmp_path / "out" / "show.html").read_text()
    right = sum(line["label"] == line["predicted"] for line in lines)
    assert record_of(run).metrics["top1"].last == pytest.approx(100 * right / len(lines))
    assert f"one: {right} of {len(lines)} right, {record_of(run).metrics['top1'].last:.2f} %." in page
    assert f"evil: {len(lines)} of {len(lines)} right, 100.00 %." in page
    names = {f"{kind.task}.png", f"{kind.task}_confusion_1.png", f"{kind.task}_confusion_2.png", "show.html"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    with Image.open(tmp_path / "out" / f"{kind.task}.png") as sheet:
        assert sheet.height > sheet.width, "a row for each of many images, a column for each of three things"


def test_the_seed_chooses_the_same_images_for_any_runs_and_disagreement_those_that_differ(
    finished: Finished, tmp_path: Path
) -> None:
    run = finished(CLASSIFICATION)
    other = twin(run, tmp_path / "other")
    lines = rows_of(run / "predictions.csv")
    changed = {line["path"]: {**line, "predicted": "9" if line["predicted"] != "9" else "8"} for line in lines[4:7]}
    rewrite(other / "predictions.csv", [changed.get(line["path"], line) for line in lines])

    def shown(name: str, *arguments: object) -> list[str]:
        assert show(tmp_path / name, *arguments) == 0
        return [row[0].words for row in rows_of_page(tmp_path / name)[1:]]

    first = shown("a", run, "--images", 5)
    assert first == shown("b", other, "--images", 5)
    assert first == shown("c", run, other, "--images", 5)
    assert first != shown("d", run, "--images", 5, "--seed", 1)
    assert set(shown("e", run, other, "--images", 3, "--disagree")) == set(changed)


def test_maps_saved_and_predicted_again_are_the_same_and_add_up_to_the_score(
    finished: Finished, tmp_path: Path
) -> None:
    run = finished(SEGMENTATION)
    perfect = twin(run, tmp_path / "perfect", "perfect")
    masks = run.parent.parent / "data" / "annotations"
    labelled, right = 0.0, 0.0
    for file in sorted((masks / "validation").iterdir()):
        mask = np.asarray(Image.open(file))
        Image.fromarray(np.where(mask == 0, 1, mask)).save(perfect / "predictions" / "validation" / file.name)
    assert show(tmp_path / "out", run, perfect) == 0
    head, *rows = rows_of_page(tmp_path / "out")
    assert [cell.words for cell in head] == ["image", "truth", "one", "perfect"]
    assert len(rows) == 4
    for name, truth, found, whole in rows:
        assert whole.words == "100.0 % of pixels right\nmIoU 100.0"
        mask = np.asarray(Image.open(masks / f"{name.words}.png"))
        predicted = np.asarray(Image.open(run / "predictions" / f"{name.words}.png"))
        counted = mask > 0
        share = 100 * (mask == predicted)[counted].mean()
        assert found.words.startswith(f"{share:.1f} % of pixels right")
        labelled, right = labelled + counted.sum(), right + (mask == predicted)[counted].sum()
        pictures = [pixels_of(cell.pictures[0]) for cell in (truth, found, whole)]
        large, wrong = (np.kron(each, np.ones((2, 2), bool)) for each in (counted, counted & (mask != predicted)))
        assert np.abs(pictures[0] - pictures[2])[large].mean() < 6, "the same classes have the same colours"
        assert np.abs(pictures[0] - pictures[1])[wrong].mean() > 20, "and others have others"
    assert record_of(run).metrics["aAcc"].last == pytest.approx(100 * right / labelled)
    _assert_predicted_again(run, tmp_path)


def test_objects_saved_and_predicted_again_are_the_same_and_right_where_they_are_true(
    finished: Finished, tmp_path: Path
) -> None:
    run = finished(DETECTION)
    document = json.loads((run.parent.parent / "data" / "annotations" / "instances_test.json").read_text())
    true, shifted = twin(run, tmp_path / "true", "true"), twin(run, tmp_path / "shifted", "shifted")
    for folder, step in ((true, 0), (shifted, 1)):
        kept = ("image_id", "bbox", "category_id", "segmentation")
        found = [{name: each[name] for name in kept} | {"score": 0.9} for each in document["annotations"]]
        ids = sorted(category["id"] for category in document["categories"])
        for each in found:
            each["category_id"] = ids[(ids.index(each["category_id"]) + step) % len(ids)]
        (folder / "predictions" / "box.json").write_text(json.dumps(found))
        (folder / "predictions" / "mask.json").write_text(json.dumps(found))
    assert show(tmp_path / "out", run, true, shifted, "--score", 0.05) == 0
    head, *rows = rows_of_page(tmp_path / "out")
    columns = [cell.words for cell in head]
    names = {image["file_name"]: image["id"] for image in document["images"]}
    assert {Path(row[0].words).name for row in rows} == names.keys()
    for row in rows:
        count = sum(each["image_id"] == names[Path(row[0].words).name] for each in document["annotations"])
        assert row[1].words == f"{count} object{'s' if count != 1 else ''}"
        assert row[columns.index("true")].words == f"{count} of {count} found\n0 wrong"
        assert row[columns.index("shifted")].words == f"0 of {count} found\n{count} wrong"
    _assert_predicted_again(run, tmp_path, "--score", 0.05)


def _assert_predicted_again(run: Path, tmp_path: Path, *more: object) -> None:
    """Assert that a run without its saved predictions is shown as with them: its checkpoint predicts the same."""
    without = tmp_path / run.name
    shutil.copytree(run, without, ignore=shutil.ignore_patterns("predictions"))
    for name, folder in (("saved", run), ("again", without)):
        assert show(tmp_path / name, folder, "--images", 2, *more) == 0
    saved, again = ((tmp_path / name / "show.html").read_bytes() for name in ("saved", "again"))
    assert saved == again
    assert not (without / "predictions").exists(), "the run itself is not changed"


def test_several_tasks_stand_on_one_page_that_needs_nothing_else(finished: Finished, tmp_path: Path) -> None:
    digits, motion = finished(CLASSIFICATION), finished(VIDEO)
    other = twin(digits, tmp_path / "other", HOSTILE)
    assert show(tmp_path / "out", digits, other, motion) == 0
    page = tmp_path / "out" / "show.html"
    assert "<script" not in page.read_text()
    with started() as browser:
        for width in (390, 1440):
            with opened(browser, page, viewport={"width": width, "height": 800}) as seen:
                assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
                assert [url for url in seen.requests if not url.startswith(("data:", "file:"))] == []
                assert seen.complaints == []
                assert seen.page.locator("h2").all_inner_texts() == ["digits", "digit_motion"]
                assert seen.page.evaluate("[...document.images].every(each => each.naturalWidth > 0)")


def test_what_cannot_be_shown_is_said(finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, out = finished(CLASSIFICATION), tmp_path / "out"
    assert "a run folder, a folder of runs" in refused(capsys, out, "/nowhere")
    assert "--images = 65\n  rule:   1 to 64" in refused(capsys, out, run, "--images", 65)
    assert "two runs or more" in refused(capsys, out, run, "--disagree")
    assert "TASK=FOLDER" in refused(capsys, out, run, "--data", "digits")
    assert "at least one finished transfer to ade20k" in refused(capsys, out, run, "--task", "ade20k")
    (tmp_path / "empty").mkdir()
    assert "data folder" in refused(capsys, out, run, "--data", f"digits={tmp_path / 'empty'}")

    data = shutil.copytree(run.parent.parent / "data", tmp_path / "data")
    assert show(tmp_path / "moved", run, "--data", f"digits={data}") == 0
    next((data / "test" / "3").iterdir()).unlink()
    assert "the data that the run was completed on (60 images" in refused(capsys, out, run, "--data", f"digits={data}")

    other = twin(run, tmp_path / "other")
    lines = rows_of(run / "predictions.csv")
    rewrite(other / "predictions.csv", [{**lines[0], "label": "7" if lines[0]["label"] != "7" else "6"}, *lines[1:]])
    said = refused(capsys, out, run, other)
    assert f"label of {lines[0]['path']} in {other}" in said
    assert f"the class that the data give this image ({lines[0]['label']})" in said
    (other / "predictions.csv").write_bytes(b"\xff\xfe")
    assert "a table with the columns path, label and predicted" in refused(capsys, out, other)
    (other / "predictions.csv").unlink()
    assert "predictions.csv\n  rule:   a file that is there" in refused(capsys, out, other)


def test_dense_predictions_that_are_damaged_or_lost_are_named(
    finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, maps, objects = tmp_path / "out", finished(SEGMENTATION), finished(DETECTION)
    other = twin(maps, tmp_path / "maps")
    for file in (other / "predictions" / "validation").iterdir():
        Image.new("L", (3, 2), 1).save(file)
    assert "px\n  rule:   of the size of its mask, 64x64 px" in refused(capsys, out, other)
    for file in (other / "predictions" / "validation").iterdir():
        file.write_bytes(b"no picture")
    assert "a PNG file that can be read" in refused(capsys, out, other)
    shutil.rmtree(other / "predictions")
    shutil.rmtree(other / "checkpoints")
    said = refused(capsys, out, other)
    assert "testing.save_predictions=true writes them at a run's end" in said

    other = twin(objects, tmp_path / "objects")
    (other / "predictions" / "box.json").write_text('[{"image_id": "x"')
    assert "detections in COCO's format of results" in refused(capsys, out, other)
    assert show(tmp_path / "part", objects.parent, maps, other, "--task", "digit_scenes") == 0, "of one task alone"
    (tmp_path / "both").mkdir()
    twin(maps, tmp_path / "both" / "maps"), other.rename(tmp_path / "both" / "objects")
    assert show(tmp_path / "one", tmp_path / "both") == 0
    assert "not shown: digit_boxes: predictions" in capsys.readouterr().err
    assert "Not shown" in (tmp_path / "one" / "show.html").read_text()


def test_an_image_that_was_damaged_since_is_named_in_its_place(
    small_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of large data sets only the sizes of files are in the fingerprint, so such damage is met only here."""
    monkeypatch.setattr(fingerprint, "CONTENT_LIMIT_BYTES", 0)
    command = ["transfer", "digits", "--recipe", "digits_knn", "--encoder", "random:digits_swin", "other_k=[]", "k=5"]
    assert mimbench.main([*command, f"data.root={small_digits}", "--runs", str(tmp_path / "runs")]) == 0
    image = next((small_digits / "test" / "3").iterdir())
    image.write_bytes(bytes(image.stat().st_size))
    assert show(tmp_path / "out", tmp_path / "runs", "--images", 64) == 0
    cells = {row[0].words: row[1] for row in rows_of_page(tmp_path / "out")}
    damaged = cells[image.relative_to(small_digits).as_posix()]
    assert damaged.words.startswith("3\n(cannot be read: ")
    assert not damaged.pictures
