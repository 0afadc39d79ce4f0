"""What is predicted, and how an error is counted. A target is one class here; a recipe names it by `kind`.

Light to import: `build` returns the objective, which works on tensors.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field, Tag

from benchmarks.config import Config, kind_or, placement
from benchmarks.errors import UserError
from benchmarks.training.numbers import Count
from pretrain.method.frame import Frame

if TYPE_CHECKING:
    import torch

    from pretrain.method.objectives import Objective


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError("an odd number, so that the window has a centre")
    return value


class Target(Config, ABC):
    """What a head predicts of each target pixel."""

    kind: str
    scope: Literal["masked", "full"] = "masked"
    """Where errors count: on what was hidden, or on the full image."""

    @abstractmethod
    def resolution(self, frame: Frame) -> int:
        """Return the side of the target in target pixels. Raises UserError where it does not fit the frame."""

    @abstractmethod
    def build(self, frame: Frame, device: torch.device) -> Objective:
        """Return the objective, which turns predictions and images into a loss."""

    def content_digest(self) -> str | None:
        """Return the sha256 of the file that the target is read from; None without one."""
        return None


class ImageTarget(Target):
    """A target on the image itself, or on a coarser copy whose pixels are means of squares."""

    resolution_px: Count | None = None
    """Side of the target; null is the image's own."""

    def resolution(self, frame: Frame) -> int:
        found = self.resolution_px or frame.image_size_px
        require_fitting("target.resolution_px", found, frame)
        return found


class Pixels(ImageTarget):
    """Normalised pixels by regression: SimMIM's target. Source: arXiv:2111.09886, sections 3.4 and 4.1.4."""

    kind: Literal["pixels"] = "pixels"
    loss: Literal["l1", "l2", "smooth_l1"] = "l1"
    """The error of a value that is off by d: |d|, d^2, or d^2 / 2 where |d| < 1 and |d| - 1/2 elsewhere."""
    local_norm_px: Annotated[int, Field(ge=3), AfterValidator(_odd)] | None = None
    """Side of the window over whose mean and variance each target pixel is normalised; SwinV2's is 47."""

    def build(self, frame: Frame, device: torch.device) -> Objective:  # noqa: ARG002
        from pretrain.method.objectives import PixelObjective

        return PixelObjective(frame.image_channels, self.resolution(frame), self.scope, self.loss, self.local_norm_px)


class ColourBins(ImageTarget):
    """Each channel's 256 levels in equal bins, by classification. Source: SimMIM, section 4.1.4."""

    kind: Literal["colour_bins"] = "colour_bins"
    bins: Annotated[int, Field(ge=2, le=256)] = 8

    def build(self, frame: Frame, device: torch.device) -> Objective:
        from pretrain.method.objectives import BinObjective, Denormalise

        colours = Denormalise(frame.mean, frame.std, device)
        return BinObjective(frame.image_channels, self.resolution(frame), self.scope, self.bins, colours)


class ColourClusters(ImageTarget):
    """The nearest colour of a palette, by classification. Source: iGPT, as in SimMIM, section 4.1.4."""

    kind: Literal["colour_clusters"] = "colour_clusters"
    palette: str = placement(...)
    """A file that `mimbench palette` wrote, or iGPT's own `kmeans_centers.npy`. What it holds, not where it lies, is
    part of the run."""

    def build(self, frame: Frame, device: torch.device) -> Objective:
        import torch

        from pretrain.method.objectives import ClusterObjective, Denormalise
        from pretrain.method.palette import read_colours

        palette = read_colours(Path(self.palette))
        if (channels := len(palette[0])) != frame.image_channels:
            rule = f"colours of as many channels as the images ({frame.image_channels})"
            remedy = "fit one with `mimbench palette --channels`"
            raise UserError.about("target.palette", f"{self.palette} ({channels} channels)", rule, remedy)
        colours, shown = torch.tensor(palette, device=device), Denormalise(frame.mean, frame.std, device)
        return ClusterObjective(self.resolution(frame), self.scope, colours, shown)

    def content_digest(self) -> str | None:
        return file_sha256("target.palette", Path(self.palette))


