"""Test sets by name: ImageNet-A and -R among their 200 classes, ObjectNet among those that ImageNet has, too."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import ImageNetInfo
from torch import Tensor

import mimbench
from benchmarks.config import load_recipe
from benchmarks.errors import UserError
from tests.support.runs import only_run, trained
from tests.support.small import RANDOM, classification
from tests.transfer.evaluate.libraries import torchvision_swin
from tests.transfer.images.forms import scans
from tests.transfer.kinds import rows_of
from transfer.classification.recipe import FinetuneRecipe
from transfer.images.labelled import LabelledImages
from transfer.images.overlap import class_map_files, read_class_map
from transfer.images.published import require_published_classes
from transfer.images.recipe import ClassificationData
from transfer.sources.head_classes import synsets


class NoImages:
    """A source of images that nobody opens."""

    files: tuple[Path, ...] = ()


def images_of(wnids: Iterable[str]) -> LabelledImages:
    every = tuple(ImageNetInfo().label_names())
    return LabelledImages(every, NoImages(), [every.index(wnid) for wnid in wnids])  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "first"), [("imagenet_a", "n01498041"), ("imagenet_r", "n01443537")])
def test_a_published_set_has_its_200_classes(name: str, first: str) -> None:
    """The first folder of each is as the archives of Hendrycks et al. have it."""
    its_own = synsets(name)
    assert (len(its_own), its_own[0]) == (200, first)
    assert set(its_own) < set(ImageNetInfo().label_names())
    require_published_classes(name, images_of(its_own))
    with pytest.raises(UserError, match=rf"{name} = 199 classes \(no {first}\)\n  rule:   the 200 classes"):
        require_published_classes(name, images_of(its_own[1:]))
    with pytest.raises(UserError, match="201 classes"):
        require_published_classes(name, images_of([*its_own, "n01440764"]))
    require_published_classes("my_own", images_of(its_own[1:]))


def test_a_name_brings_the_published_way_and_a_field_another() -> None:
    def found(**fields: object) -> ClassificationData:
        return ClassificationData.model_validate({"test_sets": fields})

    sets = found(imagenet_a={"root": "/a"}, imagenet_r={"root": "/r", "scored_classes": "all"}, mine={"root": "/m"})
    assert {name: each.scored_classes for name, each in sets.test_sets.items()} == {
        "imagenet_a": "own",
        "imagenet_r": "all",
        "mine": "all",
    }
    objectnet = found(objectnet={"root": "/o"}).test_sets["objectnet"]
    assert (objectnet.class_map, objectnet.split, objectnet.border_px) == ("mappings", "images", 2)

    def digest(*overrides: str) -> str:
        return load_recipe(FinetuneRecipe, "transfer", "imagenet1k_swin_base_224", overrides).config.identity_digest()

    a = "data.test_sets.imagenet_a"
    assert digest(f"{a}.root=/a") == digest(f"{a}.root=/a", f"{a}.scored_classes=own")
    assert digest(f"{a}.root=/a") != digest(f"{a}.root=/a", f"{a}.scored_classes=all")


def mappings(folder: Path) -> Path:
    """Write files in the form of ObjectNet's, of four words that ImageNet has for its classes 409, 530, 898 and 0."""
    folder.mkdir()
    words = ["tench, Tinca tinca", "water bottle", "digital clock", "analog clock"]
    (folder / "imagenet_to_label_2012_v2").write_text("".join(f"{text}\n" for text in words))
    contents = {
        "pytorch_to_imagenet_2012_id.json": {"0": 0, "898": 1, "530": 2, "409": 3},
        "objectnet_to_imagenet_1k.json": {"Alarm clock": "analog clock; digital clock", "Water bottle": "water bottle"},
        "folder_to_objectnet_label.json": {
            "alarm_clock": "Alarm clock",
            "water_bottle": "Water bottle",
            "air_freshener": "Air freshener",
        },
    }
    for name, content in contents.items():
        (folder / name).write_text(json.dumps(content))
    return folder


def test_objectnets_own_files_give_imagenets_classes(tmp_path: Path) -> None:
    folder = mappings(tmp_path / "mappings")
    classes = ImageNetInfo().label_names()
    files = class_map_files(tmp_path, "objectnet", "mappings")
    assert read_class_map(files, classes) == {"alarm_clock": {409, 530}, "water_bottle": {898}}
    with pytest.raises(UserError, match="for a model of ImageNet's 1,000 classes"):
        read_class_map(files, classes[:500])
    (folder / "imagenet_to_label_2012_v2").write_text("digital clock\n")
    with pytest.raises(UserError, match="which belong together"):
        read_class_map(files, classes)
    (folder / "imagenet_to_label_2012_v2").unlink()
    with pytest.raises(UserError, match="take it from ObjectNet's archive"):
        class_map_files(tmp_path, "objectnet", "mappings")


