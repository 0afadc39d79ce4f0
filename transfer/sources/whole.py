"""A checkpoint as one whole model, under the names that its own library gives to tensors: mmseg's, detectron2's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from benchmarks.encoders import Architecture, InitStage, Normalisation
from benchmarks.errors import UserError
from benchmarks.runs.record import EncoderUse
from transfer.checkpoint.architecture.infer import infer
from transfer.checkpoint.content.digest import weights_sha256
from transfer.checkpoint.content.state_dict import find_weights
from transfer.checkpoint.files.checkpoint_file import read_checkpoint_file
from transfer.checkpoint.layouts.known import identify
from transfer.sources.references import locate, scheme_of
from transfer.sources.source import Whole, stated_history

_KEYS = ("state_dict", "model", "model_state_dict")
_WRAPPER = "module."


@dataclass(frozen=True)
class WholeFile:
    """What a checkpoint's file holds."""

    path: Path
    weights: dict[str, Tensor] = field(repr=False)
    content: Mapping[object, object] = field(repr=False)
    """All of the file, in which configurations lie beside the weights."""

    def text(self, *keys: str) -> str | None:
        """Return the text that lies under these keys, one within the other; None where there is none."""
        found = self.value(*keys)
        return found if isinstance(found, str) else None

    def value(self, *keys: str) -> object:
        """Return what lies under these keys, one within the other; None where there is nothing."""
        found: object = self.content
        for key in keys:
            found = found.get(key) if isinstance(found, dict) else None
        return found


def read_whole(reference: str) -> WholeFile:
    """Read the file that `--model` names. Raises UserError for any other reference, and a file without tensors."""
    rule = "a finished run, or a checkpoint's file"
    if scheme_of(reference) is not None or not Path(reference).exists():
        raise UserError.about("--model", reference, rule, "check the path")
    place = locate(reference)
    if place.kind != "file":
        raise UserError.about("--model", reference, rule, "name the run itself; exported encoders have no head")
    file = read_checkpoint_file(place.path)
    content = file.content if isinstance(file.content, dict) else {}
    found = next((inner for key in _KEYS if isinstance(inner := content.get(key), dict)), content)
    weights = {name: value for name, value in found.items() if isinstance(name, str) and isinstance(value, Tensor)}
    if not weights:
        rule = f"a file with a model's tensors, by their names or under one of {', '.join(_KEYS)}"
        raise UserError.about("--model", reference, rule, "save it by its library again")
    if all(name.startswith(_WRAPPER) for name in weights):
        weights = {name.removeprefix(_WRAPPER): tensor for name, tensor in weights.items()}
    return WholeFile(file.path, weights, content)


def whole_source(
    file: WholeFile,
    reference: str,
    library: str,
    name: str,
    normalisation: Normalisation,
    label: str | None,
    stage: InitStage | None,
    remarks: tuple[str, ...] = (),
) -> Whole:
    """Return a file as the source of a run; `name` is what the library calls its backbone."""
    use = EncoderUse(
        label=label or file.path.stem,
        reference=reference,
        method=library,
        init_stage=stage or "fine-tuned",
        epochs=None,
        architecture=_known_backbone(file.content) or Architecture(name=f"{library}.{name}"),
        sha256=weights_sha256(file.weights),
        history=stated_history(library, None, "fine-tuned", None),
    )
    return Whole(use, library, normalisation, lambda: file.weights, remarks=remarks)


def _known_backbone(content: object) -> Architecture | None:
    """Return the backbone as timm's architecture, where encoders are read from its layout; else None."""
    try:
        found = find_weights(content)
        layout = identify(found.tensors)
        return infer(layout, layout.to_timm(found.tensors), {}).architecture
    except UserError:
        return None