class Tokens(Target):
    """The tokens of a frozen tokenizer, by classification. Source: BEiT (arXiv:2106.08254)."""

    kind: Literal["tokens"] = "tokens"
    tokenizer: str = placement(...)
    """An ONNX file: RGB images [N, C, S, S] of 0 to 1 in, scores [N, vocabulary, t, t] out."""

    def resolution(self, frame: Frame) -> int:
        from pretrain.method.tokenizer import read_shape

        shape = read_shape(Path(self.tokenizer))
        if shape.channels != frame.image_channels:
            rule = f"an input of as many channels as the images ({frame.image_channels})"
            shown = f"{self.tokenizer} ({shape.channels} channels)"
            raise UserError.about("target.tokenizer", shown, rule, "another tokenizer")
        require_fitting("tokens per side of target.tokenizer", shape.tokens, frame)
        return shape.tokens

    def build(self, frame: Frame, device: torch.device) -> Objective:
        from pretrain.method.objectives import Denormalise, TokenObjective
        from pretrain.method.tokenizer import Tokenizer

        resolution = self.resolution(frame)
        tokenizer = Tokenizer(Path(self.tokenizer), device)
        return TokenObjective(resolution, self.scope, tokenizer, Denormalise(frame.mean, frame.std, device))

    def content_digest(self) -> str | None:
        return file_sha256("target.tokenizer", Path(self.tokenizer))


class DvaeTokens(Target):
    """The tokens of DALL-E's dVAE, by classification: BEiT's own target. Source: BEiT, section 2.1."""

    kind: Literal["dvae_tokens"] = "dvae_tokens"
    weights: str = placement(...)
    """A file that `mimbench checkpoint tensors encoder.pkl --out FILE` wrote. What it holds, not where it lies, is part
    of the run."""
    resolution_px: Count | None = None
    """Tokens per side; images are resized to eight pixels for each. Null: one token for each of the features."""

    def resolution(self, frame: Frame) -> int:
        found = self.resolution_px or frame.grid
        require_fitting("target.resolution_px", found, frame)
        return found

    def build(self, frame: Frame, device: torch.device) -> Objective:
        from pretrain.method.dvae import Dvae
        from pretrain.method.objectives import Denormalise, TokenObjective

        dvae = Dvae(Path(self.weights), device, self.resolution(frame))
        if dvae.shape.channels != frame.image_channels:
            rule = f"weights for images of as many channels as these ({frame.image_channels})"
            raise UserError.about("target.weights", f"{self.weights} ({dvae.shape.channels})", rule, "another target")
        return TokenObjective(dvae.shape.tokens, self.scope, dvae, Denormalise(frame.mean, frame.std, device))

    def content_digest(self) -> str | None:
        return file_sha256("target.weights", Path(self.weights))


Targets = Annotated[
    Annotated[Pixels, Tag("pixels")]
    | Annotated[ColourBins, Tag("colour_bins")]
    | Annotated[ColourClusters, Tag("colour_clusters")]
    | Annotated[Tokens, Tag("tokens")]
    | Annotated[DvaeTokens, Tag("dvae_tokens")],
    kind_or("pixels"),
]


def require_fitting(field: str, resolution_px: int, frame: Frame) -> None:
    """Raise UserError unless features tile the target, the target tiles the image, and squares of a mask tile both."""
    size, grid, square = frame.image_size_px, frame.grid, frame.mask_patch_size_px
    fitting = [side for side in range(grid, size + 1, grid) if size % side == 0 and square % (size // side) == 0]
    if resolution_px not in fitting:
        rule = (
            f"a divisor of image_size_px ({size}) and a multiple of the features' side ({grid}), "
            f"with pixels that tile masking.mask_patch_size_px ({square})"
        )
        raise UserError.about(field, resolution_px, rule, f"one of {', '.join(map(str, fitting))}")


def file_sha256(field: str, path: Path) -> str:
    """Return the sha256 of a file that a recipe names. Raises UserError where it cannot be read."""
    import hashlib

    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        what = (error.strerror or str(error)).lower()
        raise UserError.about(field, f"{path} ({what})", "a file that can be read", "check the path") from None
