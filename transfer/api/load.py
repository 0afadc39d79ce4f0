"""`mimbench.load`: an encoder of any source, with proof of its weights, that gives feature maps and pooled features."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor, nn

from benchmarks.encoders import Architecture, Normalisation, TrainedStage
from benchmarks.engine.backbone import build_backbone
from benchmarks.engine.samples.images import MODES, read_named
from benchmarks.engine.seeding import seeded
from benchmarks.errors import UserError, require_word, retold
from benchmarks.families.sizes import MapSizes
from benchmarks.families.table import family_of
from benchmarks.runs.record import LoadReport
from benchmarks.training.numbers import require_whole_number
from benchmarks.verbs.overrides import path_text
from benchmarks.verbs.statement import EncoderStatement
from transfer.checkpoint.content.selection import Selection
from transfer.classification.augment import preprocessed
from transfer.encoder.dense import Encoder as DenseEncoder
from transfer.encoder.features import OUTPUT, Feature, FrozenEncoder
from transfer.encoder.model import build_dense_encoder, build_model
from transfer.encoder.proof.loading import require_loaded
from transfer.encoder.sizes import EncoderSizes, Pooling
from transfer.sources.foreign_source import stated_protocol
from transfer.sources.opened import open_encoder
from transfer.sources.preprocessing import Preprocessing
from transfer.sources.references import locate, resolve
from transfer.sources.source import Source

_CROP = 224 / 256


def load(
    reference: str | Path,
    *,
    image_size_px: int | None = None,
    stage: TrainedStage | None = None,
    architecture: str | None = None,
    epoch: int | None = None,
    weights: str | None = None,
    prefix: str | None = None,
    window_size: int | tuple[int, int] | None = None,
    allow_implausible_weights: bool = False,
    device: str | torch.device = "cpu",
) -> Encoder:
    """Load an encoder with its weights, for its features; nothing of it is trained.

    `reference` is what `mimbench transfer --encoder` takes: a run, an export, a checkpoint file of any known layout,
    `timm:NAME`, `hf-hub:NAME`, `random:NAME` or `python:MODULE:FACTORY`. `image_size_px` is the side of images whose
    features are pooled (None: the encoder's own), to which its position embeddings are resized. `architecture`,
    `epoch`, `weights`, `prefix`, `window_size` and `stage` say more of the reference, as the options of the command do.

    Raises UserError for a reference that names no encoder, and WorkFailed where less than the whole encoder comes from
    it, or weights that no training leaves behind.
    """
    if image_size_px is not None:
        rule = "a whole number of pixels, 1 or more"
        image_size_px = require_whole_number("image_size_px", image_size_px, range(1, sys.maxsize), rule, "e.g. 224")
    on = _usable(device)
    said = EncoderStatement(
        stage=stage,
        architecture=architecture,
        epoch=epoch,
        weights=weights,
        prefix=prefix,
        allow_implausible_weights=allow_implausible_weights,
    )
    source = _source(path_text("reference", reference), said)
    with torch.device("meta"):
        skeleton = family_of(build_backbone(source.use.architecture, image_size_px, whole_windows=False))
    sizes = EncoderSizes(image_size_px=image_size_px or skeleton.built_px, window_size=window_size)
    with seeded(0), contextlib.nullcontext() if image_size_px else retold("image_size_px", _no_own_size):
        loaded = build_model(sizes, source, 0)  # seeded, so that the caller draws as before
    if source.read is not None:
        require_loaded(loaded.report, source)
    frozen = FrozenEncoder(loaded.model, (OUTPUT,), sizes.image_size_px, loaded.plan.architecture.in_chans)
    return Encoder(
        reference=str(reference),
        architecture=loaded.plan.architecture,
        source_format=source.source_format,
        sha256=source.use.sha256,
        report=loaded.report,
        normalisation=loaded.plan.normalisation,
        image_size_px=sizes.image_size_px,
        notes=(*source.notes(("window_size",) if window_size else ()), *loaded.report.notes),
        _source=source,
        _sizes=sizes,
        _frozen=frozen.to(on),
    )


@dataclass(frozen=True, eq=False)
class Encoder:
    """An encoder with its weights. Images are tensors [B, C, H, W]: bytes, or numbers from 0 to 1."""

    reference: str
    architecture: Architecture
    """The timm model, and the arguments by which it is built."""
    source_format: str
    """The layout of its file: `mmseg-swin`, `mimbench`, `timm`, ..."""
    sha256: str | None
    """The sha256 (hex) of its weights, as records have it; None for random ones."""
    report: LoadReport
    """Its proof of loading: which of the encoder's tensors came from the reference, and what was resized or assumed."""
    normalisation: Normalisation
    """Mean and standard deviation of its images' channels on a scale from 0 to 1, and what states them."""
    image_size_px: int
    """The side of images that `pooled` takes."""
    notes: tuple[str, ...]
    """What a person should know of it: what was assumed, and what its file has beside the encoder."""
    _source: Source
    _sizes: EncoderSizes
    _frozen: FrozenEncoder

    @property
    def module(self) -> nn.Module:
        """The timm model, frozen and in evaluation mode; it takes images that are normalised already."""
        found: nn.Module = self._frozen.backbone
        return found

    @property
    def device(self) -> torch.device:
        """Where the weights lie, and features are computed."""
        return next(self.module.parameters(), torch.zeros(())).device

    @property
    def channels(self) -> int:
        """The number of channels of its images: 3 for RGB, 1 for grey."""
        return self.architecture.in_chans

    @property
    def width(self) -> int:
        """The width of the pooled feature that its own head takes."""
        return self._frozen.width(Feature((OUTPUT,), "own"))

    @cached_property
    def _dense(self) -> DenseEncoder:
        with seeded(0):
            loaded = build_dense_encoder(self._sizes, self._source, 0.0, 0)
        if self._source.read is not None:
            require_loaded(loaded.report, self._source)
        return loaded.encoder.requires_grad_(False).eval().to(self.device)

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels per position of each map that `features` gives. Raises UserError for an encoder without maps."""
        return self._dense.strides

    @property
    def map_sizes(self) -> MapSizes:
        """Of which images `features` makes maps, and how far others are padded. Raises UserError without maps."""
        return self._dense.sizes

    @torch.no_grad()
    def features(self, images: Tensor, *, normalised: bool = False) -> dict[int, Tensor]:
        """Return maps [B, D, ceil(H/s), ceil(W/s)] by their stride s in pixels, of images of any height and width.

        They are what dense tasks take: no norm follows the last block. `normalised` images are taken as they are.
        Raises UserError for an encoder that gives no maps, or of larger images than it takes (`map_sizes`).
        """
        maps = self._dense(self._prepared(images, normalised))
        return dict(zip(self._dense.strides, maps, strict=True))

    def pooled(self, images: Tensor, *, pooling: Pooling = "own", normalised: bool = False) -> Tensor:
        """Return one feature [B, D] of each image, of side `image_size_px`: by default what the own head takes.

        It is what probes and nearest neighbours take; `pooling` is their recipes' field. Raises UserError for images of
        another size.
        """
        side = self.image_size_px
        require_word("pooling", pooling, get_args(Pooling), "how an output becomes one vector")
        self._require_batch(images)
        if tuple(images.shape[-2:]) != (side, side):
            rule = f"{side} x {side} px, for which the encoder is built"
            remedy = "resize them, as `read` does; or load(..., image_size_px=N)"
            raise UserError.about("images", f"{images.shape[-2]} x {images.shape[-1]} px", rule, remedy)
        (found,) = self._frozen.pooled(self._prepared(images, normalised), pooling)
        return found

    def read(self, pictures: Sequence[str | Path], *, crop: float | None = None) -> Tensor:
        """Return pictures [B, C, S, S] as `pooled` takes them, from 0 to 1, upright, resized and cropped.

        The centre is cropped out of images of side S / `crop`. None makes images as the encoder's own test images were
        made, where something beside its weights states it, and else crops 224 / 256. Raises UserError for a file that
        is no whole picture, and for an encoder of other channels than 1 or 3.
        """
        if self.channels not in MODES:
            raise UserError.about("channels", self.channels, f"one of {sorted(MODES)}", "make the tensor yourself")
        if crop is not None and not 0 < crop <= 1:
            raise UserError.about("crop", crop, "above 0 and up to 1", "crop=1.0 takes the whole of the shorter side")
        side, own = self.image_size_px, self._source.test_protocol() if crop is None else None
        zeros, ones = (0.0,) * self.channels, (1.0,) * self.channels
        usual = Preprocessing(resize_px=int(side / (crop or _CROP)), mean=zeros, std=ones)
        how = usual if own is None else own.at(side).model_copy(update={"mean": zeros, "std": ones})
        transform = preprocessed(how, side)
        return torch.stack([transform(read_named(each, self.channels)) for each in _listed(pictures)])

    def to(self, device: str | torch.device) -> Encoder:
        """Move the weights to a device; return the encoder."""
        self._frozen.to(_usable(device))
        self.__dict__.pop("_dense", None)
        return self

    def _require_batch(self, images: object) -> None:
        """Raise UserError for what is no batch of images of the encoder's channels."""
        rule = f"a tensor [B, {self.channels}, H, W]"
        if not isinstance(images, Tensor):
            remedy = "torch.from_numpy(ARRAY) makes a tensor of an array, `read` of picture files"
            raise UserError.about("images", f"{type(images).__module__}.{type(images).__name__}", rule, remedy)
        if images.ndim != 4 or images.shape[1] != self.channels:
            remedy = "images[None] makes a batch of one image; .permute(0, 3, 1, 2) puts channels second"
            raise UserError.about("images", list(images.shape), rule, remedy)
        if not images.numel():
            remedy = "leave out the call where there is nothing to see"
            raise UserError.about("images", list(images.shape), f"{rule} of at least one image and pixel", remedy)

    def _prepared(self, images: Tensor, normalised: bool) -> Tensor:
        """Return images normalised, on the device. Raises UserError for what are no such images."""
        self._require_batch(images)
        found = images.detach().to(self.device, torch.float32)
        if normalised:
            return found
        found = found if images.is_floating_point() else found / 255
        low, high = (float(each) for each in found.aminmax())
        if not (low >= 0 and high <= 1):
            rule = "bytes, or numbers from 0 to 1: the encoder normalises them itself"
            remedy = "leave normalising to the encoder, or say normalised=True"
            raise UserError.about("images", f"numbers from {low:.3g} to {high:.3g}", rule, remedy)
        mean, std = (
            torch.tensor(each, device=self.device).view(-1, 1, 1)
            for each in (self.normalisation.mean, self.normalisation.std)
        )
        return (found - mean) / std

    def __repr__(self) -> str:
        said = f"{self.report.coverage_percent:.0f} % loaded" if self._source.read else "random weights"
        return f"<{self.architecture.name} of {self.reference} ({self.source_format}, {said}), {self.image_size_px} px>"


def _usable(device: str | torch.device) -> torch.device:
    """Return a device. Raises UserError for one that torch has not here."""
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, TypeError) as error:
        rule = f"a device that torch can use here ({str(error).splitlines()[0]})"
        raise UserError.about("device", str(device), rule, "device='cpu'; `mimbench doctor` says why") from None
    return found


