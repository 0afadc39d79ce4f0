"""What is published: a model's tensors under timm's names, and all that is known of them."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from benchmarks.catalogue.tasks import TASKS
from benchmarks.encoders import MANIFEST, Architecture, Normalisation, read_manifest
from benchmarks.engine.backbone import build_backbone, is_known, sized
from benchmarks.engine.checkpoint import Checkpoints
from benchmarks.engine.own_code import is_own
from benchmarks.errors import UserError, first_of
from benchmarks.families.table import family_named, family_of
from benchmarks.families.torchvision_model import is_torchvisions
from benchmarks.runs.folder import RunFolder, read_record, run_folder_of
from benchmarks.runs.record import EncoderUse, RunRecord
from benchmarks.verbs.statement import EncoderStatement
from transfer.encoder.proof.loading import load_encoder, require_complete
from transfer.encoder.proof.plausible import implausible
from transfer.sources.references import resolve

_AVERAGED = "average."
"""Before the names of the tensors that are scored, in the checkpoint of a run that averaged its weights."""


@dataclass(frozen=True)
class Publication:
    """A model that is to be published."""

    use: EncoderUse
    architecture: Architecture
    """Built for `image_size_px`."""
    image_size_px: int
    normalisation: Normalisation
    tensors: dict[str, Tensor] = field(repr=False)
    """In timm's names, in their order there; the head's among them, where it has one."""
    num_classes: int = 0
    """Of its head; 0 for an encoder."""
    classes: tuple[str, ...] = ()
    """The names of the head's classes, in their order; empty where they are not known."""
    record: RunRecord | None = None
    """Of the run that trained it, where one did."""
    recipe: tuple[str, str] | None = None
    """The name and the digest of the recipe that it was trained by; None where that is not known."""
    notes: tuple[str, ...] = ()
    """What was assumed of it, or is to be known by who uses it."""

    def build(self) -> nn.Module:
        """Return the model as transfers build it, with these tensors, for evaluation."""
        model = build_backbone(self.architecture, self.image_size_px, num_classes=self.num_classes)
        report = load_encoder(model, self.tensors, "publish", with_head=self.num_classes > 0)
        require_complete(report, self.use.reference)
        return model.eval()


def find_published(
    reference: str,
    said: EncoderStatement = EncoderStatement(),
    *,
    with_head: bool = False,
) -> Publication:
    """Return the encoder that `reference` names, or the classifier that a run fine-tuned, `with_head`.

    Raises UserError for what names none, for an encoder that timm has no model for, for weights that no training leaves
    behind, and for heads other than a fine-tuned classifier's.
    """
    source = resolve(reference, said)
    if source.read is None:
        rule = "an encoder that has weights: a run, an export, any checkpoint, timm:NAME or hf-hub:NAME"
        raise UserError.about("encoder", reference, rule, "name one of those; random weights are made anew from a seed")
    _require_timms(source.use.architecture.name)
    folder, manifest = _export_of(reference)
    size = manifest.image_size_px if manifest else _built_px(source.use.architecture)
    built = sized(source.use.architecture, size)
    found = Publication(
        source.use,
        built,
        size,
        source.normalisation,
        _ordered(built, size, source.read(), 0),
        record=None if folder is None else read_record(folder),
        recipe=(manifest.recipe, manifest.recipe_digest) if manifest else None,
        notes=source.notes(),
    )
    odd = list(implausible(found.tensors))
    if odd:
        rule = f"weights that a training left behind ({first_of(odd, 3, '; ')})"
        raise UserError.about("encoder", reference, rule, "name the encoder that was meant")
    return _with_head(found, folder, reference) if with_head else found


