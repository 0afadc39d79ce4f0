"""The two kinds of line a table has: what was measured here, and what was published elsewhere."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

from benchmarks.catalogue.backbones import backbone_name
from benchmarks.catalogue.published import Reference, load_references, load_settings
from benchmarks.catalogue.tasks import TASKS
from benchmarks.runs.record import RunRecord
from reports.compare.score_difference import Comparison
from reports.records.ancestry import Budget
from reports.records.rows import EVALUATED, FAMILIES, Row
from reports.text import count

COST = "training_cost"
"""The metric of published costs of pretrainings, relative to one of them."""
PROTOCOLS = {
    "pretrain": "pretrained",
    "finetune": "fine-tuned",
    "linear": "linear probe",
    "knn": "nearest neighbours",
    EVALUATED: FAMILIES[3],
}
"""What protocols are called wherever people read them; others go by their own names."""
Shown = Literal["none", "same", "all"]
"""Which published numbers a table shows: none, those of the backbones in it, or all of its task."""


@dataclass(frozen=True)
class Measured:
    """A row that was measured here, with the name a table gives it and its comparison with the baseline."""

    row: Row
    name: str
    comparison: Comparison
    pretraining: RunRecord | None = None
    """The pretraining that made its encoder, where that is at hand."""
    pretraining_cost: float | None = None
    """The time of that pretraining's step over the baseline's, where the two were timed alike."""
    budget: Budget | None = None
    """Every training behind the score."""
    other_data: str | None = None
    """A mark of a difference between encoders that saw different data."""
    varied: str = ""
    """What its recipe has different from other rows' recipes of the same name, as in a sweep."""
    same_setting: tuple[Reference, ...] = ()
    """What was published of the same encoder, pretrained by the same setting and trained for the task alike."""
    made: str | None = None
    """The baseline's label, where the row stands for it because its training made the baseline's encoder."""
    test_images_seen: str | None = None
    """A warning where a pretraining behind it trained on the images that it is tested on."""
    marks: tuple[str, ...] = ()
    """What is odd about its runs: skipped steps, other software than the rows beside it, an encoder of no known run."""
    p_holm: float | None = None
    """The p of its difference to the baseline, corrected by Holm; None where that was not asked for, or has none."""
    kind = "measured"

    @property
    def mark(self) -> str:
        """What stands in the way of a plain reading of the row's difference, in words."""
        doubts = self.budget.doubts if self.budget else ()
        made = f"the training that made {self.made}, for which it stands here" if self.made else None
        row = (made, self.row.recipe.misfit, self.comparison.mark, self.other_data, self.test_images_seen)
        return "; ".join(filter(None, (*row, *doubts, *self.marks)))

    @property
    def origin(self) -> str:
        return f"{self.row.recipe.name}, {count(len(self.row.runs), 'run')}"


@dataclass(frozen=True)
class Published:
    """Published numbers of one model by one source; they are in no mean and no difference."""

    references: tuple[Reference, ...]
    by: str = ""
    """Whose result it is, where the table has several of one model that differ in nothing else."""
    comparison = Comparison(note="reported, not compared")
    kind = "reported"

    @property
    def first(self) -> Reference:
        return self.references[0]

    @property
    def family(self) -> str:
        """The family of protocols, as a row's."""
        return FAMILIES[2] if self.first.protocol in ("linear", "knn") else FAMILIES[0]

    @property
    def name(self) -> str:
        """Method, backbone, protocol, epochs, image size and variant, by which readers tell published results apart."""
        first = self.first
        parts = [f"{first.method} {first.backbone}", PROTOCOLS[first.protocol]]
        parts += [f"{first.pretrain_epochs} epochs"] if first.pretrain_epochs else []
        parts += [f"{first.image_size_px} px"] if first.image_size_px else []
        return "; ".join(filter(None, (", ".join(parts), first.variant, self.by)))

    @property
    def origin(self) -> str:
        return f"reported by {self.first.source}"

    @property
    def source(self) -> str:
        """The source's address, and the places in it where the numbers stand."""
        return f"{self.first.source} ({self.places})"

    @property
    def places(self) -> str:
        """Where in the source the numbers stand."""
        return "; ".join(dict.fromkeys(each.locator for each in self.references))

    def value(self, metric: str) -> str:
        """Return the number as its source shows it; empty where it has none."""
        return next((str(each.value) for each in self.references if each.metric == metric), "")


