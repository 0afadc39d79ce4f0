"""Run ids. The same work has the same id, so that it is done once; whoever makes or checks an id does so here."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from benchmarks.config import digest_of
from benchmarks.encoders import Architecture
from benchmarks.runs.record import EncoderUse, RunRecord, TaskUse


def run_id(name: str, **what: Any) -> str:
    """Return a readable id: `name`, and a digest of what the run is."""
    return f"{name}-{digest_of(what)[:12]}"


def pretraining_id(
    recipe: str,
    digest: str,
    data: str,
    seed: int,
    target: str | None,
    initial: str | None = None,
    *,
    with_head: bool = False,
) -> str:
    """Return the id of a pretraining.

    `digest` is that of the recipe's identity, `data` the fingerprint of its images, `target` the digest of the files
    that its target reads (None where it reads none), `initial` the sha256 of the encoder that it starts from (None for
    random weights), and `with_head` whether it takes that run's mask token and head as well.
    """
    what: dict[str, object] = {} if target is None else {"target": target}
    what |= {} if initial is None else {"initial": initial}
    what |= {"initial_head": True} if with_head else {}
    return run_id(f"pretrain-{recipe}", recipe=digest, data=data, seed=seed, **what)


def transfer_id(recipe: str, digest: str, data: str, seed: int, task: TaskUse, encoder: EncoderUse) -> str:
    """Return the id of a transfer; the arguments are as in `pretraining_id`."""
    more = {} if encoder.code is None else {"code": encoder.code.source_sha256}
    if encoder.images is not None:
        more["images"] = digest_of({"mean": encoder.images.mean, "std": encoder.images.std})
    return run_id(
        f"{task.name}-{recipe}",
        recipe=digest,
        data=data,
        seed=seed,
        task=task.name,
        version=task.version,
        encoder=encoder.sha256 or encoder.reference,
        architecture=_architecture_digest(encoder.architecture.model_dump_json()),
        **more,
    )


@lru_cache(maxsize=2**10)
def _architecture_digest(text: str) -> str:
    """Return the digest of an architecture's identity: thousands of records share few architectures."""
    return Architecture.model_validate_json(text).identity_digest()


def recorded_transfer_id(record: RunRecord) -> str:
    """Return the id that the contents of a transfer's record make, whatever id the record bears."""
    assert record.task is not None, "only for transfers"
    assert record.encoder is not None, "only for transfers"
    recipe = record.recipe
    return transfer_id(recipe.name, recipe.digest, record.data.fingerprint, record.seed, record.task, record.encoder)
