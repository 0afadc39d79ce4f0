"""Finding videos with their classes, in folders of classes or listed with labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

from benchmarks.data.files import joined
from benchmarks.data.fingerprint import Fingerprint, fingerprint
from benchmarks.data.found import VIDEOS
from benchmarks.errors import UserError, first_of
from benchmarks.files.named_files import find_file
from benchmarks.subset import Subset, find_list
from benchmarks.verbs.command import require_root
from transfer.images.classes import in_classes, read_class_list, require_every_class, training_classes
from transfer.images.folders import read_folders
from transfer.images.labelled import Found, LabelledImages
from transfer.images.read import HELD_OUT
from transfer.images.subset import hold_out
from transfer.video.data.lists import base_of, read_video_list
from transfer.video.data.recipe import VideoData
from transfer.video.data.something import in_order

SHOWN = 20
LISTS = "data.train_list=FILE and data.test_list=FILE"


@dataclass(frozen=True)
class LabelledVideo:
    """A video file, and the position of its class in the list of classes."""

    path: Path
    label: int


@dataclass(frozen=True)
class LabelledVideos(Sequence[LabelledVideo]):
    """Videos with their labels, made one by one when they are asked for."""

    files: Sequence[Path]
    labels: Sequence[int]

    def __len__(self) -> int:
        return len(self.labels)

    @overload
    def __getitem__(self, at: int) -> LabelledVideo: ...
    @overload
    def __getitem__(self, at: slice) -> LabelledVideos: ...
    def __getitem__(self, at: int | slice) -> LabelledVideo | LabelledVideos:
        if isinstance(at, slice):
            return LabelledVideos(self.files[at], self.labels[at])
        return LabelledVideo(self.files[at], self.labels[at])


@dataclass(frozen=True)
class VideoSets:
    """Training and test videos with the same classes."""

    root: Path
    train: Sequence[LabelledVideo]
    test: Sequence[LabelledVideo]
    classes: tuple[str, ...]
    fingerprint: Fingerprint
    missing: tuple[str, ...]
    """The listed videos that are not on disk, as `name: not there ...`, for the record."""
    held_out: Sequence[LabelledVideo] = ()
    """Training videos that nothing is trained on, by which a probe is chosen; they are not in `train`."""

    @property
    def train_labels(self) -> Sequence[int]:
        return [video.label for video in self.train]

    @property
    def files(self) -> str:
        return "videos"

    def test_name(self, position: int) -> str:
        """Return a test video's path below the root; its whole path where a list named one elsewhere."""
        path = self.test[position].path
        return str(path.relative_to(self.root) if path.is_relative_to(self.root) else path)


def read_videos(data: VideoData, num_classes: int | None, held_out: Subset | None = None) -> VideoSets:
    """Find the videos of both splits and their classes, and check that they fit each other and the task.

    `held_out` is the part of the training videos that is not trained on. Nothing is decoded here: damage to a video is
    found when it is read. Raises UserError that names the file for whatever is missing (beyond data.max_missing),
    unknown, out of range, listed twice or empty.
    """
    root = require_root(data.root)
    classes = find_file(root, "data.classes", data.classes)
    by_label = classes if classes is not None and classes.suffix.lower() == ".json" else None
    listed = None if classes is None or by_label else read_class_list(classes)
    missing: list[str] = []
    in_train = _found(root, data.train, "data.train_list", data.train_list, missing)
    in_test = _found(root, data.test, "data.test_list", data.test_list, missing)
    _refuse_missing(missing, data.max_missing)
    if by_label is not None:
        in_train, in_test = in_order(in_train, by_label), in_order(in_test, by_label)
    train = training_classes(in_train, listed, data.first_label, num_classes)
    test = in_classes(in_test, train.classes, listed, data.first_label)
    require_every_class(test, in_test.labelled_by, "video")
    files = joined(train.source.files, test.source.files)
    splits = {"train labels": (in_train, train), "test labels": (in_test, test)}
    parts = {name: images.sha256() for name, (found, images) in splits.items() if not found.labels_in_names}
    kept_back = train.select([])
    if held_out is not None:
        file = find_list(root, held_out.list, HELD_OUT)
        train, kept_back = hold_out(train, held_out, file, HELD_OUT)
        parts["held-out videos"] = kept_back.sha256()
    mark = fingerprint(base_of(root, files), files, parts=parts, noun="video")
    return VideoSets(root, _videos(train), _videos(test), train.classes, mark, tuple(missing), _videos(kept_back))


def _found(root: Path, split: str, field: str, given: str | None, missing: list[str]) -> Found:
    """Read one split; listed videos that are not on disk are added to `missing`."""
    file = find_file(root, field, given)
    if file is None:
        return read_folders(root, root / split, VIDEOS, LISTS)
    listed = read_video_list(root, root / split, file)
    missing += [f"{name}: not there (listed in {file.name})" for name in listed.missing]
    return listed.found


def _refuse_missing(missing: list[str], limit: int) -> None:
    if len(missing) > limit:
        shown = first_of(missing, SHOWN)
        rule = f"at most data.max_missing ({limit}) of the listed videos are not on disk"
        remedy = f"complete the videos, or train and test without them: data.max_missing={len(missing)}"
        raise UserError.about("data", f"{len(missing)} missing videos: {shown}", rule, remedy)


def _videos(images: LabelledImages) -> Sequence[LabelledVideo]:
    return LabelledVideos(images.source.files, images.labels)
