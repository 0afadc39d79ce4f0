"""Published numbers, one CSV per paper or repository, every row with the place where it stands."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, ValidationError, ValidationInfo, field_validator

from benchmarks.catalogue.metrics import Metric
from benchmarks.catalogue.tasks import TASKS
from benchmarks.config import Config, validate
from benchmarks.encoders import InitStage
from benchmarks.errors import UserError, did_you_mean
from benchmarks.files.yaml_files import read_yaml

REFERENCES = Path(__file__).parent.parent / "references"

BESIDE = (
    Metric(name="masked_loss", unit="", higher_is_better=False),
    Metric(name="parameters_millions", unit="M", higher_is_better=False),
    Metric(name="training_cost", unit="x", higher_is_better=False),
    Metric(name="times_less_data", unit="x"),
)
"""What sources state beside a task's own metrics: held-out masked loss, sizes, relative costs and amounts of data."""

GOOD_AVG_DIST_PX = (10, 20)
"""How far masks of SimMIM's good settings hide pixels, on images of 192 px: arXiv:2111.09886, figure 3."""


SAME_IMAGES = 0.01
"""By what share numbers of images may differ and still be those of one data set: unreadable ones, rounded parts."""


def metrics_of(task: str) -> dict[str, Metric]:
    """Return what numbers may be published about a task, by name."""
    return {metric.name: metric for metric in (*BESIDE, *TASKS[task].metrics)}


class Reference(Config):
    """A published number. Reports mark it `reported` and never average it with what was measured."""

    task: str
    protocol: Literal["pretrain", "finetune", "linear", "knn"]
    """What was trained for this number: a self-supervised encoder, all of it for the task, a linear head, nothing."""
    method: str
    backbone: str
    pretrain_epochs: Annotated[int, Field(ge=1)] | None = None
    """None (an empty cell): there was no pretraining, or the source does not say."""
    image_size_px: Annotated[int, Field(ge=1)] | None = None
    """The side of the task's images, not of the pretraining's. None: several, or the source does not say."""
    init_stage: InitStage | None = None
    """What the encoder was when this task began: `random` where the task's own training is all it had.

    None: the source does not say.
    """
    variant: str = ""
    """What sets the row apart from others of its method and backbone: the head, the data, the ablated choice."""
    metric: str
    value: Decimal
    """In the metric's unit, with the digits that the source shows."""
    source: str
    """An https address."""
    locator: Annotated[str, Field(min_length=1)]
    """Where in the source it stands, in words."""
    verified: bool
    """True: read in the source itself, or in notes on it that the locator names. False: remembered, or quoted by
    others; it may not be shown as `reported`."""

    @property
    def ablation(self) -> bool:
        """Tell whether it is a row of an ablation, which answers another question than how good the method is."""
        return self.locator.startswith("ablation of ")

    @field_validator("task")
    @classmethod
    def _known_task(cls, task: str) -> str:
        if task not in TASKS:
            raise ValueError(f"a task of the catalogue. {did_you_mean(task, TASKS)}")
        return task

    @field_validator("metric")
    @classmethod
    def _metric_of_the_task(cls, metric: str, info: ValidationInfo) -> str:
        known = list(metrics_of(info.data["task"])) if "task" in info.data else [metric]
        if metric not in known:
            raise ValueError(f"a metric of task {info.data['task']}: {', '.join(known)}")
        return metric

    @field_validator("value")
    @classmethod
    def _within_the_unit(cls, value: Decimal, info: ValidationInfo) -> Decimal:
        if {"task", "metric"} <= info.data.keys():
            metric = metrics_of(info.data["task"])[info.data["metric"]]
            low, high = metric.bounds
            if not low <= value <= high:
                raise ValueError(f"{low:g} to {high:g} {metric.unit}")
        return value

    @field_validator("source")
    @classmethod
    def _an_address(cls, source: str) -> str:
        if re.fullmatch(r'https://[^\s<>"/?#]+[^\s<>"]*', source) is None:
            raise ValueError("an address that starts with https://, without spaces")
        return source