GROUPS = {"straight": ["1", "4", "7"], "round": ["0", "6", "8"]}
FRAME_PX = 2


@pytest.fixture
def grouped(small_digits: Path, tmp_path: Path) -> Path:
    """Test scans in folders of several digits each, of one that the map leaves out, each in a red frame."""
    for name, digits in {**GROUPS, "other": ["5"]}.items():
        (tmp_path / "grouped" / "images" / name).mkdir(parents=True)
        for path, label in scans(small_digits, "test"):
            if str(label) in digits:
                image = Image.open(path).convert("RGB")
                framed = Image.new("RGB", [side + 2 * FRAME_PX for side in image.size], "red")
                framed.paste(image, (FRAME_PX, FRAME_PX))
                framed.save(tmp_path / "grouped" / "images" / name / f"{label}_{path.stem}.png")
    (tmp_path / "grouped" / "map.json").write_text(json.dumps(GROUPS))
    return tmp_path / "grouped"


def projected(logits: Tensor, names: list[str]) -> float:
    """Return the accuracy as wise-ft's ObjectNet has it: each class's logit is the largest of its ImageNet classes'."""
    groups = sorted(GROUPS)
    best = np.stack([logits[:, [int(digit) for digit in GROUPS[name]]].max(dim=1).values.numpy() for name in groups], 1)
    return 100 * float(np.mean(best.argmax(axis=1) == np.array([groups.index(name) for name in names])))


def test_a_set_of_other_classes_is_scored_by_its_map_without_its_frames(
    small_digits: Path, grouped: Path, tmp_path: Path
) -> None:
    saved = torchvision_swin(tmp_path)
    sets = [
        f"data.test_sets.mapped.root={grouped}",
        "data.test_sets.mapped.split=images",
        "data.test_sets.mapped.class_map=map.json",
    ]
    framed = [each.replace("mapped", "framed") for each in sets]
    command = ["evaluate", "digits", "--model", str(saved.model), f"data.root={small_digits}", *saved.arguments]
    runs = ["--runs", str(tmp_path / "runs")]
    assert mimbench.main([*command, *sets, f"data.test_sets.mapped.border_px={FRAME_PX}", *framed, *runs]) == 0
    scores = {row["test_set"]: row for row in rows_of(only_run(tmp_path / "runs") / "test_sets.csv")}
    files = sorted(path for name in GROUPS for path in (grouped / "images" / name).iterdir())
    with torch.no_grad():
        for name, border in (("mapped", FRAME_PX), ("framed", 0)):
            pictures = [Image.open(path).convert("RGB") for path in files]
            cut = [each.crop((border, border, each.width - border, each.height - border)) for each in pictures]
            logits = torch.stack([saved.logits(each) for each in cut])
            expected = projected(logits, [path.parent.name for path in files])
            assert float(scores[name]["top1_masked"]) == pytest.approx(expected, abs=1e-4)
            assert scores[name].get("top1", "") == ""


def test_a_run_of_ones_own_is_scored_by_a_map_too(small_digits: Path, grouped: Path, tmp_path: Path) -> None:
    sets = [
        f"data.test_sets.mapped.root={grouped}",
        "data.test_sets.mapped.split=images",
        "data.test_sets.mapped.class_map=map.json",
    ]
    run = trained([*classification(small_digits), *RANDOM, "training.epochs=2"], tmp_path / "runs")
    assert mimbench.main(["evaluate", "digits", "--model", str(run), *sets]) == 0
    (row,) = rows_of(run / "test_sets.csv")
    assert 0 <= float(row["top1_masked"]) <= 100


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"straight": ["1", "11"]}, "'straight': 11 in"),
        ({"straight": []}, "'straight': none in"),
        ({"straight": ["1"], "curly": ["2"]}, r"no image of curly \(1 of 2\)"),
        (["1"], "a JSON object that is not empty"),
    ],
)
def test_a_wrong_map_is_refused(
    content: object, words: str, small_digits: Path, grouped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (grouped / "map.json").write_text(json.dumps(content))
    saved = torchvision_swin(tmp_path)
    given = [f"data.test_sets.mapped.root={grouped}", "data.test_sets.mapped.split=images"]
    command = ["evaluate", "digits", "--model", str(saved.model), f"data.root={small_digits}", *saved.arguments, *given]
    capsys.readouterr()
    runs = ["--runs", str(tmp_path / "runs")]
    assert mimbench.main([*command, "data.test_sets.mapped.class_map=map.json", *runs]) == mimbench.WRONG
    said = capsys.readouterr().err
    assert re.search(words, said)
    assert "remedy:" in said