Line = Measured | Published


def published_beside(
    task: str, rows: Sequence[Row], shown: Shown, unverified: bool, own: Iterable[Reference] = ()
) -> tuple[Published, ...]:
    """Return the published results for `task` that stand beside `rows`, verified ones alone unless asked otherwise.

    A backbone is the same where its shape is. Rows of ablations, and relative costs of pretrainings, are
    shown only where all are asked for; `own`, which a person brought, whatever is asked for. Fine-tuned encoders come
    first, of each protocol the best score.
    """
    backbones = {backbone_name(row.architecture) for row in rows}
    known = () if shown == "none" else _references(unverified=unverified)
    if shown == "same":
        known = tuple(
            each for each in known if each.backbone in backbones and not each.ablation and each.metric != COST
        )
    chosen = [each for each in dict.fromkeys((*known, *own)) if each.task == task and (each.verified or unverified)]
    found = _grouped(each for each in chosen if each.protocol != "pretrain" or each.metric == COST)
    names = Counter(one.name for one in found)
    found = [replace(one, by=_short(one.first.source)) if names[one.name] > 1 else one for one in found]
    return tuple(sorted(found, key=lambda one: _place(one, task)))


def _short(address: str) -> str:
    return address.removeprefix("https://").removeprefix("github.com/")


def _place(published: Published, task: str) -> tuple[bool, str, bool, float, str]:
    """Return the key by which published results are sorted: ablations last, then by protocol, score and name."""
    primary, first = TASKS[task].primary, published.first
    score = published.value(primary.name)
    worth = float(score or 0) * (1 if primary.higher_is_better else -1)
    return first.ablation, PROTOCOLS[first.protocol], not score, -worth, published.name


def published_of_setting(
    row: Row, metric: str, pretraining: RunRecord | None, shown: Shown, unverified: bool
) -> tuple[Reference, ...]:
    """Return the published values of a row's own setting: that of its pretraining, backbone, image size and protocol.

    `pretraining` made the row's encoder, with no training in between; None: it is not at hand. Which settings published
    variants stand for is in benchmarks/references/settings.yaml.
    """
    if pretraining is None or shown == "none":
        return ()
    backbone, images = backbone_name(row.architecture), pretraining.data.images

    def alike(each: Reference) -> bool:
        return (
            (each.task, each.metric, each.protocol, each.backbone) == (row.task, metric, row.protocol, backbone)
            and each.image_size_px == row.conditions.image_size_px
            and each.source in settings
            and settings[each.source].fit(each.variant, pretraining.recipe.resolved, images)
        )

    settings = load_settings()
    return tuple(each for each in _references(unverified=unverified) if alike(each))


@cache
def _references(*, unverified: bool) -> tuple[Reference, ...]:
    """Return the published results that were read in their source, and the others where they are asked for."""
    return tuple(each for each in load_references() if each.verified or unverified)


def _grouped(references: Iterable[Reference]) -> list[Published]:
    same: dict[tuple[object, ...], list[Reference]] = defaultdict(list)
    for each in references:
        model = (each.method, each.backbone, each.pretrain_epochs, each.image_size_px, each.init_stage)
        protocol = "finetune" if each.metric == COST else each.protocol  # sources state it beside the fine-tuned score
        same[(*model, protocol, each.variant, each.source)].append(each)
    return [Published(tuple(group)) for group in same.values()]
