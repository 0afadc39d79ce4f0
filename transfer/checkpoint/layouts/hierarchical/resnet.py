"""ResNet layouts: the names of torchvision, which nearly everybody keeps, a model cut into a list, Hugging Face's.

MoCo v1 and v2, SimCLR, SwAV, BYOL, Barlow Twins, VICReg, DINO, SparK, mmpretrain and timm (ResNeXt, wide ResNets and
ResNet-C, -D, -S and -T among them) all save torchvision's names, behind wrappers of their own. Sources: torchvision
`models/resnet.py`, timm `models/resnet.py`, transformers `models/resnet`, detectron2 `modeling/backbone/resnet.py`,
`layers/batch_norm.py`, `MODEL_ZOO.md` and `tools/convert-torchvision-to-d2.py`, mmpretrain and mmsegmentation
`models/backbones/resnet.py`.
"""

from __future__ import annotations

import re

from benchmarks.errors import UserError
from transfer.checkpoint.layouts.layout import Layout, Shapes, Weights
from transfer.checkpoint.layouts.pairs import Names, anywhere, without

HEADS = ("fc.", "head.", "classifier.", "projection_head.", "projector.", "predictor.", "prototypes.", "queue")
_STAGES = range(1, 5)
_PARTS = ("conv1", "conv2", "conv3", "bn1", "bn2", "bn3", "downsample.0", "downsample.1", "downsample.2")
# Where a model is cut before its pooling, `nn.Sequential(*list(resnet.children())[:-1])` numbers its children.
_NUMBERED = Names(
    (
        ("0", "conv1"),
        ("1", "bn1"),
        *((f"{n + 3}.{{}}.{part}", f"layer{n}.{{}}.{part}") for n in _STAGES for part in _PARTS),
    ),
    beside=("9.",),  # a classifier behind the pooling, which is number 8
)
# The deep stem of ResNet-C and -D, of which mmpretrain numbers the convolutions, mmsegmentation all layers.
_MMPRETRAIN_DEEP = Names(
    (
        *((f"stem.{n}.conv", f"conv1.{3 * n}") for n in range(3)),
        *((f"stem.{n}.bn", f"conv1.{3 * n + 1}") for n in range(2)),
        ("stem.2.bn", "bn1"),
    ),
    beside=HEADS,
)
_MMSEG_DEEP = Names((*((f"stem.{n}", f"conv1.{n}") for n in (0, 1, 3, 4, 6)), ("stem.7", "bn1")), beside=HEADS)
_HF_STAGES = tuple((f"encoder.stages.{n - 1}.layers.{{}}.", f"layer{n}.{{}}.") for n in _STAGES)
_HUGGINGFACE = Names(
    (
        ("embedder.embedder.convolution", "conv1"),
        ("embedder.embedder.normalization", "bn1"),
        *(
            pair
            for theirs, ours in _HF_STAGES
            for pair in (
                *((f"{theirs}layer.{n}.convolution", f"{ours}conv{n + 1}") for n in range(3)),
                *((f"{theirs}layer.{n}.normalization", f"{ours}bn{n + 1}") for n in range(3)),
                (f"{theirs}shortcut.convolution", f"{ours}downsample.0"),
                (f"{theirs}shortcut.normalization", f"{ours}downsample.1"),
            )
        ),
    ),
    beside=("classifier.",),
)
_MMPRETRAIN_STEM, _MMSEG_STEM = r"stem\.\d\.(conv|bn)\.weight", r"stem\.\d\.weight"
_AVERAGED = r"layer[2-4]\.0\.downsample\.2\..+"
"""Only ResNet-D has, and of basic blocks in all stages but the first."""
_D2_STAGES = tuple((f"res{n + 1}.{{}}.", f"layer{n}.{{}}.") for n in _STAGES)
_DETECTRON2 = Names(
    (
        ("stem.conv1", "conv1"),
        ("stem.conv1.norm", "bn1"),
        *(
            pair
            for theirs, ours in _D2_STAGES
            for pair in (
                *((f"{theirs}conv{n}", f"{ours}conv{n}") for n in (1, 2, 3)),
                *((f"{theirs}conv{n}.norm", f"{ours}bn{n}") for n in (1, 2, 3)),
                (f"{theirs}shortcut", f"{ours}downsample.0"),
                (f"{theirs}shortcut.norm", f"{ours}downsample.1"),
            )
        ),
    ),
    beside=("stem.fc.", "linear."),
)
RGB = (
    "images are taken to be RGB and strides to be in 3x3 convolutions, as in detectron2's ResNets from torchvision's: "
    "no tensor shows either, and detectron2 trains others, too, with INPUT.FORMAT and RESNETS.STRIDE_IN_1X1"
)


def _is_resnet(shapes: Shapes) -> bool:
    """Return whether tensors are a ResNet's with batch norms, and not those of CLIP's."""
    deep = anywhere(shapes, _MMPRETRAIN_STEM) or anywhere(shapes, _MMSEG_STEM)
    return _has_blocks(shapes) and not is_clip_resnet(shapes) and not deep


def _has_blocks(shapes: Shapes) -> bool:
    return anywhere(shapes, r"layer[1-4]\.\d+\.conv[12]\.weight") and anywhere(shapes, r"layer[1-4]\.\d+\.bn[12]\..+")


