"""The four kinds of transfer, for tests of what they share: small data, a command, and what a run leaves behind."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from tests.support import small
from tests.support.libraries import library


@dataclass(frozen=True)
class Kind:
    """One kind of transfer."""

    name: str
    task: str
    library: tuple[str, str] | None
    """The module without which this kind does not run, and the package that has it."""
    whole: str
    """The name of the session's fixture with the folder of the whole data."""
    cut: Callable[[Path, Path], Path]
    """Copies a small part of the whole data to a new folder."""
    command: Callable[[Path], list[str]]
    """A real training of a few steps on such a part, which evaluates twice; add --encoder and --runs."""
    damage: Callable[[Path], dict[Path, str]]
    """Damages some files of such a part; returns them with words of the reason that is given for each."""
    saved_at: int
    """The first step after which a checkpoint is saved."""
    evaluations: tuple[tuple[str, str, float], ...]
    """For each evaluation its score, its unit of progress, and when it takes place."""
    images: int
    image_size_px: int
    encoder: str
    """The prefix of the encoder's tensors in a checkpoint's model."""
    results: tuple[str, ...]
    """The files that the last evaluation writes."""
    exporting: tuple[str, ...] = ()
    """Overrides with which a run exports an encoder of images."""
    shorter: tuple[str, ...] = ()
    """Overrides with which a run takes fewer steps."""

    def __str__(self) -> str:
        return self.name

    def require(self) -> None:
        """Skip, with the reason, where its library is not installed."""
        if self.library is not None:
            library(*self.library)


def cut_boxes(whole: Path, root: Path) -> Path:
    """Copy 12 training and 4 test pictures."""
    for split, count in (("train", 12), ("test", 4)):
        name = Path("annotations") / f"instances_{split}.json"
        document = json.loads((whole / name).read_text())
        document["images"] = document["images"][:count]
        kept = {image["id"] for image in document["images"]}
        document["annotations"] = [each for each in document["annotations"] if each["image_id"] in kept]
        (root / split).mkdir(parents=True)
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(json.dumps(document))
        for image in document["images"]:
            shutil.copy(whole / split / image["file_name"], root / split)
    return root


def cut_scenes(whole: Path, root: Path) -> Path:
    """Copy 12 training and 4 test scenes."""
    for kind in ("images", "annotations"):
        for split, count in (("training", 12), ("validation", 4)):
            folder = root / kind / split
            folder.mkdir(parents=True)
            for file in sorted((whole / kind / split).iterdir())[:count]:
                shutil.copy(file, folder)
    return root


def cut_motion(whole: Path, root: Path) -> Path:
    """Copy 8 training and 4 test videos of each class."""
    for split, count in (("train", 8), ("val", 4)):
        for folder in sorted(each for each in (whole / split).iterdir() if each.is_dir()):
            kept = root / split / folder.name
            kept.mkdir(parents=True)
            for file in sorted(folder.iterdir())[:count]:
                shutil.copy(file, kept)
    return root


def detection(data: Path) -> list[str]:
    """A real training of 6 steps; add --encoder and --runs."""
    return [
        "transfer",
        "digit_boxes",
        f"data.root={data}",
        "drop_path_rate=0.1",
        "box_head_channels=32",
        "testing.score_threshold=0.0",
        "training.steps=6",
        "training.batch_size=4",
        "training.schedule={kind: multistep, lr: 1e-3, milestone_steps: [5], warmup_steps: 2}",
        "training.log_every_steps=2",
        "training.checkpoint_every_steps=2",
        "evaluate_every_steps=4",
    ]


def segmentation(data: Path) -> list[str]:
    """A real training of 6 steps; add --encoder and --runs."""
    return [
        "transfer",
        "digit_scenes",
        f"data.root={data}",
        "image_size_px=64",
        "head_channels=16",
        "auxiliary_channels=8",
        "drop_path_rate=0.1",
        "training.steps=6",
        "training.batch_size=4",
        "training.schedule.warmup_steps=2",
        "training.log_every_steps=2",
        "training.checkpoint_every_steps=2",
        "evaluate_every_steps=4",
    ]


