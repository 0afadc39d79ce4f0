"""Heads with more classes than the test set: logits by name, or by an index map that others published."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image
from torch import Tensor

import mimbench
from benchmarks.errors import UserError
from tests.support.random_weights import randomise
from tests.support.runs import only_run, record_of
from tests.transfer.evaluate.libraries import VIT, Saved
from tests.transfer.kinds import rows_of
from transfer.classification.head_logits import logits_of
from transfer.sources.head_classes import HeadClasses, known_classes, stated_classes, synsets

TEDDY = "n04399382"
"""The one class of ImageNet-1K that the fall 2011 release has not."""
WNIDS = ("n01440764", "n02106662", "n03933933", TEDDY, "n07753592", "n15075141")
"""Classes of ImageNet-1K, among them the first and the last."""


@pytest.fixture
def images(digits: Path, tmp_path: Path) -> Path:
    """Scans of digits in folders that are called as classes of ImageNet-1K, 3 of each."""
    for label, wnid in enumerate(WNIDS):
        (tmp_path / "images" / "val" / wnid).mkdir(parents=True)
        for file in sorted((digits / "test" / str(label)).iterdir())[:3]:
            shutil.copy(file, tmp_path / "images" / "val" / wnid)
    return tmp_path / "images"


MEAN = {**VIT, "global_pool": "avg"}


def classifier(folder: Path, classes: int) -> Saved:
    """Write a random ViT as timm's hub has them."""
    torch.manual_seed(0)
    model = randomise(timm.create_model("vit_tiny_patch16_224", num_classes=classes, **MEAN))
    with torch.no_grad():  # so that images get different classes
        model.head.weight.copy_(torch.randn(model.head.weight.shape))
        model.head.bias.zero_()
        model.patch_embed.proj.weight.mul_(20)
    config = {"input_size": (3, 32, 32), "crop_pct": 1.0}
    timm.models.save_for_hf(model, folder, model_config=config, model_args=MEAN)
    theirs = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(theirs, use_test_size=True))
    return Saved(folder, lambda image: theirs(transform(image)[None])[0])


def evaluate(model: Path, images: Path, runs: Path, *more: str) -> int:
    command = ["evaluate", "imagefolder", "--model", str(model), "--stage", "supervised", f"data.root={images}"]
    return mimbench.main([*command, "--runs", str(runs), "inference.workers=0", *more])


@torch.no_grad()
def logits(saved: Saved, images: Path) -> tuple[Tensor, list[str]]:
    files = sorted(images.glob("val/*/*.png"))
    return torch.stack([saved.logits(Image.open(path).convert("RGB")) for path in files]), [
        f.parent.name for f in files
    ]


def predicted(run: Path) -> list[str]:
    return [row["predicted"] for row in rows_of(run / "predictions.csv")]


@pytest.mark.parametrize("classes", [21841, 21843, 1000])
def test_a_head_of_more_classes_predicts_among_the_test_sets_by_their_names(
    classes: int, images: Path, tmp_path: Path
) -> None:
    saved = classifier(tmp_path / "model", classes)
    assert evaluate(saved.model, images, tmp_path / "runs") == 0
    run = only_run(tmp_path / "runs")
    name = {21841: "imagenet-22k", 21843: "imagenet-21k-goog", 1000: "imagenet-1k"}[classes]
    order = timm.data.ImageNetInfo(name).label_names()
    known = [wnid for wnid in WNIDS if wnid in order]
    assert len(known) == len(WNIDS) - (classes != 1000)
    every, labels = logits(saved, images)
    expected = [known[at] for at in every[:, [order.index(wnid) for wnid in known]].argmax(dim=1).tolist()]
    assert predicted(run) == expected
    assert len(set(expected)) > 1
    record = record_of(run)
    right = sum(one == other for one, other in zip(expected, labels, strict=True))
    assert record.metrics["top1"].last == pytest.approx(100 * right / len(labels))
    report = record.load_report
    assert report is not None
    assert report.complete
    assert any(f"6 of the head's {classes} logits are taken" in note for note in report.notes)
    assert any(TEDDY in note and "count as wrong" in note for note in report.notes) is (classes != 1000)