def is_clip_resnet(shapes: Shapes) -> bool:
    """Return whether tensors are those of a ResNet of CLIP's: its stem has three convolutions, its pooling attends."""
    return anywhere(shapes, r"layer[1-4]\.\d+\.conv1\.weight") and anywhere(shapes, r"attnpool\..+|conv3\.weight")


def _is_numbered(shapes: Shapes) -> bool:
    return anywhere(shapes, r"[4-7]\.\d+\.conv[12]\.weight") and anywhere(shapes, r"[4-7]\.\d+\.bn[12]\..+")


def _is_huggingface(shapes: Shapes) -> bool:
    return anywhere(shapes, r"encoder\.stages\.\d+\.layers\.\d+\.layer\.\d+\.convolution\.weight")


def _is_detectron2(shapes: Shapes) -> bool:
    return anywhere(shapes, r"res[2-5]\.\d+\.conv[123]\.weight") and anywhere(shapes, r"res[2-5]\.\d+\..+\.norm\..+")


def _detectron2_to_timm(weights: Weights) -> Weights:
    """Rename them. Raises UserError for those of caffe, which show in batch norms without statistics of their own."""
    means = [tensor for name, tensor in weights.items() if name.endswith("norm.running_mean")]
    if not means or not any(each.is_meta or each.any() for each in means):
        found = "group norms" if not means else "batch norms whose running means are all 0"
        rule = (
            "batch norms with their statistics, as in detectron2's ResNets from torchvision's; MSRA's (R-50.pkl) have "
            "them merged, take BGR images of 0 to 255 and stride in their first 1x1 convolution, which timm has not"
        )
        remedy = "take torchvision's weights: timm:resnet50.tv_in1k; or --encoder python:MODULE:FACTORY with detectron2"
        raise UserError.about("a ResNet of detectron2", found, rule, remedy)
    return with_counters(_DETECTRON2.to_timm(weights))


def _deep(tool: str, stem: str, names: Names, *, averages: bool) -> Layout:
    """Return the layout of a tool's ResNet-C or, where it `averages` before a projection, of its ResNet-D.

    Tensors of the stem match a pattern. timm counts the averaging of ResNet-D in the first stage too, where it is none.
    """
    kind, step = ("D", 1) if averages else ("C", 0)
    return Layout(
        f"{tool}-resnet-{kind.lower()}",
        "resnet",
        f"ResNet-{kind} (ResNetV1{kind.lower()}) of {tool}",
        lambda shapes: _has_blocks(shapes) and anywhere(shapes, stem) and anywhere(shapes, _AVERAGED) == averages,
        lambda weights: with_counters(_renumbered(names.to_timm(weights), step)),
        names_back=lambda weights: names.names_back(_renumbered(weights, -step)),
    )


def _renumbered(weights: Weights, step: int) -> Weights:
    """Return weights with other numbers for the projection of the first stage."""
    return {
        re.sub(r"(?<=^layer1\.0\.downsample\.)\d", lambda at: str(int(at[0]) + step), n): t for n, t in weights.items()
    }


def is_caffe2(shapes: Shapes) -> bool:
    """Return whether tensors are a ResNet's as Caffe2 names them, which is how MSRA's lie in detectron2's model zoo."""
    return anywhere(shapes, r"(.*\.)?res[2-5]_\d+_branch2[abc]_(w|bn_.+)")


def with_counters(weights: Weights) -> Weights:
    """Add what files of torch before 0.4.1 lack: the step counter of each batch norm, which nothing computes with."""
    norms = {name.rpartition(".")[0] for name in weights if name.endswith((".running_mean", ".running_var"))}
    missing = [f"{norm}.num_batches_tracked" for norm in norms if f"{norm}.num_batches_tracked" not in weights]
    return weights | {name: next(iter(weights.values())).new_zeros(()).long() for name in missing}


def _to_timm(weights: Weights) -> Weights:
    return with_counters(without(weights, HEADS))


def _numbered_to_timm(weights: Weights) -> Weights:
    return with_counters(_NUMBERED.to_timm(weights))


RESNET_LAYOUTS: tuple[Layout, ...] = (
    Layout(
        "resnet",
        "resnet",
        "ResNet of torchvision, timm and mmpretrain, and of MoCo v2, SimCLR, SwAV, BYOL, Barlow Twins, DINO and SparK",
        _is_resnet,
        _to_timm,
        lambda weights: without(weights, HEADS),
    ),
    *(
        _deep(tool, stem, names, averages=averages)
        for tool, stem, names in (
            ("mmpretrain", _MMPRETRAIN_STEM, _MMPRETRAIN_DEEP),
            ("mmseg", _MMSEG_STEM, _MMSEG_DEEP),
        )
        for averages in (False, True)
    ),
    Layout(
        "numbered-resnet",
        "resnet",
        "ResNet cut into nn.Sequential, whose parts have numbers (lightly, many SimCLR and BYOL programs)",
        _is_numbered,
        _numbered_to_timm,
        names_back=_NUMBERED.names_back,
    ),
    Layout(
        "detectron2-resnet",
        "resnet",
        "ResNet of detectron2, trained there from torchvision's",
        _is_detectron2,
        _detectron2_to_timm,
        names_back=_DETECTRON2.names_back,
    ),
    Layout(
        "huggingface-resnet",
        "resnet",
        "ResNet of Hugging Face transformers",
        _is_huggingface,
        lambda weights: with_counters(_HUGGINGFACE.to_timm(weights)),
        names_back=_HUGGINGFACE.names_back,
    ),
)
