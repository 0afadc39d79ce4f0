"""Finding the encoder's tensors in a checkpoint: where they lie, what wraps their names, and what lies beside them.

Where a file holds several sets of weights and a person selects none, the one that its authors' code evaluates is taken:
- the teacher of DINO, iBOT and DINOv2, the target encoder of I-JEPA and V-JEPA 2 (`eval_linear.py` and the
  configurations for evaluation there name them); the student last.
- timm's average, `state_dict_ema` beside `state_dict`: `timm.models.load_state_dict(use_ema=True)`.
- torchvision's, a `model_ema` that counts what it averaged: `references/classification/train.py --test-only`.
- no other average where there is a model: DeiT, ConvNeXt and BEiT, which call theirs `model_ema` as well, evaluate
  `model` unless they are asked; mmengine's EMAHook saves the average as `state_dict`.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue
from torch import Tensor

from benchmarks.errors import UserError
from transfer.checkpoint.content.facts import facts_beside
from transfer.checkpoint.content.mistaken import is_optimisers, no_weights, refuse_mistaken
from transfer.checkpoint.content.selection import Selection
from transfer.checkpoint.content.wrappers import encoder_prefix, norms_outside, plain_names, prefix_before
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
    remarks: tuple[str, ...] = ()
    """Which set was taken, where the file holds several or a person selected one."""


# In order of preference. Between two sets of weights of the same rank only the user can decide.
_RANKS: tuple[tuple[str, ...], ...] = (
    ("target_encoder", "teacher"),
    (
        *("model", "state_dict", "model_state", "model_state_dict", "module", "network", "net", "weights", "params"),
        *("encoder", "backbone", "base_encoder", "model_weights", "trunk", "classy_state_dict", "base_model"),
    ),
    ("model_ema", "state_dict_ema", "ema_state_dict", "ema"),
    ("student",),
)
_RANK_OF = {key: rank for rank, keys in enumerate(_RANKS) for key in keys}
_NOT_WEIGHTS = ("optim", "sched", "scaler", "rng", "random", "loss")
_MAX_DEPTH = 5
"""VISSL's weights lie under `classy_state_dict`, `base_model`, `model` and `trunk`."""
_MAX_MODULES = 20_000

Where = tuple[str, ...]
StateDict = Mapping[str, Tensor]


def find_weights(
    content: object,
    selection: Selection = Selection(),
    names: Collection[str] | None = None,
) -> FoundWeights:
    """Return the encoder's tensors: those that are selected, else those that the authors evaluate.

    `names` are those of a model that is stated, which need no other sign. Raises UserError, naming the candidates, when
    there is none, more than one, or not the one that is selected.
    """
    candidates = dict(_candidates(content, (), set()))
    if not candidates:
        raise no_weights(content)
    where = _choose(candidates) if selection.weights is None else _selected(candidates, selection.weights)
    weights = plain_names(candidates[where])
    refuse_mistaken(weights)
    known = None if names is None else prefix_before(weights, names)
    if selection.prefix is not None:
        prefix = _prefix(weights, selection.prefix)
    else:
        prefix = encoder_prefix(weights) if known is None else known
    facts = facts_beside(content, where)
    others = [".".join(other) for other in candidates if other != where]
    if others:
        facts["other_weights"] = list(others)
    outside = norms_outside(weights, prefix)
    beside = {
        name: tensor for name, tensor in weights.items() if not name.startswith(prefix) and name not in outside.values()
    }
    if dropped := Counter(_first_part(name, prefix) for name in beside):
        facts["dropped_prefixes"] = dict(sorted(dropped.items()))
    tensors = {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}
    tensors |= {name: weights[whole] for name, whole in outside.items()}
    remarks = _remarks(".".join(where), others, prefix, selection)
    return FoundWeights(tensors, where, prefix, facts, beside, outside, remarks)


def _remarks(taken: str, others: Sequence[str], prefix: str, selection: Selection) -> tuple[str, ...]:
    if not others and not selection.given:
        return ()
    part = f", of these the tensors under {shown(prefix)}" if selection.prefix is not None else ""
    beside = f"; the file holds {', '.join(map(shown, others[:8]))} as well" if others else ""
    why = " (--weights takes another)" if others and selection.weights is None else ""
    return (f"weights: {shown(taken) or 'the file itself'}{part}{beside}{why}",)


def _selected(candidates: Mapping[Where, StateDict], key: str) -> Where:
    """Return where the set lies that a person names by its whole path of keys, or by its last one."""
    found = [where for where in candidates if ".".join(where) == key]
    found = found or [where for where in candidates if where[-1:] == (key,)]
    if len(found) != 1:
        names = ", ".join(shown(".".join(where)) or "(the file itself)" for where in list(candidates)[:8])
        raise UserError.about("--weights", key, f"one of the file's sets of weights: {names}", "name one of them")
    return found[0]


def _prefix(weights: StateDict, prefix: str) -> str:
    """Return a prefix that a person names, with its dot. Raises UserError where no name begins with it."""
    whole = prefix if not prefix or prefix.endswith(".") else f"{prefix}."
    if not any(name.startswith(whole) for name in weights):
        firsts = ", ".join(map(shown, list(Counter(_first_part(name, "") for name in weights))[:8]))
        raise UserError.about("--prefix", prefix, f"what names of the file begin with ({firsts}, ...)", "name another")
    return whole


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
    if is_optimisers(tensors):
        return {}
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
    ranks = {where: _rank(where) for where in candidates}
    best = [where for where in candidates if ranks[where] == min(ranks.values())]
    if len(best) > 1:
        sets = ", ".join(f"{shown('.'.join(where))} ({_count(candidates[where])})" for where in best[:8])
        rule = "one encoder, or a teacher beside a student"
        raise UserError.about(
            "checkpoint", f"{len(best)} sets of weights: {sets}", rule, "name the one that is meant: --weights KEY"
        )
    return _average(candidates, best[0]) or best[0]


def _count(weights: StateDict) -> str:
    return "1 tensor" if len(weights) == 1 else f"{len(weights)} tensors"


def _average(candidates: Mapping[Where, StateDict], chosen: Where) -> Where | None:
    """Return the average that the library which wrote the file prefers to `chosen`; None for all others."""
    *outer, key = chosen or ("",)
    if key == "state_dict" and (average := (*outer, "state_dict_ema")) in candidates:
        return average
    average = (*outer, "model_ema")
    return average if key == "model" and "n_averaged" in candidates.get(average, ()) else None


def _rank(where: Where) -> tuple[int, ...]:
    """Return the order of preference by the keys that lead to a set; unknown keys come after all known ones."""
    return tuple(_RANK_OF.get(key, len(_RANKS)) for key in where)


def _first_part(name: str, prefix: str) -> str:
    """Return `module.momentum_encoder` of `module.momentum_encoder.blocks.0`, and `decoder` of `decoder.0.weight`.

    `prefix` is the encoder's: what begins as it does is named by the first part that differs.
    """
    parts, own = name.split("."), prefix.split(".")
    common = [parts[: at + 1] == own[: at + 1] for at in range(len(parts) - 1)]
    wrappers = [part in ("module", "_orig_mod", "model") or common[at] for at, part in enumerate(parts[:-1])]
    length = wrappers.index(False) + 1 if False in wrappers else len(wrappers)
    return ".".join(parts[: max(length, 1)])
