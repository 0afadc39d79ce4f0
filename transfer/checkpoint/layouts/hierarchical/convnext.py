"""ConvNeXt and ConvNeXtV2 layouts: timm, official, torchvision, mmpretrain, Hugging Face, and DINOv3's.

Sources: facebookresearch/ConvNeXt `models/convnext.py`, facebookresearch/ConvNeXt-V2 `models/convnextv2.py`,
facebookresearch/dinov3 `models/convnext.py`, keyu-tian/SparK, torchvision `models/convnext.py`,
open-mmlab/mmpretrain `models/backbones/convnext.py`, transformers `models/convnext*`, `models/dinov3_convnext`.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from transfer.checkpoint.layouts.layout import Layout, Shapes, Weights
from transfer.checkpoint.layouts.pairs import Names, anywhere, without

if TYPE_CHECKING:
    from torch import Tensor

_STAGES = range(4)
_BLOCK = "stages.{}.blocks.{}."


def _flat(tensor: Tensor) -> Tensor:
    """Return [1, 1, 1, C] and [C, 1, 1] as [C]."""
    return tensor.reshape(-1) if tensor.numel() == max(tensor.shape, default=1) else tensor


_RESHAPED = (
    (_BLOCK + "mlp.grn.weight", _flat),
    (_BLOCK + "mlp.grn.bias", _flat),
    (_BLOCK + "gamma", _flat),
)
_DOWNSAMPLING = (
    ("downsample_layers.0.{}", "stem.{}"),
    ("downsample_layers.{}.{}", "stages.{}.downsample.{}"),
)
_OFFICIAL = Names(
    (
        *_DOWNSAMPLING,
        ("stages.{}.{}.gamma", _BLOCK + "gamma"),
        ("stages.{}.{}.dwconv", _BLOCK + "conv_dw"),
        ("stages.{}.{}.norm", _BLOCK + "norm"),
        ("stages.{}.{}.pwconv1", _BLOCK + "mlp.fc1"),
        ("stages.{}.{}.pwconv2", _BLOCK + "mlp.fc2"),
        ("stages.{}.{}.grn.gamma", _BLOCK + "mlp.grn.weight"),
        ("stages.{}.{}.grn.beta", _BLOCK + "mlp.grn.bias"),
        ("norm", "head.norm"),
    ),
    beside=("head.", "norms.", "projectors.", "decoder.", "proj.", "pred.", "mask_token"),
    reshaped=_RESHAPED,
)
_MMPRETRAIN = Names(
    (
        *_DOWNSAMPLING,
        ("stages.{}.{}.gamma", _BLOCK + "gamma"),
        ("stages.{}.{}.depthwise_conv", _BLOCK + "conv_dw"),
        ("stages.{}.{}.norm", _BLOCK + "norm"),
        ("stages.{}.{}.pointwise_conv1", _BLOCK + "mlp.fc1"),
        ("stages.{}.{}.pointwise_conv2", _BLOCK + "mlp.fc2"),
        ("stages.{}.{}.grn.gamma", _BLOCK + "mlp.grn.weight"),
        ("stages.{}.{}.grn.beta", _BLOCK + "mlp.grn.bias"),
        ("norm3", "head.norm"),
    ),
    beside=("head.", "neck.", "norm0.", "norm1.", "norm2."),
    reshaped=_RESHAPED,
)
_HF_BLOCK = "encoder.stages.{}.layers.{}."
_HUGGINGFACE = Names(
    (
        ("embeddings.patch_embeddings", "stem.0"),
        ("embeddings.layernorm", "stem.1"),
        ("encoder.stages.{}.downsampling_layer.{}", "stages.{}.downsample.{}"),
        (_HF_BLOCK + "layer_scale_parameter", _BLOCK + "gamma"),
        (_HF_BLOCK + "dwconv", _BLOCK + "conv_dw"),
        (_HF_BLOCK + "layernorm", _BLOCK + "norm"),
        (_HF_BLOCK + "pwconv1", _BLOCK + "mlp.fc1"),
        (_HF_BLOCK + "pwconv2", _BLOCK + "mlp.fc2"),
        (_HF_BLOCK + "grn", _BLOCK + "mlp.grn"),
        ("layernorm", "head.norm"),
    ),
    beside=("classifier.", "hidden_states_norms."),
    reshaped=_RESHAPED,
)
_HF_DINOV3 = Names(
    (
        ("stages.0.downsample_layers.{}", "stem.{}"),
        ("stages.{}.downsample_layers.{}", "stages.{}.downsample.{}"),
        ("stages.{}.layers.{}.gamma", _BLOCK + "gamma"),
        ("stages.{}.layers.{}.depthwise_conv", _BLOCK + "conv_dw"),
        ("stages.{}.layers.{}.layer_norm", _BLOCK + "norm"),
        ("stages.{}.layers.{}.pointwise_conv1", _BLOCK + "mlp.fc1"),
        ("stages.{}.layers.{}.pointwise_conv2", _BLOCK + "mlp.fc2"),
        ("layer_norm", "head.norm"),
    ),
    reshaped=_RESHAPED,
)
_TORCHVISION = Names(
    (
        ("features.0.{}", "stem.{}"),
        *((f"features.{2 * n}.{{}}", f"stages.{n}.downsample.{{}}") for n in _STAGES[1:]),
        *(
            pair
            for n in _STAGES
            for pair in (
                (f"features.{2 * n + 1}.{{}}.layer_scale", f"stages.{n}.blocks.{{}}.gamma"),
                (f"features.{2 * n + 1}.{{}}.block.0", f"stages.{n}.blocks.{{}}.conv_dw"),
                (f"features.{2 * n + 1}.{{}}.block.2", f"stages.{n}.blocks.{{}}.norm"),
                (f"features.{2 * n + 1}.{{}}.block.3", f"stages.{n}.blocks.{{}}.mlp.fc1"),
                (f"features.{2 * n + 1}.{{}}.block.5", f"stages.{n}.blocks.{{}}.mlp.fc2"),
            )
        ),
        ("classifier.0", "head.norm"),
    ),
    beside=("classifier.2.",),
    reshaped=_RESHAPED,
)
_TIMM = Names(((_BLOCK + "grn", _BLOCK + "mlp.grn"),), beside=("head.fc.",))
_SPARSE = re.compile(r"(?:(?<=norm\.)|(?<=downsample_layers\.[123]\.0\.))ln\.|(?<=pwconv[12]\.)linear\.")
_DENSE = re.compile(
    r"(stages\.\d+\.\d+\.(norm|pwconv[12])|downsample_layers\.[123]\.0)\.\w+|"
    r"(stages\.\d+\.\d+\.dwconv|downsample_layers\.[123]\.1)\.weight"
)
"""Names that sparse files have not, though dense ones have."""
_KERNEL = re.compile(r"(stages\.\d+\.\d+\.dwconv|downsample_layers\.[123]\.1)\.kernel")


def _sparse_to_timm(weights: Weights) -> Weights:
    """Turn MinkowskiEngine's kernels, a row for each pixel of a column after the other, into those of convolutions.

    Source: facebookresearch/ConvNeXt-V2 `utils.py`, `remap_checkpoint_keys`.
    """
    dense, others = {}, {name: tensor for name, tensor in weights.items() if _DENSE.fullmatch(name)}
    for name, tensor in ((name, tensor) for name, tensor in weights.items() if name not in others):
        named = _SPARSE.sub("", name)
        if kernel := _KERNEL.fullmatch(named):
            dense[f"{kernel[1]}.weight"] = _dense_kernel(tensor)
        else:
            dense[named] = _flat(tensor) if named.endswith(".bias") or ".grn." in named else tensor
    return {**others, **_OFFICIAL.to_timm(dense)}


def _sparse_names_back(weights: Weights) -> Weights:
    def sparse(name: str) -> str:
        name = re.sub(r"(dwconv|downsample_layers\.[123]\.1)\.weight$", r"\1.kernel", name)
        name = re.sub(r"(pwconv[12])\.", r"\1.linear.", name)
        return re.sub(r"(stages\.\d\.\d+\.norm|downsample_layers\.[123]\.0)\.", r"\1.ln.", name)

    return {sparse(name): tensor for name, tensor in _OFFICIAL.names_back(weights).items()}


def _dense_kernel(kernel: Tensor) -> Tensor:
    """Return [k * k, in, out] as [out, in, k, k], and [k * k, C] of a depthwise convolution as [C, 1, k, k]."""
    side = math.isqrt(len(kernel)) if kernel.ndim in (2, 3) else 0
    if not side or side**2 != len(kernel):
        return kernel
    columns_first = kernel.reshape(side, side, -1 if kernel.ndim == 3 else 1, kernel.shape[-1])
    return columns_first.permute(3, 2, 1, 0).contiguous()


def _is_sparse(shapes: Shapes) -> bool:
    return anywhere(shapes, r"stages\.\d+\.\d+\.dwconv\.kernel") and anywhere(shapes, r".+\.pwconv1\.linear\..+")


def _is_timm(shapes: Shapes) -> bool:
    return anywhere(shapes, r"stages\.\d+\.blocks\.\d+\.conv_dw\.weight") and _has_plain_mlp(shapes)


def _has_plain_mlp(shapes: Shapes) -> bool:
    """Return whether blocks have nothing but ConvNeXt's parts, as those of timm's other ConvNets have not."""
    known = r"stages\.\d+\.blocks\.\d+\.(conv_dw|norm|mlp\.fc[12]|mlp\.grn|gamma)(\..+)?"
    return all(anywhere((name,), known) for name in shapes if ".blocks." in name)


def _is_official(shapes: Shapes) -> bool:
    return anywhere(shapes, r"stages\.\d+\.\d+\.dwconv\.weight") and anywhere(shapes, r"stages\.\d+\.\d+\.pwconv1\..+")


def _is_mmpretrain(shapes: Shapes) -> bool:
    return anywhere(shapes, r"stages\.\d+\.\d+\.depthwise_conv\.weight")


def _is_torchvision(shapes: Shapes) -> bool:
    return anywhere(shapes, r"features\.\d+\.\d+\.block\.[035]\.weight") and anywhere(shapes, r".+\.layer_scale")


def _is_huggingface(shapes: Shapes) -> bool:
    return anywhere(shapes, r"encoder\.stages\.\d+\.layers\.\d+\.dwconv\.weight")


def _is_huggingface_dinov3(shapes: Shapes) -> bool:
    return anywhere(shapes, r"stages\.\d+\.layers\.\d+\.depthwise_conv\.weight")


CONVNEXT_LAYOUTS: tuple[Layout, ...] = (
    Layout(
        "timm-convnext",
        "convnext",
        "ConvNeXt and ConvNeXtV2 of timm",
        _is_timm,
        _TIMM.to_timm,
        lambda weights: without(weights, ("head.fc.",)),
    ),
    _OFFICIAL.layout(
        "convnext",
        "convnext",
        "ConvNeXt, ConvNeXtV2, FCMAE and DINOv3's ConvNeXt (facebookresearch), SparK's",
        _is_official,
    ),
    Layout(
        "sparse-convnext",
        "convnext",
        "FCMAE's own pretraining files (facebookresearch/ConvNeXt-V2), of sparse convolutions",
        _is_sparse,
        _sparse_to_timm,
        names_back=_sparse_names_back,
    ),
    _TORCHVISION.layout("torchvision-convnext", "convnext", "ConvNeXt of torchvision", _is_torchvision),
    _MMPRETRAIN.layout("mmpretrain-convnext", "convnext", "ConvNeXt and ConvNeXtV2 of mmpretrain", _is_mmpretrain),
    _HUGGINGFACE.layout(
        "huggingface-convnext", "convnext", "ConvNeXt and ConvNeXtV2 of Hugging Face transformers", _is_huggingface
    ),
    _HF_DINOV3.layout(
        "huggingface-dinov3-convnext",
        "convnext",
        "DINOv3's ConvNeXt of Hugging Face transformers",
        _is_huggingface_dinov3,
    ),
)
