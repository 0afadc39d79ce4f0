"""The prefix that wraps an encoder's tensor names, found by the tensors every encoder has, not by guessing wrappers."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

from torch import Tensor

from benchmarks.errors import UserError
from transfer.checkpoint.refusal import shown

# Tensors near the input, as the layouts name them. What stands before such a name is what wraps the encoder: `module.`,
# `backbone.bottom_up.`, `teacher.backbone.`. So `encoder.` is stripped of SimMIM's `encoder.patch_embed.proj.weight`,
# and kept in Hugging Face's `encoder.layers...`, beside which `embeddings.patch_embeddings...` marks the top.
_PATCH_EMBEDDINGS = (
    r"patch_embed\.proj(?:ection)?\.(?:weight|bias)",
    r"embeddings\.patch_embed(?:dings?)?(?:\.proj(?:ection)?)?\.(?:weight|bias)",
    r"conv_proj\.(?:weight|bias)",  # torchvision ViT
    r"features\.0\.0\.(?:weight|bias)",  # torchvision Swin and ConvNeXt
    r"features\.(?:conv)?0\.(?:weight|bias)",  # torchvision VGG and DenseNet
    r"stem\.0\.(?:0\.)?(?:weight|bias)",  # timm ConvNeXt; torchvision RegNet and MaxViT
    r"downsample_layers\.0\.0\.(?:weight|bias)",  # official ConvNeXt
    r"stages\.0\.downsample_layers\.0\.(?:weight|bias)",  # Hugging Face DINOv3 ConvNeXt
    r"embedder\.embedder\.convolution\.weight",  # Hugging Face ResNet
    r"preprocessor\.patchifier\.proj\.(?:weight|bias)",  # official AIMv2
)
# Names that other tensors end in as well, so that those above count first.
_FIRST_CONVOLUTIONS = (
    r"(?<!embeddings\.)class_embedding",  # CLIP's image tower; that of text has none
    r"stem\.conv1\.weight",  # detectron2's ResNet
    r"(?<!stem\.)conv1\.(?:0\.)?weight",  # ResNet
)
# Where those are missing, the file is incomplete, or has names that say less; with these it is still recognised, and
# what it lacks is reported.
_FIRST_BLOCKS = (
    r"patch_embed\..+",
    r"embeddings\..+",
    r"encoder\.layers\.0\.blocks\.0\.(?:attention\.|layernorm_|intermediate\.|output\.).+",
    r"encoder\.layers\.0\.(?:self_attn|attention|layer_norm\d|rms_norm\d|mlp|ffn)\..+",
    r"encoder\.stages\.0\.layers\.0\..+",
    r"encoder\.layer\.0\..+",
    r"transformer\.resblocks\.0\..+",
    r"trunk\.blocks\.0\..+",
    r"(?:layers|stages)\.0\.blocks\.0\..+",
    r"blocks\.0\..+",
    r"features\.1\.0\..+",
    r"layer1\.0\..+",
    r"res2\.0\..+",
    r"4\.0\.conv1\.weight",  # a ResNet cut into nn.Sequential
    r"stages\.0\.(?:layers\.)?0\..+",
    r"layers?\.0\..+",
)
# The first convolution of a block has the name of a ResNet's very first one.
_INSIDE = re.compile(r"(?:.*\.)?(?:(?:layer|res)\d+\.\d+|\d+\.\d+)\.")
# Parts of a name that mark a network that only helps the training, not the encoder that is evaluated: of MoCo the
# encoder of keys, of BYOL the target network.
_HELPERS = {"student", "decoder", "predictor", "projector", "target_generator", "tokenizer", "encoder_k", "text"}
_HELPER_BEGINNINGS = ("momentum", "decoder_", "dense_decoder", "text_", "target_net")
_LAST_NORMS = ("layernorm", "layer_norm", "encoder_norm", "fc_norm")
_MOST = 0.9
"""The share of a stated model's names that a file must have to be taken for one of it: damage is named later."""
_MANY = 6
"""So many encoders lie in no file side by side, but blocks do whose layers are called as an encoder's first."""
_ONLINE = "online"
"""The beginning of the name of the network that BYOL evaluates; the other is its target."""
_WRAPPERS = ("module.", "_orig_mod.", "model.", "backbone.", "encoder.", "base_encoder.", "img_encoder.", "net.")


