"""Test sets whose classes are not the model's, but stand for some of them: ObjectNet (Barbu et al. 2019).

A map says which of the model's classes are right for a class of the set; images of other classes are left out, and a
prediction is the likeliest of all mapped classes. That is the protocol of ObjectNet's 113 classes that ImageNet has,
too (mlfoundations/wise-ft `src/datasets/objectnet.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.errors import UserError
from benchmarks.files.json_files import parse_json
from benchmarks.files.named_files import find_file, sha256_of, text_of
from transfer.images.labelled import Found, LabelledImages, TestSet

FIELD = "class_map"
OBJECTNET = {
    "folders": "folder_to_objectnet_label.json",
    "classes": "objectnet_to_imagenet_1k.json",
    "words": "imagenet_to_label_2012_v2",
    "order": "pytorch_to_imagenet_2012_id.json",
}
"""The files in `mappings` of ObjectNet's own archive: the set's label of each folder, ImageNet's words for a label,
those words in the order of ILSVRC2012_ID, and that order's number (from 0) for each of the sorted wnids."""
SHOWN = 5


def class_map_files(root: Path, name: str, given: str) -> list[Path]:
    """Return the files of a map: one JSON file, or ObjectNet's folder. Raises UserError where one is missing."""
    folder = root / given
    if folder.is_dir():
        return [_in(folder, file, name) for file in OBJECTNET.values()]
    found = find_file(root, f"data.test_sets.{name}.{FIELD}", given)
    assert found is not None, "a file was given"
    return [found]


def _in(folder: Path, file: str, name: str) -> Path:
    if not (folder / file).is_file():
        rule = f"a folder with {', '.join(OBJECTNET.values())}"
        raise UserError.about(f"data.test_sets.{name}.{FIELD}", str(folder), rule, "take it from ObjectNet's archive")
    return folder / file


def read_class_map(files: Sequence[Path], classes: Sequence[str]) -> dict[str, frozenset[int]]:
    """Return for classes of the set the positions of the model's classes that stand for them.

    Raises UserError for a class that the model has not, and for what is no such map.
    """
    if len(files) > 1:
        return _objectnet(dict(zip(OBJECTNET, files, strict=True)), len(classes))
    at = {name: position for position, name in enumerate(classes)}
    found: dict[str, frozenset[int]] = {}
    for name, mapped in _json(files[0]).items():
        names = [mapped] if isinstance(mapped, str) else mapped
        unknown = [each for each in names if each not in at] if isinstance(names, list) else [names]
        if unknown or not names:
            rule = "a JSON object: for each class of the set a list of the model's classes"
            shown = f"{name!r}: {', '.join(map(str, unknown[:SHOWN])) or 'none'} in {files[0]}"
            raise UserError.about(FIELD, shown, rule, f"name classes such as {', '.join(classes[:3])}")
        found[name] = frozenset(at[each] for each in names)
    return found


def _objectnet(files: Mapping[str, Path], count: int) -> dict[str, frozenset[int]]:
    folders, classes, order = (_json(files[name]) for name in ("folders", "classes", "order"))
    words = [line.strip() for line in text_of(files["words"], FIELD).splitlines()]
    try:
        position = {int(number): int(at) for at, number in order.items()}
        by_words = {text: position[number] for number, text in enumerate(words)}
        labels = {label: folder for folder, label in folders.items()}
        found = {labels[name]: frozenset(by_words[text] for text in both.split("; ")) for name, both in classes.items()}
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        rule = f"ObjectNet's own files, which belong together ({type(error).__name__}: {error})"
        raise UserError.about(FIELD, str(files["classes"].parent), rule, "take them from ObjectNet's archive") from None
    if any(at >= count for mapped in found.values() for at in mapped):
        rule = f"for a model of ImageNet's 1,000 classes (this one has {count})"
        raise UserError.about(FIELD, str(files["classes"].parent), rule, "leave this test set out")
    return found


def _json(file: Path) -> dict[str, Any]:
    try:
        content: Any = parse_json(text_of(file, FIELD))
    except ValueError:
        content = None
    if not isinstance(content, dict) or not content:
        raise UserError.about(FIELD, str(file), "a JSON object that is not empty", "check the path")
    return content


def with_class_map(name: str, found: Found, classes: tuple[str, ...], files: Sequence[Path]) -> TestSet:
    """Return the images of mapped classes with all of the model's classes that are right for each.

    Raises UserError where the map names a class that the set has not, or the set's labels have no names.
    """
    mapped = read_class_map(files, classes)
    if found.names is None:
        rule = "named classes, as folders have"
        raise UserError.about(f"test set {name}", f"bare numbers in {found.labelled_by}", rule, "state data.classes")
    lacking = sorted(set(mapped) - {found.names[label] for label in set(found.labels)})
    if lacking:
        value = f"no image of {', '.join(lacking[:SHOWN])} ({len(lacking)} of {len(mapped)}) in {found.labelled_by}"
        rule = f"images of every class that {FIELD} names"
        raise UserError.about(f"test set {name}", value, rule, "complete the test set, or correct the map")
    kept = [at for at, label in enumerate(found.labels) if found.names[label] in mapped]
    accepted = tuple(mapped[found.names[found.labels[at]]] for at in kept)
    images = LabelledImages(classes, found.source.select(kept), [min(each) for each in accepted])
    return TestSet(name, images, accepted, tuple(sorted(frozenset().union(*mapped.values()))))


def map_parts(files: Sequence[Path]) -> dict[str, str]:
    """Return what a fingerprint must cover of a map."""
    return {f"class map {file.name}": sha256_of(file) for file in files}
