"""How an encoder was trained: its stages in order, each with its data, passes over them, labels and cost."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Literal

from pydantic import Field

from benchmarks.config import Amount, Config, Count

Labels = Literal["none", "labels", "captions", "hashtags"]
"""What a training was given beside the images; `labels` are classes, boxes or masks."""
LONGEST_TEXT = 200
Text = Annotated[str, Field(min_length=1, max_length=LONGEST_TEXT)]
UNKNOWN = "unknown"
MOST_STAGES = 64
"""The most stages that a history may have: many times what a chain of trainings needs."""
SPLITS = frozenset(("train", "training", "train2017", "images", "unlabelled", "unlabeled", "pretrain", "data"))
"""Names of folders that name a part of a data set, not the data set."""


class TrainingData(Config):
    """A data set that a training saw."""

    name: Text
    images: Count | None = None
    """Images, or clips, that were trained on; None where it is not known."""
    fingerprint: str | None = None
    """The fingerprint of the files, where they were seen here."""
    labels: Labels | None = None
    """None where it is not known whether labels were used."""


class TrainingStage(Config):
    """One training of an encoder. What is not known is None."""

    method: Text
    """simmim, supervised, ..."""
    data: TrainingData | None = None
    epochs: Amount | None = None
    """Passes over the data."""
    run_id: str | None = None
    """The run of this program that did it."""
    recipe_digest: str | None = None
    """The digest of that run's recipe."""
    seed: int | None = None
    """The seed of that run."""
    seconds: Amount | None = None
    """Time at work."""
    gpus: Count | None = None
    """GPUs that worked on it together; 0 for a training on the CPU."""

    @property
    def images_seen(self) -> float | None:
        """Epochs x images; None where either is not known."""
        if self.epochs == 0:
            return 0.0
        images = self.data.images if self.data else None
        return None if self.epochs is None or images is None else self.epochs * images

    @property
    def gpu_hours(self) -> float | None:
        """The hours of all its GPUs together; None where they are not known, and on the CPU."""
        return self.seconds * self.gpus / 3600 if self.seconds is not None and self.gpus else None

    @property
    def words(self) -> str:
        """`simmim 800 x 1,281,167 of ImageNet-1K (no labels)`; what is not known is a question mark."""
        if self.epochs == 0:
            return f"{self.method}, nothing trained"
        epochs = "?" if self.epochs is None else f"{self.epochs:.4g}" if self.epochs < 1000 else f"{self.epochs:,.0f}"
        if self.data is None:
            return f"{self.method} {epochs} x ? of unknown data"
        images = "?" if self.data.images is None else f"{self.data.images:,}"
        labels = {"none": "no labels", None: "labels unknown"}.get(self.data.labels, self.data.labels)
        return f"{self.method} {epochs} x {images} of {self.data.name} ({labels})"


History = Annotated[tuple[TrainingStage, ...], Field(max_length=MOST_STAGES)]
"""The stages that led to an encoder, the first one first; none of random weights."""


def in_words(stages: Iterable[TrainingStage]) -> str:
    """Return a history in one line."""
    return ", then ".join(stage.words for stage in stages)


def history_from_parents(parents: Sequence[str], method: str, epochs: int | None) -> tuple[TrainingStage, ...]:
    """Return the history of an encoder of which only the runs that led to it are on record, the nearest last.

    `method` and `epochs` are those of the nearest.
    """
    nearest = TrainingStage(method=short(method), epochs=epochs, run_id=parents[-1] if parents else None)
    return no_longer([*(TrainingStage(method=UNKNOWN, run_id=run_id) for run_id in parents[:-1]), nearest])


def no_longer(stages: Sequence[TrainingStage], than: int = MOST_STAGES) -> tuple[TrainingStage, ...]:
    """Return a history of at most so many stages: an unknown one in place of the earliest of a longer one."""
    if len(stages) <= than:
        return tuple(stages)
    return (TrainingStage(method=UNKNOWN), *stages[len(stages) - than + 1 :])


def short(name: str) -> str:
    """Return a name as a history can hold it."""
    return name[:LONGEST_TEXT] or UNKNOWN


