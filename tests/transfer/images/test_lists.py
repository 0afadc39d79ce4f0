"""Lists of labels and the traps of ILSVRC's: what they count from, and in which order."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from benchmarks.errors import UserError
from tests.transfer.images.forms import as_flat_list, as_folders, as_shards, scans, write_csv
from transfer.images.classes import read_class_list
from transfer.images.labelled import ClassificationSets
from transfer.images.lists import read_entries
from transfer.images.read import read_classification_data
from transfer.images.recipe import ClassificationData

WNIDS = [f"n0{number}000000"[:9] for number in range(10)]
"""A wnid for each digit, in alphabetical order."""
ILSVRC_ORDER = [7, 2, 9, 0, 4, 1, 8, 3, 6, 5]
"""The digit that ILSVRC2012_ID 1, 2, ... stands for: no alphabetical order, as in the real devkit."""


@pytest.fixture
def ilsvrc(small_digits: Path, tmp_path: Path) -> ClassificationData:
    """Training images in folders called by wnid; 20 test images side by side, as ILSVRC's archives unpack."""
    root = tmp_path / "ilsvrc"
    for digit, wnid in enumerate(WNIDS):
        shutil.copytree(small_digits / "train" / str(digit), root / "train" / wnid)
    (root / "val").mkdir()
    for number, (path, _) in enumerate(mixed(small_digits), start=1):
        shutil.copy(path, root / "val" / f"ILSVRC2012_val_{number:08d}.JPEG")
    return ClassificationData(root=str(root))


def mixed(digits: Path) -> list[tuple[Path, int]]:
    """Return the test scans with their digits, not sorted by class."""
    found = scans(digits, "test")
    return found[::2] + found[1::2]


def devkit(root: Path, digits: Path) -> None:
    """Write the devkit's two files: ids by image, and meta.mat, with a synset that is no class behind the leaves."""
    id_of = {digit: number for number, digit in enumerate(ILSVRC_ORDER, start=1)}
    ids = [id_of[digit] for _, digit in mixed(digits)]
    (root / "ILSVRC2012_validation_ground_truth.txt").write_text("".join(f"{number}\n" for number in ids))
    fields = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O")]
    rows = [(number, WNIDS[digit], "a digit", 0) for digit, number in id_of.items()]
    table = np.array([*rows, (11, "n00001740", "entity", 10)], dtype=fields)
    savemat(root / "meta.mat", {"synsets": table.reshape(-1, 1)})


def read(data: ClassificationData, **fields: object) -> ClassificationSets:
    return read_classification_data(data.model_copy(update=fields), 10)


def digits_of(sets: ClassificationSets, digits: Path) -> None:
    """Check every test image: the class it was given is the digit that was scanned."""
    assert sets.classes == tuple(WNIDS)
    expected = {
        f"val/ILSVRC2012_val_{number:08d}.JPEG": digit for number, (_, digit) in enumerate(mixed(digits), start=1)
    }
    found = {sets.test.source.name(position): label for position, label in enumerate(sets.test.labels)}
    assert found == expected


def test_the_devkits_ground_truth_with_its_meta_mat(ilsvrc: ClassificationData, small_digits: Path) -> None:
    devkit(Path(str(ilsvrc.root)), small_digits)
    labels = "ILSVRC2012_validation_ground_truth.txt"
    digits_of(read(ilsvrc, test_labels=labels, classes="meta.mat"), small_digits)
    (Path(str(ilsvrc.root)) / "synsets.txt").write_text("".join(f"{WNIDS[digit]} a digit\n" for digit in ILSVRC_ORDER))
    digits_of(read(ilsvrc, test_labels=labels, classes="synsets.txt"), small_digits)


def test_the_devkits_ground_truth_is_refused_without_its_order(ilsvrc: ClassificationData, small_digits: Path) -> None:
    root = Path(str(ilsvrc.root))
    devkit(root, small_digits)
    labels = "ILSVRC2012_validation_ground_truth.txt"
    with pytest.raises(UserError, match=r"data.classes = \(not given\)\n.*not that of the sorted wnids\n.*meta.mat"):
        read(ilsvrc, test_labels=labels)
    (root / "sorted.txt").write_text("\n".join(WNIDS))
    with pytest.raises(UserError, match=r"data.classes = .*sorted.txt\n.*not that of the sorted wnids"):
        read(ilsvrc, test_labels=labels, classes="sorted.txt")


