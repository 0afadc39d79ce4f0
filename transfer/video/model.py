"""The model of a video transfer: an encoder that sees clips, a fresh head, and the proof of loading."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from benchmarks.engine.backbone import build_backbone
from benchmarks.engine.optim import parameter_groups
from benchmarks.errors import UserError
from benchmarks.families.parts import Layers
from benchmarks.families.table import family_of
from benchmarks.families.timm_model import as_vector
from benchmarks.runs.record import LoadReport
from transfer.encoder.adapters import adapt, adapter_notes
from transfer.encoder.encoder_plan import EncoderPlan, plan_encoder
from transfer.encoder.layer_decay import groups_by_layer
from transfer.encoder.model import build_model, require_training, with_notes
from transfer.encoder.proof.loading import load_encoder
from transfer.sources.source import Source
from transfer.video.inflate import TimeSizes, build_swin3d, inflate, timm_name
from transfer.video.recipe import VideoRecipe
from transfer.video.swinv2 import SwinV2Clips

HEAD_STD = 0.01
"""The standard deviation of the head's initial weights, which are normally distributed. Source: mmaction's I3DHead."""

SHOWN = 8
"""How many names of tensors a message shows."""


class ClipEncoder(nn.Module, ABC):
    """An encoder that turns clips into vectors. `WAYS` has the ways to do so."""

    whole_windows: ClassVar[bool]
    """Whether timm's own forward is run, whose maps must be multiples of the window."""
    width: int
    """The width of the vectors."""
    report: LoadReport
    """The report of which of its tensors came from the checkpoint."""

    @classmethod
    @abstractmethod
    def carry(cls, flat: nn.Module, report: LoadReport, recipe: VideoRecipe) -> Self:
        """Build it from `flat`, a timm model without a head whose weights were loaded as `report` says.

        Raises UserError where the recipe does not fit this way, or the model has tensors without a place in it.
        """

    @abstractmethod
    def forward(self, clips: Tensor) -> Tensor:
        """Return vectors [B, width] of clips [B, C, T, H, W]."""

    @abstractmethod
    def blocks(self) -> list[nn.Module]:
        """Return the modules that make up most of it. Raises UserError where they are not known."""

    @abstractmethod
    def layers(self) -> Layers:
        """Return the layer of each parameter, for layer-wise rates. Raises UserError where no published rule exists."""

    @property
    def flat(self) -> nn.Module | None:
        """The encoder as it was given; None where it has become another, whose weights do not fit images."""
        return None


class Swin3d(ClipEncoder):
    """torchvision's Video Swin with the inflated weights of a 2D Swin; its tokens are averaged over time and space."""

    whole_windows = False

    def __init__(self, flat: nn.Module, report: LoadReport, recipe: VideoRecipe) -> None:
        super().__init__()
        time = time_sizes(recipe)
        self.swin = build_swin3d(flat, time, recipe.drop_path_rate)
        self.width = self.swin.num_features
        self.report = self._load(flat, report, time)
        self._layers = family_of(flat).layers()

    @classmethod
    def carry(cls, flat: nn.Module, report: LoadReport, recipe: VideoRecipe) -> Self:
        return cls(flat, report, recipe)

    def _load(self, flat: nn.Module, report: LoadReport, time: TimeSizes) -> LoadReport:
        """Load the inflated weights. Raises UserError unless every tensor of the flat encoder has its place."""
        inflated = inflate(flat.state_dict(), time)
        found = load_encoder(self.swin, inflated.weights, report.source_format)
        if report.complete and (not found.complete or found.loaded < found.expected):  # else the file is damaged
            odd = ", ".join([*found.missing, *found.unexpected, *found.mismatched][:SHOWN])
            rule = f"for a Swin whose every tensor has a place in Video Swin (not so: {odd})"
            raise UserError.about("temporal", "swin3d", rule, "temporal=frame_pooling")
        resized = (*report.resized, *inflated.resized)
        return report.model_copy(update={"parameters": found.parameters, "resized": resized})

    def features(self, clips: Tensor) -> Tensor:
        """Return the normalised tokens [B, T', H', W', width] of clips [B, C, T, H, W]."""
        tokens: Tensor = self.swin.pos_drop(self.swin.patch_embed(clips))
        for stage in self.swin.features:
            tokens = stage(tokens)
        found: Tensor = self.swin.norm(tokens)
        return found

    def forward(self, clips: Tensor) -> Tensor:
        return self.features(clips).mean(dim=(1, 2, 3))

    def blocks(self) -> list[nn.Module]:
        return [block for stage in self.swin.features if isinstance(stage, nn.Sequential) for block in stage]

    def layers(self) -> Layers:
        return Layers(self._layers.count, lambda name: self._layers.of(timm_name(name.removeprefix("swin."))))


