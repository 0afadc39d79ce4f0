"""Encoders that are recognised and cannot be read, each with the reason and what to do instead."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.errors import UserError
from transfer.checkpoint.layouts.hierarchical.resnet import is_caffe2, is_clip_resnet
from transfer.checkpoint.layouts.layout import Shapes
from transfer.checkpoint.layouts.pairs import anywhere
from transfer.checkpoint.layouts.plain.clip import is_coca
from transfer.checkpoint.layouts.plain.video import is_vjepa_1


def _is_video(shapes: Shapes) -> bool:
    patch = r"(.*\.)?(patch_embed\.proj|embeddings\.patch_embeddings\.proj(ection)?)\.weight"
    return any(len(shape) == 5 for name, shape in shapes.items() if anywhere((name,), patch))


_AS_OWN = (
    "give it as a model of your own, which sees every frame as a clip of equal ones: --encoder "
    "python:PACKAGE.MODULE:FACTORY (docs/checkpoints.md, Own encoders)"
)
_REFUSED: tuple[tuple[Callable[[Shapes], bool], str, str, str], ...] = (
    (
        is_clip_resnet,
        "a ResNet of CLIP's, with a stem of three convolutions and attention in place of pooling",
        "an encoder whose layout is known",
        "take timm's, which has the same weights: timm:resnet50_clip.openai; or a file of it with --architecture "
        "resnet50_clip",
    ),
    (
        is_coca,
        "an image tower of open_clip's that ends in an attention pool with queries of its own (CoCa)",
        "a tower that timm computes, whose norm comes before its pool",
        "give it as a model of your own, which open_clip computes: --encoder python:MODULE:FACTORY",
    ),
    (
        is_caffe2,
        "a ResNet of Caffe2 (MSRA's R-50.pkl and R-101.pkl, FAIR's X-101 of detectron2's model zoo)",
        "one that timm computes: these take BGR images of 0 to 255, and MSRA's stride in their first 1x1 convolution",
        "take torchvision's weights: timm:resnet50.tv_in1k; or --encoder python:PACKAGE.MODULE:FACTORY with detectron2",
    ),
    (
        is_vjepa_1,
        "V-JEPA, the first, whose positions are a table for clips of 16 frames",
        "V-JEPA 2, whose positions are rotations, or VideoMAE",
        _AS_OWN,
    ),
    (
        _is_video,
        "a transformer of videos, whose patches span several frames",
        "V-JEPA 2 or VideoMAE, of those that see clips",
        _AS_OWN,
    ),
)


def refuse_known(shapes: Shapes) -> None:
    """Raise UserError where tensors are of a kind that is known and not read."""
    for recognises, found, rule, remedy in _REFUSED:
        if recognises(shapes):
            raise UserError.about("checkpoint", found, rule, remedy)
