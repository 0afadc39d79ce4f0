"""Whether an encoder computes what a witness of its weights computes.

Names and shapes prove a copy. Swapped blocks, a transposed square, another model's weights and another way to compute
have all the right names and shapes, and show only in features.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.digits.folders import labelled_scans
from benchmarks.encoders import Architecture
from benchmarks.engine.backbone import build_backbone
from benchmarks.errors import UserError, WorkFailed
from benchmarks.families.parts import TOKENS
from benchmarks.families.table import family_of
from benchmarks.runs.record import Parity, now
from transfer.checkpoint.layouts.names import FileNames
from transfer.encoder.proof.loading import load_encoder, require_complete
from transfer.sources.witness import Witness

TOLERANCE = 1e-4
"""The largest difference that counts as equal, in units of the features' root mean square: two libraries order sums
differently, and single precision has seven digits."""
IMAGES = 4
CANVAS_PX = 64


def digit_images(size_px: int, channels: int, count: int = IMAGES) -> Tensor:
    """Return images [count, channels, size_px, size_px] of digits on noise, each channel in a shade of its own.

    Their values have mean 0 and deviation 1. They are the same every time.
    """
    scans = [scan for _, scan in zip(range(count), (scan for _, scan in labelled_scans("test")), strict=False)]
    ink = torch.from_numpy(np.stack(scans)).float()[:, None] / 255
    draw = torch.Generator().manual_seed(0)
    shades = torch.randn(count, channels, 1, 1, generator=draw)
    grain = torch.randn(count, channels, CANVAS_PX, CANVAS_PX, generator=draw)
    images = shades * _scaled(ink, size_px) + 0.5 * _scaled(grain, size_px)
    whole: Tensor = (images - images.mean()) / images.std()
    return whole


def _scaled(images: Tensor, size_px: int) -> Tensor:
    return nn.functional.interpolate(images, (size_px, size_px), mode="bicubic", align_corners=False)


@torch.no_grad()
def compare(
    weights: dict[str, Tensor],
    architecture: Architecture,
    witness: Witness,
    against: str,
    *,
    image_size_px: int | None,
    names: FileNames | None = None,
    tolerance: float = TOLERANCE,
) -> Parity:
    """Return how the features of an encoder compare with a witness's. `image_size_px` is the encoder's own, if known.

    Raises WorkFailed where a tensor is missing or left over, and where the features are not comparable: of other
    shapes, not finite, or hardly different from image to image.
    """
    images = _images(witness, architecture, image_size_px)
    size = images.shape[-1]
    model = build_backbone(architecture, size)
    require_complete(load_encoder(model, weights, "verify"), against, names)
    theirs = _by_token(_features_of(witness, images, against), int(getattr(model, "num_features", 0)))
    every = features(model.eval(), images)
    if theirs.shape == _with_one_more(every["tokens"].shape):
        theirs = theirs[:, 0]
    ours = _comparable(every, theirs, against)
    unit = theirs.square().mean().sqrt().item()
    _require_telling(theirs, unit * tolerance, against)
    distances = {name: (each - theirs).abs().max().item() / unit for name, each in ours.items()}
    name = min(distances, key=lambda each: (distances[each] != distances[each], distances[each]))  # NaN last
    if not np.isfinite(distances[name]):
        raise WorkFailed(f"{against}: the encoder's features are not finite\n  remedy: take the file that was meant")
    return Parity(
        against=against,
        library=witness.library,
        feature=name,
        difference=distances[name],
        tolerance=tolerance,
        images=len(images),
        image_size_px=size,
        measured_at=now(),
    )


def _with_one_more(tokens: torch.Size) -> torch.Size:
    """Return the shape of these tokens behind another, which transformers' DINOv3 ConvNeXt has: the pooled output."""
    return torch.Size((tokens[0], tokens[1] + 1, tokens[2])) if len(tokens) == 3 else tokens[:0]


