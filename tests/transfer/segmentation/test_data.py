"""ADE20K's layout: what is paired, and how each fault is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.engine.samples.unreadable import UnusableError
from benchmarks.errors import UserError
from tests.support.huge_pictures import put_huge
from tests.support.special_files import never_waiting, put, special_files
from transfer.segmentation.data import Scenes, class_names, read_scenes
from transfer.segmentation.masks import MaskValues
from transfer.segmentation.samples import read_scene

ELEVEN = MaskValues(tuple(f"class {number}" for number in range(1, 12)), first=1, ignored=0)
IMAGE, MASK = "images/training/0003.png", "annotations/training/0003.png"


def found(root: Path) -> Scenes:
    return read_scenes(root, "training", "validation", ELEVEN)


def test_images_and_masks_are_paired_by_name(small_scenes: Path) -> None:
    scenes = found(small_scenes)
    assert (len(scenes.train), len(scenes.test)) == (12, 4)
    assert all(pair.image.stem == pair.mask.stem for pair in scenes.train + scenes.test)
    assert str(scenes.fingerprint).startswith("16 images, content ")
    assert class_names(small_scenes, 11) == ELEVEN.classes, "no table of names here"


def test_the_fingerprint_covers_masks(small_scenes: Path) -> None:
    before = str(found(small_scenes).fingerprint)
    mask = np.asarray(Image.open(small_scenes / MASK)).copy()
    mask[0, 0] = 5
    Image.fromarray(mask).save(small_scenes / MASK)
    assert str(found(small_scenes).fingerprint) != before


@pytest.mark.parametrize(("lost", "rule"), [(MASK, "a mask for every image"), (IMAGE, "an image for every mask")])
def test_a_file_without_its_other_half_is_named(small_scenes: Path, lost: str, rule: str) -> None:
    (small_scenes / lost).unlink()
    kept = small_scenes / (IMAGE if lost == MASK else MASK)
    with pytest.raises(UserError) as caught:
        found(small_scenes)
    assert f"data = {kept}\n  rule:   {rule}" in str(caught.value)


@pytest.mark.parametrize(
    ("mask", "fault"),
    [
        (Image.new("L", (64, 63)), "64x63, but 0003.png is 64x64"),
        (Image.new("RGB", (64, 64)), "channels RGB"),
    ],
)
def test_masks_that_do_not_fit_are_named(small_scenes: Path, mask: Image.Image, fault: str) -> None:
    mask.save(small_scenes / MASK)
    with pytest.raises(UserError) as caught:
        found(small_scenes)
    assert f"data = {small_scenes / MASK}: {fault}" in str(caught.value), "line breaks would be shown as escapes"


@pytest.mark.parametrize("suffix", ["png", "jpg", "tiff"])
def test_a_mask_has_the_size_of_its_upright_image(small_scenes: Path, suffix: str) -> None:
    image, exif = (small_scenes / IMAGE).with_suffix(f".{suffix}"), Image.Exif()
    exif[0x0112] = 6
    (small_scenes / IMAGE).unlink()
    Image.new("RGB", (48, 32)).save(image, exif=exif)
    Image.new("L", (32, 48), 1).save(small_scenes / MASK)
    pair = found(small_scenes).train[3]
    assert read_scene(pair, ELEVEN).image.shape == (48, 32, 3)
    Image.new("L", (48, 32), 1).save(small_scenes / MASK)
    with pytest.raises(UserError, match=rf"48x32, but 0003\.{suffix} is 32x48"):
        found(small_scenes)


def test_two_images_of_one_name_are_refused(small_scenes: Path) -> None:
    Image.new("RGB", (64, 64)).save((small_scenes / IMAGE).with_suffix(".jpg"))
    with pytest.raises(UserError, match="one file of a name"):
        found(small_scenes)


def test_zero_is_ignored_and_classes_start_at_zero(small_scenes: Path) -> None:
    pair = found(small_scenes).train[0]
    raw, scene = np.asarray(Image.open(pair.mask)), read_scene(pair, ELEVEN)
    assert set(scene.labels[raw == 0]) == {255}
    assert (scene.labels[raw > 0] == raw[raw > 0] - 1).all()
    assert (scene.image[..., ::-1] == np.asarray(Image.open(pair.image))).all(), "BGR, as mmseg's transforms expect"


def test_palette_masks_mean_their_indices(small_scenes: Path) -> None:
    pair = found(small_scenes).train[0]
    raw = np.asarray(Image.open(pair.mask))
    coloured = Image.fromarray(raw).convert("P")
    coloured = Image.fromarray(raw, mode="L")
    coloured = Image.frombytes("P", coloured.size, coloured.tobytes())
    coloured.putpalette([value for index in range(256) for value in (255 - index, index // 2, 7)])
    expected = read_scene(pair, ELEVEN).labels
    coloured.save(pair.mask)
    assert (read_scene(found(small_scenes).train[0], ELEVEN).labels == expected).all()


def test_unknown_classes_and_damage_are_named_when_read(small_scenes: Path) -> None:
    pair = found(small_scenes).train[3]
    with pytest.raises(UnusableError, match=r"0003\.png: unknown class \d+ \(0 is ignored, 1 to 1 are the classes\)"):
        read_scene(pair, MaskValues(("one",), first=1, ignored=0))
    whole = pair.image.read_bytes()
    pair.image.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UnusableError, match=rf"^{pair.image}: OSError"):
        read_scene(found(small_scenes).train[3], ELEVEN)


def test_class_names_are_those_of_ade20ks_table(tmp_path: Path) -> None:
    table = tmp_path / "objectInfo2.txt"
    table.write_text(
        "Idx\tRatio\tTrain\tVal\tName\n1\t0.1576\t11664\t1172\twall\n2\t0.1072\t6046\t612\tbuilding, edifice\n"
    )
    assert class_names(tmp_path, 2) == ("wall", "building, edifice")
    table.write_text("Idx\tName\n1\twall\n3\tsky\n")
    with pytest.raises(UserError, match="the classes 1 to 2 in order"):
        class_names(tmp_path, 2)


@special_files
@pytest.mark.parametrize("part", ["image", "mask"])
def test_what_is_no_ordinary_file_is_named_when_read(small_scenes: Path, part: str, kind: str) -> None:
    path = getattr(found(small_scenes).train[3], part)
    words = put(path, kind)
    with never_waiting(), pytest.raises(UnusableError, match=rf"^{path}: OSError: {words}$"):
        read_scene(found(small_scenes).train[3], ELEVEN)


@pytest.mark.parametrize("part", ["image", "mask"])
def test_too_many_pixels_are_named_when_read(small_scenes: Path, part: str) -> None:
    pair = found(small_scenes).train[3]
    words = put_huge(getattr(pair, part))
    with pytest.raises(UnusableError, match=rf"^{getattr(pair, part)}: {words}$"):
        read_scene(found(small_scenes).train[3], ELEVEN)