def load_references(folder: Path = REFERENCES) -> list[Reference]:
    """Return every reference below `folder`, in the order of file names and lines.

    Raises UserError with file, line, field and rule for a row that breaks one, and for a row given twice.
    """
    return [reference for path in sorted(folder.glob("*.csv")) for reference in load_file(path)]


class Settings(Config):
    """For which settings of a pretraining the variants of one source stand."""

    source: str
    common: dict[str, JsonValue]
    """What every variant has: sections of the pretraining's recipe, and `images`, how many it is trained on."""
    variants: dict[str, dict[str, JsonValue]]
    """What a variant has instead."""

    def fit(self, variant: str, recipe: Mapping[str, Any], images: int) -> bool:
        """Tell whether a pretraining by this resolved recipe, on so many images, has the setting of a variant."""
        if variant not in self.variants:
            return False
        wanted: dict[str, Any] = {**self.common, **self.variants[variant]}
        expected = wanted.pop("images")
        return abs(images - expected) <= SAME_IMAGES * expected and _holds(wanted, recipe)


def _holds(wanted: Any, found: Any) -> bool:
    if isinstance(wanted, dict):
        return isinstance(found, Mapping) and all(_holds(value, found.get(key)) for key, value in wanted.items())
    if isinstance(wanted, list):
        return any(_holds(value, found) for value in wanted)
    return bool(wanted == found)


class _SettingsFile(Config):
    sources: tuple[Settings, ...]


@cache
def load_settings() -> dict[str, Settings]:
    """Return the settings that published variants stand for, by source."""
    path = REFERENCES / "settings.yaml"
    read = validate(_SettingsFile, read_yaml(path), str(path))
    return {each.source: each for each in read.sources}


def load_file(path: Path) -> list[Reference]:
    """Return the references of one file, in the order of its lines. Raises UserError as `load_references` does."""
    first_line: dict[Reference, int] = {}
    for line, row in _rows(path):
        reference = _check_row(path, line, row)
        earlier = first_line.setdefault(reference, line)
        if earlier != line:
            rule = f"given once (line {earlier} says the same)"
            raise UserError.about(f"{path}, line {line}", "a row given twice", rule, "remove one of the two")
    return list(first_line)


def _rows(path: Path) -> Iterator[tuple[int, dict[Any, Any]]]:
    """Yield (line number, cells) of every row below the header."""
    try:
        opened = path.open(encoding="utf-8-sig", newline="")  # Excel writes a byte order mark
    except OSError as error:
        raise UserError.about("references", str(path), f"a file ({error.strerror})", "check the path") from None
    with opened as file:
        reader = csv.DictReader(file, strict=True)
        try:
            _check_header(path, list(reader.fieldnames or ()))
            for row in reader:
                yield reader.line_num, row
        except (csv.Error, UnicodeDecodeError) as error:
            line = reader.line_num + 1
            raise UserError.about(
                f"{path}, line {line}", "(unreadable)", "CSV in UTF-8", f"correct it: {error}"
            ) from None


def _check_header(path: Path, found: list[str]) -> None:
    expected = list(Reference.model_fields)
    if found != expected:
        rule = f"the columns {','.join(Reference.model_fields)}"
        raise UserError.about(f"{path}, line 1", ",".join(found) or "(empty)", rule, "make them the file's first line")


def _check_row(path: Path, line: int, row: dict[Any, Any]) -> Reference:
    """Check one row; empty cells count as not given. `row` has the key None where there are cells too many."""
    where = f"{path}, line {line}"
    if None in row or None in row.values():
        rule = f"{len(Reference.model_fields)} cells"
        raise UserError.about(where, "another number of cells", rule, 'put cells that hold a comma in "quotes"')
    if "_" in (value := row["value"]) or not value.isascii():  # Python takes 8_3.5 for a number
        rule = "a number of the digits 0 to 9, as 83.5"
        raise UserError.about(f"{where}, value", value, rule, "correct the cell")
    try:
        return Reference.model_validate_strings({name: text for name, text in row.items() if text})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = str(first["loc"][0])
        rule = first["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
        raise UserError.about(f"{where}, {field}", row.get(field) or "(empty)", rule, "correct the cell") from None
