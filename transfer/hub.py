"""Encoders from hubs: `timm:swin_base_patch4_window7_224.ms_in1k`, `hf-hub:microsoft/swin-tiny-patch4-window7-224`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
from huggingface_hub import snapshot_download
from torch import Tensor

from benchmarks.encoders import Architecture, InitStage, unknown_architecture
from benchmarks.errors import WorkFailed
from benchmarks.record import EncoderUse
from transfer.checkpoint.foreign import weights_sha256
from transfer.references import Source

FILES = ("*.safetensors", "*.index.json", "pytorch_model*.bin", "config.json")


def timm_source(reference: str, name: str, label: str | None) -> Source:
    """Load a pretrained timm model, from the local cache or the hub, without its classifier.

    Raises UserError for a name that timm does not know, WorkFailed when the weights cannot be had.
    """
    if not timm.is_model(name) or not timm.is_model_pretrained(name):
        raise unknown_architecture(name, timm.list_pretrained())
    weights = _pretrained(name)
    config: Any = timm.get_pretrained_cfg(name)
    use = EncoderUse(
        label=label or name,
        reference=reference,
        method=config.tag or "timm",
        init_stage=_stage(config.tag, config.num_classes),
        epochs=None,
        architecture=Architecture(name=name.split(".")[0]),
        sha256=weights_sha256(weights),
    )
    return Source(use, "timm", tuple(config.mean), tuple(config.std), lambda: weights)


def download(name: str) -> Path:
    """Return the local folder of a repository's weights and config.json, fetched where the cache lacks them."""
    try:
        return Path(snapshot_download(name, allow_patterns=list(FILES)))
    except Exception as error:  # hub clients raise many kinds; each means the same
        raise _unreachable(name, error) from error


def _pretrained(name: str) -> dict[str, Tensor]:
    try:
        model = timm.create_model(name, pretrained=True, num_classes=0)
    except Exception as error:  # as above
        raise _unreachable(name, error) from error
    return {key: tensor.contiguous() for key, tensor in sorted(model.state_dict().items())}


def _unreachable(name: str, error: Exception) -> WorkFailed:
    return WorkFailed(
        f"the weights of {name} cannot be had: {type(error).__name__}: {str(error).splitlines()[0]}\n"
        "  remedy: go online, or fill the cache elsewhere and set HF_HOME to it and HF_HUB_OFFLINE=1"
    )


def _stage(tag: str, num_classes: int) -> InitStage:
    """Tell the stage from timm's tag: `_ft_` marks a second training, no classes a training without labels."""
    if "_ft_" in tag:
        return "fine-tuned"
    return "supervised" if num_classes else "self-supervised"
