"""A place on disk that holds a split of a data set, named by a path or a pattern, and in which form it holds it."""

from __future__ import annotations

import glob
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.data.remote.paths import RemotePath
from benchmarks.errors import UserError

PATTERN = set("*?[{")
Packed = Literal["webdataset", "huggingface"]
Form = Literal["auto", "folders"] | Packed
"""The forms of images without labels."""


@dataclass(frozen=True)
class Place:
    """A folder, a file, or the files that a pattern names, below the root of a data set."""

    root: Path
    split: str

    @property
    def path(self) -> Path:
        return self.root / self.split

    @property
    def is_pattern(self) -> bool:
        return not PATTERN.isdisjoint(self.split)

    def files(self, suffix: str) -> list[Path]:
        """Return the files that a pattern names, the file itself, or the folder's files with the suffix."""
        if isinstance(self.root, RemotePath):
            return _elsewhere(self.root, self.split, suffix)
        if self.is_pattern:
            escaped = glob.escape(str(self.root))
            named = [f"{escaped}/{each}" for each in expand(self.split)]
            # A name without a wildcard is kept even where there is no such file: its reader says that it is missing.
            return [Path(p) for each in named for p in (sorted(glob.glob(each)) if glob.has_magic(each) else [each])]
        return [self.path] if self.path.is_file() else sorted(self.path.glob(f"*{suffix}"))

    def some_files(self, suffix: str) -> list[Path]:
        """Return the files. Raises UserError where there are none."""
        files = self.files(suffix)
        if not files:
            rule = f"at least one {suffix} file"
            raise UserError.about("data split", str(self.path), rule, "set data.root and the split to where they are")
        return files

    def require_below_root(self) -> None:
        """Raise UserError where the place is named from elsewhere than the root."""
        parts = Path(self.split).parts
        if Path(self.split).is_absolute() or ".." in parts:
            rule = "below data.root, so that names and fingerprints do not depend on where the data lies"
            raise UserError.about("data split", self.split, rule, "set data.root to a folder above all splits")

    @property
    def is_saved(self) -> bool:
        """Whether the library `datasets` saved a split here, or a dictionary of splits."""
        return any((self.path / name).is_file() for name in ("dataset_info.json", "dataset_dict.json"))

    def packed_form(self) -> Packed | None:
        """Return the form in which many images share a file here; None where none do."""
        if isinstance(self.root, RemotePath):
            return "webdataset"
        if self.is_pattern or self.path.is_file():
            return "huggingface" if self.split.endswith(".parquet") else "webdataset"
        if self.is_saved or self.files(".parquet"):
            return "huggingface"
        return "webdataset" if self.files(".tar") else None


def require_shards_elsewhere(place: Place, form: str) -> None:
    """Raise UserError where data that lies elsewhere should have another form than shards."""
    if isinstance(place.root, RemotePath) and form not in ("auto", "webdataset"):
        rule, remedy = (
            "tar shards, where the data lies elsewhere",
            "data.format=webdataset, or copy the data to a folder",
        )
        raise UserError.about("data.format", form, rule, remedy)


def _elsewhere(root: RemotePath, split: str, suffix: str) -> list[Path]:
    """Return the files of a place elsewhere, which is asked for names only where there is a wildcard or a folder."""
    from benchmarks.data.remote.access import listed

    names = expand(split if split.endswith(suffix) or not PATTERN.isdisjoint(split) else f"{split}/*{suffix}")
    paths = [RemotePath(root / each) for each in names]
    return [path for each in paths for path in (listed(each) if glob.has_magic(str(each)) else [each])]


def expand(pattern: str) -> list[str]:
    """Return the names that a shard pattern stands for: `{000..146}` counts, `{a,b}` lists; the rest is left alone."""
    match = re.search(r"\{(\d+)\.\.(\d+)\}|\{([^{}]*,[^{}]*)\}", pattern)
    if match is None:
        return [pattern]
    if match[3] is not None:
        choices = match[3].split(",")
    else:
        width = len(match[1]) if match[1].startswith("0") or len(match[1]) == len(match[2]) else 0
        choices = [f"{number:0{width}d}" for number in range(int(match[1]), int(match[2]) + 1)]
    return [name for each in choices for name in expand(pattern[: match.start()] + each + pattern[match.end() :])]