class SwinV2In3d(ClipEncoder):
    """A SwinV2 whose windows and patches got an axis of time; its tokens are averaged over time and space."""

    whole_windows = False

    def __init__(self, flat: Any, report: LoadReport, recipe: VideoRecipe) -> None:
        super().__init__()
        self._layers, self.width = family_of(flat).layers(), int(flat.num_features)
        self.swin = SwinV2Clips(flat, time_sizes(recipe), recipe.sampling.clip_frames)
        parameters = sum(each.numel() for each in self.swin.parameters())
        resized = (*report.resized, *self.swin.resized)
        self.report = report.model_copy(update={"parameters": parameters, "resized": resized})

    @classmethod
    def carry(cls, flat: nn.Module, report: LoadReport, recipe: VideoRecipe) -> Self:
        return cls(flat, report, recipe)

    def forward(self, clips: Tensor) -> Tensor:
        tokens: Tensor = self.swin(clips)
        return tokens.mean(dim=(1, 2, 3))

    def blocks(self) -> list[nn.Module]:
        return [block for stage in self.swin.layers for block in stage.blocks]

    def layers(self) -> Layers:
        return Layers(self._layers.count, lambda name: self._layers.of(name.removeprefix("swin.")))


def time_sizes(recipe: VideoRecipe) -> TimeSizes:
    """Return the sizes in time of patches and windows. Raises UserError unless clips are whole patches long."""
    if (frames := recipe.sampling.clip_frames) % recipe.patch_frames:
        rule = f"a multiple of patch_frames ({recipe.patch_frames})"
        raise UserError.about("sampling.frames", frames, rule, "another number of frames, or patch_frames=1")
    return TimeSizes(recipe.patch_frames, recipe.window_frames)


class FramePooling(ClipEncoder):
    """The image encoder on every frame separately; the pooled features are averaged over time."""

    whole_windows = True

    def __init__(self, flat: Any, report: LoadReport) -> None:
        super().__init__()
        self.backbone, self.report, self.width = flat, report, family_of(flat).own_width

    @classmethod
    def carry(cls, flat: nn.Module, report: LoadReport, recipe: VideoRecipe) -> Self:  # noqa: ARG003 (the other way's)
        return cls(flat, report)

    def forward(self, clips: Tensor) -> Tensor:
        frames = clips.transpose(1, 2)
        vectors = as_vector(self.backbone(frames.flatten(0, 1)))
        return vectors.reshape(*frames.shape[:2], -1).mean(dim=1)

    def blocks(self) -> list[nn.Module]:
        return family_of(self.backbone).blocks()

    def layers(self) -> Layers:
        found = family_of(self.backbone).layers()
        return Layers(found.count, lambda name: found.of(name.removeprefix("backbone.")))

    @property
    def flat(self) -> nn.Module:
        found: nn.Module = self.backbone
        return found


class Clips(FramePooling):
    """An encoder of clips as it is; what its own head would take is pooled from the tokens of all frames."""

    @classmethod
    def carry(cls, flat: nn.Module, report: LoadReport, recipe: VideoRecipe) -> Self:
        require_frames(flat, recipe.sampling.clip_frames)
        return cls(flat, report)

    def forward(self, clips: Tensor) -> Tensor:
        return as_vector(self.backbone(clips))