def test_labels_alone_that_count_the_sorted_wnids_from_0(ilsvrc: ClassificationData, small_digits: Path) -> None:
    root = Path(str(ilsvrc.root))
    (root / "val.txt").write_text("".join(f"{digit}\n" for _, digit in mixed(small_digits)))
    digits_of(read(ilsvrc, test_labels="val.txt", first_label=0), small_digits)


@pytest.mark.parametrize("kind", ["caffe", "csv", "headed", "kaggle", "wnids", "from-1", "windows"])
def test_lists_of_names_and_labels(ilsvrc: ClassificationData, small_digits: Path, kind: str) -> None:
    root = Path(str(ilsvrc.root))
    numbered = [
        (f"ILSVRC2012_val_{number:08d}", digit) for number, (_, digit) in enumerate(mixed(small_digits), start=1)
    ]
    rows = [(f"{name}.JPEG", str(digit)) for name, digit in reversed(numbered)]  # a list has an order of its own
    file = "val.csv" if kind in ("csv", "headed", "kaggle") else "val.txt"
    if kind == "csv":
        write_csv(root / file, rows)
    elif kind == "headed":
        write_csv(root / file, [("filename", "label"), *rows])
    elif kind == "kaggle":
        boxes = [(name, f"{WNIDS[digit]} 85 131 499 254 {WNIDS[digit]} 3 4 8 9 ") for name, digit in numbered]
        write_csv(root / file, [("ImageId", "PredictionString"), *boxes])
    elif kind == "windows":
        (root / file).write_bytes(b"\xef\xbb\xbf" + "".join(f"val\\{a}\t{b}\r\n" for a, b in rows).encode())
    else:
        as_text = {"caffe": str, "wnids": lambda label: WNIDS[int(label)], "from-1": lambda label: str(int(label) + 1)}
        (root / file).write_text("".join(f"{name} {as_text[kind](label)}\n" for name, label in rows))
    digits_of(read(ilsvrc, test_labels=file, first_label=1 if kind == "from-1" else None), small_digits)


def test_numbers_of_a_list_beside_meta_mat_are_its_ids(ilsvrc: ClassificationData, small_digits: Path) -> None:
    root = Path(str(ilsvrc.root))
    devkit(root, small_digits)
    id_of = {digit: number for number, digit in enumerate(ILSVRC_ORDER, start=1)}
    rows = [(f"ILSVRC2012_val_{n:08d}.JPEG", str(id_of[digit])) for n, (_, digit) in enumerate(mixed(small_digits), 1)]
    write_csv(root / "val.csv", rows)
    digits_of(read(ilsvrc, test_labels="val.csv", classes="meta.mat"), small_digits)


def test_labels_that_count_from_1_are_out_of_range(ilsvrc: ClassificationData, small_digits: Path) -> None:
    root = Path(str(ilsvrc.root))
    rows = [(f"ILSVRC2012_val_{n:08d}.JPEG", str(digit + 1)) for n, (_, digit) in enumerate(mixed(small_digits), 1)]
    write_csv(root / "val.csv", rows)
    with pytest.raises(
        UserError, match=r"label = 10 of .*_val_000000\d\d.JPEG, according to .*val.csv\n.*0 to 9\n.*first_label=1"
    ):
        read(ilsvrc, test_labels="val.csv")


def test_ground_truth_for_other_images_than_are_there(ilsvrc: ClassificationData, small_digits: Path) -> None:
    root = Path(str(ilsvrc.root))
    devkit(root, small_digits)
    fields = {"test_labels": "ILSVRC2012_validation_ground_truth.txt", "classes": "meta.mat"}
    (root / "val" / "ILSVRC2012_val_00000005.JPEG").rename(root / "val" / "ILSVRC2012_val_00000021.JPEG")
    with pytest.raises(UserError, match=r"val_00000006.JPEG\n  rule:   image number 5 here"):
        read(ilsvrc, **fields)
    (root / "val" / "ILSVRC2012_val_00000021.JPEG").unlink()
    with pytest.raises(UserError, match=r"20 lines\n  rule:   one label for each of the 19 images"):
        read(ilsvrc, **fields)


