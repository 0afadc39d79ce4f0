"""Two sides next to each other, against counts by hand and SciPy's tests."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import scipy.stats

import mimbench
from benchmarks.runs.record import MetricValue, TaskUse
from reports.compare.by_class import ByClass
from reports.compare.two_sides import side_by_side
from reports.page.comparison import to_html
from reports.tables.comparison_text import NOTES, to_json, to_text
from tests.reports import factory
from tests.reports.factory import predict


@pytest.fixture
def two(tmp_path: Path) -> Path:
    for seed in range(3):
        predict(factory.write(tmp_path, factory.transfer("a", seed, 90.0 + seed)), {"cat": 1, "owl": 4})
        predict(factory.write(tmp_path, factory.transfer("b", seed, 89.0 + seed / 2)), {"cat": 3, "dog": 2, "owl": 2})
    return tmp_path


def test_classes_gain_and_lose_by_hand(two: Path) -> None:
    (pairing,) = side_by_side("a", "b", [str(two)]).pairings
    assert isinstance(pairing.classes, ByClass)
    found = [(one.name, one.size, one.ours, one.theirs, one.gain) for one in pairing.classes.gains]
    assert found == [
        ("cat", 10, pytest.approx(90), pytest.approx(70), pytest.approx(20)),
        ("dog", 10, pytest.approx(100), pytest.approx(80), pytest.approx(20)),
        ("owl", 10, pytest.approx(60), pytest.approx(80), pytest.approx(-20)),
    ]


def test_mcnemar_is_the_exact_binomial_test_of_the_images_they_disagree_on(two: Path) -> None:
    (pairing,) = side_by_side("a", "b", [str(two)]).pairings
    assert not isinstance(pairing.images, str)
    assert len(pairing.images) == 3
    for test in pairing.images:  # cats 1, 2 and dogs 0, 1 only by a; owls 2, 3 only by b
        assert (test.only_ours, test.only_theirs) == (4, 2)
        assert test.p == pytest.approx(scipy.stats.binomtest(2, 6).pvalue)
        assert test.p == pytest.approx(2 * (1 + 6 + 15) / 64)


def test_classes_of_a_segmentation_are_compared_by_iou(tmp_path: Path) -> None:
    task = TaskUse(name="digit_scenes", version=1)
    for label, ious, miou in (("a", ("80.0", "30.0", ""), 55.0), ("b", ("70.0", "35.5", "10.0"), 38.5)):
        metrics = {"mIoU": MetricValue(last=miou)}
        for seed in range(2):
            folder = factory.write(tmp_path, factory.transfer(label, seed, task=task, metrics=metrics))
            lines = [f"{name},{iou},50.0,{pixels}" for name, iou, pixels in zip("xyz", ious, (900, 80, 7), strict=True)]
            text = "\n".join(["class,iou_percent,accuracy_percent,pixels", *lines])
            (folder / "classes.csv").write_text(f"{text}\n")
    (pairing,) = side_by_side("a", "b", [str(tmp_path)]).pairings
    assert isinstance(pairing.classes, ByClass)
    assert (pairing.classes.measure, pairing.classes.counted, pairing.classes.without) == ("IoU", "pixels", ("z",))
    found = [(one.name, one.size, one.ours, one.theirs, one.by_seed) for one in pairing.classes.gains]
    assert found == [("x", 900, 80.0, 70.0, (10.0, 10.0)), ("y", 80, 30.0, 35.5, (-5.5, -5.5))]


def test_records_that_name_no_encoder_are_left_out_of_both_sides_by_name(two: Path) -> None:
    (two / "torn").mkdir()
    (two / "torn/record.json").write_text('{"schema_version": 3, "run')
    both = side_by_side("a", "b", [str(two)])
    assert [[left.kind for left in side.left_out] for side in both.sides] == [["damaged"], ["damaged"]]


def test_where_test_images_lie_is_no_difference(tmp_path: Path) -> None:
    for place, root in (("old", "/data/v2"), ("new", "/scratch/v2")):
        recipe = factory.recipe()
        known = {"test_sets": {"imagenet_v2": {"root": root, "split": "val"}}}
        recipe = recipe.model_copy(update={"resolved": {**recipe.resolved, "data": {"root": root, **known}}})
        factory.write(tmp_path / place, factory.transfer("x", 0, 80.0, recipe=recipe))
    (pairing,) = side_by_side(str(tmp_path / "old"), str(tmp_path / "new"), []).pairings
    assert (pairing.recipe, pairing.unfair) == ((), ())


def test_recipes_and_encoders_are_compared_field_by_field(tmp_path: Path) -> None:
    factory.write(tmp_path / "old", factory.transfer("x", 0, 80.0))
    factory.write(tmp_path / "new", factory.transfer("x", 0, 81.0, recipe=factory.recipe(epochs=50, workers=9)))
    (pairing,) = side_by_side(str(tmp_path / "old"), str(tmp_path / "new"), []).pairings
    assert [tuple(one) for one in pairing.recipe] == [("training.epochs", 20, 50)]  # workers: only where it ran
    assert pairing.encoder == ()
    assert pairing.unfair == ("other recipe: training.epochs = 20, B 50",)
    assert [score.comparison.delta for score in pairing.scores] == [None, None]
    text = to_text(side_by_side(str(tmp_path / "old"), str(tmp_path / "new"), []))
    assert "not comparable:\n    other recipe: training.epochs = 20, B 50" in text
    assert "by class: not comparable" in text
    assert "by image: not comparable" in text


def test_pretrainings_are_compared_where_both_are_at_hand(tmp_path: Path) -> None:
    for label, epochs in (("long", 800), ("short", 100)):
        parent = factory.pretrain(recipe=factory.recipe("simmim", epochs=epochs))
        factory.write(tmp_path, parent)
        factory.write(tmp_path, factory.transfer(label, parents=(parent.run_id,)))
    (pairing,) = side_by_side("long", "short", [str(tmp_path)]).pairings
    assert pairing.pretraining is not None
    assert [tuple(one) for one in pairing.pretraining] == [("training.epochs", 800, 100)]


def test_of_a_chain_the_last_pretraining_is_compared(tmp_path: Path) -> None:
    first = factory.pretrain(recipe=factory.recipe("simmim", epochs=300))
    factory.write(tmp_path, first)
    for label, epochs in (("long", 800), ("short", 100)):
        second = factory.pretrain(recipe=factory.recipe("simmim", epochs=epochs), parents=(first.run_id,))
        factory.write(tmp_path, second)
        factory.write(tmp_path, factory.transfer(label, parents=(first.run_id, second.run_id)))
    (pairing,) = side_by_side("long", "short", [str(tmp_path)]).pairings
    assert pairing.pretraining is not None
    assert [tuple(one) for one in pairing.pretraining] == [("training.epochs", 800, 100)]


def test_pipelines_are_paired_by_label_and_the_rest_is_named(tmp_path: Path) -> None:
    for place, labels in (("one", ("simmim", "supervised", "lost")), ("two", ("simmim", "supervised", "x", "y"))):
        for label in labels:
            factory.write(tmp_path / place, factory.transfer(label))
    both = side_by_side(str(tmp_path / "one"), str(tmp_path / "two"), [])
    pairs = sorted((one.ours.encoder.label, one.theirs.encoder.label) for one in both.pairings)
    assert pairs == [("simmim", "simmim"), ("supervised", "supervised")]
    assert both.alone == (
        "only in A: lost on digits, recipe digits_finetune",
        "only in B: x on digits, recipe digits_finetune",
        "only in B: y on digits, recipe digits_finetune",
    )


@pytest.mark.parametrize("content", [None, "path,label\n1,2\n", b"\xff\xfe", "other images"])
def test_predictions_that_do_not_fit_are_a_reason(two: Path, content: str | bytes | None) -> None:
    path = next(two.glob("*/predictions.csv"))
    if content == "other images":
        content = path.read_text().replace("test/", "train/")
    path.unlink()
    if content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    (pairing,) = side_by_side("a", "b", [str(two)]).pairings
    assert pairing.images in ("not every run has predictions.csv", "the predictions are of different test images")


def test_as_typed(two: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert mimbench.main(["report", "compare", "a", "b", "--in", str(two), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    # McNemar's images: 25 of 30 right, and 23; the same for every seed
    point = "+6.67 [+6.67, +6.67] (paired t, n = 3), no variance over seeds"
    lines = [re.split(" {2,}", line.strip()) for line in said.splitlines()]
    assert ["top1", "83.33 ± 0.00 (n = 3)", "76.67 ± 0.00 (n = 3)", point, "-"] in lines
    document = json.loads((out / "comparison.json").read_text())
    assert [one["gain"] for one in document["pairings"][0]["classes"]] == ["+20.00", "+20.00", "-20.00"]
    assert mimbench.main(["report", "compare", "a", "bb", "--in", str(two)]) == 2
    assert "Did you mean b?" in capsys.readouterr().err
    assert mimbench.main(["report", "compare", "a", "b"]) == 2
    assert "add --in runs" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert mimbench.main(["report", "compare", str(two), str(tmp_path / "empty")]) == 1


def test_text_and_json_have_the_caveats_of_the_page(two: Path) -> None:
    both = side_by_side("a", "b", [str(two)])
    text = " ".join(to_text(both).split())
    for note in NOTES:
        assert note in text
        assert note in json.loads(to_json(both))["notes"]


@pytest.mark.parametrize(
    ("recipes", "titles"),
    [
        ({"digits_finetune": "finetune"}, ["digits"]),
        ({"digits_finetune": "finetune", "digits_few_shot": "few-shot"}, ["digits (fine-tuned)", "digits (few-shot)"]),
        (
            {"digits_finetune": "finetune", "digits_supervised": "finetune", "digits_knn": "knn"},
            [
                "digits (fine-tuned digits_finetune)",
                "digits (fine-tuned digits_supervised)",
                "digits (nearest neighbours)",
            ],
        ),
    ],
)
def test_parts_of_one_task_have_titles_that_tell_them_apart(
    tmp_path: Path, recipes: dict[str, str], titles: list[str]
) -> None:
    for name, protocol in recipes.items():
        recipe = factory.recipe(name)
        recipe = recipe.model_copy(update={"resolved": {**recipe.resolved, "protocol": protocol}})
        for label in ("a", "b"):
            factory.write(tmp_path, factory.transfer(label, recipe=recipe))
    both = side_by_side("a", "b", [str(tmp_path)])
    assert sorted(each["title"] for each in json.loads(to_json(both))["pairings"]) == sorted(titles)
    text, page = to_text(both), to_html(both)
    assert all(f"{title}: A a, B b" in text and f"<h2>{title}</h2>" in page for title in titles)