def require_frames(encoder: nn.Module, frames: int) -> None:
    """Raise UserError unless clips of so many frames are whole tubelets of an encoder of clips."""
    step = family_of(encoder).clip_step
    if step is not None and frames % step:
        rule = f"a multiple of {step}, the frames of the encoder's tubelets"
        raise UserError.about("frames of a clip", frames, rule, f"sampling.frames={step * -(-frames // step)}")


WAYS: dict[str, type[ClipEncoder]] = {
    "swin3d": Swin3d,
    "swinv2_3d": SwinV2In3d,
    "clips": Clips,
    "frame_pooling": FramePooling,
}
PUBLISHED = ("swin3d", "clips")
"""What `auto` takes for encoders that have it; the other 3D form must be asked for."""


class VideoClassifier(nn.Module):
    """An encoder of clips with dropout and a linear head. Source of the head: mmaction's I3DHead."""

    def __init__(self, encoder: ClipEncoder, num_classes: int, dropout: float) -> None:
        super().__init__()
        self.encoder, self.dropout, self.head = encoder, nn.Dropout(dropout), nn.Linear(encoder.width, num_classes)
        nn.init.normal_(self.head.weight, std=HEAD_STD)
        nn.init.zeros_(self.head.bias)

    def forward(self, clips: Tensor) -> Tensor:
        """Return logits [B, classes] of clips [B, C, T, H, W]."""
        logits: Tensor = self.head(self.dropout(self.encoder(clips)))
        return logits


@dataclass(frozen=True)
class Loaded:
    """A model, and the plan its encoder was built by."""

    model: VideoClassifier
    plan: EncoderPlan

    @property
    def report(self) -> LoadReport:
        return self.model.encoder.report


def build_video_model(recipe: VideoRecipe, source: Source, num_classes: int, seed: int) -> Loaded:
    """Return the encoder, carried over to clips, with a fresh head.

    Raises UserError where the recipe asks for a way to see clips that the encoder does not have.
    """
    way = way_for(recipe, plan_encoder(source, recipe))
    flat, report, plan = build_model(
        recipe, source, seed, drop_path_rate=recipe.drop_path_rate, whole_windows=way.whole_windows
    )
    if issubclass(way, FramePooling):
        require_training(flat, recipe)
    encoder = way.carry(flat, report, recipe)
    if recipe.adapters is not None:
        adapt(encoder, encoder.blocks(), recipe.adapters)
        encoder.report = with_notes(encoder.report, adapter_notes(encoder))
    return Loaded(VideoClassifier(encoder, num_classes, recipe.head_dropout), plan)


def way_for(recipe: VideoRecipe, plan: EncoderPlan) -> type[ClipEncoder]:
    """Return the way in which the encoder sees clips. Raises UserError for one that its family does not have."""
    with torch.device("meta"):
        flat = build_backbone(plan.architecture, recipe.image_size_px, whole_windows=False)
    form = family_of(flat).video_form
    if recipe.temporal not in ("auto", "frame_pooling", form):
        rule = f"swin3d for a Swin, swinv2_3d for a SwinV2, clips for a video ViT; {plan.architecture.name} is none"
        ways = " or ".join(f"temporal={way}" for way in (form, "frame_pooling") if way)
        raise UserError.about("temporal", recipe.temporal, rule, f"{ways}, or another encoder")
    usual = form if form in PUBLISHED else "frame_pooling"
    return WAYS[usual if recipe.temporal == "auto" else recipe.temporal]


def groups_of(model: VideoClassifier, recipe: VideoRecipe) -> list[dict[str, Any]]:
    """Return the optimiser's parameter groups: the head at the full rate, the encoder at `encoder_lr_scale` of it."""
    weight_decay = recipe.training.weight_decay
    groups = groups_by_layer(model.encoder, model.encoder.layers, weight_decay, recipe.layer_decay)
    for group in groups:
        group["lr_scale"] *= recipe.encoder_lr_scale
    return [*groups, *parameter_groups(model.head, weight_decay)]