def _listed(pictures: Sequence[str | Path]) -> list[Path]:
    """Return the paths of picture files. Raises UserError for what is no list of them, or an empty one."""
    rule = "a list of the paths of picture files, one or more"
    remedy = "for example sorted(pathlib.Path(FOLDER).glob('*.png')); arrays and tensors go to pooled() and features()"
    if isinstance(pictures, str | Path) or not isinstance(pictures, Iterable):
        raise UserError.about("pictures", pictures, rule, f"put one path in brackets: [PATH]; {remedy}")
    found = list(pictures)
    for each in found:
        if not isinstance(each, str | Path):
            raise UserError.about("pictures", f"{type(each).__name__} in the list", rule, remedy)
    if not found:
        raise UserError.about("pictures", found, rule, remedy)
    return [Path(each) for each in found]


def _no_own_size(built: object, rule: str, remedy: str) -> UserError:
    """Return the error where no size is asked for and the one that timm builds does not fit the encoder's windows."""
    value = f"(not given; timm builds {built})"
    say = "say for which side it is meant by load(..., image_size_px=N)"
    return UserError.about("image_size_px", value, rule, f"{say}: {remedy}")


def _source(reference: str, said: EncoderStatement) -> Source:
    """Return the encoder that a reference names; of a file, how far it was trained need not be known."""
    place = locate(reference, said.epoch)
    if place.kind != "file":
        return resolve(reference, said)
    opened = open_encoder(reference, said.architecture, Selection(said.weights, said.prefix))
    found = opened.as_source()
    use = found.use.model_copy(update={"reference": reference, "sha256": opened.sha256, "label": place.path.stem})
    protocol = lambda: stated_protocol(place.path)  # noqa: E731
    return replace(
        found,
        use=use,
        names=opened.names,
        remarks=opened.remarks,
        test_protocol=protocol,
        implausible_allowed=said.allow_implausible_weights,
    )
