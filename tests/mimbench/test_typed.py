"""What a person types wrongly at the verbs that take a folder, a seed or a file: named as it was typed."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import mimbench
from benchmarks.data.remote.paths import data_path
from benchmarks.verbs.command import Placing
from benchmarks.verbs.overrides import override_texts, path_text
from benchmarks.verbs.result import scores_in_words


def refusal(command: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert mimbench.main(command) == mimbench.WRONG
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "field", "remedy"),
    [
        (["data", "index", "HERE"], "FOLDER", "name as FOLDER"),
        (["palette", "HERE", "--out", "palette.json"], "FOLDER", "name as FOLDER"),
        (["data", "pack", "HERE", "shards"], "SOURCE", "name another SOURCE"),
        (["data", "pack", "HERE", "shards", "--unlabelled"], "SOURCE", "name another SOURCE"),
    ],
)
@pytest.mark.parametrize("there", [False, True], ids=["missing", "empty"])
def test_a_folder_without_data_is_named_by_its_argument(
    command: list[str], field: str, remedy: str, there: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "photos"
    if there:
        folder.mkdir()
        if command[:2] == ["data", "index"]:
            assert mimbench.main(["data", "index", str(folder)]) == mimbench.DONE
            assert ": 0 images" in capsys.readouterr().out
            return
    said = refusal([str(folder) if word == "HERE" else word for word in command], capsys)
    assert said.startswith(f"error: {field} = {folder}\n")
    assert remedy in said
    assert "data.root" not in said


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["demo", "foo=1"], "foo = 1\n"),
        (["demo", "foo"], "override = foo\n"),
        (["transfer", "digits", "--encoder", ""], "encoder = (empty)\n"),
        (["transfer", "digits", "--encoder", "random:digits_swin", "--data", ""], "data = (empty)\n"),
        (["checkpoint", "inspect", "x" * 5000], "encoder = xxx"),
        (["checkpoint", "inspect", "a\0b"], "encoder = a\\x00b\n"),
        (["pretrain", "x" * 5000], "recipe = xxx"),
        (["pipeline", "plan", "x" * 5000], "pipeline = xxx"),
    ],
)
def test_a_wrong_word_leaves_nothing_behind(
    command: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert said in refusal(command, capsys)
    assert not list(tmp_path.iterdir())


def test_a_transfer_names_the_field_and_an_empty_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["transfer", "imagefolder", "--encoder", "random:digits_swin", f"data.root={tmp_path}"]
    (tmp_path / "train").mkdir()
    assert "set data.root=FOLDER" in refusal(command, capsys)
    for name in ("cat", "dog"):
        (tmp_path / "train" / name).mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "train" / "cat" / "0.png")
    said = refusal(command, capsys)
    assert f"class folder = {tmp_path / 'train' / 'dog'}" in said
    assert "remove the folder if it is no class" in said


@pytest.mark.parametrize("seed", [-1, 2**32, True, "0", 1.5])
def test_what_is_no_seed_is_refused(seed: object) -> None:
    with pytest.raises(mimbench.UserError, match=r"seed = .*\n  rule:   a whole number from 0 to 4294967295"):
        Placing(seed)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "command",
    [
        ["pretrain", "digits_simmim", "data.root=digits"],
        ["transfer", "digits", "--encoder", "random:digits_swin", "data.root=digits"],
        ["palette", "photos", "--out", "palette.json"],
        ["masking", "--out", "masks"],
        ["reconstruct", "run", "image.png", "--out", "pictures"],
        ["show", "runs", "--out", "pictures"],
        ["data", "pack", "photos", "shards"],
    ],
)
def test_no_verb_takes_a_negative_seed(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    said = refusal([*command, "--seed", "-1"], capsys)
    assert "seed = -1\n" in said
    assert "rule:" in said


def test_python_drops_the_sign_of_a_seed() -> None:
    """The reason of the rule: two runs that are reported as two draws would share some of theirs."""
    assert random.Random(-1).random() == random.Random(1).random()


@pytest.mark.parametrize(("classes", "told"), [(4, False), (6, False), (7, True), (None, True)])
def test_the_best_five_of_few_classes_are_not_told(classes: int | None, told: bool) -> None:
    text = scores_in_words({"top1": 50.0, "top5": 100.0, "top5_masked": 100.0, "imagenet_v2_top5": 90.0}, classes)
    assert text.startswith("top1 50.00, ")
    assert ("top5 " in text.replace("imagenet_v2_top5", ""), "top5_masked" in text) == (told, told)
    assert "imagenet_v2_top5 90.00" in text


def test_from_python_the_home_folder_is_meant_by_its_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert override_texts({}, Path("~/images")) == (f"data.root={tmp_path}/images",)
    assert data_path("~/images") == tmp_path / "images"
    assert path_text("encoder", "timm:resnet18") == "timm:resnet18"
    with pytest.raises(mimbench.UserError, match=f"encoder = {tmp_path}/none.pth"):
        mimbench.load("~/none.pth")
    assert not (tmp_path / "~").exists()


def test_numbers_of_numpy_are_numbers_in_overrides() -> None:
    assert override_texts({"k": np.int64(5), "rate": np.float32(0.5)}) == ("k=5", "rate=0.5")


def test_numbers_of_numpy_are_seeds_and_sizes() -> None:
    assert Placing(np.int64(3)).seed == 3  # type: ignore[arg-type]
    assert type(Placing(np.int64(3)).seed) is int  # type: ignore[arg-type]
    assert mimbench.load("random:digits_swin", image_size_px=np.int64(32)).image_size_px == 32  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"task": None}, "task = None\n"),
        ({"task": Path("digits")}, "Did you mean digits?"),
        ({"overrides": None}, "overrides = None\n"),
        ({"overrides": [("k", 3)]}, "a mapping of fields to values, or a list of texts"),
        ({"label": 3}, "for example label='3'"),
        ({"architecture": Path("mine.yaml")}, "for example architecture='mine.yaml'"),
        ({"seed": True}, "seed = True\n"),
        ({"seed": np.zeros(2, dtype=int)}, "a whole number"),
        *(({field: ""}, f"{field} = (empty)\n") for field in ("encoder", "data", "runs")),
    ],
)
def test_values_of_a_wrong_type_are_named_and_nothing_is_written(
    wrong: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(mimbench.UserError) as caught:
        mimbench.transfer(**{"task": "digits", "encoder": "random:digits_swin", "progress": False, **wrong})
    assert said in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("given", [np.zeros(3), 5, object(), b"runs"])
def test_from_python_what_is_no_path_is_refused(given: Any) -> None:
    calls = (
        lambda: mimbench.transfer("digits", given, progress=False),
        lambda: mimbench.transfer("digits", "random:digits_swin", data=given, progress=False),
        lambda: mimbench.transfer("digits", "random:digits_swin", runs=given, progress=False),
        lambda: mimbench.pretrain("digits_simmim", data=given, progress=False),
        lambda: mimbench.evaluate("digits", given, progress=False),
        lambda: mimbench.records(given),
        lambda: mimbench.load(given),
    )
    for call in calls:
        with pytest.raises(mimbench.UserError, match=r"an object of .*\n  rule:   a path, as text"):
            call()


def test_words_of_python_are_held_against_those_that_are_known() -> None:
    with pytest.raises(mimbench.UserError, match=r"stage = pretrained\n"):
        mimbench.transfer("digits", "random:digits_swin", stage="pretrained", progress=False)  # type: ignore[arg-type]
    for size in (0, -4, "32", True):
        with pytest.raises(mimbench.UserError, match=r"image_size_px = .*\n  rule:   a whole number of pixels"):
            mimbench.load("random:digits_swin", image_size_px=size)  # type: ignore[arg-type]
    with pytest.raises(mimbench.UserError, match=r"device = gpu\n"):
        mimbench.load("random:digits_swin", image_size_px=32, device="gpu")
    encoder = mimbench.load("random:digits_swin", image_size_px=32)
    with pytest.raises(mimbench.UserError, match=r"pooling = max\n"):
        encoder.pooled(torch.rand(1, 3, 32, 32), pooling="max")  # type: ignore[arg-type]
