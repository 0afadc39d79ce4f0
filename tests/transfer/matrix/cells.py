"""What each kind of task makes of an encoder: its own library's features and maps, or a refusal in words."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from torch import Tensor

from benchmarks.catalogue.tasks import find_task
from benchmarks.config import load_recipe
from benchmarks.errors import UserError, WorkFailed
from benchmarks.families.table import family_of
from benchmarks.verbs.statement import EncoderStatement
from tests.transfer.matrix.encoders import Encoder
from transfer.adapter import adapter_for
from transfer.encoder.features import OUTPUT, Feature, FrozenEncoder
from transfer.encoder.model import build_dense_encoder, build_model
from transfer.encoder.proof.loading import require_complete
from transfer.sources.references import resolve
from transfer.sources.source import Source
from transfer.video.model import build_video_model

PLAIN, FOLDER, STATED = "plain file", "folder with config.json", "--architecture"
WAYS = (PLAIN, FOLDER, STATED)
KINDS: dict[str, dict[str, tuple[str, tuple[str, ...]]]] = {
    "fine-tuning": {"digits_finetune": ("digits", ())},
    "probes": {
        "digits_linear": ("digits", ("pooling=own",)),
        "digits_knn": ("digits", ("pooling=own",)),
        "digits_attentive": ("digits", ("layer=null", "heads=1")),
    },
    "dense": {
        "digit_scenes_finetune": ("digit_scenes", ("resize_to_px=[{px},{px}]",)),
        "digit_boxes_finetune": (
            "digit_boxes",
            ("augmentation.size_px={px}", "testing.shorter_px={px}", "testing.longer_px={px}"),
        ),
    },
    "video": {"digit_motion_finetune": ("digit_motion", ("temporal=frame_pooling", "sampling.frames=2"))},
}
"""By kind of use its recipes, and for each its task and overrides; {px} is the side of the encoder's images."""
LIMIT = 1e-5
"""The largest difference from the library's own features, in units of their largest value, that counts as the same."""


class Cell(NamedTuple):
    """One encoder, in one way, on one kind of task: how far from its library, why refused, or what is assumed."""

    difference: float | None
    refusal: str = ""
    assumed: str = ""
    """What was assumed and printed, since no tensor shows it, and is otherwise in this encoder."""


def recipe_of(name: str, kind: str, side_px: int) -> Any:
    """Return a kind's recipe for images of this side."""
    task, overrides = KINDS[kind][name]
    shown = [f"image_size_px={side_px}", *(each.format(px=side_px) for each in overrides)]
    return load_recipe(adapter_for(find_task(task)).recipe, "transfer", name, shown).config


def source_of(encoder: Encoder, way: str) -> Source | None:
    """Return the encoder as a transfer's source; None where it cannot come in this way. Raises UserError as a transfer
    does.
    """
    folder = encoder.folder
    if way == FOLDER:
        return resolve(str(folder), EncoderStatement(stage="supervised")) if (folder / "config.json").exists() else None
    (weights,) = (file for file in folder.iterdir() if file.suffix in (".safetensors", ".bin"))
    alone = folder / "alone" / weights.name
    alone.parent.mkdir(exist_ok=True)
    shutil.copy(weights, alone)
    if way == PLAIN:
        return resolve(str(alone), EncoderStatement(stage="supervised"))
    stated = dict(encoder.stated)
    if not stated:
        architecture = resolve(str(folder), EncoderStatement(stage="supervised")).use.architecture
        stated = architecture.model_dump(exclude={"norm_eps"} if architecture.norm_eps is None else None)
    (folder / "stated.yaml").write_text(yaml.safe_dump(stated))
    return resolve(str(alone), EncoderStatement(stage="supervised", architecture=str(folder / "stated.yaml")))


def row_of(encoder: Encoder) -> dict[str, dict[str, Cell]]:
    """Return the cells of an encoder by way and kind. Tasks see of an encoder its source alone: sources of the same
    architecture and tensors are tried once.
    """
    known: dict[object, dict[str, Cell]] = {}
    row: dict[str, dict[str, Cell]] = {}
    for way in WAYS:
        try:
            source = source_of(encoder, way)
        except UserError as error:
            row[way] = dict.fromkeys(KINDS, Cell(None, _in_words(error, encoder.folder)))
            continue
        if source is None:
            continue
        same = source.use.architecture.model_dump_json(), source.use.sha256, tuple(source.assumed), source.normalisation
        if same not in known:
            known[same] = {kind: _cell(source, kind, encoder) for kind in KINDS}
        row[way] = known[same]
    return row


