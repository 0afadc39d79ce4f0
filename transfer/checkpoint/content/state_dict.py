"""Finding the encoder's tensors in a checkpoint: where they lie, what wraps their names, and what lies beside them.

Where a file holds several sets of weights, the one its authors evaluate is taken: the teacher (DINO, iBOT, DINOv2) or
target encoder (I-JEPA) before everything, the student last, averages (`model_ema`) only where nothing else is.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from pydantic import JsonValue
from torch import Tensor

from benchmarks.errors import UserError
from transfer.checkpoint.content.facts import facts_beside
from transfer.checkpoint.content.wrappers import encoder_prefix, norms_outside, prefix_before
from transfer.checkpoint.pickles.stand_ins import Inert
from transfer.checkpoint.refusal import shown


@dataclass(frozen=True)
class FoundWeights:
    """An encoder's tensors, with its head where the file has one, under the names that its layout gives them."""

    tensors: dict[str, Tensor]
    where: tuple[str, ...]
    """Keys that lead to them, e.g. `("model",)`; empty where the file is the state dict itself."""
    prefix: str
    """What was stripped from every name, e.g. `module.backbone.`."""
    facts: dict[str, JsonValue]
    """Plain facts found beside the weights (epoch, arguments, meta, ...); `dropped_prefixes` counts the tensors that do
    not belong to the encoder, by the first part of their names; `other_weights` names the sets that were not taken."""
    beside: dict[str, Tensor]
    """The tensors of the same set that do not belong to the encoder, under their full names."""
    outside: Mapping[str, str]
    """Full names of tensors that are the encoder's without having the prefix."""


# In order of preference. Between two sets of weights of the same rank only the user can decide.
_RANKS: tuple[tuple[str, ...], ...] = (
    ("target_encoder", "teacher"),
    (
        *("model", "state_dict", "model_state", "model_state_dict", "module", "network", "net", "weights", "params"),
        *("encoder", "backbone", "base_encoder", "model_weights"),
    ),
    ("model_ema", "state_dict_ema", "ema_state_dict", "ema"),
    ("student",),
)
_RANK_OF = {key: rank for rank, keys in enumerate(_RANKS) for key in keys}
_NOT_WEIGHTS = ("optim", "sched", "scaler", "rng", "random", "loss")
_MAX_DEPTH = 3
_MAX_MODULES = 20_000

Where = tuple[str, ...]
StateDict = Mapping[str, Tensor]


def find_weights(content: object, names: Collection[str] | None = None) -> FoundWeights:
    """Return the encoder's tensors. Raises UserError, naming the candidates, when there is none or more than one.

    `names` are those of a model that is stated, which need no other sign.
    """
    candidates = dict(_candidates(content, (), set()))
    where = _choose(candidates)
    weights = candidates[where]
    known = None if names is None else prefix_before(weights, names)
    prefix = encoder_prefix(weights) if known is None else known
    facts = facts_beside(content, where)
    if others := [".".join(other) for other in candidates if other != where]:
        facts["other_weights"] = list(others)
    outside = norms_outside(weights, prefix)
    beside = {
        name: tensor for name, tensor in weights.items() if not name.startswith(prefix) and name not in outside.values()
    }
    if dropped := Counter(map(_first_part, beside)):
        facts["dropped_prefixes"] = dict(sorted(dropped.items()))
    tensors = {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}
    tensors |= {name: weights[whole] for name, whole in outside.items()}
    return FoundWeights(tensors, where, prefix, facts, beside, outside)


def _candidates(value: object, where: Where, seen: set[int]) -> Iterable[tuple[Where, StateDict]]:
    """Yield every set of weights once; a set is not searched for further sets."""
    if id(value) in seen:
        return
    seen.add(id(value))
    if weights := _state_dict(value):
        yield where, weights
    elif len(where) < _MAX_DEPTH:
        for key, inner in _entries(value).items():
            if isinstance(key, str) and not any(word in key.lower() for word in _NOT_WEIGHTS):
                yield from _candidates(inner, (*where, key), seen)


def _state_dict(value: object) -> StateDict:
    """Return the tensors of a dict that holds mostly tensors, or of a whole model that was pickled; else nothing."""
    if isinstance(value, Inert) and isinstance(value.state, dict) and "_modules" in value.state:
        return _module_tensors(value)
    entries = _entries(value)
    tensors = _direct_tensors(entries)
    deeper = max((len(_direct_tensors(_entries(inner))) for inner in entries.values()), default=0)
    return tensors if 2 * len(tensors) >= len(entries) and len(tensors) > deeper else {}


def _direct_tensors(entries: Mapping[object, object]) -> dict[str, Tensor]:
    return {key: inner for key, inner in entries.items() if isinstance(key, str) and isinstance(inner, Tensor)}


def _module_tensors(model: Inert) -> dict[str, Tensor]:
    """Return what `state_dict()` of a pickled model would hold, from the tables that every torch module keeps."""
    tensors: dict[str, Tensor] = {}
    waiting = deque([("", model)])
    for _ in range(_MAX_MODULES):  # modules may contain each other in a crafted file
        if not waiting:
            break
        prefix, module = waiting.popleft()
        state = module.state if isinstance(module.state, dict) else {}
        for table in ("_parameters", "_buffers"):
            own = _direct_tensors(_entries(state.get(table)))
            tensors.update((f"{prefix}{name}", tensor) for name, tensor in own.items())
        inner = _entries(state.get("_modules")).items()
        waiting.extend((f"{prefix}{name}.", part) for name, part in inner if isinstance(part, Inert))
    return tensors


def _entries(value: object) -> Mapping[object, object]:
    return value if isinstance(value, dict) else {}


def _choose(candidates: Mapping[Where, StateDict]) -> Where:
    if not candidates:
        raise UserError.about(
            "checkpoint",
            "no weights found in it",
            "a dict of tensors, at the top or under a key such as model, state_dict or teacher",
            "save the model with torch.save({'model': model.state_dict()}, FILE)",
        )
    ranks = {where: _rank(where) for where in candidates}
    best = [where for where in candidates if ranks[where] == min(ranks.values())]
    if len(best) > 1:
        sets = ", ".join(f"{shown('.'.join(where))} ({len(candidates[where])} tensors)" for where in best[:8])
        raise UserError.about(
            "checkpoint",
            f"{len(best)} sets of weights: {sets}",
            "one encoder, or a teacher beside a student",
            "save the one that is meant alone: torch.save(torch.load(FILE, weights_only=True)[KEY], NEW_FILE)",
        )
    return best[0]


def _rank(where: Where) -> tuple[int, ...]:
    """Return the order of preference by the keys that lead to a set; unknown keys come after all known ones."""
    return tuple(_RANK_OF.get(key, len(_RANKS)) for key in where)


def _first_part(name: str) -> str:
    """Return `module.momentum_encoder` of `module.momentum_encoder.blocks.0`, and `decoder` of `decoder.0.weight`."""
    parts = name.split(".")
    wrappers = [part in ("module", "_orig_mod", "model") for part in parts[:-1]]
    length = wrappers.index(False) + 1 if False in wrappers else len(wrappers)
    return ".".join(parts[: max(length, 1)])
