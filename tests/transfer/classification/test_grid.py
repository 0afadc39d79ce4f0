"""A grid of linear probes: each member against the same probe trained alone, and the choice on held-out images."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch

import mimbench
from benchmarks.config import load_recipe
from tests.support.processes import finished, launch
from tests.support.runs import assert_same_end, last_checkpoint, only_run, record_of, stop_after, trained
from transfer.classification.recipe import LinearRecipe
from transfer.encoder.features import FrozenEncoder
from transfer.images.read import read_classification_data

RATES = (1e-3, 1e-2, 1e-1)
SHORT = ["training.epochs=4", "training.batch_size=20", "training.schedule.per_images=20"]
SHORT += ["training.schedule.warmup_epochs=1", "training.checkpoint_every_steps=1", "evaluate_every_epochs=2"]
GRID = [f"grid.learning_rates={list(RATES)}", "grid.held_out={fraction: 0.5}"]
FILES = ("grid.csv", "predictions.csv", "per_class.csv")


def command(recipe: str, root: Path, *more: str) -> list[str]:
    head = ["transfer", "digits", "--recipe", recipe, f"data.root={root}", "--encoder", "random:digits_swin"]
    return [*head, *SHORT, *more]


def rows_of(folder: Path) -> list[dict[str, str]]:
    with open(folder / "grid.csv") as file:
        return list(csv.DictReader(file))


def sets_of(root: Path, **held_out: Any) -> Any:
    data = load_recipe(LinearRecipe, "transfer", "digits_linear_grid", [f"data.root={root}"]).config.data
    part = load_recipe(LinearRecipe, "transfer", "digits_linear_grid", [f"grid.held_out={held_out}"]).config.held_out
    return read_classification_data(data, 10, part)


def names_of(images: Any) -> set[str]:
    return {images.source.name(position) for position in range(len(images))}


def test_every_member_is_the_probe_trained_alone_bit_for_bit(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The witnesses are trained on the list of images that the grid does not hold out, without any grid."""
    forwards: list[int] = []
    whole = FrozenEncoder.outputs
    monkeypatch.setattr(FrozenEncoder, "outputs", lambda *given: forwards.append(len(given[1])) or whole(*given))
    kept = f"features.folder={tmp_path / 'features'}"
    more = ("grid.last_blocks=[1,4]", "evaluate_every_epochs=4", kept)
    grid = trained(command("digits_linear_grid", digits, *GRID, *more), tmp_path / "grid")
    sets = sets_of(digits, fraction=0.5)
    # Two of a single image measure the widths, one the FLOPs; then every image once, however often it is trained on.
    assert sum(forwards) == 3 + len(sets.train) + len(sets.held_out) + len(sets.test)

    names = tmp_path / "names.txt"
    names.write_text("\n".join(sorted(names_of(sets.train))))
    heads, rows = last_checkpoint(grid).part("model"), rows_of(grid)
    assert [(row["layers"], float(row["learning_rate"])) for row in rows] == [
        (layers, rate) for layers in ("output", "last 4 blocks") for rate in RATES
    ]
    for at, rate in enumerate(RATES):
        list_only = [f"data.subset={{list: {names}}}", f"training.schedule.base_lr={rate}", *more[1:]]
        alone = trained(command("digits_linear", digits, *list_only), tmp_path / f"alone_{at}")
        for name, tensor in last_checkpoint(alone).part("model").items():
            assert heads[f"{at}.{name.removeprefix('0.')}"].equal(tensor), (rate, name)
        if "chosen" in rows[at]["note"]:
            assert record_of(grid).metrics == record_of(alone).metrics
            assert (grid / "predictions.csv").read_bytes() == (alone / "predictions.csv").read_bytes()