def test_a_flat_folder_needs_its_list(ilsvrc: ClassificationData) -> None:
    with pytest.raises(UserError, match=r"val \(20 images side by side\)\n.*\n.*data.test_labels=FILE"):
        read(ilsvrc)
    with pytest.raises(UserError, match=r"data labels = \(not given\) for .*train\n"):
        read(ilsvrc, format="flat")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("99999.png 3", r"train.txt:41: 99999.png\n  rule:   an image below"),
        ("00001.png 3", r"train.txt: twice: 00001.png"),
        ("7", r"train.txt:41: 7\n  rule:   an image and its label in every line"),
    ],
)
def test_a_wrong_line_is_named(small_digits: Path, tmp_path: Path, line: str, words: str) -> None:
    data = as_flat_list(small_digits, tmp_path / "flat")
    with open(tmp_path / "flat" / "train.txt", "a") as file:
        file.write(f"{line}\n")
    with pytest.raises(UserError, match=words):
        read(data)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.txt", "\n", "at least one line"),
        ("wide.csv", "a.png,1,2\n", r"wide.csv:1: a.png,1,2\n  rule:   two columns"),
        ("no.json", json.dumps({"images": []}), "the tables `images` .* and `annotations`"),
        ("list.txt", b"\xff\xfe\x00", "a text file in UTF-8"),
        ("no.json", "{", "the tables `images` .* and `annotations`"),
    ],
)
def test_a_file_that_is_no_list(tmp_path: Path, name: str, content: str | bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(UserError, match=words):
        read_entries(tmp_path / name)


def test_a_huge_label_is_no_number_of_classes(small_digits: Path, tmp_path: Path) -> None:
    data = as_flat_list(small_digits, tmp_path / "flat")
    file = tmp_path / "flat" / "train.txt"
    file.write_text(file.read_text().replace("00040.png 9", "00040.png 4000000000"))
    with pytest.raises(
        UserError, match=r"label = 4000000000 of .*00040.png.*\n  rule:   a class number; 40 images cannot"
    ):
        read_classification_data(data, None)


def test_bare_numbers_are_refused_where_class_names_are_other_numbers(small_digits: Path, tmp_path: Path) -> None:
    """Folders 1 to 10: torchvision's third class is called 2, so `2` in a list could mean two classes."""
    data = as_folders(small_digits, tmp_path / "folders")
    for digit in reversed(range(10)):
        (tmp_path / "folders" / "train" / str(digit)).rename(tmp_path / "folders" / "train" / str(digit + 1))
    write_csv(
        tmp_path / "folders" / "test.csv",
        [(f"{path.parent.name}/{path.name}", f"{label}") for path, label in scans(small_digits, "test")],
    )
    with pytest.raises(UserError, match=r"names, because the training classes are called 1, 10, 2, 3"):
        read(data, test_labels="test.csv")
    (tmp_path / "folders" / "names.txt").write_text("\n".join(str(digit + 1) for digit in range(10)))
    sets = read(data, test_labels="test.csv", classes="names.txt")
    named = [sets.classes[label] for label in sets.test.labels]
    assert named == [str(label + 1) for _, label in scans(small_digits, "test")]


def test_shards_of_numbers_with_a_list_of_wnids(ilsvrc: ClassificationData, small_digits: Path) -> None:
    """Shards count the sorted wnids from 0, whatever meta.mat's own order is."""
    root = Path(str(ilsvrc.root))
    devkit(root, small_digits)
    shards = as_shards(small_digits, root)
    rows = [
        (f"ILSVRC2012_val_{n:08d}", f"{WNIDS[digit]} 1 2 3 4") for n, (_, digit) in enumerate(mixed(small_digits), 1)
    ]
    write_csv(root / "LOC_val_solution.csv", [("ImageId", "PredictionString"), *rows])
    data = shards.model_copy(update={"test_split": "val", "test_labels": "LOC_val_solution.csv"})
    with pytest.raises(UserError, match=r"classes = n00000000, .*\n.*\n.*data.classes=FILE says what they mean"):
        read(data)
    sets = read(data, classes="meta.mat")
    digits_of(sets, small_digits)
    assert list(sets.train.labels) == [digit for _, digit in scans(small_digits, "train")]


def test_a_damaged_meta_mat(tmp_path: Path) -> None:
    (tmp_path / "meta.mat").write_bytes(b"MATLAB 5.0 MAT-file" + bytes(200))
    with pytest.raises(UserError, match=r"the devkit's meta.mat, with its table `synsets`"):
        read_class_list(tmp_path / "meta.mat")
