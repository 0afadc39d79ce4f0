"""Features of frozen encoders are computed once, shared, bounded, and never read where damaged."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

import mimbench
from benchmarks.runs.probes import FeatureUse
from tests.support.processes import finished, launch, start
from tests.support.runs import only_run, record_of, trained
from tests.support.small import RANDOM
from tests.support.special_files import never_waiting, put, special_files
from transfer.classification.frozen.shelf import Shelf, evict
from transfer.encoder.features import FrozenEncoder

ALL = 60
"""The training and test images of the small digits."""
SHORT = ["training.epochs=2", "training.batch_size=20", "training.schedule.warmup_epochs=1", "evaluate_every_epochs=2"]


def command(recipe: str, data: Path, store: Path, *more: str) -> list[str]:
    extra = {"digits_knn": ["other_k=[5]"], "digits_few_shot": ["per_class=2", "other_per_class=[1]", "draws=2"]}
    head = ["transfer", "digits", "--recipe", recipe, f"data.root={data}", f"features.folder={store}", *RANDOM]
    return [*head, *extra.get(recipe, []), *(SHORT if "linear" in recipe else []), *more]


def files_of(store: Path) -> list[Path]:
    return sorted(store.glob("*/*/*.safetensors"))


def test_other_protocols_seeds_and_draws_compute_nothing_again(
    small_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[int] = []
    whole = FrozenEncoder.outputs
    monkeypatch.setattr(FrozenEncoder, "outputs", lambda *given: seen.append(len(given[1])) or whole(*given))
    first = trained(command("digits_knn", small_digits, tmp_path / "store"), tmp_path / "knn")
    assert record_of(first).features == FeatureUse(computed=ALL, reused=0)
    once = [count for count in seen if count > 1]
    assert sum(once) == ALL
    assert "40 kept, none computed again" not in capsys.readouterr().out
    others = {
        "digits_logistic": ["grid.held_out={fraction: 0.25}", "grid.count=3"],
        "digits_few_shot": [],
        "digits_linear": ["training.batch_size=8"],
        "digits_linear_best_layer": ["grid.held_out={fraction: 0.25}"],
    }
    for recipe, more in others.items():
        run = trained(command(recipe, small_digits, tmp_path / "store", *more), tmp_path / recipe)
        assert record_of(run).features == FeatureUse(computed=0, reused=ALL), recipe
        assert "none computed again" in capsys.readouterr().out
    assert [count for count in seen if count > 1] == once


def test_where_features_are_kept_is_no_part_of_what_a_run_is(small_digits: Path, tmp_path: Path) -> None:
    runs = [trained(command("digits_knn", small_digits, tmp_path / at), tmp_path / f"runs_{at}") for at in "ab"]
    assert runs[0].name == runs[1].name
    assert (runs[0] / "predictions.csv").read_bytes() == (runs[1] / "predictions.csv").read_bytes()


def test_damaged_features_are_removed_and_computed_again(
    small_digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = trained(command("digits_knn", small_digits, tmp_path / "store"), tmp_path / "before")
    (damaged,) = [file for file in files_of(tmp_path / "store") if "output.mean" in str(file) and _rows(file) == 40]
    data = bytearray(damaged.read_bytes())
    data[-3] ^= 0x40
    damaged.write_bytes(data)
    after = trained(command("digits_knn", small_digits, tmp_path / "store"), tmp_path / "after")
    assert record_of(after).features == FeatureUse(computed=40, reused=20)
    assert f"damaged features are removed, and computed again: {damaged}" in capsys.readouterr().err
    assert (after / "predictions.csv").read_bytes() == (before / "predictions.csv").read_bytes()
    os.truncate(damaged, 100)
    again = trained(command("digits_knn", small_digits, tmp_path / "store"), tmp_path / "again")
    assert record_of(again).features == FeatureUse(computed=40, reused=20)


@special_files
def test_what_is_no_file_among_features_is_passed_over(kind: str, tmp_path: Path) -> None:
    column = Shelf(tmp_path, {"weights": "a"}).column("output.mean")
    column.write([bytes(16)], torch.ones(1, 4))
    (column.folder / "folder.safetensors").mkdir()
    put(column.folder / "strange.safetensors", kind)
    for _ in range(2):
        with never_waiting():
            assert column.read().rows([bytes(16)]).tolist() == [[1.0] * 4]


def _rows(file: Path) -> int:
    from safetensors.torch import load_file

    return len(load_file(file)["values"])


def test_only_changed_images_are_computed(small_digits: Path, tmp_path: Path) -> None:
    trained(command("digits_knn", small_digits, tmp_path / "store"), tmp_path / "before")
    changed = next((small_digits / "train" / "3").glob("*.png"))
    with Image.open(changed) as image:
        image.transpose(Image.Transpose.FLIP_TOP_BOTTOM).save(changed)
    after = trained(command("digits_knn", small_digits, tmp_path / "store"), tmp_path / "after")
    assert record_of(after).features == FeatureUse(computed=1, reused=ALL - 1)


@pytest.mark.parametrize("other", ["inference.precision=bf16", "image_size_px=64", "data.test_crop=0.875", "--seed=1"])
def test_what_changes_features_changes_their_place(other: str, small_digits: Path, tmp_path: Path) -> None:
    """Of a random encoder, the seed is what its weights are made of."""
    trained(command("digits_knn", small_digits, tmp_path / "store"), tmp_path / "before")
    after = trained(command("digits_knn", small_digits, tmp_path / "store", other), tmp_path / "after")
    assert record_of(after).features == FeatureUse(computed=ALL, reused=0)


def test_two_runs_at_the_same_time_compute_each_image_once(small_digits: Path, tmp_path: Path) -> None:
    words = [command(name, small_digits, tmp_path / "store") for name in ("digits_knn", "digits_few_shot")]
    running = [start([*each, "--runs", str(tmp_path / str(at))]) for at, each in enumerate(words)]
    assert [process.wait() for process in running] == [0, 0]
    uses = [record_of(only_run(tmp_path / str(at))).features for at in range(2)]
    assert sum(use.computed for use in uses if use) == ALL
    assert sum(use.reused for use in uses if use) == ALL


def test_two_ranks_share_the_images(small_digits: Path, tmp_path: Path) -> None:
    alone = trained(command("digits_knn", small_digits, tmp_path / "one"), tmp_path / "alone")
    words = command("digits_knn", small_digits, tmp_path / "two")
    assert [code for code, _, _ in finished(launch([*words, "--runs", str(tmp_path / "together")]))] == [0, 0]
    together = only_run(tmp_path / "together")
    assert record_of(together).features == FeatureUse(computed=ALL, reused=0)
    assert (together / "predictions.csv").read_bytes() == (alone / "predictions.csv").read_bytes()


def test_an_image_that_cannot_be_read_is_named_by_every_run(small_digits: Path, tmp_path: Path) -> None:
    bad = next((small_digits / "train" / "3").glob("*.png"))
    bad.write_bytes(b"no image")
    more = ["data.max_unreadable=1"]
    for recipe in ("digits_knn", "digits_linear"):
        run = trained(command(recipe, small_digits, tmp_path / "store", *more), tmp_path / recipe)
        assert [bad.name in name for name in record_of(run).data.unreadable] == [True]
    strict = command("digits_few_shot", small_digits, tmp_path / "store", "data.max_unreadable=0")
    assert mimbench.main([*strict, "--runs", str(tmp_path / "strict")]) == mimbench.FAILED


def test_a_probe_that_changes_its_images_computes_them_anew(small_digits: Path, tmp_path: Path) -> None:
    flipped = command("digits_linear", small_digits, tmp_path / "store", "augmentation.horizontal_flip=0.5")
    assert record_of(trained(flipped, tmp_path / "runs")).features is None
    assert files_of(tmp_path / "store") == []


def test_the_files_that_were_not_used_for_longest_go_first(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, {"weights": "some"})
    for number in range(4):
        shelf.write(
            {"output.mean": torch.full((10, 100), float(number))}, [bytes([number, at] * 8) for at in range(10)]
        )
    files = {path.stat().st_ino: path for path in files_of(tmp_path)}
    ages = sorted(files.values(), key=lambda path: path.stat().st_mtime_ns)
    for at, path in enumerate(ages):
        os.utime(path, ns=(at * 10**9, at * 10**9))
    size = ages[0].stat().st_size
    evict(tmp_path, 2.5 * size, newer_than=time.time_ns())
    assert files_of(tmp_path) == sorted(ages[2:])
    evict(tmp_path, 0, newer_than=3 * 10**9)
    assert files_of(tmp_path) == ages[3:], "what a run uses stays, whatever the limit"


def test_a_set_of_which_nothing_can_be_read_ends_the_run(
    small_digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for image in small_digits.glob("test/*/*.png"):
        image.write_bytes(b"no image")
    words = command("digits_knn", small_digits, tmp_path / "store", "data.max_unreadable=100")
    assert mimbench.main([*words, "--runs", str(tmp_path / "runs")]) == mimbench.FAILED
    assert "none of the 20 test images could be read" in capsys.readouterr().err
