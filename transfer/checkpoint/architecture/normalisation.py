"""How an encoder's images were normalised: as a file beside its weights says, or as all that is published of its kind.

Sources: transformers `image_transforms.py` (rescale, normalize); openai/CLIP `clip.py`; baaivision/EVA `EVA-02/asuka`;
apple/ml-aim `aim-v2`; Hugging Face's SigLIP and BEiT processors; facebookresearch/perception_models
`core/vision_encoder/transforms.py`; microsoft/unilm `beit/README.md` (ImageNet-22K, on which all published BEiTs were
pretrained, without `--imagenet_default_mean_and_std`) and `beit2/README.md` (with it).
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

from benchmarks.encoders import IMAGENET_MEAN, IMAGENET_STD, Architecture, Normalisation, assumed_normalisation
from benchmarks.errors import UserError
from benchmarks.families.torchvision_model import SCHEME, is_torchvisions
from benchmarks.files.json_files import parse_json, read_json_bytes
from transfer.checkpoint.layouts.layout import Layout

LARGEST_MEAN = 1e6
"""Of a channel, and of its standard deviation, on whatever scale the file has them."""
SMALLEST_STD = 1e-6
LARGEST_FILE_BYTES, MOST_VALUES = 2**20, 2**16
REMEDY = "correct the file, or move it away; normalisation={mean: [...], std: [...]} in the recipe sets another"
_FILES: Mapping[str, str | None] = {
    "preprocessor_config.json": None,
    "processor_config.json": "image_processor",
    "video_preprocessor_config.json": None,
    "open_clip_config.json": "preprocess_cfg",
}
"""Files of Hugging Face and open_clip that say how images are made, and the part of each that does."""
_CLIP = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_HALF = (0.5,) * 3, (0.5,) * 3
_BEIT2_ONLY = ("cls_pt_norm.weight", "cls_pt_lm_head.weight")
"""Tensors that files of BEiT v2's pretraining have, and BEiT's do not."""
_ALL_IMAGENET = {"mae", "moco-v3", "dino", "ibot", "dinov2", "simmim-vit", "distilled-deit", "hiera", "sam", "convnext"}
_ALL_IMAGENET |= {"microsoft-swin", "microsoft-swinv2", "resnet", "vjepa2", "videomae"}
"""Layouts, beside torchvision's, of whose authors every published encoder has ImageNet's."""


def checked(source: str, mean: object, std: object, channels: int) -> Normalisation:
    """Return what `source` states for images of so many channels. Raises UserError for values that cannot be."""
    for name, values, least in (("mean", mean, 0.0), ("std", std, SMALLEST_STD)):
        numbers = isinstance(values, list) and all(type(value) in (int, float) for value in values)
        sound = numbers and all(least <= value <= LARGEST_MEAN for value in values)  # type: ignore[attr-defined]
        if not sound or len(values) != channels:  # type: ignore[arg-type]
            rule = f"{channels} numbers, one for each channel, {f'at least {least:g}' if least else 'not below 0'}"
            raise UserError.about(f"{name} in {source}", _short(values), rule, REMEDY)
    return Normalisation(tuple(map(float, mean)), tuple(map(float, std)), source)  # type: ignore[call-overload]


def _short(values: object) -> str:
    text = str(values)
    return text if len(text) <= 100 else f"{text[:100]}..."


def stated_beside(checkpoint: Path, channels: int) -> Normalisation | None:
    """Return the normalisation that Hugging Face's or open_clip's file beside a checkpoint states; None without one.

    Raises UserError for a file that cannot be read, or states what cannot be.
    """
    for name, part in _FILES.items():
        config = _read(checkpoint.with_name(name))
        inner = config.get(part) if part else config
        if isinstance(inner, dict) and (found := _of_processor(inner, name, channels)) is not None:
            return found
    return None


def _read(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; empty where there is no such file. Raises UserError for anything else."""
    try:
        data = parse_json(read_json_bytes(path, LARGEST_FILE_BYTES, MOST_VALUES))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        what = error.strerror if isinstance(error, OSError) else str(error).splitlines()[0]
        raise UserError.about(path.name, f"(unreadable: {what})", "a JSON object of settings", REMEDY) from None
    if not isinstance(data, dict):
        raise UserError.about(path.name, _short(data), "a JSON object of settings", REMEDY)
    return data