def test_the_choice_is_made_on_held_out_images_and_recorded(small_digits: Path, tmp_path: Path) -> None:
    folder = trained(command("digits_linear_grid", small_digits, *GRID), tmp_path / "runs")
    record, rows = record_of(folder), rows_of(folder)
    (chosen,) = (row for row in rows if row["note"].startswith("chosen"))
    best = max(float(row["held_out_top1"]) for row in rows)
    ties = [row for row in rows if float(row["held_out_top1"]) == best]
    assert chosen == min(ties, key=lambda row: float(row["held_out_loss"]))
    assert record.choice is not None
    assert record.choice.held_out_top1 == pytest.approx(best, abs=1e-4)
    assert (record.choice.members, record.choice.held_out_images) == (len(rows), 20)
    assert f"learning rate {float(chosen['learning_rate']):g}" in record.choice.member
    assert chosen["note"] == f"chosen: {record.choice.why}"
    assert not (folder / "layers.csv").exists()
    assert "test" not in (folder / "grid.csv").read_text()


def test_damaged_test_images_change_nothing_of_the_choice(small_digits: Path, tmp_path: Path) -> None:
    """All test images become those of one class: the score falls, and the same member is chosen for the same reason."""
    before = trained(command("digits_linear_grid", small_digits, *GRID), tmp_path / "before")
    zero = next((small_digits / "test" / "0").glob("*.png")).read_bytes()
    for image in small_digits.glob("test/*/*.png"):
        image.write_bytes(zero)
    after = trained(command("digits_linear_grid", small_digits, *GRID), tmp_path / "after")
    assert record_of(after).metrics["top1"].last == 10
    assert (after / "grid.csv").read_bytes() == (before / "grid.csv").read_bytes()


def test_held_out_images_are_of_every_class_and_in_no_other_set(digits: Path) -> None:
    sets = sets_of(digits, per_class=3)
    held_out, train = names_of(sets.held_out), names_of(sets.train)
    everything = {f"train/{path.parent.name}/{path.name}" for path in (digits / "train").rglob("*.png")}
    assert held_out.isdisjoint(train)
    assert held_out | train == everything
    assert sorted(sets.held_out.labels) == sorted(list(range(10)) * 3)
    assert names_of(sets_of(digits, per_class=3).held_out) == held_out
    assert names_of(sets_of(digits, per_class=3, seed=1).held_out) != held_out


def test_the_fingerprint_covers_which_images_are_held_out(digits: Path) -> None:
    found = [sets_of(digits, per_class=3, seed=seed).fingerprint for seed in (0, 1)]
    assert found[0].images == found[1].images
    assert found[0].sha256 != found[1].sha256
    assert found[0].parts["held-out images"] != found[1].parts["held-out images"]


def test_a_member_that_diverges_is_not_chosen_and_disturbs_no_other(small_digits: Path, tmp_path: Path) -> None:
    wild = ["grid.learning_rates=[1e+38, 1e-2]", "grid.held_out={fraction: 0.5}", "training.optimizer.kind=sgd"]
    tame = ["grid.learning_rates=[1e-2]", *wild[1:]]
    both = trained(command("digits_linear_grid", small_digits, *wild, "grid.last_blocks=[1]"), tmp_path / "both")
    alone = trained(command("digits_linear_grid", small_digits, *tame, "grid.last_blocks=[1]"), tmp_path / "alone")
    assert [row["note"].partition(":")[0] for row in rows_of(both)] == ["diverged", "chosen"]
    weights = [last_checkpoint(run).part("model") for run in (both, alone)]
    assert weights[0]["1.1.weight"].equal(weights[1]["0.1.weight"])
    assert record_of(both).skipped_steps == ()


