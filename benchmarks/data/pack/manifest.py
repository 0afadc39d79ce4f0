"""What a packed data set says of itself, in the JSON file beside its shards. Light to import."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from benchmarks.config import Config
from benchmarks.errors import UserError
from benchmarks.files.atomic import write_atomically
from benchmarks.files.json_files import read_json_bytes
from benchmarks.training.numbers import Count, Positive


class PackOptions(Config):
    """How images become shards. Equal images and options give equal bytes."""

    shard_mb: Positive = 500.0
    """A shard ends before the image with which it would be larger, in units of 10^6 bytes; it holds at least one."""
    shard_images: Count | None = None
    """A shard has at most so many images; null: as many as fit."""
    seed: Annotated[int, Field(ge=0)] | None = 0
    """The seed by which images are shuffled; null: they keep the order of the source."""
    short_side_px: Count | None = None
    """Larger images are resized so that their short side is this, and become JPEG; null: every byte as it is."""
    jpeg_quality: Annotated[int, Field(ge=1, le=100)] = 95
    """Pillow's quality of resized images."""
    damaged: Literal["refuse", "skip", "keep"] = "refuse"
    """What is done with an image that cannot be decoded. keep: none is decoded to find out."""


class Skipped(Config):
    """An image that could not be decoded and is in no shard."""

    position: Annotated[int, Field(ge=0)]
    """Its position in the source."""
    name: str
    reason: str


class Shard(Config):
    """One shard."""

    file: str
    images: Annotated[int, Field(ge=0)]
    begin: Annotated[int, Field(ge=0)]
    end: Count
    """The images from `begin` up to `end`, in the order of packing, are here or skipped."""
    bytes: Count
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    skipped: tuple[Skipped, ...] = ()


class Source(Config):
    """What was packed."""

    place: str
    fingerprint: str
    images: Count
    classes: tuple[str, ...] | None
    """In the order of the labels; null: images without labels."""
    resized_with: str | None = None
    """The libraries whose versions decide the bytes of resized images."""


class Manifest(Config):
    """A packed data set."""

    format: Literal["mimbench shards 1"] = "mimbench shards 1"
    complete: bool = False
    images: Annotated[int, Field(ge=0)] = 0
    per_class: tuple[int, ...] | None = None
    """How many images of each class are in the shards; null until it is complete, and without labels."""
    source: Source
    options: PackOptions
    shards: tuple[Shard, ...] = ()

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        return tuple(each for shard in self.shards for each in shard.skipped)

    def write(self, path: Path) -> None:
        """Replace the file. Raises what `write_atomically` raises."""
        write_atomically(path, (json.dumps(self.model_dump(mode="json"), indent=1) + "\n").encode())


def read_manifest(path: Path) -> Manifest | None:
    """Return what the file says; None where there is none. Raises UserError for any other file."""
    try:
        return Manifest.model_validate_json(read_json_bytes(path))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        rule = "what `mimbench data pack` wrote beside its shards"
        first = error.errors(include_url=False)[0] if isinstance(error, ValidationError) else None
        reason = str(error) if first is None else f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise UserError.about(str(path), reason, rule, "remove it with its shards, or choose another --name") from None