def _of_processor(config: Mapping[str, Any], name: str, channels: int) -> Normalisation | None:
    """Return what an image processor's settings mean for images from 0 to 1; None where they do not say it.

    transformers multiplies values from 0 to 255 by `rescale_factor` (and takes 1 away where `rescale_offset` is true)
    before it subtracts the mean and divides by the standard deviation; each of the two steps can be off. A single
    number is that of every channel.
    """
    if config.get("do_normalize") is False:
        mean, std = [0.0] * channels, [1.0] * channels
    else:
        given = (config.get("image_mean", config.get("mean")), config.get("image_std", config.get("std")))
        if given == (None, None):
            return None
        mean, std = ([each] * channels if type(each) in (int, float) else each for each in given)
    factor = config.get("rescale_factor", 1 / 255) if config.get("do_rescale", True) is not False else 1.0
    if type(factor) not in (int, float) or not 1e-6 <= factor <= 1e3:
        raise UserError.about(f"rescale_factor in {name}", _short(factor), "a number from 1e-6 to 1e3", REMEDY)
    offset = 1.0 if config.get("rescale_offset") is True else 0.0
    grey_of_colours = channels == 1 and isinstance(mean, list) and len(mean) == len(IMAGENET_MEAN)
    found = checked(name, mean, std, len(IMAGENET_MEAN) if grey_of_colours else channels)
    scale = 255 * factor
    if scale == 1 and not offset:
        return found
    means = tuple((each + offset) / scale for each in found.mean)
    return Normalisation(means, tuple(each / scale for each in found.std), name)


def published(layout: Layout, beside: Container[str], channels: int) -> Normalisation | None:
    """Return the normalisation of every published encoder of a layout; None where they differ, or nobody knows.

    `beside` holds the names of all tensors in the file, the encoder's and others.
    """
    if channels != len(IMAGENET_MEAN):
        return None
    by = f"that of all published encoders of this layout ({layout.name})"
    if layout.family in ("clip", "aimv2") or layout.name == "eva02":
        return Normalisation(*_CLIP, by)
    if layout.family == "siglip" or layout.name == "perception-encoder" or _is_beit(layout, beside):
        return Normalisation(*_HALF, by)
    if layout.name in _ALL_IMAGENET or layout.name.startswith("torchvision-"):
        return Normalisation(IMAGENET_MEAN, IMAGENET_STD, by)
    return None


def torchvisions(architecture: Architecture) -> Normalisation | None:
    """Return the normalisation of all weights that torchvision publishes of a network of its own; None of others."""
    if not is_torchvisions(architecture.name) or architecture.in_chans != len(IMAGENET_MEAN):
        return None
    from torchvision.models import get_model_weights  # heavy

    name = architecture.name.removeprefix(SCHEME)
    stated = [weights.transforms() for weights in get_model_weights(name)]
    found = {(tuple(each.mean), tuple(each.std)) for each in stated}
    return Normalisation(*found.pop(), f"torchvision's own weights of {name}") if len(found) == 1 else None


def shown_alone(layout: Layout, channels: int) -> Normalisation:
    """Return the normalisation that a file's tensors alone stand for in run ids: ids name every other.

    That of BEiT is named too: runs were once made with ImageNet's.
    """
    known = None if layout.family == "beit" else published(layout, (), channels)
    return known or assumed_normalisation(channels)


def _is_beit(layout: Layout, beside: Container[str]) -> bool:
    """Return whether a file is of BEiT, neither of BEiT v2 nor of a fine-tuned one, which has the names of SimMIM's."""
    if layout.name == "huggingface-beit":
        return True
    return layout.name == "beit" and "lm_head.weight" in beside and not any(name in beside for name in _BEIT2_ONLY)