def test_a_grid_that_diverges_as_a_whole_fails(
    small_digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wild = ["grid.learning_rates=[1e+38]", "grid.held_out={fraction: 0.5}", "training.optimizer.kind=sgd"]
    words = [*command("digits_linear_grid", small_digits, *wild), "--runs", str(tmp_path)]
    assert mimbench.main(words) == mimbench.FAILED
    assert "classifiers of the grid have diverged" in capsys.readouterr().err


def test_a_stopped_grid_goes_on_to_the_same_end(small_digits: Path, tmp_path: Path) -> None:
    words = command("digits_linear_grid", small_digits, *GRID)
    whole = trained(words, tmp_path / "whole")
    stop_after(words, tmp_path / "stopped", step=2)
    stopped = trained(words, tmp_path / "stopped")
    assert_same_end(stopped, whole, FILES)
    assert record_of(stopped).choice == record_of(whole).choice


def test_a_finished_grid_is_scored_on_a_further_test_set_by_the_same_member(small_digits: Path, tmp_path: Path) -> None:
    folder = trained(command("digits_linear_grid", small_digits, *GRID), tmp_path / "runs")
    more = [f"data.test_sets.again.root={small_digits}", "data.test_sets.again.split=test"]
    assert mimbench.main(["evaluate", "digits", "--model", str(folder), *more]) == 0
    record = record_of(folder)
    (added,) = record.added_test_sets
    assert added.scores["top1"] == record.metrics["top1"].last


def test_two_processes_train_the_same_grid(small_digits: Path, tmp_path: Path) -> None:
    words = command("digits_linear_grid", small_digits, *GRID, "batch_norm=false", "training.optimizer.kind=sgd")
    one = trained(words, tmp_path / "one")
    assert [code for code, _, _ in finished(launch([*words, "--runs", str(tmp_path / "two")]))] == [0, 0]
    two = only_run(tmp_path / "two")
    assert record_of(two).processes == 2
    for name, tensor in last_checkpoint(one).part("model").items():
        torch.testing.assert_close(last_checkpoint(two).part("model")[name], tensor, atol=1e-6, rtol=1e-5)
    for here, there in zip(rows_of(one), rows_of(two), strict=True):
        assert here["note"] == there["note"]
        assert float(here["held_out_loss"]) == pytest.approx(float(there["held_out_loss"]), rel=1e-4)


def test_an_encoder_without_class_token_trains_no_member_twice(small_digits: Path, tmp_path: Path) -> None:
    more = ["grid.pooling=[class-token,mean,class-token-and-mean]", "grid.last_blocks=null"]
    folder = trained(command("digits_linear_grid", small_digits, *GRID, *more), tmp_path / "runs")
    assert [(row["layers"], row["pooling"]) for row in rows_of(folder)] == [("output", "mean")] * len(RATES)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["grid.learning_rates=[]"], ["grid.learning_rates", "at least 1"]),
        (["grid.learning_rates=[0.1,0.1]"], ["grid.learning_rates", "at least one value, and each once"]),
        (["grid.learning_rates=[-1]"], ["grid.learning_rates", "greater than 0"]),
        (["grid.last_blocks=[9]"], ["last_blocks = 9", "at most 8, the encoder's blocks"]),
        (["grid.held_out={fraction: 0.01}"], ["grid.held_out.fraction = 0.01", "at least one image"]),
        (["grid.held_out={per_class: 4}"], ["grid.held_out", "at least one image of every class left to train on"]),
        (["grid.held_out={}"], ["one of subset.fraction, subset.per_class and subset.list"]),
        (["all_layers=true"], ["grid.last_blocks and layers or all_layers: give one of them"]),
        (["grid.last_blocks=null", "layers=[3]", "score_layer=3"], ["score_layer must be null with a grid"]),
        (["training.clip_grad_norm=5.0"], ["training.clip_grad_norm must be null with a grid"]),
        ([f"grid.learning_rates={[x + 1 for x in range(501)]}"], ["at most 1,000 classifiers", "asks for 1,002"]),
    ],
)
def test_mistakes_are_explained(
    overrides: list[str], words: list[str], small_digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [*command("digits_linear_grid", small_digits, "grid.held_out={fraction: 0.5}", *overrides)]
    assert mimbench.main([*given, "--runs", str(tmp_path)]) == mimbench.WRONG
    said = capsys.readouterr().err
    assert all(word in said for word in words), said