def video(data: Path) -> list[str]:
    """A real training of a few steps over 3 epochs; add --encoder and --runs."""
    return [
        "transfer",
        "digit_motion",
        f"data.root={data}",
        "image_size_px=32",
        "sampling.frames=4",
        "patch_frames=2",
        "window_frames=2",
        "sampling.test_clips=2",
        "sampling.test_crops=3",
        "head_dropout=0.5",
        "drop_path_rate=0.1",
        "views_along_the_way=one",
        "evaluate_every_epochs=2",
        "training.epochs=3",
        "training.batch_size=10",
        "training.schedule.warmup_epochs=1",
        "training.log_every_steps=1",
        "training.checkpoint_every_steps=2",
    ]


def _damage_digits(data: Path) -> dict[Path, str]:
    cut_short, empty = (sorted((data / split / "4").iterdir())[0] for split in ("train", "test"))
    cut_short.write_bytes(cut_short.read_bytes()[:80])
    empty.write_bytes(b"")
    return {cut_short: "", empty: ""}


def _damage_boxes(data: Path) -> dict[Path, str]:
    broken, odd = data / "train" / "0002.png", data / "test" / "0003.png"
    broken.write_bytes(broken.read_bytes()[:200])
    Image.new("RGB", (50, 40)).save(odd)
    return {broken: "", odd: ""}


def _damage_scenes(data: Path) -> dict[Path, str]:
    broken, odd = (data / "images" / "training" / f"000{number}.png" for number in (2, 5))
    broken.write_bytes(broken.read_bytes()[:200])
    mask = data / "annotations" / "training" / odd.name
    Image.new("L", (64, 64), 77).save(mask)
    return {broken: "", mask: "unknown class 77 (0 is ignored, 1 to 11 are the classes)"}


def _damage_motion(data: Path) -> dict[Path, str]:
    broken = [sorted((data / split).rglob("*.mp4"))[1] for split in ("train", "val")]
    for path in broken:
        path.write_bytes(path.read_bytes()[:200])
    return dict.fromkeys(broken, "")


CLASSIFICATION = Kind(
    name="classification",
    task="digits",
    library=None,
    whole="digits",
    cut=small.cut_digits,
    command=small.classification,
    damage=_damage_digits,
    saved_at=3,
    evaluations=(("top1", "epoch", 2), ("top1", "epoch", 4)),
    images=60,
    image_size_px=32,
    encoder="",
    results=("predictions.csv",),
    shorter=("training.epochs=2",),
)
DETECTION = Kind(
    name="detection",
    task="digit_boxes",
    library=("pycocotools", "pycocotools"),
    whole="digit_boxes",
    cut=cut_boxes,
    command=detection,
    damage=_damage_boxes,
    saved_at=2,
    evaluations=(("box_ap", "step", 4), ("box_ap", "step", 6)),
    images=16,
    image_size_px=64,
    encoder="maps.encoder.backbone.",
    results=("classes.csv",),
    shorter=("training.steps=5",),
)
SEGMENTATION = Kind(
    name="segmentation",
    task="digit_scenes",
    library=("mmseg", "onedl-mmsegmentation"),
    whole="scenes",
    cut=cut_scenes,
    command=segmentation,
    damage=_damage_scenes,
    saved_at=2,
    evaluations=(("mIoU", "step", 4), ("mIoU", "step", 6)),
    images=16,
    image_size_px=64,
    encoder="backbone.encoder.backbone.",
    results=("classes.csv",),
    shorter=("training.steps=3",),
)
VIDEO = Kind(
    name="video",
    task="digit_motion",
    library=("av", "av"),
    whole="motion",
    cut=cut_motion,
    command=video,
    damage=_damage_motion,
    saved_at=2,
    evaluations=(("top1_one_view", "epoch", 2), ("top1", "epoch", 3)),
    images=48,
    image_size_px=32,
    encoder="encoder.backbone.",
    results=("predictions.csv", "per_class.csv"),
    exporting=("temporal=frame_pooling", "sampling.frames=2"),
    shorter=("training.epochs=2",),
)
KINDS = (CLASSIFICATION, DETECTION, SEGMENTATION, VIDEO)


def rows_of(file: Path) -> list[dict[str, str]]:
    """Read a table that a run has written."""
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))