def test_a_published_index_map_and_a_list_of_names_are_followed(images: Path, tmp_path: Path) -> None:
    saved = classifier(tmp_path / "model", 40)
    positions = [7, 39, 0, 11, 12, 3]
    (tmp_path / "map.txt").write_text("\n".join(map(str, positions)) + "\n")
    names = [f"class{at}" for at in range(40)]
    for wnid, at in zip(WNIDS, positions, strict=True):
        names[at] = f"{wnid} in, words"
    (tmp_path / "names.txt").write_text("\n".join(names))
    every, _ = logits(saved, images)
    expected = [WNIDS[at] for at in every[:, positions].argmax(dim=1).tolist()]
    for file in ("map.txt", "names.txt"):
        runs = tmp_path / f"runs_{file}"
        assert evaluate(saved.model, images, runs, "--head-classes", str(tmp_path / file)) == 0
        assert predicted(only_run(runs)) == expected


def test_heads_whose_classes_do_not_fit_are_refused_before_images_are_read(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in images.glob("val/*/*.png"):
        file.write_bytes(b"no image")  # which nothing has looked at when the command ends
    saved = classifier(tmp_path / "model", 40)

    def said(*more: str) -> str:
        capsys.readouterr()
        assert evaluate(saved.model, images, tmp_path / "runs", *more) == mimbench.WRONG
        message = capsys.readouterr().err
        assert "rule:" in message
        assert "remedy:" in message
        return message

    def listed(*lines: object) -> str:
        (tmp_path / "list.txt").write_text("\n".join(map(str, lines)))
        return said("--head-classes", str(tmp_path / "list.txt"))

    assert "classes of the head = 40" in said()
    assert "as many as the test set has (6 in" in said()
    assert "imagenet22k has 21841" in said("--head-classes", "imagenet22k")
    assert "Did you mean imagenet22k?" in said("--head-classes", "imagnet22k")
    assert "a line for each class of the test set (6" in listed(1, 2, 3)
    assert "positions of the head's logits, 0 to 39" in listed(1, 2, 3, 4, 5, 40)
    assert "for every class of the head (40)" in listed(*WNIDS)
    assert "list.txt has no n01440764, n02106662" in listed(*(f"class{at}" for at in range(40)))
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").glob("*/predictions.csv"))


def test_microsofts_index_map_counts_in_the_order_of_the_longer_list() -> None:
    """microsoft/Swin-Transformer data/map22kto1k.txt, lines 1, 2, 719, 852 and 1000; line 851 is the teddy's."""
    published = {0: 359, 1: 368, 718: 9212, 851: 11168, 999: 21817}
    one = synsets("imagenet1k")
    longer, shorter = (logits_of(n, known_classes(n), one, "here").positions for n in (21843, 21841))
    assert longer is not None
    assert shorter is not None
    assert {at: longer[at] for at in published} == published
    # The fall 2011 release lacks two classes of that list.
    assert [longer[at] - (shorter[at] or 0) for at in published] == [0, 0, 1, 1, 2]
    assert (longer[850], shorter[850], one[850]) == (None, None, TEDDY)


def test_names_decide_and_numbers_only_where_nothing_is_named() -> None:
    digits = [str(each) for each in range(10)]
    assert logits_of(10, HeadClasses(), digits, "here").positions is None
    assert logits_of(1000, known_classes(1000), synsets("imagenet1k"), "here").positions is None
    backwards = tuple(reversed(digits))
    assert logits_of(10, HeadClasses(backwards), digits, "here").positions == tuple(range(9, -1, -1))
    with pytest.raises(UserError, match="classes of the head = 12"):
        logits_of(12, HeadClasses(), digits, "here")
    with pytest.raises(UserError, match="head-classes"):
        stated_classes("no/such/file", 10)
