"""Checkpoints that others published, by the names under which `--encoder` takes them: `mae:vit_base`."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal
from urllib.parse import unquote, urlsplit

from pydantic import Field, field_validator, model_validator

from benchmarks.catalogue.published import Reference, load_references
from benchmarks.config import Config, Count, validate
from benchmarks.encoders import TrainedStage
from benchmarks.errors import UserError, did_you_mean
from benchmarks.files.yaml_files import read_yaml
from benchmarks.history import Text

FILE = Path(__file__).with_name("checkpoints.yaml")
OWN_FILE = "MIMBENCH_CATALOGUE"
"""The variable that names a person's own table of checkpoints, in the form of the shipped one."""
NAME = re.compile(r"[a-z0-9][a-z0-9_-]*:[a-z0-9][a-z0-9_.-]*")
RESERVED = ("timm", "hf-hub", "random", "python", "torchvision", "http", "https", "file")
"""Words before a colon that mean something else."""
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.,+=-]*")
_LOCAL = ("127.0.0.1", "localhost", "::1")
_DIGITS = {"sha256": 64, "md5": 32}


class Digest(Config):
    """What authors publish of a file's digest: all of it, or the digits that it begins with."""

    algorithm: Literal["sha256", "md5"]
    digits: Annotated[str, Field(pattern=r"^[0-9a-f]{6,64}$")]

    @property
    def whole(self) -> bool:
        """Whether it is the whole sha256, with which no other file can be made to agree."""
        return self.algorithm == "sha256" and len(self.digits) == _DIGITS["sha256"]

    @property
    def words(self) -> str:
        """`sha256`, or `the first 8 of 64 digits of its sha256`."""
        known, every = len(self.digits), _DIGITS[self.algorithm]
        return self.algorithm if known == every else f"the first {known} of {every} digits of its {self.algorithm}"


class Checkpoint(Config):
    """A published checkpoint, as its authors' page describes it."""

    name: str
    method: Text
    """As references name it: simmim, mae, supervised, ..."""
    architecture: Text
    """A timm model, or an encoder of `mimbench list encoders`."""
    architecture_settles: bool = False
    """Whether the tensors leave something of the architecture open, which its name then settles."""
    stage: TrainedStage
    data: Text | None = None
    """What it was trained on; None where that is not published."""
    epochs: Count | None = None
    backbone: Text | None = None
    variant: str = ""
    """Backbone and variant are those of the references that say what it scores."""
    page: Annotated[str, Field(pattern="^https://")]
    """Where its authors publish it."""
    read: Text = "its page"
    """Which files, at which commit, the row was read in."""
    address: str
    file: str = ""
    """The file's name; by default the end of the address."""
    by_hand: str | None = None
    """Why a program cannot download it; None where it can."""
    digest: Digest | None = None
    bytes: Count | None = None
    licence: Text
    """Of the weights, as the page states it."""

    @field_validator("name")
    @classmethod
    def _a_name(cls, name: str) -> str:
        if not NAME.fullmatch(name) or name.partition(":")[0] in RESERVED:
            raise ValueError(f"METHOD:NAME of small letters, digits, _ and -, the first none of {', '.join(RESERVED)}")
        return name

    @field_validator("digest", mode="before")
    @classmethod
    def _split(cls, digest: object) -> object:
        if not isinstance(digest, str):
            return digest
        algorithm, _, digits = digest.partition(":")
        return {"algorithm": algorithm, "digits": digits}

    @field_validator("address")
    @classmethod
    def _an_address(cls, address: str) -> str:
        if not address.isprintable() or " " in address or not may_be_fetched(address):
            raise ValueError("an address that starts with https:// (http:// for this machine alone)")
        return address

    @model_validator(mode="after")
    def _a_file_name(self) -> Checkpoint:
        if not _FILE_NAME.fullmatch(self.file_name):
            raise ValueError(f"file: a name of letters, digits and _.,+=-, not {self.file_name!r}; state it")
        return self

    @property
    def file_name(self) -> str:
        return self.file or unquote(PurePosixPath(urlsplit(self.address).path).name)

    @property
    def published(self) -> list[Reference]:
        """Return what its authors report that it scores, as the references hold it."""
        started_from = "random" if self.stage == "supervised" else self.stage
        return [
            each
            for each in load_references()
            if (each.method, each.backbone, each.variant) == (self.method, self.backbone, self.variant)
            and self.page.startswith(each.source)
            and each.init_stage == started_from
            and each.pretrain_epochs in (None, self.epochs)
            and each.metric != "masked_loss"
        ]


def may_be_fetched(address: str) -> bool:
    """Tell whether weights may come from an address: nobody on the way can read or change what TLS carries."""
    parts = urlsplit(address)
    return bool(parts.hostname) and (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOCAL))


class _Row(Config):
    """A checkpoint in the file: what it leaves out is its group's."""

    architecture: str
    data: str | None = None
    epochs: int | None = None
    backbone: str | None = None
    variant: str = ""
    address: str
    file: str = ""
    digest: str | None = None
    bytes: int | None = None


class _Group(Config):
    """What checkpoints of one page share."""

    page: str
    read: str = "its page"
    licence: str
    method: str
    stage: TrainedStage
    data: str | None = None
    by_hand: str | None = None
    architecture_settles: bool = False
    checkpoints: dict[str, _Row]


class _File(Config):
    groups: tuple[_Group, ...]


def load_checkpoints() -> Mapping[str, Checkpoint]:
    """Return every checkpoint by its name: those that are shipped, and a person's own, which stand in for them.

    Raises UserError for a file that breaks a rule, with the row.
    """
    own = os.environ.get(OWN_FILE)
    return {**_shipped(), **(_load(Path(own)) if own else {})}


@cache
def _shipped() -> Mapping[str, Checkpoint]:
    return _load(FILE)


def _load(path: Path) -> dict[str, Checkpoint]:
    found: dict[str, Checkpoint] = {}
    for group in validate(_File, read_yaml(path), str(path)).groups:
        shared = group.model_dump(exclude={"checkpoints"})
        for name, row in group.checkpoints.items():
            fields = {**shared, **row.model_dump(exclude_defaults=True), "name": name}
            if name in found:
                raise UserError.about(f"{path}: {name}", "given twice", "a name of its own", "rename one of the two")
            found[name] = validate(Checkpoint, fields, f"{path}: {name}")
    return found


def find_checkpoint(name: str) -> Checkpoint:
    """Return the checkpoint of this name. Raises UserError, with the nearest guess, where there is none."""
    known = load_checkpoints()
    if name not in known:
        family = [each for each in known if each.startswith(name.partition(":")[0] + ":")]
        rule = "a checkpoint of `mimbench list checkpoints`"
        raise UserError.about("encoder", name, rule, did_you_mean(name, family or known))
    return known[name]


def is_family(word: str) -> bool:
    """Tell whether names of checkpoints begin with this word and a colon."""
    return any(name.startswith(f"{word}:") for name in load_checkpoints())
