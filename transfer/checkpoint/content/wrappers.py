"""The prefix that wraps an encoder's tensor names, found by the tensors every encoder has, not by guessing wrappers."""

from __future__ import annotations

import re
from collections.abc import Iterable

from benchmarks.errors import UserError
from transfer.checkpoint.refusal import shown

# Tensors near the input, as the layouts name them. What stands before such a name is what wraps the encoder: `module.`,
# `backbone.bottom_up.`, `teacher.backbone.`. So `encoder.` is stripped of SimMIM's `encoder.patch_embed.proj.weight`,
# and kept in Hugging Face's `encoder.layers...`, beside which `embeddings.patch_embeddings...` marks the top.
_PATCH_EMBEDDINGS = (
    r"patch_embed\.proj(?:ection)?\.(?:weight|bias)",
    r"embeddings\.patch_embeddings\.projection\.(?:weight|bias)",
    r"conv_proj\.(?:weight|bias)",  # torchvision ViT
    r"features\.0\.0\.(?:weight|bias)",  # torchvision Swin
)
# Where those are missing, the file is incomplete; with these it is still recognised, and what it lacks is reported.
_FIRST_BLOCKS = (
    r"patch_embed\..+",
    r"embeddings\..+",
    r"encoder\.layers\.0\.blocks\.0\.(?:attention\.|layernorm_|intermediate\.|output\.).+",
    r"encoder\.layer\.0\..+",
    r"(?:layers|stages)\.0\.blocks\.0\..+",
    r"blocks\.0\..+",
    r"features\.1\.0\..+",
)
# Parts of a name that mark a network that only helps the training, not the encoder that is evaluated.
_HELPERS = {"student", "decoder", "predictor", "projector", "target_generator", "tokenizer"}
_HELPER_BEGINNINGS = ("momentum", "decoder_")
_WRAPPERS = ("module.", "_orig_mod.", "model.", "backbone.", "encoder.", "base_encoder.", "img_encoder.")


def encoder_prefix(names: Iterable[str]) -> str:
    """Return what all of the encoder's names begin with, e.g. `module.base_encoder.`; empty where nothing wraps them.

    Raises UserError when the tensors of several encoders lie side by side.
    """
    names = list(names)
    for patterns in (_PATCH_EMBEDDINGS, *((pattern,) for pattern in _FIRST_BLOCKS)):
        anchor = re.compile(rf"(.*\.)?(?:{'|'.join(patterns)})")
        found = {match[1] or "" for name in names if (match := anchor.fullmatch(name))}
        if found:
            return _one_of(found)
    return _shared_wrappers(names)


def _one_of(prefixes: set[str]) -> str:
    encoders = {prefix for prefix in prefixes if not _is_helper(prefix)} or prefixes
    if len(encoders) > 1:
        raise UserError.about(
            "checkpoint",
            f"several encoders in one state dict: {', '.join(map(shown, sorted(encoders)[:8]))}",
            "one encoder, beside which there may be a student, a momentum encoder or a decoder",
            "name the one that is meant: --prefix NAME",
        )
    return encoders.pop()


def _is_helper(prefix: str) -> bool:
    return any(part in _HELPERS or part.startswith(_HELPER_BEGINNINGS) for part in prefix.split("."))


def _shared_wrappers(names: list[str]) -> str:
    """Return the known wrappers that all names share, for a network whose layout is unknown."""
    prefix = ""
    while shared := next((w for w in _WRAPPERS if all(name.startswith(prefix + w) for name in names)), ""):
        prefix += shared
    return prefix
