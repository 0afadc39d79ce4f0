"""The suite imagenet_robustness from end to end: every set in the form in which its archive has it.

An image is a copy of the training image of the class that is to be predicted, whose nearest neighbour it is then; so
what every score must be follows from how the folders were made.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
from PIL import Image, ImageOps

from benchmarks.catalogue.suites import test_sets_of as sets_of_suite
from tests.golden.sources import SOURCES
from tests.support.runs import record_of, trained
from tests.transfer.images.test_suites import CORRUPTIONS
from tests.transfer.kinds import rows_of
from transfer.sources.head_classes import synsets

SIDE, RED = 32, (255, 0, 0)
WNIDS = synsets("imagenet1k")
ALEXNET: list[float] = json.loads(SOURCES["imagenet_c"]["ALEXNET_ERR"])


def picture(at: int) -> Image.Image:
    """Return the image of a class: 4 x 4 squares of colours that no other class has."""
    colours = (np.random.default_rng(at).random((4, 4, 3)) * 255).astype(np.uint8)
    return Image.fromarray(colours.repeat(SIDE // 4, axis=0).repeat(SIDE // 4, axis=1))


@pytest.fixture(scope="module")
def pictures() -> list[bytes]:
    """The classes' images, as JPEG files."""
    found = []
    for at in range(len(WNIDS)):
        file = io.BytesIO()
        picture(at).save(file, "JPEG", quality=95)
        found.append(file.getvalue())
    return found


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def wrong(at: int, every: int) -> int:
    """Return the class whose image stands in the place of each `every`-th one: the class after the next."""
    return (at + 2) % len(WNIDS) if at % every == 0 else at


def write_objectnet(root: Path, pictures: list[bytes]) -> None:
    """Write three folders with ObjectNet's own maps: two are ImageNet's classes 5 or 6, and 9, one is none of its."""
    order = {str(at): 999 - at for at in range(1000)}
    maps = {
        "folder_to_objectnet_label.json": {"clock": "Alarm clock", "bottle": "Water bottle", "paper": "Paper"},
        "objectnet_to_imagenet_1k.json": {"Alarm clock": "word 5; word 6", "Water bottle": "word 9"},
        "pytorch_to_imagenet_2012_id.json": order,
    }
    for name, content in maps.items():
        write(root / "mappings" / name, json.dumps(content).encode())
    words = "".join(f"word {999 - number}\n" for number in range(1000))
    write(root / "mappings" / "imagenet_to_label_2012_v2", words.encode())
    for folder, seen in (("clock", (5, 6, 9)), ("bottle", (9,)), ("paper", (100,))):
        for number, at in enumerate(seen):
            framed = ImageOps.expand(Image.open(io.BytesIO(pictures[at])), border=2, fill=RED)
            file = io.BytesIO()
            framed.save(file, "PNG")
            write(root / "images" / folder / f"{number}.png", file.getvalue())


def write_all(root: Path, pictures: list[bytes]) -> None:
    """Write ImageNet and the suite's sets below a folder, under the names that their archives give them."""
    for at, wnid in enumerate(WNIDS):
        write(root / "train" / wnid / f"{wnid}_0.JPEG", pictures[at])
        write(root / "val" / wnid / f"ILSVRC2012_val_{at + 1:08d}.JPEG", pictures[wrong(at, 10)])
        write(root / "imagenetv2-matched-frequency-format-val" / str(at) / "a.jpeg", pictures[wrong(at, 4)])
        write(root / "sketch" / wnid / "sketch_1.JPEG", pictures[wrong(at, 5)])
    # Every second of the reassessed labels is what stands on the image; the others are wrong, or no label at all.
    real = [[at, wrong(at, 10)] if at % 20 == 0 else [] if at % 20 == 10 else [at] for at in range(1000)]
    write(root / "real.json", json.dumps(real).encode())
    for name, every in (("imagenet_a", 2), ("imagenet_r", 8)):
        for number, wnid in enumerate(synsets(name)):
            at = WNIDS.index(wnid)
            shown = (at + 1) % 1000 if number % every == 0 else at
            write(root / name.replace("_", "-") / wnid / "0.jpg", pictures[shown])
    for place, corruption in enumerate(CORRUPTIONS):
        for severity in range(1, 6):
            for at in range(4):
                shown = pictures[at + 500 * (at < errors(place, severity))]
                write(root / "imagenet-c" / corruption / str(severity) / WNIDS[at] / "0.JPEG", shown)
    write_objectnet(root / "objectnet-1.0", pictures)


def errors(place: int, severity: int) -> int:
    """Return how many of a corruption's four images are not recognised."""
    return (place + severity) % 4


def test_the_whole_suite_is_scored_in_one_run(tmp_path: Path, pictures: list[bytes]) -> None:
    root = tmp_path / "data"
    write_all(root, pictures)
    command = ["transfer", "imagenet1k", "--recipe", "imagenet1k_knn", "--encoder", "random:digits_swin"]
    command += [f"data.root={root}", f"data.suites.imagenet_robustness={root}", "k=1", "other_k=[]", "other_pooling=[]"]
    command += [f"image_size_px={SIDE}", "data.test_crop=1.0", "inference.workers=0"]
    command += [f"features.folder={tmp_path / 'features'}"]
    run = trained(command, tmp_path / "runs")
    rows = {row["test_set"]: row for row in rows_of(run / "test_sets.csv")}
    assert rows.keys() == sets_of_suite("imagenet_robustness", str(root)).keys()
    found = {name: value.last for name, value in record_of(run).metrics.items()}
    shares = [fmean(errors(place, severity) / 4 for severity in range(1, 6)) for place in range(15)]
    assert found["top1"] == 90.0
    assert found["imagenet_v2_top1"] == 75.0
    assert found["imagenet_sketch_top1"] == 80.0
    assert found["imagenet_real_top1"] == 100.0
    assert found["imagenet_a_top1_masked"] == 50.0
    assert found["imagenet_r_top1_masked"] == 87.5
    assert found["objectnet_top1_masked"] == 75.0
    expected = 100 * fmean(share / alexnet for share, alexnet in zip(shares, ALEXNET, strict=True))
    assert found["imagenet_c_mce"] == pytest.approx(expected, abs=1e-9)
