"""A model as timm reads it from a folder or the hub: `config.json`, `model.safetensors`, and the proof that it does."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import save
from torch import Tensor, nn

from benchmarks.errors import UserError, WorkFailed
from benchmarks.text.markup import one_line
from transfer.encoder.proof.parity import digit_images, features
from transfer.publish.model import Publication

WEIGHTS, CONFIG = "model.safetensors", "config.json"
TOLERANCE = 1e-5
"""The largest difference that counts as equal, in units of the features' root mean square: the same code computes both,
but for the eps of norms that timm takes no argument for."""


def weights_bytes(model: Publication) -> bytes:
    """Return `model.safetensors`; the same tensors give the same bytes."""
    return save({name: tensor.detach().cpu() for name, tensor in model.tensors.items()}, {"format": "pt"})


def config_bytes(model: Publication, licence: str) -> bytes:
    """Return `config.json` in timm's form."""
    about: Any = timm.get_pretrained_cfg(model.architecture.name, allow_unregistered=True)
    known: dict[str, Any] = {} if about is None else about.to_dict()
    own = {
        "tag": "mimbench",
        "custom_load": False,
        "input_size": [model.architecture.in_chans, model.image_size_px, model.image_size_px],
        "fixed_input_size": bool(known.get("fixed_input_size", False)),
        **_test_images(model, known),
        "mean": list(model.normalisation.mean),
        "std": list(model.normalisation.std),
        "num_classes": model.num_classes,
        "pool_size": None,
        "first_conv": known.get("first_conv"),
        "classifier": known.get("classifier"),
        "license": licence,
        **({"label_names": [one_line(name) for name in model.classes]} if model.classes else {}),
    }
    built: Any = model.build()
    config = {
        "architecture": model.architecture.name,
        "num_classes": model.num_classes,
        "num_features": int(built.num_features),
        **({"global_pool": built.global_pool} if isinstance(getattr(built, "global_pool", None), str) else {}),
        "model_args": model.architecture.arguments,
        "pretrained_cfg": own,
    }
    return (json.dumps(config, indent=2) + "\n").encode()


def _test_images(model: Publication, known: dict[str, Any]) -> dict[str, Any]:
    """Return how test images are made: as in the run of a classifier, else as timm has it for the architecture."""
    if model.record is None or not model.num_classes:
        names = ("interpolation", "crop_pct", "crop_mode")
        return {name: known[name] for name in names if known.get(name) is not None}
    recipe: dict[str, Any] = model.record.recipe.resolved
    return {
        "interpolation": recipe["data"].get("test_interpolation") or recipe.get("interpolation", "bicubic"),
        "crop_pct": recipe["data"]["test_crop"],
        "crop_mode": "squash" if recipe["data"].get("test_resize") == "square" else "center",
    }


@dataclass(frozen=True)
class Proof:
    """How timm's reading of a folder compares with the model that was published."""

    difference: float
    """The largest difference of two values of any feature or logit, in units of the feature's root mean square."""
    compared: tuple[str, ...]
    images: int
    timm: str

    def in_words(self) -> str:
        what = f"{', '.join(self.compared)} of {self.images} images"
        same = (
            "the same to the last bit" if self.difference == 0 else f"the same to {self.difference:.1e} of their size"
        )
        return f"loaded again by timm {self.timm}: {what} are {same}"


@torch.no_grad()
def prove(model: Publication, folder: Path) -> Proof:
    """Load the folder by timm and compare what it computes with the model. Raises UserError where they differ."""
    try:
        theirs: nn.Module = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    except (RuntimeError, TypeError, ValueError, KeyError, AttributeError) as error:
        raise _not_held(model, f"timm {timm.__version__} does not load it: {str(error).splitlines()[0]}") from error
    _compare_preprocessing(model, theirs)
    images = digit_images(model.image_size_px, model.architecture.in_chans)
    ours, found = features(model.build(), images), features(theirs, images)
    differences = {name: _difference(each, found.get(name)) for name, each in ours.items()}
    worst = max(differences, key=lambda name: differences[name])
    if not differences[worst] <= TOLERANCE:
        raise _not_held(model, f"{worst} differ by {differences[worst]:.1e} of their size (allowed: {TOLERANCE:.0e})")
    compared = tuple("logits" if model.num_classes and name == "pooled output" else name for name in ours)
    return Proof(differences[worst], compared, len(images), timm.__version__)


def _difference(ours: Tensor, theirs: Tensor | None) -> float:
    if theirs is None or ours.shape != theirs.shape:
        return float("inf")
    found = float((ours - theirs).abs().max() / ours.square().mean().sqrt())
    return found if found == found else float("inf")  # not a number


def _compare_preprocessing(model: Publication, theirs: nn.Module) -> None:
    from timm.data import resolve_model_data_config

    found = resolve_model_data_config(theirs)
    size = (model.architecture.in_chans, model.image_size_px, model.image_size_px)
    wanted = {"input_size": size, "mean": model.normalisation.mean, "std": model.normalisation.std}
    for name, value in wanted.items():
        if tuple(found[name]) != tuple(value):
            raise WorkFailed(f"timm reads {name} {tuple(found[name])} where {tuple(value)} was written")


def _not_held(model: Publication, why: str) -> UserError:
    remedy = "mimbench checkpoint convert ENCODER --to timm --out FILE writes its tensors, and FILE.json what it is"
    return UserError.about("architecture", model.architecture.name, f"a model that timm holds as it is ({why})", remedy)
