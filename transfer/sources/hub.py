"""Encoders from hubs: `timm:swin_base_patch4_window7_224.ms_in1k`, `hf-hub:microsoft/swin-tiny-patch4-window7-224`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError
from torch import Tensor, nn

from benchmarks.encoders import Architecture, InitStage, Normalisation, unknown_architecture
from benchmarks.errors import UserError, WorkFailed
from benchmarks.runs.record import EncoderUse
from transfer.checkpoint.content.digest import weights_sha256
from transfer.sources.hub_tags import stage_of_tag, stages_of_tag
from transfer.sources.preprocessing import of_timm
from transfer.sources.source import Source, known_stage, stated_history

# config.json says what tensors cannot: a ViT's heads, SwinV2's windows, the norms' eps.
WEIGHT_FILES = (
    *("*.safetensors", "*.index.json", "pytorch_model*.bin"),
    *("config.json", "preprocessor_config.json", "processor_config.json", "open_clip_config.json"),
)


def timm_source(
    reference: str, name: str, label: str | None, stage: InitStage | None = None, pretrained_on: str | None = None
) -> Source:
    """Load a pretrained timm model, from the local cache or the hub, without its classifier.

    Raises UserError for a name that timm does not know, and for one that shows no stage of training while `stage` is
    None; WorkFailed when the weights can be neither read nor downloaded.
    """
    _require_pretrained(name)
    config: Any = timm.get_pretrained_cfg(name)
    init_stage = known_stage(stage or stage_of_tag(name, config.tag, config.num_classes), reference)
    by_tag = stages_of_tag(name, config.tag or "") if pretrained_on is None else None
    weights = _pretrained(name)
    use = EncoderUse(
        label=label or name,
        reference=reference,
        method=config.tag or "timm",
        init_stage=init_stage,
        epochs=None,
        architecture=Architecture(name=name.split(".")[0]),
        sha256=weights_sha256(weights),
        history=by_tag or stated_history(config.tag or "timm", pretrained_on, init_stage, None),
    )
    stated_by = "timm's configuration"
    return Source(
        use,
        "timm",
        Normalisation(tuple(config.mean), tuple(config.std), stated_by),
        lambda: weights,
        test_protocol=lambda: of_timm(config.to_dict(), stated_by),
    )


def download(name: str) -> Path:
    """Return the local folder of a repository's weights and configuration, fetched where the cache lacks them.

    Raises UserError for what cannot be a repository's name, WorkFailed when the files can be neither read nor
    downloaded.
    """
    try:
        return Path(snapshot_download(name, allow_patterns=list(WEIGHT_FILES)))
    except HFValidationError:
        rule = "a repository of the hub: OWNER/NAME of letters, digits, -, _ and ."
        remedy = "copy it from the model's page, e.g. hf-hub:microsoft/swin-tiny-patch4-window7-224"
        raise UserError.about("hf-hub", name or "(empty)", rule, remedy) from None
    except Exception as error:  # hub clients raise many kinds; each means the same
        raise _unreachable(name, error) from error


def _pretrained(name: str) -> dict[str, Tensor]:
    return tensors_of(timm_model(name, num_classes=0))


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Return a model's tensors, sorted by name."""
    return {key: tensor.contiguous() for key, tensor in sorted(model.state_dict().items())}


def timm_model(name: str, **arguments: Any) -> nn.Module:
    """Return a pretrained timm model, with its head unless `num_classes=0`. Raises as `timm_source` does."""
    _require_pretrained(name)
    try:
        model: nn.Module = timm.create_model(name, pretrained=True, **arguments)
    except Exception as error:  # as above
        raise _unreachable(name, error) from error
    return model


def _require_pretrained(name: str) -> None:
    if not timm.is_model(name) or not timm.is_model_pretrained(name):
        raise unknown_architecture(name, timm.list_pretrained())


def _unreachable(name: str, error: Exception) -> WorkFailed:
    return WorkFailed(
        f"the weights of {name} could not be fetched: {type(error).__name__}: {str(error).splitlines()[0]}\n"
        "  remedy: go online, or fill the cache elsewhere and set HF_HOME to it and HF_HUB_OFFLINE=1"
    )
