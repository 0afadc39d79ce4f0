"""A data set packed into a folder: begun, gone on with after whatever ended it, and compared with its source."""

from __future__ import annotations

import contextlib
import random
import re
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.data.image_source import ImageSource
from benchmarks.data.pack.manifest import Manifest, PackOptions, Shard, Source, read_manifest
from benchmarks.data.pack.samples import Maker, resized_with
from benchmarks.data.pack.shards import Opened, Write, shards_of
from benchmarks.errors import UserError, WorkFailed, first_of
from benchmarks.files.atomic import make_folder, written_whole
from benchmarks.files.locks import Locked, locked
from benchmarks.files.named_files import sha256_of
from benchmarks.text.progress import ProgressReport

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHOWN = 5


@dataclass(frozen=True)
class Packing:
    """Images that are to be shards `NAME-000000.tar`, ... of a folder."""

    folder: Path
    name: str
    place: str
    """Where the images lie, for the manifest."""
    images: ImageSource
    labels: Sequence[int] | None
    classes: tuple[str, ...] | None
    fingerprint: str
    options: PackOptions

    @property
    def manifest(self) -> Path:
        return self.folder / f"{self.name}.json"

    @cached_property
    def order(self) -> NDArray[Any]:
        """The positions of the images in the order in which they are packed."""
        import numpy as np

        if self.options.seed is None:
            return np.arange(len(self.images))
        drawn = random.Random(self.options.seed)  # its random() is the same in every version of Python
        keys = np.fromiter((drawn.random() for _ in range(len(self.images))), np.float64, len(self.images))
        return np.argsort(keys, kind="stable")

    @cached_property
    def maker(self) -> Maker:
        return Maker(self.images, self.labels, self.options)

    def file(self, number: int) -> str:
        return f"{self.name}-{number:06d}.tar"

    def fresh(self) -> Manifest:
        """Return the manifest of a packing that has not begun."""
        source = Source(
            place=self.place,
            fingerprint=self.fingerprint,
            images=len(self.images),
            classes=self.classes,
            resized_with=None if self.options.short_side_px is None else resized_with(),
        )
        return Manifest(source=source, options=self.options)


def pack(packing: Packing) -> Manifest:
    """Write what is not written yet, and return what there is then.

    Raises UserError where the folder holds other shards of this name, or another process is at work on them; WorkFailed
    for a damaged image, and for a full disk: the same call goes on from there.
    """
    make_folder(packing.folder)
    with _held(packing):
        found = _begun(packing)
        left = re.compile(rf"\.{packing.name}(-\d+\.tar|\.json)\.[0-9a-f]+\.tmp")  # another name may begin with ours
        for path in packing.folder.iterdir():
            if left.fullmatch(path.name):
                path.unlink(missing_ok=True)
        found = _mended(packing, found)
        return found if found.complete else _gone_on(packing, found)


@contextlib.contextmanager
def _held(packing: Packing) -> Iterator[None]:
    try:
        with locked(packing.folder / f".{packing.name}.lock"):
            yield
    except Locked:
        rule = "packed by one process at a time"
        raise UserError.about(str(packing.manifest), "in work", rule, "wait for the other process") from None


def _begun(packing: Packing) -> Manifest:
    """Return the manifest that is there, or else write a fresh one. Raises UserError where it is of something else."""
    found, fresh = read_manifest(packing.manifest), packing.fresh()
    remedy = "name another folder or --name, or remove these shards with their .json"
    if found is None:
        strays = sorted(packing.folder.glob(f"{packing.name}-*.tar"))
        if strays:
            rule = f"no shards of the name {packing.name} that were made otherwise ({strays[0].name})"
            raise UserError.about("DESTINATION", str(packing.folder), rule, remedy)
        fresh.write(packing.manifest)
        return fresh
    if not found.shards and not found.complete:  # nothing is there yet that other options could contradict
        fresh.write(packing.manifest)
        return fresh
    for what, before, now in (
        *((name, getattr(found.source, name), getattr(fresh.source, name)) for name in Source.model_fields),
        *((name, getattr(found.options, name), getattr(fresh.options, name)) for name in PackOptions.model_fields),
    ):
        if before != now and what != "place":
            rule = f"the {what} with which it was begun ({_short(before)}), not {_short(now)}"
            raise UserError.about("DESTINATION", str(packing.manifest), rule, remedy)
    return found


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _mended(packing: Packing, found: Manifest) -> Manifest:
    """Write shards again that are gone or of another size."""
    for number, shard in enumerate(found.shards):
        path = packing.folder / shard.file
        if path.is_file() and path.stat().st_size == shard.bytes:
            continue
        again = next(_written(packing, shard.begin, shard.end, number, lambda _: None))
        if again.sha256 != shard.sha256:
            remedy = "pack it under another --name"
            raise UserError.about("shard", str(path), "of the same bytes when it is written again", remedy)
    return found