def _require_timms(name: str) -> None:
    """Raise UserError, with what can be had instead, for an architecture that timm itself does not build."""
    rule = "an architecture that timm itself builds, for timm loads what is published"
    if is_own(name):
        remedy = "publish it with its code as its library does; timm has no class for it"
    elif is_torchvisions(name):
        remedy = "mimbench checkpoint convert ENCODER --to torchvision --out FILE writes what torchvision loads"
    elif not is_known(name) or not timm.model_entrypoint(name).__module__.startswith("timm."):
        clips = is_known(name) and family_named(name).video_form == "clips"
        what = "an encoder of clips" if clips else "a model of this program's"
        remedy = f"{what}: mimbench checkpoint tensors ENCODER --out FILE.safetensors writes its weights alone"
    else:
        return
    raise UserError.about("architecture", name, rule, remedy)


def _export_of(reference: str) -> tuple[Path | None, Any]:
    """Return the run that `reference` names and the manifest of its export; None where it is something else."""
    path = run_folder_of(Path(reference))
    if (path / MANIFEST).is_file():
        return None, read_manifest(path)
    export = RunFolder(path).encoder
    return (path, read_manifest(export)) if (export / MANIFEST).is_file() else (None, None)


def _built_px(architecture: Architecture) -> int:
    with torch.device("meta"):
        return family_of(build_backbone(architecture, None, whole_windows=False)).built_px


def _ordered(architecture: Architecture, size: int, tensors: dict[str, Tensor], classes: int) -> dict[str, Tensor]:
    """Return the tensors that timm's model has, in its order; what else a file holds (a mask token) is left out."""
    with torch.device("meta"):
        names = build_backbone(architecture, size, num_classes=classes, whole_windows=False).state_dict()
    return {name: tensors[name].contiguous() for name in names if name in tensors}


def _with_head(encoder: Publication, folder: Path | None, reference: str) -> Publication:
    """Return the classifier whose encoder a run fine-tuned: its export, and the head of its last checkpoint."""
    record = encoder.record
    rule = "a completed run that fine-tuned a classifier of images, and has its last checkpoint still"
    if folder is None or record is None or not _has_head(record):
        raise UserError.about("--head", reference, rule, "leave --head out: the encoder alone is published then")
    checkpoint = Checkpoints(RunFolder(folder).checkpoints).latest()
    if checkpoint is None or checkpoint.step != record.steps:
        raise UserError.about("--head", reference, rule, "put the run's checkpoints/ back, or leave --head out")
    saved = checkpoint.part("model")
    averaged = {name.removeprefix(_AVERAGED): t for name, t in saved.items() if name.startswith(_AVERAGED)}
    with torch.device("meta"):
        names = family_of(build_backbone(encoder.architecture, encoder.image_size_px, num_classes=1)).head_names()
    head = {name: tensor for name, tensor in (averaged or saved).items() if name in names}
    rows = {tensor.shape[0] for tensor in head.values()}
    if len(rows) != 1:
        raise UserError.about("--head", reference, "a head of one layer under timm's names", "leave --head out")
    (num_classes,) = rows
    classes = _classes(folder)
    return replace(
        encoder,
        tensors=_ordered(encoder.architecture, encoder.image_size_px, encoder.tensors | head, num_classes),
        num_classes=num_classes,
        classes=classes if len(classes) == num_classes else (),
    )


def _has_head(record: RunRecord) -> bool:
    """Tell whether a run ended with a classifier of images whose encoder it trained, too."""
    task = TASKS.get(record.task.name) if record.task else None
    fine_tuned = record.recipe.resolved.get("protocol", "finetune") == "finetune"
    return record.status == "completed" and task is not None and task.kind == "classification" and fine_tuned


def _classes(folder: Path) -> tuple[str, ...]:
    """Return the names of those of a classifier's classes that have test images, from its run's own table, in order."""
    try:
        with RunFolder(folder).per_class.open(encoding="utf-8", newline="") as file:
            return tuple(row["class"] for row in csv.DictReader(file))
    except (OSError, KeyError, UnicodeDecodeError, csv.Error):
        return ()