# What torch puts around blocks that it compiles, divides or computes again, and what timm's `features_only` makes of
# the numbers of stages.
_AROUND_BLOCKS = re.compile(
    r"(?<=\d\.)(?:(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|_forward_module)\.)+"
)
_FLATTENED = re.compile(r"(^|\.)(stem|stages|layers|blocks)_(\d+)\.")
_BLOCK = re.compile(r"(?:stages|levels|layers?|blocks?)\.\d+\.")
_STAGE = re.compile(r"(?:.*\.)?(?:stages|levels|layers?|blocks?)\.\d+\.")


def plain_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors by the names that they have where no block is wrapped and no stage flattened."""
    named = {_FLATTENED.sub(r"\1\2.\3.", _AROUND_BLOCKS.sub("", name)): each for name, each in weights.items()}
    return named if len(named) == len(weights) else dict(weights)


def encoder_prefix(names: Iterable[str]) -> str:
    """Return what all of the encoder's names begin with, e.g. `module.base_encoder.`; empty where nothing wraps them.

    Raises UserError when the tensors of several encoders lie side by side.
    """
    names = list(names)
    for patterns in (_PATCH_EMBEDDINGS, _FIRST_CONVOLUTIONS, *((pattern,) for pattern in _FIRST_BLOCKS)):
        anchor = re.compile(rf"(.*\.)?(?:{'|'.join(patterns)})")
        found = {match[1] or "" for name in names if (match := anchor.fullmatch(name))}
        found = {prefix for prefix in found if not _INSIDE.fullmatch(prefix)}
        stages = {prefix for prefix in found if _STAGE.fullmatch(prefix)}
        found -= stages if len(stages) > 1 else set()  # of one network, whose stages each begin alike
        found -= {inner for inner in found if any(_is_inside(inner, outer) for outer in found)}
        if found and not _are_blocks(found):
            return _one_of(found)
    return _shared_wrappers(names)


def _is_inside(inner: str, outer: str) -> bool:
    """Tell whether a prefix is that of a part of a block of the encoder behind another."""
    return inner.startswith(outer) and bool(_BLOCK.match(inner.removeprefix(outer)))


def _are_blocks(prefixes: set[str]) -> bool:
    """Tell whether prefixes differ in numbers alone and are many, as those of the blocks of one network do."""
    return len(prefixes) >= _MANY and len({re.sub(r"\d+", "#", prefix) for prefix in prefixes}) == 1


def _one_of(prefixes: set[str]) -> str:
    encoders = {prefix for prefix in prefixes if not _is_helper(prefix)} or prefixes
    encoders = {prefix for prefix in encoders if _ONLINE in prefix} or encoders
    if len(encoders) > 1:
        raise UserError.about(
            "checkpoint",
            f"several encoders in one state dict: {', '.join(map(shown, sorted(encoders)[:8]))}",
            "one encoder, beside which there may be a student, a momentum encoder or a decoder",
            "name the one that is meant: --prefix NAME",
        )
    return encoders.pop()


def prefix_before(names: Iterable[str], expected: Collection[str]) -> str | None:
    """Return what wraps the tensors of a model whose names are known; None where most of them are not there."""
    present = set(names)
    firsts = sorted(expected)[:8]
    prefixes = {name[: -len(first)] for name in present for first in firsts if name.endswith(first)}
    found = {p: sum(p + name in present for name in expected) for p in prefixes if not p or p.endswith(".")}
    best = max(found, key=lambda prefix: found[prefix], default=None)
    return best if best is not None and found[best] >= _MOST * len(expected) else None


def norms_outside(names: Iterable[str], prefix: str) -> dict[str, str]:
    """Return the names of an encoder's last norm that lies one wrapper further out, by its names without any.

    So have BEiT and Hiera their norm in transformers' models for pretraining, DINOv3's ConvNeXt in memory, and
    classifiers of VideoMAE.
    """
    names = set(names)
    outer = prefix[: prefix.rstrip(".").rfind(".") + 1]
    parts = [f"{norm}.{part}" for norm in _LAST_NORMS for part in ("weight", "bias")] if prefix else []
    return {part: outer + part for part in parts if outer + part in names and prefix + part not in names}


def _is_helper(prefix: str) -> bool:
    return any(part in _HELPERS or part.startswith(_HELPER_BEGINNINGS) for part in prefix.split("."))


def _shared_wrappers(names: list[str]) -> str:
    """Return the known wrappers that all names share, for a network whose layout is unknown."""
    prefix = ""
    while shared := next((w for w in _WRAPPERS if all(name.startswith(prefix + w) for name in names)), ""):
        prefix += shared
    return prefix