def _cell(source: Source, kind: str, encoder: Encoder) -> Cell:
    for name, (task, _) in KINDS[kind].items():
        try:
            report = adapter_for(find_task(task)).would_load(recipe_of(name, kind, encoder.side_px), source)
            require_complete(report, source.use.reference, source.names)
        except UserError as error:
            return Cell(None, f"{name}: {_in_words(error, encoder.folder)}")
        except WorkFailed as error:
            return Cell(None, f"{name}: {_one_line(error, encoder.folder)}")
    found = difference(source, kind, encoder)
    if found >= LIMIT and source.assumed:
        return Cell(None, assumed=" ".join(source.assumed.values()))
    return Cell(found)


def _in_words(error: UserError, folder: Path) -> str:
    """Return a refusal in one line, and prove that it has field, value, rule and remedy."""
    words = _one_line(error, folder)
    first, _, rest = words.partition(" rule: ")
    assert " = " in first, words
    assert " remedy: " in rest, words
    return words


def _one_line(error: Exception, folder: Path) -> str:
    return " ".join(str(error).replace(f"{folder}/", "").split())


@torch.no_grad()
def difference(source: Source, kind: str, encoder: Encoder) -> float:
    """Return how far the features or maps that a kind of task trains on are from those of the encoder's library."""
    images = torch.randn(2, 3, *(encoder.side_px,) * 2, generator=torch.Generator().manual_seed(1))
    recipe = recipe_of(next(iter(KINDS[kind])), kind, encoder.side_px)
    if kind == "dense":
        dense = build_dense_encoder(recipe, source, 0.0, 0).encoder.eval()
        dense.shift_single_windows = False  # as a Swin's classifier, with which it is compared; see Encoder
        theirs = encoder.maps(images, dense.strides)
        ours = dense(images)[-len(theirs) :]
        return max(apart(*_as_tokens(dense.backbone, *both)) for both in zip(ours, theirs, strict=True))
    if kind == "video":
        model = build_video_model(recipe, source, 3, 0).model.encoder.eval()
        clips = torch.stack([images, images.flip(3)], dim=2)
        frames = [_vector(encoder, model.flat, each) for each in (images, images.flip(3))]
        return apart(model(clips), sum(frames) / 2)
    if kind == "fine-tuning":
        tuned: Any = build_model(recipe, source, 0, num_classes=4, drop_path_rate=0.1).model.eval()
        found = family_of(tuned).own_feature(tuned.forward_features(images))
        return apart(found, _vector(encoder, tuned, images))
    frozen = FrozenEncoder(build_model(recipe, source, 0).model, (OUTPUT,), encoder.side_px, 3)
    theirs = [_vector(encoder, frozen.backbone, images)]
    return apart(frozen.vectors(images, [Feature((OUTPUT,), "own")])[0], theirs[0])


def _vector(encoder: Encoder, model: Any, images: Tensor) -> Tensor:
    """Return what the library's own head takes; where it has none, what our head takes of the library's tokens."""
    if encoder.vector is not None:
        return encoder.vector(images)
    return family_of(model).own_feature(encoder.maps(images, ())[-1])


def _as_tokens(model: Any, ours: Tensor, theirs: Tensor) -> tuple[Tensor, Tensor]:
    """Return a map of ours and what the library has of it in one arrangement, both after the same last layers."""
    if theirs.ndim == 4:
        if ours.shape[1] != theirs.shape[1] and ours.shape[1] == theirs.shape[3]:
            theirs = theirs.movedim(3, 1)  # SAM 2's channels stand last
        return (model.neck(ours) if ours.shape[1] != theirs.shape[1] else ours), theirs  # SAM's last layer
    tokens, family = ours.flatten(2).mT, family_of(model)
    for norm in family.last_norms():
        tokens = norm(tokens) if norm is not family.norm_after_pooling else tokens
    return tokens, theirs[:, theirs.shape[1] - tokens.shape[1] :]


def apart(found: Tensor, expected: Tensor) -> float:
    """Return the largest difference of any value, in units of the largest where that is above 1."""
    assert found.shape == expected.shape
    assert expected.std() > 1e-3, "features that differ show something"
    return float((found - expected).abs().max() / max(1.0, float(expected.abs().max())))