def _gone_on(packing: Packing, found: Manifest) -> Manifest:
    done, total = found.shards[-1].end if found.shards else 0, len(packing.order)
    with ProgressReport(f"packing {packing.name}", total, "image") as progress:
        for shard in _written(packing, done, total, len(found.shards), progress.show):
            found = found.model_copy(update={"shards": (*found.shards, shard), "images": found.images + shard.images})
            found.write(packing.manifest)
    if not found.images:
        raise WorkFailed(
            f"none of the {total} images can be decoded: {found.skipped[0].name}: {found.skipped[0].reason}"
        )
    found = found.model_copy(update={"complete": True, "per_class": _per_class(packing, found)})
    found.write(packing.manifest)
    return found


def _written(packing: Packing, begin: int, end: int, number: int, show: Any) -> Iterator[Shard]:
    @contextlib.contextmanager
    def opened(file: str) -> Iterator[Write]:
        with written_whole(packing.folder / file) as shard:
            yield shard.write

    return _shards(packing, begin, end, number, opened, show)


def _shards(packing: Packing, begin: int, end: int, number: int, opened: Opened, show: Any) -> Iterator[Shard]:
    order = packing.order[:end].tolist()
    return shards_of(packing.maker, order, begin, packing.file, number, packing.options, opened, show)


def _per_class(packing: Packing, found: Manifest) -> tuple[int, ...] | None:
    if packing.labels is None or packing.classes is None:
        return None
    counts = Counter(map(int, packing.labels))
    counts.subtract(int(packing.labels[each.position]) for each in found.skipped)
    return tuple(counts[label] for label in range(len(packing.classes)))


def verify(packing: Packing, found: Manifest) -> None:
    """Read all shards again, and compare them with what the source gives when it is packed anew into nothing.

    Raises WorkFailed that names the shards which differ.
    """
    wrong: dict[str, str] = {}
    with ProgressReport(f"verifying the files of {packing.name}", len(found.shards), "shard") as progress:
        for number, shard in enumerate(found.shards):
            if (reason := _file_differs(packing.folder / shard.file, shard)) is not None:
                wrong[shard.file] = reason
            progress.show(number + 1)
    with ProgressReport(f"comparing {packing.name} with its source", len(packing.order), "image") as progress:
        anew = _shards(packing, 0, len(packing.order), 0, _nowhere, progress.show)
        for shard in found.shards:
            again = next(anew, None)
            if again != shard:
                wrong.setdefault(shard.file, "its images are not those of the source")
        if next(anew, None) is not None:
            wrong.setdefault(packing.manifest.name, "the source has more images than the shards")
    if wrong:
        shown = first_of([f"{file}: {reason}" for file, reason in wrong.items()], SHOWN, "\n    ")
        remedy = "remove these shards and run the same command again: they are written anew"
        raise WorkFailed(f"{len(wrong)} files in {packing.folder} do not hold:\n    {shown}\n  remedy: {remedy}")


def _file_differs(path: Path, shard: Shard) -> str | None:
    """Return how a file differs from what is known of it; None where it does not."""
    try:
        if sha256_of(path) != shard.sha256:
            return "its bytes changed after it was written (sha256)"
        with tarfile.open(path, "r:") as tar:
            held = sum(not member.name.endswith(".cls") for member in tar)
    except (OSError, tarfile.TarError) as error:
        return f"it cannot be read ({error})"
    return None if held == shard.images else f"it holds {held} images and not {shard.images}"


@contextlib.contextmanager
def _nowhere(_: str) -> Iterator[Write]:
    yield partial(len)
