"""Sound files that hold no encoder's weights as they are: adapters, quantised models, optimisers' states, shares.

People hand them in by mistake. Each is named here, with the program that makes plain weights of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from benchmarks.errors import UserError
from transfer.checkpoint.pickles.stand_ins import Inert
from transfer.checkpoint.refusal import MERGE_ADAPTER, READABLE, UNSHARD_DEEPSPEED, UNSHARD_TORCH, shown

_ADAPTER = re.compile(
    r"(.*\.)?(lora_[AB]|lora_embedding_[AB]|lora_(?:up|down)|lora_magnitude_vector|hada_[wt][12](?:_[ab])?|"
    r"lokr_[wt][12](?:_[ab])?|ia3_l|oft_[rR]|vera_lambda_[bd]|prompt_embeddings)(\..*)?"
)
"""Names that PEFT (peft/tuners) and loralib give to what they train beside a model."""
_QUANTISED = re.compile(
    r".*\.(SCB|weight_format|qweight|qzeros|weight_packed|weight_scale(?:_inv)?|absmax|quant_map|nested_absmax|"
    r"quant_state\..*|_packed_params.*)"
)
"""Names of bitsandbytes, GPTQ and AWQ, compressed-tensors, fp8, and torch's own quantised layers."""
_DATA2VEC2 = re.compile(r"(.*\.)?modality_encoders\.\w+\..+")
_NARROW = (torch.int8, torch.uint8, torch.int32, *(getattr(torch, name) for name in dir(torch) if "float8" in name))
_DEQUANTISE = (
    "take the weights that it was made from, or let the library that wrote it turn it back and save it: "
    "model.dequantize().save_pretrained(NEW) of transformers"
)
_OPTIMISER = {"exp_avg", "exp_avg_sq", "max_exp_avg_sq", "exp_inf", "momentum_buffer", "square_avg", "grad_avg", "step"}
_MODEL = "give the file of the model's weights that was saved beside it"


def is_optimisers(tensors: Mapping[str, Tensor]) -> bool:
    """Return whether tensors are what an optimiser keeps for one parameter."""
    return bool(tensors) and tensors.keys() <= _OPTIMISER


def refuse_mistaken(weights: Mapping[str, Tensor]) -> None:
    """Raise UserError where a set of weights is sound, and no encoder can be read from it as it is."""
    adapters = [name for name in weights if _ADAPTER.fullmatch(name)]
    if adapters:
        alone = len(adapters) == len(weights)
        what = "an adapter without its model" if alone else "a model with an adapter that is not merged into it"
        raise _refusal(f"{what} ({len(adapters)} of {len(weights)} tensors, as {shown(adapters[0])})", MERGE_ADAPTER)
    if any(map(_DATA2VEC2.fullmatch, weights)):
        found = "data2vec 2.0 of fairseq, whose norms follow the sums after attention and MLP: timm has no such encoder"
        raise _refusal(found, "give it as a model of your own: --encoder python:PACKAGE.MODULE:FACTORY")
    empty = [name for name, tensor in weights.items() if not tensor.numel()]
    if 2 * len(empty) > len(weights):
        found = f"{len(empty)} of {len(weights)} tensors are empty: the place-holders of ZeRO's third stage"
        raise _refusal(found, UNSHARD_DEEPSPEED)
    quantised = [name for name, tensor in weights.items() if _QUANTISED.fullmatch(name) or _is_narrow(name, tensor)]
    if quantised:
        example = weights[quantised[0]]
        found = f"a quantised model ({len(quantised)} tensors, as {shown(quantised[0])} of {example.dtype})"
        raise _refusal(found, _DEQUANTISE)


def _is_narrow(name: str, tensor: Tensor) -> bool:
    return name.endswith(".weight") and tensor.ndim >= 2 and tensor.dtype in _NARROW


def no_weights(content: object) -> UserError:
    """Return the error for content without any set of weights: what it is instead, where that shows."""
    entries: Mapping[object, object] = content if isinstance(content, dict) else {}
    keys = {key for key in entries if isinstance(key, str)}
    kind = content.name if isinstance(content, Inert) else ""
    if keys & {"ds_config", "ds_version"}:
        return _refusal("one process's share of a training with DeepSpeed, without weights", UNSHARD_DEEPSPEED)
    if kind.startswith("torch.distributed.checkpoint"):
        return _refusal("the table of contents of a distributed checkpoint", UNSHARD_TORCH)
    if (
        keys
        and all(_is_of_training(key) for key in keys)
        and (keys & {"state", "param_groups"} or _has_optimiser(keys))
    ):
        return _refusal(
            f"the state of an optimiser ({', '.join(sorted(map(shown, keys))[:6])}), without weights", _MODEL
        )
    if keys and keys <= {
        "base_lrs",
        "last_epoch",
        "_step_count",
        "_last_lr",
        "lr_lambdas",
        "_get_lr_called_within_step",
    }:
        return _refusal("the state of a learning rate schedule, without weights", _MODEL)
    if "TrainingArguments" in kind:
        return _refusal(f"the settings of a training ({kind}), without weights", _MODEL)
    return UserError.about(
        "checkpoint",
        f"no weights found in it{_held(keys, kind)}",
        "a dict of tensors, at the top or under a key such as model, state_dict or teacher",
        "save the model with torch.save({'model': model.state_dict()}, FILE)",
    )


def _held(keys: set[str], kind: str) -> str:
    names = ", ".join(sorted(map(shown, keys))[:8]) or shown(kind)
    return f" (it holds {names})" if names else ""


def _has_optimiser(keys: set[str]) -> bool:
    return any("optim" in key.lower() for key in keys)


def _is_of_training(key: str) -> bool:
    """Return whether a key stands for what a training needs to go on, beside the model."""
    words = ("optim", "sched", "scaler", "rng", "state", "param_groups", "epoch", "step", "iter", "args", "config")
    return any(word in key.lower() for word in words)


def _refusal(found: str, remedy: str) -> UserError:
    return UserError.about("checkpoint", found, READABLE, remedy)