def _comparable(ours: dict[str, Tensor], theirs: Tensor, against: str) -> dict[str, Tensor]:
    """Return those of our features that have the witness's shape. Raises WorkFailed where none has."""
    found = {name: each for name, each in ours.items() if each.shape == theirs.shape}
    if not found:
        every = {name: list(each.shape) for name, each in ours.items()}
        raise WorkFailed(
            f"{against}: its features {list(theirs.shape)} are none of this encoder's: {every}\n"
            "  remedy: name a model of the same architecture"
        )
    return found


def require_equal(parity: Parity, reference: str) -> None:
    """Raise WorkFailed where features differ by more than the tolerance."""
    if parity.difference > parity.tolerance:
        raise WorkFailed(
            f"{reference}: its features are not those of {parity.against} ({parity.library}): {parity.feature} of "
            f"{parity.images} images differ by up to {parity.difference:.1e} of their size (allowed: "
            f"{parity.tolerance:.0e})\n  remedy: tensors have the right names and shapes, but some are in the wrong "
            "place, turned, or of another model; or the witness is another model"
        )


def features(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Return what may be called a timm model's features, by name, the whole output first."""
    family = family_of(model)
    before: list[Tensor] = []
    norms = [norm for norm in family.last_norms() if not isinstance(norm, nn.Identity)]
    hooks = [norms[0].register_forward_pre_hook(lambda _, inputs: before.append(inputs[0]))] if norms else []
    timm_model: Any = model
    try:
        output = timm_model.forward_features(images)
        pooled = timm_model(images)
    finally:
        for hook in hooks:
            hook.remove()
    width = int(getattr(model, "num_features", 0))
    tokens = family.tokens(output) if family.can(TOKENS) else _by_token(output, width)
    found = {"tokens": tokens}
    if before and before[0].ndim > 2:
        found["tokens before the last norm"] = _by_token(before[0], width)
    if tokens.ndim == 3:
        found["mean of patch tokens"] = tokens[:, family.prefix_tokens :].mean(dim=1)
        if family.prefix_tokens:
            found["patch tokens"] = tokens[:, family.prefix_tokens :]
        if family.has_class_token:
            found["class token"] = tokens[:, 0]
    return found | {"pooled output": pooled}


def _images(witness: Witness, architecture: Architecture, image_size_px: int | None) -> Tensor:
    images = witness.images
    if images is None:
        return digit_images(witness.image_size_px or image_size_px or 224, architecture.in_chans)
    if images.shape[1] != architecture.in_chans or images.shape[2] != images.shape[3]:
        rule = f"[N, {architecture.in_chans}, S, S]: square, with the channels of the encoder"
        raise UserError.about("images", list(images.shape), rule, "keep the features of such images")
    return images


def _features_of(witness: Witness, images: Tensor, against: str) -> Tensor:
    try:
        return witness.features(images).float()
    except (RuntimeError, ValueError, TypeError, AssertionError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        remedy = "name a model of the same architecture, or keep features in an npz file"
        raise WorkFailed(f"{against}: it refuses images {list(images.shape)}: {first}\n  remedy: {remedy}") from error


def _by_token(found: Tensor, width: int) -> Tensor:
    """Return features [N, T, D] of a map [N, D, h, w], or [N, h, w, D] where only the last side is `width`."""
    if found.ndim != 4:
        return found
    last = found.shape[-1] == width and found.shape[1] != width
    return found.flatten(1, 2) if last else found.flatten(2).transpose(1, 2)


def _require_telling(theirs: Tensor, least: float, against: str) -> None:
    if not theirs.isfinite().all():
        raise WorkFailed(f"{against}: its features are not finite\n  remedy: another witness")
    if (theirs - theirs.mean(dim=0)).abs().max().item() <= 10 * least:
        raise WorkFailed(
            f"{against}: its features hardly differ from image to image: to agree with them proves nothing\n"
            "  remedy: another witness, or other images in an npz file"
        )
