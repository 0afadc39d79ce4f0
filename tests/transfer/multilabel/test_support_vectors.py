"""VOC 2007: VISSL's own code as the witness, average precision by brute force, data as VOC has them, what is refused.

`fixtures/vissl_svm.json` holds what facebookresearch/vissl (commit 09270ed) computes of made features with the settings
of eval_resnet_8gpu_transfer_voc07_svm.yaml: `SVMTrainer.train` and `test`, once as they are, and once (`converged`)
with 3,000,000 iterations at most in the place of 2,000, at which its solver stops before its minimum for C above 15.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import mimbench
from benchmarks.config import load_recipe
from benchmarks.digits.labels import write_digit_labels
from benchmarks.errors import UserError
from tests.conftest import MadeOnce
from tests.support.runs import only_run, record_of, trained
from transfer.multilabel.average_precision import Curve
from transfer.multilabel.data import read_multilabel
from transfer.multilabel.recipe import MultilabelData, SvmRecipe
from transfer.multilabel.svm import curve_of, fitted, of_length_one

THERE = json.loads((Path(__file__).parent / "fixtures" / "vissl_svm.json").read_text())


@pytest.fixture(scope="session")
def digit_labels(made_once: MadeOnce) -> Path:
    return made_once("digit_labels", write_digit_labels)


@pytest.fixture
def small_labels(digit_labels: Path, tmp_path: Path) -> Path:
    """Return 40 training and 30 test pictures as the archives of VOC unpack; a copy that a test may damage."""
    whole, cut = tmp_path / "small", tmp_path / "small" / "VOCdevkit" / "VOC2007"
    for path in sorted((digit_labels / "ImageSets" / "Main").iterdir()):
        lines = path.read_text().splitlines(keepends=True)[: 40 if "trainval" in path.name else 30]
        (cut / "ImageSets" / "Main").mkdir(parents=True, exist_ok=True)
        (cut / "ImageSets" / "Main" / path.name).write_text("".join(lines))
        (cut / "JPEGImages").mkdir(exist_ok=True)
        for name in {line.split()[0] for line in lines}:
            shutil.copy(digit_labels / "JPEGImages" / f"{name}.jpg", cut / "JPEGImages")
    return whole


def command(data: Path, *overrides: str) -> list[str]:
    return ["transfer", "digit_labels", f"data.root={data}", "--encoder", "random:digits_swin", *overrides]


def test_machines_costs_and_scores_are_those_of_vissls_own_code() -> None:
    recipe = load_recipe(SvmRecipe, "transfer", "voc2007_svm").config
    train, test = (np.array(THERE[name], np.float32).astype(np.float64) for name in ("train", "test"))
    # VISSL turns VOC's labels: 0 is absent there, and -1 difficult.
    truth, tested = (np.choose(np.array(THERE[f"{name}_labels"]) + 1, [0, -1, 1]) for name in ("train", "test"))
    machines = fitted(recipe, of_length_one(train), truth.astype(np.int8), of_length_one(test))
    there, tried = THERE["converged"], np.array([machine.tried for machine in machines]) / 100
    np.testing.assert_allclose(tried, there["crossval_ap"], atol=1e-9)
    assert [machine.cost for machine in machines] == there["chosen_cost"]
    found = [curve_of(each.scores, labels).area() / 100 for each, labels in zip(machines, tested.T, strict=True)]
    np.testing.assert_allclose(found, there["test_ap"], atol=1e-9)
    stopped = np.array(THERE["at_2000_iterations"]["crossval_ap"])
    low = [cost <= 15 for cost in recipe.costs]
    np.testing.assert_allclose(tried[:, low], stopped[:, low], atol=1e-9)
    assert np.abs(tried - stopped).max() < 0.06


@pytest.mark.parametrize("positives", [1, 3, 10, 20, 37])
def test_average_precision_is_the_devkits_by_brute_force(positives: int) -> None:
    """At each recall of 0, 0.1, ..., 1 the devkit takes the best precision at that recall or a higher one."""
    draw = np.random.RandomState(positives)
    there = draw.permutation([True] * positives + [False] * 60)
    scores = np.round(draw.randn(len(there)) + there, 1)
    order = sorted(range(len(there)), key=lambda at: -scores[at])
    points = []
    for count in range(1, len(order) + 1):
        hits = int(there[order[:count]].sum())
        points.append((Fraction(hits, positives), Fraction(hits, count)))
    best = [max(precision for recall, precision in points if recall >= Fraction(level, 10)) for level in range(11)]
    curve = Curve(scores, there)
    assert curve.at_eleven_recalls() == pytest.approx(float(100 * sum(best) / 11), abs=1e-10)
    recalls = [Fraction(hit, positives) for hit in range(1, positives + 1)]
    steps = [max(precision for recall, precision in points if recall >= each) for each in recalls]
    assert curve.area() == pytest.approx(float(100 * sum(steps) / positives), abs=1e-10)


def test_a_run_scores_every_class_is_proved_by_its_tables_and_shown(small_labels: Path, tmp_path: Path) -> None:
    folder = trained(command(small_labels, "costs=[0.1, 10]"), tmp_path / "runs")
    record = record_of(folder)
    assert record.feature == "output: mean of patches"
    lists = small_labels / "VOCdevkit" / "VOC2007" / "ImageSets" / "Main"
    rows = list(csv.DictReader((folder / "predictions.csv").open()))
    found = []
    for digit in range(10):
        labels = dict(line.split() for line in (lists / f"digit{digit}_test.txt").read_text().splitlines())
        kept = [row for row in rows if labels[Path(row["path"]).stem] != "0"]
        there = np.array([labels[Path(row["path"]).stem] == "1" for row in kept])
        found.append(Curve(np.array([float(row[f"digit{digit}"]) for row in kept]), there).at_eleven_recalls())
    assert record.metrics["mAP11"].last == pytest.approx(np.mean(found), abs=1e-6)
    (chosen, *_) = csv.DictReader((folder / "grid.csv").open())
    assert chosen.keys() == {"class", "C", "cross_validated_AP", "note"}
    assert mimbench.main(["report", "leaderboard", str(tmp_path / "runs"), "--out", str(tmp_path / "report")]) == 0
    asked = ["show", str(folder), "--data", f"digit_labels={small_labels}", "--out", str(tmp_path / "shown")]
    assert mimbench.main(asked) == 0
    classes = (folder / "classes.csv").read_text()
    (folder / "classes.csv").write_text(classes.replace("digit0,", "digit0,1"))
    assert mimbench.main(["report", "leaderboard", str(tmp_path / "runs"), "--out", str(tmp_path / "report")]) == 1


def test_the_embedded_lists_say_what_the_annotations_say_and_are_the_same_everywhere(
    digit_labels: Path, tmp_path: Path
) -> None:
    data = read_multilabel(digit_labels, MultilabelData(), 10)
    assert (len(data.train), len(data.test)) == (200, 100)
    seen = set()
    for split in (data.train, data.test):
        for position, row in enumerate(split.truth.tolist()):
            name = Path(split.images.source.name(position)).stem
            found: dict[str, list[bool]] = {}
            for thing in ElementTree.parse(digit_labels / "Annotations" / f"{name}.xml").iter("object"):
                found.setdefault(thing.findtext("name", ""), []).append(thing.findtext("difficult") == "1")
            expected = [(0 if all(found[each]) else 1) if each in found else -1 for each in data.classes]
            assert row == expected
            seen |= {*row}
    assert seen == {-1, 0, 1}
    assert write_digit_labels(tmp_path / "again") == write_digit_labels(digit_labels)


def _another_class(lists: Path) -> None:
    (lists / "digit3_test.txt").unlink()


def _another_image(lists: Path) -> None:
    (lists / "digit3_test.txt").write_text((lists / "digit3_test.txt").read_text() + "000999 1\n")


def _bad_label(lists: Path) -> None:
    (lists / "digit3_test.txt").write_text("000201 2\n")


def _no_class(lists: Path) -> None:
    for path in lists.glob("digit3_*.txt"):
        path.unlink()


def _no_picture(lists: Path) -> None:
    (lists.parents[1] / "JPEGImages" / "000203.jpg").unlink()


def _never_there(lists: Path) -> None:
    path = lists / "digit3_test.txt"
    path.write_text(path.read_text().replace(" 1\n", "-1\n"))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_another_class, "the same classes in trainval and test"),
        (_another_image, "000999"),
        (_bad_label, "NAME LABEL"),
        (_no_class, "10 classes, as the task has"),
        (_no_picture, "000203.jpg"),
        (_never_there, "at least one test image with digit3"),
    ],
)
def test_lists_that_do_not_fit_are_refused_by_name(
    small_labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[Path], None], words: str
) -> None:
    damage(small_labels / "VOCdevkit" / "VOC2007" / "ImageSets" / "Main")
    assert mimbench.main([*command(small_labels), "--runs", str(tmp_path / "runs")]) == 2
    assert words in capsys.readouterr().err


def test_more_folds_than_images_of_a_class_and_a_folder_without_lists_are_refused(
    small_labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mimbench.main([*command(small_labels, "folds=30"), "--runs", str(tmp_path / "runs")]) == 2
    assert "at most the training images with digit" in capsys.readouterr().err
    with pytest.raises(UserError, match="VOCdevkit/VOC2007"):
        read_multilabel(tmp_path, MultilabelData(), 20)


def test_a_damaged_picture_is_named_and_left_out(small_labels: Path, tmp_path: Path) -> None:
    broken = small_labels / "VOCdevkit" / "VOC2007" / "JPEGImages" / "000201.jpg"
    broken.write_bytes(broken.read_bytes()[:300])
    trained(command(small_labels, "costs=[1.0]"), tmp_path / "runs")
    folder = only_run(tmp_path / "runs")
    (named,) = record_of(folder).data.unreadable
    assert "000201.jpg" in named
    assert len((folder / "predictions.csv").read_text().splitlines()) == 30
