"""Files and folders that hold only a share of a checkpoint, or one that must be put together first, by what they show.

The bytes of such files are sound, and a shard read alone would pass for a shallow encoder.
"""

from __future__ import annotations

import re
from pathlib import Path

from transfer.checkpoint.refusal import MERGE_ADAPTER, UNSHARD_DEEPSPEED, UNSHARD_TORCH, Refusal, unsupported

_SHARD = re.compile(r"(.+)-(\d{3,6})-of-(\d{3,6})(\.\w+)")
"""Hugging Face's names of shards: model-00001-of-00003.safetensors."""
METADATA = ".metadata"
"""The table of contents of torch.distributed.checkpoint."""


def refuse_share(path: Path) -> None:
    """Raise Refusal for one file of several that make a checkpoint together."""
    if path.suffix == ".distcp" or (path.name == METADATA and any(path.parent.glob("*.distcp"))):
        raise unsupported("one file of a distributed checkpoint (FSDP)", UNSHARD_TORCH)
    shard = _SHARD.fullmatch(path.name)
    if shard and int(shard[3]) > 1 and path.is_file():
        raise _one_shard(path, shard)


def _one_shard(path: Path, shard: re.Match[str]) -> Refusal:
    index = path.with_name(f"{shard[1]}{shard[4]}.index.json")
    remedy = f"give the index, {index}, which names all of them"
    if not index.is_file():
        remedy = f"fetch all shards and their index ({index.name}) into one folder, and give that folder"
    found = f"shard {int(shard[2])} of {int(shard[3])}: only some of the tensors lie in it"
    return Refusal(found, "a whole checkpoint: all shards, by their index", remedy)


def refuse_folder(folder: Path) -> None:
    """Raise Refusal for a folder whose weights must be put together first, or that lacks the index of its shards.

    To be called for folders without a checkpoint of a usual name.
    """
    inside = {path.name for path in folder.iterdir()}
    if METADATA in inside or any(name.endswith(".distcp") for name in inside):
        raise unsupported("a distributed checkpoint (FSDP, torch.distributed.checkpoint)", UNSHARD_TORCH)
    for name in sorted(inside):
        if "optim" not in name and (folder / name / METADATA).is_file():
            raise unsupported(f"a folder with a distributed checkpoint in {name}", UNSHARD_TORCH)
    if _is_deepspeeds(folder, inside):
        raise unsupported("a training's state as DeepSpeed saves it, divided between processes", UNSHARD_DEEPSPEED)
    if "adapter_config.json" in inside:
        raise unsupported("an adapter of PEFT, without the model that it was trained beside", MERGE_ADAPTER)
    if shards := sorted(name for name in inside if (match := _SHARD.fullmatch(name)) and int(match[3]) > 1):
        shard = _SHARD.fullmatch(shards[0])
        assert shard is not None
        finding = f"{len(shards)} of {int(shard[3])} shards, as {shards[0]}, without their index"
        remedy = f"fetch {shard[1]}{shard[4]}.index.json from where the shards came from, into the same folder"
        raise Refusal(finding, "every shard, and the index that names them", remedy)


def _is_deepspeeds(folder: Path, inside: set[str]) -> bool:
    if "zero_to_fp32.py" in inside or any(re.search(r"mp_rank_\d+_(model|optim)_states\.pt$", name) for name in inside):
        return True
    return any(name.startswith("global_step") and any((folder / name).glob("*_states.pt")) for name in inside)
