"""Linear and attentive probes through the program, against scikit-learn's classifier of the same features."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import timm
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

import mimbench
from benchmarks.catalogue.tasks import find_task
from benchmarks.config import load_recipe
from benchmarks.verbs.statement import EncoderStatement
from tests.support.random_weights import randomise
from tests.support.runs import assert_same_training, last_checkpoint, only_run, record_of
from tests.transfer.classification.features import ENCODER, frozen_features
from transfer.adapter import adapter_for
from transfer.sources.references import resolve

SHORT = ["training.epochs=4", "training.batch_size=20", "training.schedule.warmup_epochs=1"]
SHORT += ["training.checkpoint_every_steps=3", "training.log_every_steps=2", "evaluate_every_epochs=2"]


def probe(recipe: str, root: Path, runs: Path, *more: str) -> Path:
    command = ["transfer", "digits", "--recipe", recipe, f"data.root={root}", "--encoder", ENCODER]
    assert mimbench.main([*command, "--runs", str(runs), *more]) == 0
    return only_run(runs)


def test_the_linear_probe_reaches_logistic_regression(digits: Path, tmp_path: Path) -> None:
    folder = probe("digits_linear", digits, tmp_path / "runs", "training.epochs=40", "evaluate_every_epochs=40")
    (train, labels), (test, expected) = frozen_features(digits, "train"), frozen_features(digits, "test")
    scaler = StandardScaler().fit(train)
    witness = LogisticRegression(max_iter=2000).fit(scaler.transform(train), labels)
    score = 100 * witness.score(scaler.transform(test), expected)
    assert record_of(folder).metrics["top1"].last == pytest.approx(score, abs=0.5)


def test_every_layer_has_its_score_and_the_recipes_layer_is_the_runs(small_digits: Path, tmp_path: Path) -> None:
    folder = probe("digits_linear", small_digits, tmp_path / "runs", *SHORT, "all_layers=true", "score_layer=3")
    with open(folder / "layers.csv") as file:
        rows = {int(row["layer"]): row for row in csv.DictReader(file)}
    assert sorted(rows) == list(range(1, 9))
    assert [layer for layer, row in rows.items() if "score of the run" in row["note"]] == [3]
    record = record_of(folder)
    assert float(rows[3]["top1"]) == pytest.approx(record.metrics["top1"].last, abs=1e-4)
    assert float(rows[3]["top5"]) == pytest.approx(record.metrics["top5"].last, abs=1e-4)
    best = max(float(row["top1"]) for row in rows.values())
    marked = {layer for layer, row in rows.items() if "best, chosen on the test set" in row["note"]}
    assert marked == {layer for layer, row in rows.items() if float(row["top1"]) == best}


@pytest.mark.parametrize("recipe", ["digits_linear", "digits_attentive"])
def test_only_the_head_is_trained_saved_and_resumed(recipe: str, small_digits: Path, tmp_path: Path) -> None:
    whole = probe(recipe, small_digits, tmp_path / "whole", *SHORT)
    saved = last_checkpoint(whole).part("model")
    assert not any("backbone" in name or "blocks" in name for name in saved)
    record = record_of(whole)
    assert (record.status, record.exported_sha256) == ("completed", None)
    assert not (whole / "encoder").exists()

    halves = tmp_path / "halves"
    folder = probe(recipe, small_digits, halves, *SHORT)
    rewound = max((folder / "checkpoints").iterdir())
    assert rewound.name == "step_000000008"
    (folder / "record.json").unlink()
    for path in rewound.iterdir():
        path.write_bytes(b"")  # damaged: the run begins anew from its seed
    probe(recipe, small_digits, halves, *SHORT)
    assert_same_training(folder, whole)


@pytest.mark.long
def test_a_probe_learns(digits: Path, tmp_path: Path) -> None:
    """Guessing scores 10 %; 20 epochs over 200 digits bring a probe of a random encoder's third stage far beyond."""
    folder = probe("digits_attentive", digits, tmp_path / "runs", "training.epochs=20", "evaluate_every_epochs=20")
    assert record_of(folder).metrics["top1"].last > 40


@pytest.mark.parametrize(
    ("override", "words"),
    [
        (
            "protocol=liner",
            [
                "protocol = liner",
                "one of finetune, linear, attentive, knn, logistic, few-shot, evaluate",
                "Did you mean linear?",
            ],
        ),
        ("protocol=3", ["protocol = 3", "one of finetune, linear, attentive, knn, logistic, few-shot, evaluate"]),
        ("layer_decay=0.5", ["layer_decay = 0.5", "no such field here", "Known: all_layers, augmentation"]),
        ("score_layer=3", ["score_layer (3) must be one of layers"]),
        ("layers=[]", ["layers must name a layer"]),
        ("all_layers=true score_layer=9", ["layer = 9", "at most 8, the encoder's blocks"]),
        ("layers=[9]", ["layer = 9", "at most 8, the encoder's blocks"]),
    ],
)
def test_mistakes_are_explained(
    override: str, words: list[str], small_digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["transfer", "digits", "--recipe", "digits_linear", f"data.root={small_digits}", "--encoder", ENCODER]
    assert mimbench.main([*command, "--runs", str(tmp_path), *SHORT, *override.split()]) == mimbench.WRONG
    said = capsys.readouterr().err
    assert all(word in said for word in words), said


def test_heads_must_divide_the_width(small_digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["transfer", "digits", "--recipe", "digits_attentive", f"data.root={small_digits}", "--encoder", ENCODER]
    assert mimbench.main([*command, "--runs", str(tmp_path), *SHORT, "heads=7"]) == mimbench.WRONG
    assert "a divisor of the width of the encoder's tokens (128)" in capsys.readouterr().err


def test_a_file_in_half_precision_is_looked_into_as_any_other(tmp_path: Path) -> None:
    """What a probe takes is found by running the model without values, on images of full precision."""
    model = randomise(timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=32, depth=2))
    torch.save({name: each.bfloat16() for name, each in model.state_dict().items()}, tmp_path / "half.pth")
    recipe = load_recipe(adapter_for(find_task("digits")).recipe, "transfer", "digits_linear", ["image_size_px=32"])
    source = resolve(str(tmp_path / "half.pth"), EncoderStatement(stage="supervised"))
    assert adapter_for(find_task("digits")).would_load(recipe.config, source).coverage_percent == 100