def pretraining_data(history: Iterable[TrainingStage]) -> tuple[TrainingData, ...] | None:
    """Return the data of all stages; None where that of one is not known."""
    found = [stage.data for stage in history]
    known = tuple(data for data in found if data is not None)
    return known if len(known) == len(found) else None


class DataSet(Config):
    """A data set of the field: its name, its published number of training images, and what else it is called."""

    name: str
    images: int | None
    source: str
    aliases: tuple[str, ...] = ()


def _data_set(name: str, images: int | None, source: str, *aliases: str) -> DataSet:
    return DataSet(name=name, images=images, source=source, aliases=aliases)


DATA_SETS = (
    _data_set("ImageNet-1K", 1_281_167, "arXiv:1409.0575", "imagenet", "in1k", "ilsvrc", "ilsvrc2012"),
    _data_set("ImageNet-12K", None, "huggingface.co/datasets/timm/imagenet-12k-wds", "in12k"),
    _data_set("ImageNet-22K", 14_197_122, "image-net.org, release of autumn 2011", "imagenet21k", "in21k", "in22k"),
    _data_set("COCO 2017", 118_287, "cocodataset.org", "coco", "mscoco", "coco2017"),
    _data_set("ADE20K", 20_210, "arXiv:1608.05442", "adechallengedata2016"),
    _data_set("Kinetics-400", None, "arXiv:1705.06950", "k400"),
    _data_set("iNaturalist 2018", 437_513, "github.com/visipedia/inat_comp", "inat18", "inat2018"),
    _data_set("LVD-142M", 142_109_386, "arXiv:2304.07193, table 15"),
    _data_set("LVD-1689M", 1_689_000_000, "arXiv:2508.10104"),
    _data_set("SAT-493M", 493_000_000, "arXiv:2508.10104"),
    _data_set("WIT-400M", 400_000_000, "arXiv:2103.00020", "openai"),
    _data_set("LAION-400M", 413_000_000, "arXiv:2111.02114"),
    _data_set("LAION-2B", 2_320_000_000, "arXiv:2210.08402"),
    _data_set("DataComp-1B", 1_400_000_000, "arXiv:2304.14108", "datacompxl"),
    _data_set("DFN-2B", 2_000_000_000, "arXiv:2309.17425"),
    _data_set("DFN-5B", 5_000_000_000, "arXiv:2309.17425"),
    _data_set("MetaCLIP-400M", 400_000_000, "arXiv:2309.16671"),
    _data_set("MetaCLIP-2.5B", 2_500_000_000, "arXiv:2309.16671"),
    _data_set("WebLI", 10_000_000_000, "arXiv:2209.06794"),
    _data_set("Merged-2B", 2_000_000_000, "arXiv:2303.15389"),
    _data_set("Merged-30M", 29_600_000, "arXiv:2211.07636"),
    _data_set("Merged-38M", 38_000_000, "arXiv:2303.11331"),
    _data_set("YFCC-15M", 15_000_000, "arXiv:2103.00020"),
    _data_set("CC12M", 12_400_000, "arXiv:2102.08981"),
    _data_set("IG-1B", 940_000_000, "arXiv:1905.00546"),
)
"""Names of data sets, by which encoders are compared, with the published number of images they have to train on."""


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


_BY_NAME = {_plain(alias): each for each in DATA_SETS for alias in (each.name, *each.aliases)}


def find_data_set(name: str) -> DataSet | None:
    """Return the data set that has this name or alias, in any spelling; None where none has."""
    return _BY_NAME.get(_plain(name))


def name_of_folder(root: str, images: int | None) -> str:
    """Return what the data in a folder are called: the name of the folder, or that of the data set which it names.

    A folder with more images than its name's data set has is not taken for it.
    """
    parts = [part for part in re.split(r"[/\\]+", root) if part not in ("", ".", "..")]
    while len(parts) > 1 and parts[-1].lower() in SPLITS:
        parts.pop()
    folder = short(parts[-1]) if parts else UNKNOWN
    known = find_data_set(folder)
    if known is None or (known.images is not None and images is not None and images > 1.1 * known.images):
        return folder
    return known.name
